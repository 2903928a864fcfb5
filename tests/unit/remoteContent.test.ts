import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ERROR_CODES } from '../../src/errors.ts'
import { classifyStatus } from '../../src/infrastructure/remote/classify.ts'
import { contentOf, contentOfText, sha256, valueJsonOf } from '../../src/infrastructure/remote/content.ts'
import {
  byNewest,
  escapeName,
  readRecord,
  recordsOf,
  runIdOf,
  stampOf,
  unescapeName,
} from '../../src/infrastructure/remote/stamp.ts'
import { canonicalJson } from '../../src/jobs/canonicalJson.ts'
import type { JsonValue } from '../../src/jobs/jsonValue.ts'

const name = fc.string({ unit: 'binary', minLength: 1 })
const metadata = fc.dictionary(
  fc.oneof(
    fc.string({ minLength: 1 }),
    fc.constantFrom('hash', 'data', 'role', 'sync_key', 'user_id', 'topic'),
  ),
  fc.oneof(fc.string(), fc.boolean(), fc.double({ noNaN: true, noDefaultInfinity: true })),
)
const version = fc.record({ epoch: fc.nat(), sequence: fc.nat(), index: fc.nat() })
const json = fc.jsonValue({ maxDepth: 4 }) as fc.Arbitrary<JsonValue>

/** The same value with the names of every object in another order. */
function reversed(value: JsonValue): JsonValue {
  if (Array.isArray(value)) return value.map(reversed)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([member, inner]) => [member, reversed(inner)]),
  )
}

describe('content', () => {
  test('canonical JSON follows RFC 8785', () => {
    const value = { é: 1, b: [true, null, { z: 1e30, y: 4.5 }], a: '\u000f\n"\\/', '€': -0, 10: 1, 9: 2 }
    expect(canonicalJson(value)).toBe(
      '{"10":1,"9":2,"a":"\\u000f\\n\\"\\\\/","b":[true,null,{"y":4.5,"z":1e+30}],"é":1,"€":0}',
    )
  })

  test('canonical JSON is the same value, and one text whatever the order of its names', () => {
    fc.assert(
      fc.property(json, (value) => {
        const text = canonicalJson(value)
        expect(canonicalJson(JSON.parse(text) as JsonValue)).toBe(text)
        expect(canonicalJson(reversed(value))).toBe(text)
        expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)))
      }),
    )
  })

  test('a name such as __proto__ stays a name', () => {
    expect(canonicalJson(JSON.parse('{"b":1,"__proto__":{"x":2}}') as JsonValue)).toBe(
      '{"__proto__":{"x":2},"b":1}',
    )
  })

  test('the value comes back from what is sent', () => {
    fc.assert(
      fc.property(json, (value) => {
        const content = contentOf(value, undefined)
        expect(JSON.parse(valueJsonOf(content))).toEqual(JSON.parse(JSON.stringify(value)))
        expect(content.text.isWellFormed()).toBe(true)
        if (typeof value === 'string' && value.isWellFormed()) expect(content.text).toBe(value)
      }),
    )
  })

  test('the hash tells text, kind and metadata apart, and nothing else', () => {
    const hashes = [
      contentOf('1', undefined),
      contentOf(1, undefined),
      contentOf('1', { a: 1 }),
      contentOf('1', { a: '1' }),
      contentOf('1', { b: 1 }),
      contentOf('1\n', undefined),
    ].map(({ contentHash }) => contentHash)
    expect(new Set(hashes).size).toBe(hashes.length)
    expect(hashes.every((hash) => /^[0-9a-f]{64}$/.test(hash))).toBe(true)
    expect(contentOf('1', {}).contentHash).toBe(hashes[0])
    expect(contentOf('1', { x: 1, y: 2 }).contentHash).toBe(contentOf('1', { y: 2, x: 1 }).contentHash)
    expect(contentOfText('1', 'text', undefined).contentHash).toBe(hashes[0])
  })

  test('the hash is the one written down, so that receipts outlive a release', () => {
    expect(contentOf('Likes tea.', { topic: 'drinks' }).contentHash).toBe(
      sha256('["text","Likes tea.",{"topic":"drinks"}]'),
    )
    expect(sha256('abc')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad')
  })
})

describe('names', () => {
  test('come back, and hold nothing a Mem0 server would refuse or read as a wildcard', () => {
    fc.assert(
      fc.property(
        name.filter((text) => text.isWellFormed()),
        (text) => {
          const escaped = escapeName(text)
          expect(unescapeName(escaped)).toBe(text)
          expect(escaped).not.toMatch(/[\s\p{Cc}*]/u)
        },
      ),
    )
  })

  test('stay as they are where they are ordinary', () => {
    for (const text of ['alice', 'a/b:c', 'user@example.org', '日本', 'a.b-c_d~e', '🧠']) {
      expect(escapeName(text)).toBe(text)
    }
    expect(escapeName('my notes 100%*')).toBe('my%20notes%20100%25%2A')
  })

  test('that something else wrote do not throw', () => {
    expect(unescapeName('50%')).toBe('50%')
    expect(unescapeName('%FF')).toBeUndefined()
  })
})

