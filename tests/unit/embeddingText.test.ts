import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { contentHash, excerptOf, textOf } from '../../src/embedding/text.ts'
import { canonicalJson } from '../../src/jobs/canonicalJson.ts'
import type { JsonValue } from '../../src/jobs/jsonValue.ts'

/** The same value with the names of every object in another order. */
function reordered(value: JsonValue): JsonValue {
  if (Array.isArray(value)) return value.map(reordered)
  if (value === null || typeof value !== 'object') return value
  const copy: Record<string, JsonValue> = Object.create(null)
  for (const name of Object.keys(value).reverse()) copy[name] = reordered(value[name] as JsonValue)
  return copy
}

describe('canonical JSON', () => {
  it('is the same for every order of names, and says the same as the value', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (given) => {
        const value = given as JsonValue
        const text = canonicalJson(value)
        expect(canonicalJson(reordered(value))).toBe(text)
        expect(JSON.stringify(JSON.parse(text))).toBe(
          JSON.stringify(JSON.parse(canonicalJson(JSON.parse(text)))),
        )
        expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)))
      }),
    )
  })

  it('keeps every name, and sorts by code units', () => {
    const value = JSON.parse(
      '{"b":[{"z":1,"a":null}],"__proto__":{"y":2},"é":3,"10":4,"9":5,"B":6}',
    ) as JsonValue
    expect(canonicalJson(value)).toBe('{"10":4,"9":5,"B":6,"__proto__":{"y":2},"b":[{"a":null,"z":1}],"é":3}')
  })
})

describe('the text of a memory', () => {
  it('is a string as it stands, and JSON for anything else', () => {
    expect(textOf('  as it\nstands "so" ')).toBe('  as it\nstands "so" ')
    expect(textOf({ b: 1, a: ['x'] })).toBe('{"a":["x"],"b":1}')
    expect([textOf(null), textOf(false), textOf(1.5), textOf('')]).toEqual(['null', 'false', '1.5', ''])
    expect(textOf('half \ud83d a face')).toBe('half � a face')
  })

  it('has its own hash for each model, length and text', () => {
    const spaces = [
      { model: 'm', dimensions: undefined },
      { model: 'm', dimensions: 8 },
      { model: 'm8', dimensions: undefined },
    ]
    const hashes = spaces.flatMap((space) => ['a', 'b', ''].map((text) => contentHash(space, text)))
    expect(new Set(hashes).size).toBe(9)
    expect(hashes).toEqual(
      spaces.flatMap((space) => ['a', 'b', ''].map((text) => contentHash({ ...space }, text))),
    )
    expect(hashes[0]).toMatch(/^[0-9a-f]{64}$/)
  })
})

describe('the excerpt of a text', () => {
  it('is one line of at most 200 whole characters, and says where it was cut', () => {
    expect(excerptOf('  two\n\n lines\t ')).toBe('two lines')
    expect(excerptOf('😀'.repeat(200))).toBe('😀'.repeat(200))
    expect(excerptOf('😀'.repeat(201))).toBe(`${'😀'.repeat(199)}…`)
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 1000, size: 'max' }), (text) => {
        const excerpt = excerptOf(text)
        expect(Array.from(excerpt).length).toBeLessThanOrEqual(200)
        expect(excerpt.isWellFormed()).toBe(true)
      }),
      { numRuns: 30 },
    )
  })

  it('says that it was cut where the beginning is blank, or the cut goes through a character', () => {
    expect(excerptOf(`${' '.repeat(5000)}late`)).toBe('…')
    expect(excerptOf(`a${'😀'.repeat(500)}`)).toMatch(/^a😀+…$/u)
  })
})
