/**
 * Jobs of producers that keep no contract, straight into the queue: whatever the data, the name and the options are,
 * each job ends exactly once, as a memory or as a dead letter, and the good ones between them are applied.
 * MEMSYNC_FUZZ_FACTOR runs longer, MEMSYNC_TEST_SEED repeats a run.
 */
import type { JobsOptions } from 'bullmq'
import fc from 'fast-check'
import { afterEach, describe, expect, it } from 'vitest'
import { readQueueFigures } from '../../src/daemon/status.ts'
import { ERROR_CODES } from '../../src/errors.ts'
import { parsePayload } from '../../src/jobs/index.ts'
import type { DeadLetter } from '../../src/queue/deadLetters.ts'
import type { SyncWorker } from '../../src/queue/syncWorker.ts'
import { fuzzRuns } from '../support/fuzzRuns.ts'
import { type Machine, startMachine } from '../support/machine.ts'
import { printedSeed } from '../support/seed.ts'
import { waitFor } from '../support/waitFor.ts'

const JOBS = fuzzRuns(600)
const seed = printedSeed('job fuzz')

let machine: Machine
afterEach(() => machine.close())

const allDeadLetters = (worker: SyncWorker): Promise<DeadLetter[]> =>
  Array.fromAsync(worker.deadLetters.list())

/** What a client in another language, or none at all, puts where the data stands. */
const brokenText = fc.oneof(
  fc.constantFrom(
    'NaN',
    '{"key":"k","value":NaN}',
    "{'key': 'k'}",
    '{"key":"k","value":1',
    'undefined',
    '\0',
    ' ',
  ),
  fc.string({ unit: 'binary', minLength: 1 }),
)
const anything = fc.anything({ withNullPrototype: false })
const text = fc.oneof(
  fc.json({ maxDepth: 3 }),
  fc
    .record({ key: fc.string({ unit: 'binary' }), value: anything, extra: anything })
    .map((data) => safely(data)),
  fc.record({ key: anything, value: anything, op: anything, metadata: anything }).map((data) => safely(data)),
  brokenText,
  fc
    .integer({ min: 400, max: 20_000 })
    .map((depth) => `{"key":"deep","value":${'['.repeat(depth)}${']'.repeat(depth)}}`),
  fc.integer({ min: 10_000, max: 300_000 }).map((length) => `{"key":"long","value":"${'x'.repeat(length)}"}`),
)
/** Redis itself refuses what is no number or has no end. */
const number = fc.double({ noNaN: true, noDefaultInfinity: true })
const nonsense = fc.oneof(fc.integer(), number, fc.string(), fc.boolean(), fc.constant(null))
const options = fc.record(
  {
    attempts: fc.oneof(fc.constantFrom(0, -1, 1, 2.5, 1e9), nonsense),
    backoff: fc.oneof(nonsense, fc.record({ type: fc.string(), delay: nonsense })),
    removeOnFail: fc.oneof(nonsense, fc.record({ count: nonsense, age: nonsense })),
    removeOnComplete: nonsense,
    stackTraceLimit: nonsense,
    lifo: nonsense,
    timestamp: fc.oneof(fc.constantFrom(0, -1, 1e15), number),
    keepLogs: nonsense,
  },
  { requiredKeys: [] },
)
const name = fc.oneof(
  { weight: 6, arbitrary: fc.constant('MEMORY_SYNC') },
  fc.constantFrom('MEMORY_ROLLBACK', 'toString', '__proto__', ''),
  fc.string({ unit: 'binary' }),
)

/** As JSON, with what JSON cannot say left out. */
function safely(data: unknown): string {
  return (
    JSON.stringify(data, (_name, part) => (typeof part === 'bigint' ? String(part) : part)) ?? 'undefined'
  )
}

