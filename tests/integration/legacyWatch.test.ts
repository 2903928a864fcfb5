/** The predecessor's folder, watched while its producers write: nothing lost, nothing twice, nobody kept waiting. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  appendFileSync,
  chmodSync,
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { loadConfig } from '../../src/config.ts'
import { openStore } from '../../src/infrastructure/memory/index.ts'
import type { Store } from '../../src/infrastructure/memory/port.ts'
import { tryFlock } from '../../src/producers/flock.ts'
import { readLegacyEntry } from '../../src/producers/legacyEntry.ts'
import { LegacyIntake } from '../../src/producers/legacyIntake.ts'
import { LegacyWatch } from '../../src/producers/legacyWatch.ts'
import { Spool } from '../../src/producers/spool.ts'
import { parseSpoolRecords } from '../../src/producers/spoolRecord.ts'
import { expectPrompt } from '../support/promptness.ts'
import { recordingLogger } from '../support/recordingLogger.ts'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

const PRODUCER = join(import.meta.dirname, '..', 'support', 'legacyProducer.py')
const HAS_PYTHON = spawnSync('python3', ['--version']).status === 0
const GRACE_MS = 150

const entry = (id: string, more: Record<string, unknown> = {}) => ({
  id,
  project_id: 'p',
  content: `content of ${id}`,
  timestamp: 1_764_000_000,
  retries: 0,
  ...more,
})

let folder: string
let dataDir: string
let store: Store
let watches: LegacyWatch[]
let log: ReturnType<typeof recordingLogger>['log']

beforeEach(async () => {
  folder = tempDir()
  dataDir = tempDir()
  store = await openStore({ ...loadConfig({}, {}).config, dataDir })
  watches = []
})
afterEach(async () => {
  for (const watch of watches) await watch.stop()
  await store.close()
})

const path = (name: string) => join(folder, name)
const put = (name: string, document: unknown) => writeFileSync(path(name), JSON.stringify(document))
const read = (name: string) => JSON.parse(readFileSync(path(name), 'utf8'))
const spool = (maxBytes = 2 ** 30) => new Spool(dataDir, maxBytes)

function startWatch({ maxBytes, graceMs = GRACE_MS }: { maxBytes?: number; graceMs?: number } = {}) {
  const recording = recordingLogger()
  log = recording.log
  const watch = new LegacyWatch({
    folder,
    intake: new LegacyIntake(spool(maxBytes), store),
    maxValueBytes: 1024 * 1024,
    logger: recording.logger,
    intervalMs: 20,
    graceMs,
  })
  watches.push(watch)
  watch.start()
  return watch
}

async function durable(): Promise<string[]> {
  const files = await spool().list()
  const records = files.flatMap(
    ({ name }) => parseSpoolRecords(readFileSync(join(dataDir, 'spool', name))).records,
  )
  return records.map(({ memory }) => memory.key.replace(/^[^/]*\//, ''))
}
const untilDurable = (count: number, timeoutMs = 10_000) =>
  waitFor(
    `${count} entries are durable`,
    async () => {
      const ids = await durable()
      return ids.length >= count && ids
    },
    { timeoutMs },
  )
const warnings = () => log.filter(({ level }) => level !== 'info').map(({ message }) => message)

describe('the queue and the dead letters', () => {
  it('are taken in and out, and nothing else of their files is changed', async () => {
    const stats = { total_queued: 4, total_synced: 1, total_failed: 1, last_sync: null }
    const last100 = [entry('a'), entry('old')]
    put('mem0_queue.json', {
      queue: [entry('a'), entry('b')],
      last_100: last100,
      failed: [entry('c')],
      stats,
      own: 1,
    })
    chmodSync(path('mem0_queue.json'), 0o640)
    put('mem0_queue_dlq.json', { items: [entry('d', { moved_to_dlq_at: 1.5 })], last_update: 'x' })
    startWatch()
    await waitFor(
      'both are empty',
      () => read('mem0_queue.json').queue.length + read('mem0_queue_dlq.json').items.length === 0,
    )
    expect(read('mem0_queue.json')).toEqual({ queue: [], last_100: last100, failed: [], stats, own: 1 })
    expect(statSync(path('mem0_queue.json')).mode & 0o777).toBe(0o640)
    expect(read('mem0_queue_dlq.json')).toEqual({ items: [], last_update: 'x' })
    expect((await durable()).sort()).toEqual(['a', 'b', 'c', 'd'])
    expect(readdirSync(folder).sort()).toEqual(['mem0_queue.json', 'mem0_queue.lock', 'mem0_queue_dlq.json'])
    expect(warnings()).toEqual([])
  })

  it('keep an entry that cannot be taken, told once by its place', async () => {
    const bad = { ...entry('bad'), content: 5 }
    put('mem0_queue.json', { queue: [entry('a'), bad], failed: [], last_100: [] })
    startWatch()
    await waitFor('the good one is gone', () => read('mem0_queue.json').queue.length === 1)
    put('mem0_queue.json', { queue: [bad, entry('b')], failed: [], last_100: [] })
    await untilDurable(2)
    await waitFor('it is gone too', () => read('mem0_queue.json').queue.length === 1)
    expect(read('mem0_queue.json').queue).toEqual([bad])
    const told = log.filter(({ message }) => message.includes('refused'))
    expect(told.map(({ fields }) => [fields.place, fields.reason])).toEqual([
      ['queue[1]', 'content: is a number, not a string'],
      ['queue[0]', 'content: is a number, not a string'],
    ])
    expect(JSON.stringify(log)).not.toContain('content of')
  })

  it('are not touched while another holds the lock, and then only once', async () => {
    put('mem0_queue.json', { queue: [entry('a')], failed: [], last_100: [] })
    const lock = await tryFlock(path('mem0_queue.lock'))
    startWatch()
    await waitFor('the lock was met', () => warnings().length > 0)
    expect(read('mem0_queue.json').queue).toHaveLength(1)
    expect(warnings()).toEqual([expect.stringContaining('holds the lock')])
    lock?.release()
    await waitFor('it is gone', () => read('mem0_queue.json').queue.length === 0)
    expect(await durable()).toEqual(['a'])
  })

  it('taken in before a crash, and not yet taken out, are not taken in again', async () => {
    const waiting = { queue: [entry('a'), entry('b')], failed: [], last_100: [] }
    put('mem0_queue.json', waiting)
    const lock = await tryFlock(path('mem0_queue.lock'))
    await startWatch().stop()
    await untilDurable(2)
    // The next process finds one of them in the spool, and one in the store.
    const first = readLegacyEntry(entry('b'), 1024)
    if (!('record' in first)) throw new Error('not a record')
    const { key, namespace = '' } = first.record.memory
    for (const { name } of await spool().list()) {
      const file = join(dataDir, 'spool', name)
      const kept = readFileSync(file, 'utf8').split('\n').slice(0, 1).join('\n')
      writeFileSync(file, `${kept}\n`)
    }
    const version = { epoch: 1, sequence: 1, index: 0 }
    await store.apply([{ op: 'delete', key, namespace, version, acceptedAtMs: 1 }])
    startWatch()
    lock?.release()
    await waitFor('they are gone', () => read('mem0_queue.json').queue.length === 0)
    expect(await durable()).toEqual(['a'])
  })

  it('stay where they are while the spool takes nothing, which is told once', async () => {
    put('mem0_queue.json', { queue: [entry('a')], failed: [], last_100: [] })
    const watch = startWatch({ maxBytes: 1 })
    await waitFor('it was tried', () => log.length > 0)
    await watch.stop()
    expect(log).toMatchObject([{ level: 'warn', fields: { code: 'MEMSYNC_SPOOL_FULL' } }])
    expect(read('mem0_queue.json').queue).toHaveLength(1)
    startWatch()
    await waitFor('it is gone', () => read('mem0_queue.json').queue.length === 0)
    expect(await durable()).toEqual(['a'])
  })
})

describe('a damaged file', () => {
  const whole = JSON.stringify({ queue: [entry('a'), entry('b')], last_100: [], failed: [] })
  const half = whole.slice(0, whole.indexOf('content of b') + 3)

  it('that is only half written yet is waited for', async () => {
    writeFileSync(path('mem0_queue.json'), half)
    const begunAtMs = performance.now()
    startWatch()
    // Several looks, and well within what it is given.
    await waitFor('it has been looked at', () => performance.now() - begunAtMs > GRACE_MS / 3)
    expect(readFileSync(path('mem0_queue.json'), 'utf8')).toBe(half)
    writeFileSync(path('mem0_queue.json'), whole)
    await waitFor('it is empty', () => read('mem0_queue.json').queue.length === 0)
    expect(await durable()).toEqual(['a', 'b'])
    expect(warnings()).toEqual([])
  })

  for (const [name, content, readable] of [
    ['cut off', half, ['a']],
    ['empty', '', []],
    ['no JSON at all', 'garbage', []],
  ] as const) {
    it(`that stays ${name} is set aside whole, and what can be read of it is taken in`, async () => {
      writeFileSync(path('mem0_queue.json'), content)
      startWatch()
      await waitFor('it is set aside', () => !existsSync(path('mem0_queue.json')))
      const [kept = ''] = readdirSync(folder).filter((one) => /^mem0_queue\.json\.corrupt-\d+$/.test(one))
      expect(readFileSync(path(kept), 'utf8')).toBe(content)
      expect(await durable()).toEqual(readable)
      await waitFor('it is told', () => warnings().length > 0)
      expect(log.at(-1)).toMatchObject({
        level: 'error',
        fields: { taken: readable.length, keptAs: path(kept) },
      })
      // The producers begin a new file, as they do where there is none.
      put('mem0_queue.json', { queue: [entry('c')], last_100: [], failed: [] })
      await waitFor('it is empty', () => read('mem0_queue.json').queue.length === 0)
      expect((await durable()).at(-1)).toBe('c')
    })
  }
})

describe('the emergency lines', () => {
  const line = (id: string) => `${JSON.stringify(entry(id, { emergency: true }))}\n`
  const left = () => readdirSync(folder).filter((name) => name.includes('emergency'))

  it('are taken in, also what a producer still writes under the old name', async () => {
    const open = openSync(path('mem0_emergency.json'), 'a')
    writeSync(open, line('a') + line('b').slice(0, 10))
    // Longer than this test pauses within a line.
    startWatch({ graceMs: 1500 })
    await untilDurable(1)
    writeSync(open, line('b').slice(10))
    appendFileSync(path('mem0_emergency.json'), line('c'))
    await untilDurable(3)
    writeSync(open, line('d'))
    closeSync(open)
    expect((await untilDurable(4)).sort()).toEqual(['a', 'b', 'c', 'd'])
    await waitFor('their files are gone', () => left().length === 0)
    expect(warnings()).toEqual([])
  })

  it('of which one cannot be taken are set aside, with the others taken in', async () => {
    const content = `${line('a')}{"id": "half\n${line('b')}`
    writeFileSync(path('mem0_emergency.json'), content)
    startWatch()
    await waitFor('it is set aside', () => left().some((name) => name.includes('corrupt')))
    expect(await durable()).toEqual(['a', 'b'])
    const [kept = ''] = left()
    expect(readFileSync(path(kept), 'utf8')).toBe(content)
    expect(log.at(-1)).toMatchObject({ level: 'error', fields: { taken: 2, unreadable: 1 } })
  })
})

it('a folder that is not there yet is told and waited for', async () => {
  const later = folder
  folder = join(later, 'not-yet')
  startWatch()
  await waitFor('it is told', () => warnings().length === 1)
  expect(warnings()[0]).toContain('does not exist')
})

describe.skipIf(!HAS_PYTHON)('producers that lock as the predecessor did (needs python3)', () => {
  async function produce(count: number, batch: number, prefix: string) {
    const child = spawn('python3', [PRODUCER, folder, String(count), prefix, String(batch)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let output = ''
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk
    })
    await once(child, 'close')
    return JSON.parse(output) as { ids: string[]; longestWaitMs: number; timeouts: number }
  }

  for (const [count, batch] of [
    [80, 1],
    [1_000, 10],
    [10_000, 10_000],
  ] as const) {
    it(`write ${count} entries, ${batch} at a time: no lock timeout, no loss, no duplicate`, async () => {
      startWatch()
      const [one, other] = await Promise.all([
        produce(count / 2, batch, 'one'),
        produce(count / 2, batch, 'other'),
      ])
      expect(one.timeouts + other.timeouts).toBe(0)
      expectPrompt(Math.max(one.longestWaitMs, other.longestWaitMs), 2_000)
      const ids = await untilDurable(count)
      expect(ids.toSorted()).toEqual([...one.ids, ...other.ids].sort())
      await waitFor('the queue is empty', () => read('mem0_queue.json').queue.length === 0)
      expect(read('mem0_queue.json')).toMatchObject({ failed: [], stats: { total_queued: count } })
      expect(warnings().filter((message) => !message.includes('holds the lock'))).toEqual([])
    })
  }
})
