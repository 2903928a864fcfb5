/** The half of the contract that is about what comes out: values, keys, pages, totals and versions. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Store } from '../../src/infrastructure/memory/port.ts'
import type { JsonValue } from '../../src/jobs/jsonValue.ts'
import { compareVersions, LOCAL_INDEX_BASE, type Version } from '../../src/jobs/version.ts'
import type { StoreInUse } from './memoryStore.ts'
import { APPLIED, at, deleteOf, setOf } from './writes.ts'

/** Keys that stores and shells are known to bend: each is to come back as it went in. */
const HOSTILE_KEYS = [
  ...['a', 'a\0', 'a\0b', '\0', '\0\0', 'A', 'á', 'a\u0301', ' ', ' a', 'a ', '\n', '\r\n', '\t'],
  ...['__proto__', 'constructor', 'toString', 'null', 'undefined', '0', '00', '1e3', '-0', 'NaN', 'true'],
  ...[
    "'",
    '"',
    "a'b",
    'a"b',
    '%',
    'a%',
    '_',
    'a_b',
    '\\',
    '/',
    '../x',
    'a:b',
    '{}',
    '[]',
    '`',
    ';--',
    '*',
    '?',
  ],
  ...[
    '😀',
    '😀a',
    '👩‍👩‍👧‍👦',
    '\u{10ffff}',
    '\u{10ffff}\u{10ffff}',
    '\uffff',
    '\ufffd',
    '\ufeff',
    'שלום',
    '\u202eabc',
    'ﷺ',
    '中文',
  ],
  ...['x'.repeat(1024), 'é'.repeat(512), `${'x'.repeat(1023)}\0`],
]

const byBytes = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b))

/** -0 is the one JSON value of JavaScript that JSON text does not carry. */
const jsonValue = () =>
  fc.jsonValue({ maxDepth: 6 }).map((value) => JSON.parse(JSON.stringify(value)) as JsonValue)

