import { describe, expect, it } from 'vitest'
import type { MemsyncError } from '../../src/errors.ts'
import {
  isJobName,
  JOB_SCHEMAS,
  type JobName,
  MAX_METADATA_BYTES,
  parsePayload,
  publishedSchema,
} from '../../src/jobs/index.ts'

const memory = (more: object) => ({ key: 'k', value: 1, ...more })
const parse = (data: unknown, maxValueBytes?: number) => parsePayload('MEMORY_SYNC', data, maxValueBytes)

function refusalOf(data: unknown, name: string = 'MEMORY_SYNC'): [code: string, message: string] {
  try {
    parsePayload(name as JobName, data)
  } catch (thrown) {
    const { code, message } = thrown as MemsyncError
    return [code, message]
  }
  throw new Error('was not refused')
}

describe('MEMORY_SYNC', () => {
  it('fills in the defaults', () => {
    expect(parse({ key: 'k', value: 1 })).toEqual({
      key: 'k',
      value: 1,
      embed: false,
      namespace: 'default',
      op: 'set',
    })
    expect(parse({ key: 'k', op: 'delete' })).toEqual({
      key: 'k',
      embed: false,
      namespace: 'default',
      op: 'delete',
    })
  })

  it('keeps what is given', () => {
    const full = {
      key: 'k',
      value: null,
      embed: true,
      namespace: 'me',
      metadata: { a: 'x', b: 0.5, c: false },
      op: 'set',
    }
    expect(parse(full)).toEqual(full)
  })

  it('passes the value and the metadata on whole, prototype names included', () => {
    const value = JSON.parse('{"__proto__":{"polluted":true},"constructor":1,"toString":2}')
    const metadata = JSON.parse('{"__proto__":"x","hasOwnProperty":true}')
    const payload = parse(memory({ value, metadata }))
    expect(JSON.stringify(payload.value)).toBe(JSON.stringify(value))
    expect(JSON.stringify(payload.metadata)).toBe(JSON.stringify(metadata))
    expect(({} as Record<string, unknown>).polluted).toBeUndefined()
  })

  it.each([
    ['an unknown field', memory({ vlaue: 2 }), 'unknown field "vlaue"'],
    ['several unknown fields', memory({ a: 1, b: 2 }), 'unknown field "a", "b"'],
    [
      'a prototype name for a field',
      JSON.parse('{"key":"k","value":1,"__proto__":{"op":"delete"}}'),
      'unknown field "__proto__"',
    ],
    ['no object', null, 'the memory: '],
    ['an array', [], 'the memory: '],
    ['no key', { value: 1 }, 'key: '],
    ['a key that is no text', memory({ key: 5 }), 'key: '],
    ['an empty key', memory({ key: '' }), 'key: is empty'],
    ['a lone surrogate in the key', memory({ key: 'a\ud800' }), 'key: holds a lone surrogate'],
    ['an empty namespace', memory({ namespace: '' }), 'namespace: is empty'],
    [
      'a lone surrogate in the namespace',
      memory({ namespace: '\udc00' }),
      'namespace: holds a lone surrogate',
    ],
    ['no value', { key: 'k' }, 'value: missing'],
    ['a delete with a value', memory({ op: 'delete' }), 'value: a delete takes no value'],
    ['a delete with the value null', memory({ op: 'delete', value: null }), 'value: a delete takes no value'],
    ['an unknown op', memory({ op: 'rollback' }), 'op: '],
    ['an embed that is no boolean', memory({ embed: 'true' }), 'embed: '],
    ['metadata that is no object', memory({ metadata: 'x' }), 'metadata: is not a plain object'],
    ['metadata that is an array', memory({ metadata: [] }), 'metadata: is not a plain object'],
    ['metadata that is null', memory({ metadata: null }), 'metadata: is not a plain object'],
    ['metadata that is a Map', memory({ metadata: new Map() }), 'metadata: is not a plain object'],
    ['nested metadata', memory({ metadata: { a: { b: 1 } } }), 'metadata.a: is not a string'],
    ['null within metadata', memory({ metadata: { ok: 1, a: null } }), 'metadata.a: is not a string'],
    ['NaN within metadata', memory({ metadata: { a: Number.NaN } }), 'metadata.a: is not a string'],
  ])('refuses %s', (_, data, message) => {
    expect(refusalOf(data)).toEqual(['MEMSYNC_INVALID_MEMORY', expect.stringContaining(message)])
  })

  it('refuses a value that is not JSON, by its path', () => {
    expect(refusalOf(memory({ value: undefined }))).toEqual([
      'MEMSYNC_INVALID_VALUE',
      'value is undefined: not JSON',
    ])
    expect(refusalOf(memory({ value: { a: [new Date()] } }))[1]).toContain('value.a[0] is a Date')
  })

  it('names no value in a refusal', () => {
    for (const data of [
      memory({ embed: 'hunter2' }),
      memory({ op: 'hunter2' }),
      memory({ metadata: { a: ['hunter2'] } }),
    ]) {
      expect(refusalOf(data)[1]).not.toContain('hunter2')
    }
  })

  it.each(['x', 'é', '😀'])('counts the bytes of a key and a namespace made of %s', (character) => {
    const bytes = Buffer.byteLength(character)
    const longest = (limit: number) => character.repeat(limit / bytes)
    expect(parse(memory({ key: longest(1024), namespace: longest(256) })).key).toBe(longest(1024))
    expect(refusalOf(memory({ key: `${longest(1024)}x` }))[1]).toBe('key: is longer than 1024 bytes')
    expect(refusalOf(memory({ namespace: `${longest(256)}x` }))[1]).toBe(
      'namespace: is longer than 256 bytes',
    )
  })

  it('takes every code point in a key', () => {
    for (const key of ['\0', 'a\0b', '__proto__', 'a:b', '😀', '\u202e', ' ', '\u{10ffff}']) {
      expect(parse(memory({ key })).key).toBe(key)
    }
  })

  it('takes a value and metadata of as many bytes as allowed and refuses one more', () => {
    expect(parse(memory({ value: 'x'.repeat(8) }), 10).value).toBe('xxxxxxxx')
    expect(() => parse(memory({ value: 'x'.repeat(9) }), 10)).toThrow('limit is 10 (MEMSYNC_MAX_VALUE_BYTES)')
    const mebibyte = 'x'.repeat(1024 * 1024 - 2)
    expect(parse(memory({ value: mebibyte })).value).toBe(mebibyte)
    expect(refusalOf(memory({ value: `${mebibyte}x` }))[0]).toBe('MEMSYNC_VALUE_TOO_LARGE')
    const metadata = { a: 'x'.repeat(MAX_METADATA_BYTES - '{"a":""}'.length) }
    expect(parse(memory({ metadata })).metadata).toEqual(metadata)
    expect(refusalOf(memory({ metadata: { a: `${metadata.a}x` } }))[1]).toBe(
      `metadata: is longer than ${MAX_METADATA_BYTES} bytes as JSON`,
    )
  })
})