describe('stamps', () => {
  test('a record that was stamped reads back as the same memory', () => {
    fc.assert(
      fc.property(
        name.filter((text) => text.isWellFormed()),
        json,
        metadata,
        version,
        (key, value, own, at) => {
          const memory = { namespace: 'n', key, content: contentOf(value, own), version: at }
          // As JSON, as it travels; merged over what an earlier update left.
          const stamped = { left: 'over', ...(JSON.parse(JSON.stringify(stampOf(memory))) as object) }
          const record = { id: 'r', memory: memory.content.text, metadata: stamped, run_id: runIdOf(key) }
          expect(recordsOf(memory, [record])).toEqual([
            { namespace: 'n', key, remoteId: 'r', contentHash: memory.content.contentHash, version: at },
          ])
        },
      ),
    )
  })

  test('carry a flat copy of the metadata, without what the server keeps for itself', () => {
    const content = contentOf('v', { topic: 'tea', hash: 'h', role: 'r', sync_key: 's', created_at: 'c' })
    const stamp = stampOf({ namespace: 'n', key: 'k', content, version: { epoch: 1, sequence: 2, index: 3 } })
    expect(stamp).toEqual({
      topic: 'tea',
      sync_key: 'k',
      sync_rev: '1-2-3',
      sync_sha256: sha256('v'),
      sync_format: 'text',
      sync_source: 'memsyncd',
      sync_metadata: '{"created_at":"c","hash":"h","role":"r","sync_key":"s","topic":"tea"}',
    })
  })

  test('a record of someone else has no key; one whose metadata was lost is ours by its run id', () => {
    expect(readRecord('n', { id: 'r', memory: 'text' })).toMatchObject({ key: undefined, version: undefined })
    expect(
      readRecord('n', { id: 'r', memory: 'text', metadata: { sync_key: 7, sync_rev: 'x' } }).key,
    ).toBeUndefined()
    const bare = { id: 'r', memory: 'text', metadata: null, session_id: runIdOf('k') }
    const [found] = recordsOf({ namespace: 'n', key: 'k' }, [bare, { ...bare, session_id: 'other' }])
    expect(found).toMatchObject({ key: 'k', contentHash: contentOf('text', undefined).contentHash })
  })

  test('an edit of the text on the server shows in the hash', () => {
    const content = contentOf('v', { a: 1 })
    const metadata = stampOf({
      namespace: 'n',
      key: 'k',
      content,
      version: { epoch: 1, sequence: 1, index: 0 },
    })
    const hashOf = (memory: string, more: Record<string, unknown> = {}) =>
      readRecord('n', { id: 'r', memory, metadata: { ...metadata, ...more } }).contentHash
    expect(hashOf('v')).toBe(content.contentHash)
    expect(hashOf('edited')).not.toBe(content.contentHash)
    expect(hashOf('v', { sync_metadata: 'not JSON' })).not.toBe(content.contentHash)
  })

  test('the newest of several is first, those of no known version last, whatever order they came in', () => {
    const held = (id: string, sequence?: number) => ({
      namespace: 'n',
      key: 'k',
      remoteId: id,
      contentHash: '',
      version: sequence === undefined ? undefined : { epoch: 1, sequence, index: 0 },
    })
    const inOrder = [held('c', 9), held('b', 3), held('d', 3), held('a')]
    fc.assert(
      fc.property(fc.shuffledSubarray(inOrder, { minLength: 4 }), (shuffled) => {
        expect(shuffled.toSorted(byNewest)).toEqual(inOrder)
      }),
    )
  })
})

describe('classes', () => {
  test('every status has one, and the reason holds nothing of the answer', () => {
    fc.assert(
      fc.property(fc.integer({ min: 100, max: 999 }), fc.option(fc.string()), (status, code) => {
        const verdict = classifyStatus(status, code)
        expect(Object.hasOwn(ERROR_CODES, verdict.code)).toBe(true)
        expect(verdict.reason).toMatch(/^\d{3}( [a-z_]+| with an unknown code)?$/)
      }),
    )
  })

  test('only what speaks of the memory itself is permanent', () => {
    const permanent = Array.from({ length: 900 }, (_, n) => n + 100).filter(
      (status) => classifyStatus(status).code === 'MEMSYNC_REMOTE_REFUSED',
    )
    expect(permanent).toEqual([400, 413, 422])
  })

  test.for([
    ['provider_auth_failed', 'MEMSYNC_REMOTE_CREDENTIALS'],
    ['provider_bad_request', 'MEMSYNC_REMOTE_REFUSED'],
    ['provider_rate_limited', 'MEMSYNC_REMOTE_RATE_LIMITED'],
    ['provider_timeout', 'MEMSYNC_REMOTE_UNAVAILABLE'],
    ['provider_unavailable', 'MEMSYNC_REMOTE_UNAVAILABLE'],
    ['datastore_unavailable', 'MEMSYNC_REMOTE_UNAVAILABLE'],
    ['vector_store_unavailable', 'MEMSYNC_REMOTE_UNAVAILABLE'],
    ['unknown', 'MEMSYNC_REMOTE_UNCLEAR'],
    ['of_a_later_release', 'MEMSYNC_REMOTE_UNCLEAR'],
    ['constructor', 'MEMSYNC_REMOTE_UNCLEAR'],
  ] as const)('a 502 of %s', ([code, wanted]) => {
    expect(classifyStatus(502, code)).toMatchObject({ code: wanted })
    expect(classifyStatus(500, code).code).toBe('MEMSYNC_REMOTE_UNCLEAR')
  })
})