export function describeReads(use: StoreInUse): void {
  const { outcomesOf, readValue, reopen } = use

  describe('reading back', () => {
    it('returns a memory with all that was written', async () => {
      const metadata = { source: 'test', weight: 0.5, pinned: true }
      const before = Date.now()
      await outcomesOf(
        setOf('k', { a: 1 }, at(7), {
          namespace: 'me',
          embed: true,
          metadataJson: JSON.stringify(metadata),
        }),
      )
      const found = await use.store.find('k', 'me')
      expect(found).toEqual({
        ...{ namespace: 'me', key: 'k', value: { a: 1 }, deleted: false, metadata, embed: true },
        ...{ version: at(7), acceptedAtMs: 1_700_000_000_000, persistedAtMs: expect.any(Number) },
      })
      expect(found?.persistedAtMs).toBeGreaterThanOrEqual(before)
      expect(found?.persistedAtMs).toBeLessThanOrEqual(Date.now())
    })

    it('knows nothing of a key that was never written', async () => {
      expect(await use.store.find('k')).toBeUndefined()
      expect(await use.store.history('k')).toEqual([])
      expect(await use.store.receipts('k')).toEqual([])
      expect(await use.store.list()).toEqual({ memories: [], next: undefined })
    })

    it('keeps the same key of two namespaces apart', async () => {
      await outcomesOf(setOf('k', 1, at(1), { namespace: 'a' }), setOf('k', 2, at(2), { namespace: 'b' }))
      expect((await use.store.find('k', 'a'))?.value).toBe(1)
      expect((await use.store.find('k', 'b'))?.value).toBe(2)
      expect(await use.store.find('k')).toBeUndefined()
      await outcomesOf(deleteOf('k', at(3), { namespace: 'a' }))
      expect((await use.store.find('k', 'b'))?.value).toBe(2)
    })

    it('gives a fresh object each time', async () => {
      await outcomesOf(setOf('k', { list: [1] }, at(1)))
      const first = (await readValue('k')) as { list: number[] }
      first.list.push(2)
      expect(await readValue('k')).toEqual({ list: [1] })
    })

    it('returns any JSON value exactly, after a reopening too', async () => {
      let sequence = 0
      const values = new Map<string, JsonValue>()
      const written = async (value: JsonValue) => {
        const key = `k${++sequence}`
        values.set(key, value)
        await outcomesOf(setOf(key, value, at(sequence)))
        expect(JSON.stringify(await readValue(key))).toBe(JSON.stringify(value))
        expect(await readValue(key)).toEqual(value)
      }
      await fc.assert(fc.asyncProperty(jsonValue(), written), { numRuns: 100 })
      await reopen()
      for (const [key, value] of values) expect(await readValue(key)).toEqual(value)
    })

    it('returns the values that encoders lose', async () => {
      const deep = JSON.parse(`${'[{"a":'.repeat(250)}1${'}]'.repeat(250)}`) as JsonValue
      const values: JsonValue[] = [
        ...[null, false, 0, '', [], {}, '\0', '\ud800', 'a\udfffb', { '\ud800': '\udc00\ud800' }],
        JSON.parse('{"__proto__":{"polluted":true},"constructor":{"prototype":1}}'),
        ...[Number.MAX_SAFE_INTEGER, Number.MIN_VALUE, -1.7976931348623157e308, 0.1 + 0.2, deep],
        'x'.repeat(1024 * 1024 - 2),
      ]
      await use.store.apply(values.map((value, index) => setOf(`k${index}`, value, at(1, 1, index))))
      for (const [index, value] of values.entries()) {
        const found = await readValue(`k${index}`)
        expect(JSON.stringify(found) === JSON.stringify(value), `value ${index}`).toBe(true)
      }
      const proto = (await readValue('k10')) as Record<string, unknown>
      expect(Object.keys(proto)).toEqual(['__proto__', 'constructor'])
      expect(Object.getPrototypeOf(proto)).toBe(Object.prototype)
    })

    it('returns metadata exactly, odd names included', async () => {
      const metadataJson = '{"__proto__":"x","\\ud800":true,"a\\u0000b":-1.5}'
      await outcomesOf(setOf('k', 1, at(1), { metadataJson }))
      expect(JSON.stringify((await use.store.find('k'))?.metadata)).toBe(metadataJson)
    })

    it('keeps every hostile key apart from every other', async () => {
      await use.store.apply(HOSTILE_KEYS.map((key, index) => setOf(key, index, at(index + 1))))
      for (const [index, key] of HOSTILE_KEYS.entries()) {
        const found = await use.store.find(key)
        expect([found?.key, found?.value]).toEqual([key, index])
        expect((await use.store.history(key)).map((memory) => memory.key)).toEqual([key])
      }
      const listed = (await use.store.list()).memories.map((memory) => memory.key)
      expect(listed).toEqual([...HOSTILE_KEYS].sort(byBytes))
    })

    it('finds nothing under a key that has no UTF-8 form', async () => {
      await outcomesOf(setOf('\ufffd', 'replacement', at(1)))
      expect(await use.store.find('\ud800')).toBeUndefined()
      expect(await use.store.history('\ud800')).toEqual([])
      expect((await use.store.list({ prefix: '\ud800' })).memories).toEqual([])
    })
  })

  describe('list', () => {
    const keysOf = async (options?: Parameters<Store['list']>[0]) =>
      (await use.store.list(options)).memories.map((memory) => memory.key)

    it('lists by namespace and key in the order of bytes, without tombstones unless asked', async () => {
      await outcomesOf(
        ...[
          setOf('b', 1, at(1)),
          setOf('a', 2, at(2)),
          setOf('z', 3, at(3), { namespace: 'A' }),
          deleteOf('aa', at(4)),
        ],
      )
      expect(await keysOf()).toEqual(['z', 'a', 'b'])
      expect(await keysOf({ namespace: 'default' })).toEqual(['a', 'b'])
      expect(await keysOf({ namespace: 'none' })).toEqual([])
      const all = await use.store.list({ includeDeleted: true })
      expect(all.memories.map((memory) => [memory.key, memory.deleted])).toEqual([
        ...[
          ['z', false],
          ['a', false],
          ['aa', true],
          ['b', false],
        ],
      ])
    })

    it('takes a prefix as text, exactly', async () => {
      const prefixes = [
        'a',
        'a\0',
        'á',
        '%',
        '_',
        '😀',
        '\u{10ffff}',
        '\\',
        "'",
        'x',
        '\0',
        'é',
        '\uffff',
        '',
      ]
      await use.store.apply(HOSTILE_KEYS.map((key, index) => setOf(key, index, at(index + 1))))
      for (const prefix of prefixes) {
        const expected = HOSTILE_KEYS.filter((key) => key.startsWith(prefix)).sort(byBytes)
        expect(await keysOf({ prefix })).toEqual(expected)
        expect(await keysOf({ prefix, namespace: 'default' })).toEqual(expected)
      }
    })

    it('pages through everything once, across namespaces, in pages of any size', async () => {
      const places = Array.from({ length: 25 }, (_, index) => ({
        namespace: `n${index % 3}`,
        key: `k${index}`,
      }))
      await use.store.apply(
        places.map(({ namespace, key }, index) => setOf(key, index, at(index + 1), { namespace })),
      )
      const expected = (await use.store.list()).memories
      expect(expected).toHaveLength(25)
      for (const limit of [1, 4, 5, 24, 25, 26, 10_000]) {
        const seen = []
        let page = await use.store.list({ limit })
        while (page.next) {
          expect(page.memories).toHaveLength(limit)
          seen.push(...page.memories)
          page = await use.store.list({ limit, after: page.next })
        }
        expect([...seen, ...page.memories]).toEqual(expected)
      }
    })

    it('pages within a namespace and a prefix', async () => {
      const keys = ['a1', 'a2', 'a3', 'b1']
      await use.store.apply(keys.map((key, index) => setOf(key, index, at(index + 1))))
      const first = await use.store.list({ namespace: 'default', prefix: 'a', limit: 2 })
      expect(first.next).toEqual({ namespace: 'default', key: 'a2' })
      const second = await use.store.list({
        namespace: 'default',
        prefix: 'a',
        limit: 2,
        after: { namespace: 'default', key: 'a2' },
      })
      expect(second.memories.map((memory) => memory.key)).toEqual(['a3'])
      expect(second.next).toBeUndefined()
    })

    it('ends a page of long values early, and goes on from there', async () => {
      const long = 'x'.repeat(1024 * 1024 - 2)
      await use.store.apply(
        Array.from({ length: 20 }, (_, index) => setOf(`k${index + 10}`, long, at(index + 1))),
      )
      const first = await use.store.list()
      expect(first.memories.length).toBeLessThan(20)
      const second = await use.store.list({ ...(first.next ? { after: first.next } : {}) })
      expect(first.memories.length + second.memories.length).toBe(20)
      expect(second.next).toBeUndefined()
    })

    it.each([0, -1, 1.5, 10_001, Number.NaN])('refuses a page of %s', async (limit) => {
      const failure = expect(use.store.list({ limit })).rejects
      await failure.toMatchObject({ code: 'MEMSYNC_BAD_USAGE', message: expect.stringContaining('limit') })
    })
  })

  describe('totals', () => {
    it('counts live keys, each write once, and the bytes on disk', async () => {
      expect(await use.store.totals()).toMatchObject({ keys: 0, synced: 0, superseded: 0 })
      await outcomesOf(setOf('a', 1, at(1)), setOf('b', 2, at(2)), deleteOf('c', at(3)))
      expect(await use.store.totals()).toMatchObject({ keys: 2, synced: 3, superseded: 0 })
      await outcomesOf(
        deleteOf('a', at(4)),
        setOf('c', 3, at(5)),
        setOf('c', 0, at(3, 0)),
        deleteOf('a', at(6)),
      )
      const totals = await use.store.totals()
      expect(totals).toMatchObject({ keys: 2, synced: 6, superseded: 1 })
      expect(totals.bytes).toBeGreaterThan(0)
      await reopen()
      expect(await use.store.totals()).toMatchObject({ keys: 2, synced: 6, superseded: 1 })
    })
  })

  describe('the epoch record', () => {
    it('is empty at first, recorded with a commit, and only goes forward', async () => {
      expect(await use.store.readEpoch()).toEqual({ epoch: 0, token: '', batch: 0 })
      await use.store.apply([setOf('k', 1, at(1))], { epoch: 1, token: 'one', batch: 5 })
      expect(await use.store.readEpoch()).toEqual({ epoch: 1, token: 'one', batch: 5 })
      await use.store.apply([], { epoch: 2, token: 'two', batch: 1 })
      await reopen()
      expect(await use.store.readEpoch()).toEqual({ epoch: 2, token: 'two', batch: 1 })
      await use.store.apply([setOf('k', 2, at(2))], { epoch: 1, token: 'one', batch: 6 })
      await use.store.apply([], { epoch: 2, token: 'two', batch: 9 })
      await use.store.apply([], { epoch: 2, token: 'two', batch: 8 })
      expect(await use.store.readEpoch()).toEqual({ epoch: 2, token: 'two', batch: 9 })
    })
  })

  describe('versions for writes beside the queue', () => {
    it('come after all that is applied and before what the queue accepts next', async () => {
      await outcomesOf(setOf('k', 1, at(41, 3)))
      await outcomesOf(setOf('other', 1, at(99, 2)), setOf('k', 0, at(40, 3)))
      const local = await use.store.nextLocalVersion()
      expect(local).toMatchObject({ epoch: 3, sequence: 41 })
      expect(local.index).toBeGreaterThanOrEqual(LOCAL_INDEX_BASE)
      expect(await outcomesOf(setOf('k', 'local', local))).toEqual([APPLIED])
      expect(await outcomesOf(setOf('k', 'queue', at(42, 3)))).toEqual([APPLIED])
      expect(compareVersions(await use.store.nextLocalVersion(), at(42, 3, 999_999))).toBeGreaterThan(0)
    })

    it('begin anew with an epoch that is recorded before any of its writes', async () => {
      await outcomesOf(setOf('k', 1, at(41, 3)))
      await use.store.apply([], { epoch: 4, token: 't', batch: 1 })
      expect(await use.store.nextLocalVersion()).toMatchObject({ epoch: 4, sequence: 0 })
    })

    it('rise and never repeat, across reopenings', async () => {
      const versions: Version[] = []
      for (let round = 0; round < 3; round++) {
        for (let index = 0; index < 20; index++) versions.push(await use.store.nextLocalVersion())
        await outcomesOf(setOf('k', round, at(round + 1)))
        await reopen()
      }
      for (const [index, version] of versions.entries()) {
        if (index > 0) expect(compareVersions(version, versions[index - 1] as Version)).toBeGreaterThan(0)
      }
    })
  })

  describe('its life', () => {
    it('proves that it can be written', async () => {
      await expect(use.store.probe()).resolves.toBeUndefined()
      expect(await use.store.totals()).toMatchObject({ keys: 0, synced: 0 })
    })

    it('closes more than once, and then says that it is closed', async () => {
      await use.store.close()
      await use.store.close()
      const closed = { code: 'MEMSYNC_STORE_UNAVAILABLE', message: expect.stringContaining('closed') }
      await expect(use.store.find('k')).rejects.toMatchObject(closed)
      await expect(use.store.apply([setOf('k', 1, at(1))])).rejects.toMatchObject(closed)
      await expect(use.store.probe()).rejects.toMatchObject(closed)
    })
  })
}