describe('MEMORY_ROLLBACK', () => {
  it('takes a key and a namespace, and nothing else', () => {
    expect(parsePayload('MEMORY_ROLLBACK', { key: 'k' })).toEqual({ key: 'k', namespace: 'default' })
    expect(refusalOf({ key: 'k', value: 1 }, 'MEMORY_ROLLBACK')[1]).toBe('unknown field "value"')
    expect(refusalOf({}, 'MEMORY_ROLLBACK')[1]).toContain('key: ')
  })
})

describe('a job name', () => {
  it.each(['MEMORY_SYN', 'toString', '__proto__', ''])('%j is no job', (name) => {
    expect(isJobName(name)).toBe(false)
    expect(refusalOf(memory({}), name)).toEqual([
      'MEMSYNC_UNKNOWN_JOB',
      `there is no job ${JSON.stringify(name)}`,
    ])
  })

  it('is known where there is a schema', () => {
    expect(Object.keys(JOB_SCHEMAS).every(isJobName)).toBe(true)
  })
})

describe('the published schema', () => {
  const { MEMORY_SYNC: schema } = publishedSchema() as Record<JobName, Record<string, Record<string, object>>>

  it('is JSON Schema that says what the contract says', () => {
    expect(JSON.parse(JSON.stringify(schema))).toEqual(schema)
    expect(schema).toMatchObject({
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      type: 'object',
      required: ['key'],
      additionalProperties: false,
      properties: {
        key: { type: 'string', minLength: 1, maxLength: 1024 },
        namespace: { type: 'string', minLength: 1, maxLength: 256, default: 'default' },
        embed: { type: 'boolean', default: false },
        metadata: { type: 'object', additionalProperties: { type: ['string', 'number', 'boolean'] } },
        op: { enum: ['set', 'delete'], default: 'set' },
      },
    })
    expect(Object.keys(schema.properties ?? {})).toEqual([
      'key',
      'value',
      'embed',
      'namespace',
      'metadata',
      'op',
    ])
    expect(schema.properties?.value).not.toHaveProperty('type')
  })
})