function parsed(data: string): unknown {
  try {
    return JSON.parse(data)
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}

function isAllowed(jobName: string, data: string): boolean {
  try {
    parsePayload(jobName as 'MEMORY_SYNC', parsed(data), machine.config.maxValueBytes)
    return true
  } catch {
    // Whatever it breaks: the lane must find the same.
    return false
  }
}

describe('a job whose data is not JSON', () => {
  it('is a dead letter that holds its text, on first sight, and delays nobody', async () => {
    machine = await startMachine()
    const texts = ['{"key":"k","value":NaN}', '{"key":"k"', 'nonsense', '\uFFFF\0']
    const jobs = await machine.queue.addBulk(texts.map(() => ({ name: 'MEMORY_SYNC', data: {} })))
    for (const [index, job] of jobs.entries()) {
      await machine.redis.hset(machine.queue.toKey(job.id ?? ''), 'data', texts[index] ?? '')
    }
    // A look at the queue does not stumble over it either.
    const { queue } = machine
    const figures = await readQueueFigures({ sync: queue, push: queue, embed: queue, deadLetters: queue })
    expect(figures.sync).toMatchObject({ waiting: texts.length, oldestWaitingMs: expect.any(Number) })
    const worker = await machine.startWorker()
    await machine.queue.add('MEMORY_SYNC', { key: 'good', value: 1 })
    await machine.drained(5_000)
    const entries = await allDeadLetters(worker)
    expect(entries.map(({ data }) => data).sort()).toEqual(texts.toSorted())
    for (const entry of entries) {
      expect(entry).toMatchObject({
        code: 'MEMSYNC_INVALID_MEMORY',
        attempts: 1,
        stalls: 0,
        stage: 'validate',
      })
      expect(entry.message).toContain('not JSON')
    }
    expect((await machine.store.find('good'))?.value).toBe(1)
  })

  it('and that killed the worker too often before is a dead letter as well', async () => {
    machine = await startMachine()
    const job = await machine.queue.add('MEMORY_SYNC', {})
    await machine.redis.hset(machine.queue.toKey(job.id ?? ''), {
      data: '{',
      defa: 'job stalled more than allowable limit',
    })
    const worker = await machine.startWorker()
    const [entry] = await waitFor('it is a dead letter', async () => {
      const entries = await allDeadLetters(worker)
      return entries.length > 0 && entries
    })
    expect(entry).toMatchObject({ data: '{', code: 'MEMSYNC_STALLED' })
    await machine.drained()
  })
})

it('a job nested too deep to be written again keeps its text, and can be redriven and dropped', async () => {
  machine = await startMachine()
  const deep = `{"key":"k","value":${'['.repeat(50_000)}${']'.repeat(50_000)}}`
  const job = await machine.queue.add('MEMORY_SYNC', {})
  await machine.redis.hset(machine.queue.toKey(job.id ?? ''), 'data', deep)
  const worker = await machine.startWorker()
  await machine.drained()
  const [entry] = await allDeadLetters(worker)
  expect(entry).toMatchObject({ data: deep, code: 'MEMSYNC_VALUE_TOO_LARGE' })
  await worker.deadLetters.redrive(entry?.id ?? '')
  const [again] = await waitFor('it is a dead letter again', async () => {
    const entries = await allDeadLetters(worker)
    return entries[0]?.redrives === 1 && entries
  })
  expect(again).toMatchObject({ version: entry?.version, code: 'MEMSYNC_INVALID_MEMORY' })
  await worker.deadLetters.drop(again?.id ?? '')
  expect(await worker.deadLetters.count()).toBe(0)
})

it('whatever the jobs are, each ends once, and the lane goes on', async () => {
  machine = await startMachine({ maxValueBytes: 100_000 })
  const cases = fc.sample(fc.record({ name, text, options }), { seed, numRuns: JOBS })
  let allowed = 0
  for (let start = 0; start < cases.length; start += 100) {
    const batch = cases.slice(start, start + 100)
    const jobs = await machine.queue.addBulk(
      batch.map(({ name: jobName, options: opts }) => ({
        name: jobName,
        data: {},
        opts: opts as JobsOptions,
      })),
    )
    const changes = machine.redis.multi()
    for (const [index, job] of jobs.entries()) {
      const data = batch[index]?.text ?? ''
      changes.hset(machine.queue.toKey(job.id ?? ''), 'data', data)
      if (isAllowed(job.name, data)) allowed++
    }
    await changes.exec()
  }
  const worker = await machine.startWorker()
  await machine.queue.add('MEMORY_SYNC', { key: 'after-all', value: 'good' })
  await machine.drained(30_000)
  const entries = await allDeadLetters(worker)
  expect(entries).toHaveLength(cases.length - allowed)
  for (const entry of entries) {
    expect(Object.keys(ERROR_CODES)).toContain(entry.code)
    expect(entry.class).toBe('permanent')
  }
  const { synced, superseded } = await machine.store.totals()
  expect(synced + superseded).toBe(allowed + 1)
  expect((await machine.store.find('after-all'))?.value).toBe('good')
})
