/** The predecessor's files, whole and damaged, and what becomes of their entries. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readLegacyEntry } from '../../src/producers/legacyEntry.ts'
import { parseLegacyFile } from '../../src/producers/legacyFile.ts'
import { printedSeed } from '../support/seed.ts'

const seed = printedSeed('legacy files')

const MAX_VALUE_BYTES = 1024 * 1024
const entry = (number: number, more: Record<string, unknown> = {}) => ({
  id: `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`,
  project_id: 'projet-é',
  content: `contenu ${number}: "{[,]}" \\ é 😀`,
  timestamp: 1_764_000_000 + number,
  retries: 0,
  ...more,
})
const stats = { total_queued: 3, total_synced: 1, total_failed: 1, last_sync: null }
const queueFile = {
  queue: [entry(1), entry(2)],
  last_100: [entry(1), entry(2), entry(9)],
  failed: [entry(3, { retries: 5 })],
  stats,
}
const deadLetters = {
  items: [entry(4, { moved_to_dlq_at: 1_764_000_100.25, last_attempt: 1_764_000_200.5, retry_count: 3 })],
  last_update: '2025-12-02T10:00:00',
}
const emergency = [5, 6].map((number) => entry(number, { emergency: true }))
const bytesOf = (document: unknown, indent?: number) => Buffer.from(JSON.stringify(document, null, indent))
const placesOf = (bytes: Uint8Array) => parseLegacyFile(bytes).entries.map(({ place }) => place)

describe('a file of the predecessor', () => {
  it('gives what waits in the queue and what failed, never what was only seen', () => {
    for (const indent of [0, 2]) {
      expect(parseLegacyFile(bytesOf(queueFile, indent))).toEqual({
        kind: 'queue',
        entries: [
          { place: 'queue[0]', entry: queueFile.queue[0] },
          { place: 'queue[1]', entry: queueFile.queue[1] },
          { place: 'failed[0]', entry: queueFile.failed[0] },
        ],
        unreadable: [],
      })
    }
  })

  it('gives its dead letters, and its emergency lines, one or many', () => {
    expect(parseLegacyFile(bytesOf(deadLetters))).toMatchObject({
      kind: 'dead letters',
      entries: [{ place: 'items[0]', entry: deadLetters.items[0] }],
    })
    const lines = emergency.map((one) => JSON.stringify(one))
    for (const text of [lines.join('\n'), `${lines.join('\n\n')}\n`, `${lines.join('\r\n')}\r\n`]) {
      expect(parseLegacyFile(Buffer.from(text)).entries.map((one) => one.entry)).toEqual(emergency)
    }
    expect(parseLegacyFile(bytesOf(emergency[0]))).toMatchObject({
      kind: 'emergency',
      entries: [{ place: 'line 1', entry: emergency[0] }],
    })
  })

  it('is told from what holds no memories', () => {
    const metrics = { last_update: 'x', vps_status: 'down', queue_size: 3, dlq_size: 0, total_synced: 1 }
    for (const other of [metrics, {}, [], 'text', 1, null, [entry(1)]]) {
      expect(parseLegacyFile(bytesOf(other)).kind).toBeUndefined()
    }
    expect(parseLegacyFile(Buffer.from(''))).toEqual({ kind: undefined, entries: [], unreadable: [] })
    expect(parseLegacyFile(Buffer.from('not JSON\n')).kind).toBeUndefined()
  })

  it('cut off at any byte gives the entries that stand whole before it, and says that it is cut off', () => {
    for (const [document, indent] of [
      [queueFile, 0],
      [queueFile, 2],
      [deadLetters, 1],
    ] as const) {
      const bytes = bytesOf(document, indent)
      const all = parseLegacyFile(bytes).entries
      let before = 0
      for (let length = 1; length < bytes.length; length++) {
        const { entries, unreadable } = parseLegacyFile(bytes.subarray(0, length))
        expect(entries).toEqual(all.slice(0, entries.length))
        expect(entries.length).toBeGreaterThanOrEqual(before)
        expect(unreadable.length).toBeGreaterThan(0)
        before = entries.length
      }
      expect(before).toBe(all.length)
    }
  })

  it('with an entry that is no JSON gives the others, each under its own place', () => {
    const text = JSON.stringify(queueFile).replace('"retries":0', '"retries":zero')
    expect(placesOf(Buffer.from(text))).toEqual(['queue[1]', 'failed[0]'])
    const invalid = Buffer.from(bytesOf(queueFile))
    invalid[invalid.indexOf('contenu')] = 0xff
    expect(placesOf(invalid)).toEqual(['queue[1]', 'failed[0]'])
    expect(parseLegacyFile(invalid).unreadable[0]).toMatchObject({ place: 'queue[0]' })
    const lines = `${JSON.stringify(emergency[0])}\n{"id": "half\n${JSON.stringify(emergency[1])}\n`
    expect(parseLegacyFile(Buffer.from(lines))).toMatchObject({
      kind: 'emergency',
      entries: [{ place: 'line 1' }, { place: 'line 3' }],
      unreadable: [{ place: 'line 2', problem: 'is not a JSON object' }],
    })
  })

  it('of any content is read without a crash', () => {
    const chunk = fc.constantFrom('{"queue":[', '{"items":[', ']', '}', ',', '"', '\\', '{', '\n', '1', ' ')
    const text = fc.array(fc.oneof(chunk, fc.string(), fc.json()), { maxLength: 12 })
    fc.assert(
      fc.property(text, (parts) => {
        const { entries, unreadable } = parseLegacyFile(Buffer.from(parts.join('')))
        for (const { entry: one } of entries) readLegacyEntry(one, MAX_VALUE_BYTES)
        expect(Array.isArray(unreadable)).toBe(true)
      }),
      { seed, numRuns: 2000 },
    )
  })
})

describe('an entry', () => {
  const read = (one: unknown) => readLegacyEntry(one, MAX_VALUE_BYTES)

  it('becomes a memory of its project, accepted when the predecessor took it', () => {
    expect(read(entry(7))).toEqual({
      record: {
        uid: expect.stringMatching(/^legacy-[0-9a-f]{32}$/),
        acceptedAtMs: 1_764_000_007_000,
        mayRepeat: true,
        memory: {
          key: 'projet-é/00000000-0000-4000-8000-000000000007',
          value: entry(7).content,
          namespace: 'projet-é',
          metadata: { source: 'legacy', timestamp: 1_764_000_007 },
        },
      },
    })
  })

  it('is the same memory in whichever file it stands', () => {
    const inQueue = read(entry(1))
    expect(read(entry(1, { retries: 5, emergency: true, moved_to_dlq_at: 1.5, retry_count: 2 }))).toEqual(
      inQueue,
    )
    expect(read(entry(1, { content: 'other' }))).not.toEqual(inQueue)
  })

  it('without a time, or with an odd one, counts as accepted before everything else', () => {
    for (const timestamp of [undefined, null, 'yesterday', -5, 0, Number.NaN, 1e300]) {
      expect(read(entry(1, { timestamp }))).toMatchObject({ record: { acceptedAtMs: 1 } })
    }
    expect(read(entry(1, { timestamp: 1_764_000_000.5 }))).toMatchObject({
      record: { acceptedAtMs: 1_764_000_000_500 },
    })
  })

  it('that is none is refused by the field and what is wrong with it', () => {
    const cases: [unknown, string][] = [
      [null, 'id: is missing'],
      [{}, 'id: is missing'],
      [entry(1, { id: '' }), 'id: is empty'],
      [entry(1, { id: 5 }), 'id: is a number, not a string'],
      [entry(1, { project_id: null }), 'project_id: is null, not a string'],
      [entry(1, { project_id: '' }), 'namespace: is empty'],
      [entry(1, { project_id: 'x'.repeat(300) }), 'namespace: is longer than 256 bytes'],
      [entry(1, { content: ['a'] }), 'content: is a list, not a string'],
      [entry(1, { id: 'x'.repeat(1024) }), 'key: is longer than 1024 bytes'],
    ]
    for (const [one, message] of cases) {
      expect(read(one)).toMatchObject({ refusal: { code: 'MEMSYNC_INVALID_MEMORY', message } })
    }
    expect(read(entry(1, { content: 'x'.repeat(MAX_VALUE_BYTES) }))).toMatchObject({
      refusal: { code: 'MEMSYNC_VALUE_TOO_LARGE' },
    })
  })
})
