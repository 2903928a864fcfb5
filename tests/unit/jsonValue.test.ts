import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  assertJsonValue,
  checkJsonValue,
  encodeJsonValue,
  MAX_VALUE_DEPTH,
} from '../../src/jobs/jsonValue.ts'

const NO_LIMIT = Number.MAX_SAFE_INTEGER

function nested(depth: number): unknown {
  let value: unknown = []
  for (let level = 1; level < depth; level++) value = level % 2 ? { a: value } : [value]
  return value
}

class Point {
  x = 1
}

/** Made by a function, as a class that extends null cannot be constructed. */
const ofNullClass = Object.create(Object.create(null, { x: { value: 1 } }))

const cycle: { list: unknown[] } = { list: [] }
cycle.list.push({ self: cycle })
const longCycle: Record<string, unknown> = { text: 'x'.repeat(1000) }
longCycle.next = longCycle

describe('encodeJsonValue', () => {
  it('writes any JSON value so that it reads back the same', () => {
    const property = fc.property(fc.jsonValue(), (value) => {
      const json = encodeJsonValue(value, NO_LIMIT)
      expect(json).toBe(JSON.stringify(value))
      expect(JSON.stringify(JSON.parse(json))).toBe(json)
    })
    fc.assert(property)
  })

  it.each([
    ['null', null, 'null'],
    ['a lone surrogate', '\ud800', '"\\ud800"'],
    ['negative zero, the one that changes', -0, '0'],
    ['an own __proto__', JSON.parse('{"__proto__":{"a":1}}'), '{"__proto__":{"a":1}}'],
    ['an object without a prototype', Object.assign(Object.create(null), { a: 1 }), '{"a":1}'],
    ['objects of another realm', runInNewContext('({ a: [1, {}] })'), '{"a":[1,{}]}'],
    ['toJSON as plain data', { toJSON: 'x' }, '{"toJSON":"x"}'],
    ['one object in two places', [cycle.list.length, ...Array(2).fill({ a: 1 })], '[1,{"a":1},{"a":1}]'],
  ])('takes %s', (_, value, json) => {
    expect(encodeJsonValue(value, NO_LIMIT)).toBe(json)
  })

  it.each([
    ['undefined', undefined, 'value is undefined'],
    ['undefined within', { a: [{ b: undefined }] }, 'value.a[0].b is undefined'],
    ['a hole', Array(2), 'value[0] is undefined'],
    ['a function', { f() {} }, 'value.f is a function'],
    ['a symbol', [Symbol('s')], 'value[0] is a symbol'],
    ['a symbol for a name', { a: { [Symbol('s')]: 1 } }, 'value.a has a symbol for a name'],
    ['a BigInt', { n: 1n }, 'value.n is a bigint'],
    ['a boxed BigInt', Object(1n), 'value is a BigInt'],
    ['a boxed number', Object(1), 'value is a Number'],
    ['NaN', [0, Number.NaN], 'value[1] is NaN'],
    ['Infinity', { 'a b': -Infinity }, 'value["a b"] is -Infinity'],
    ['a Date', { at: new Date(0) }, 'value.at is a Date'],
    ['a Map', new Map(), 'value is a Map'],
    ['a Buffer', Buffer.from('secret'), 'value is a Buffer'],
    ['an instance of a class', { point: new Point() }, 'value.point is a Point'],
    ['an instance whose class has no name', ofNullClass, 'value is a class instance'],
    [
      'a toJSON method',
      { a: Object.defineProperty({}, 'toJSON', { value: () => 'other' }) },
      'value.a has a toJSON method',
    ],
    [
      'a toJSON method of an array',
      Object.assign([1], { toJSON: () => 'other' }),
      'value has a toJSON method',
    ],
    ['an array with a name', { a: Object.assign([1], { extra: 2 }) }, 'value.a.extra is not an item'],
    ['a cycle', cycle, 'value.list[0].self is a cycle'],
    ['a cycle longer than the limit', longCycle, 'value.next is a cycle'],
  ])('refuses %s by its path', (_, value, message) => {
    const refusal = { code: 'MEMSYNC_INVALID_VALUE', message: `${message}: not JSON` }
    expect(() => encodeJsonValue(value, 2000)).toThrow(expect.objectContaining(refusal))
  })

  it('is not fooled by a polluted Object.prototype', () => {
    Object.defineProperty(Object.prototype, 'toJSON', { value: () => 'other', configurable: true })
    try {
      expect(() => encodeJsonValue({ a: 1 }, NO_LIMIT)).toThrow('value has a toJSON method')
    } finally {
      Reflect.deleteProperty(Object.prototype, 'toJSON')
    }
  })

  it('names no value in a refusal, and cuts a long path', () => {
    const value = { ['n'.repeat(500)]: { secret: 'hunter2', f: () => 'hunter2' } }
    const refuse = () => encodeJsonValue(value, NO_LIMIT)
    expect(refuse).toThrow(/^value\.n{194}…/)
    expect(refuse).not.toThrow('hunter2')
  })

  it('takes nesting up to the limit and refuses one level more', () => {
    const deepest = nested(MAX_VALUE_DEPTH)
    expect(JSON.parse(encodeJsonValue(deepest, NO_LIMIT))).toEqual(deepest)
    const refusal = {
      code: 'MEMSYNC_VALUE_TOO_LARGE',
      message: expect.stringContaining('deeper than 500 levels'),
    }
    expect(() => encodeJsonValue([deepest], NO_LIMIT)).toThrow(expect.objectContaining(refusal))
    expect(() => encodeJsonValue(nested(1_000_000), NO_LIMIT)).toThrow(expect.objectContaining(refusal))
  })

  it.each([
    ['text', 'x'.repeat(98)],
    ['text of many bytes', 'é'.repeat(49)],
    ['escapes', '\n'.repeat(49)],
    ['an array', Array(49).fill(0).concat(10)],
    ['an object', { a: 'x'.repeat(92) }],
  ])('takes %s of as many bytes as allowed and refuses one more', (_, value) => {
    const bytes = Buffer.byteLength(JSON.stringify(value))
    expect(bytes).toBeGreaterThanOrEqual(98)
    expect(encodeJsonValue(value, bytes)).toBe(JSON.stringify(value))
    const refusal = {
      code: 'MEMSYNC_VALUE_TOO_LARGE',
      message: expect.stringContaining(`limit is ${bytes - 1} `),
    }
    expect(() => encodeJsonValue(value, bytes - 1)).toThrow(expect.objectContaining(refusal))
  })

  it('refuses by the check alone what it would refuse to write', () => {
    const longest = fc.constantFrom(-Number.MAX_VALUE, '\u0000', '\ud800', 'é', false, null)
    const { tree } = fc.letrec((tie) => ({
      tree: fc.oneof(
        longest,
        fc.array(tie('tree')),
        fc.dictionary(fc.constantFrom('\u0001', 'a'), tie('tree')),
      ),
    }))
    const long = fc
      .tuple(tree, fc.integer({ min: 1, max: 50 }))
      .map(([value, times]) => Array(times).fill(value))
    const property = fc.property(fc.oneof(fc.jsonValue(), tree, long), (value) => {
      const bytes = Buffer.byteLength(JSON.stringify(value))
      checkJsonValue(value, bytes)
      const code = 'MEMSYNC_VALUE_TOO_LARGE'
      expect(() => checkJsonValue(value, bytes - 1)).toThrow(expect.objectContaining({ code }))
    })
    fc.assert(property)
  })

  it('ends at once on a small value whose JSON would be endless', () => {
    let value: unknown = 'x'
    for (let level = 0; level < 60; level++) value = [value, value]
    const refusal = { code: 'MEMSYNC_VALUE_TOO_LARGE' }
    expect(() => encodeJsonValue(value, 1024 * 1024)).toThrow(expect.objectContaining(refusal))
  })
})

describe('assertJsonValue', () => {
  it('passes what is JSON and refuses what is not', () => {
    expect(() => assertJsonValue({ a: [1, 'x'.repeat(5_000_000)] })).not.toThrow()
    expect(() => assertJsonValue({ a: undefined })).toThrow('value.a is undefined')
  })
})
