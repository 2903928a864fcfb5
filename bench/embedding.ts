/**
 * The rates of persisting and pushing while the embedding server is dead, hangs or answers 500, beside the same with a
 * sound one, and beside memories that are not to be embedded at all: the built daemon, started anew for each, with a
 * remote that answers at once.
 *
 * The server is sound until the daemon has warmed up on some memories and has the lane open, which is when a fault
 * costs most. `node bench/index.ts embedding` runs this alone.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Queue } from 'bullmq'
import { EMBED_QUEUE, PUSH_QUEUE, SYNC_QUEUE } from '../src/jobs/index.ts'
import { connectRedis, waitUntilReady } from '../src/queue/connection.ts'
import { enqueueMemories } from '../src/queue/enqueue.ts'
import { privateRedisSocket } from '../src/queue/privateRedis.ts'
import { type FakeOpenai, startFakeOpenai } from '../tests/support/fakeOpenai.ts'
import { type Figure, figure } from './measure.ts'
import { startDaemon, stopDaemon } from './processes.ts'
import { type SlowServer, startSlowServer } from './push.ts'

/** The daemon's own default. */
const QUEUE_PREFIX = 'bull'
const WARM_UP = 500
/** More than the calls of one measurement. */
const EVERY_CALL = 1000
/** Some 200 tokens. */
const WORDS = ' of what she likes for breakfast'.repeat(32)

const FAULTS = ['dead', 'hanging', 'answering 500'] as const
const BASELINES = ['sound', 'not asked'] as const
const CASES = [...BASELINES, ...FAULTS] as const

type Fault = (typeof FAULTS)[number]
type Baseline = (typeof BASELINES)[number]
type Case = (typeof CASES)[number]

/** Memories per second. */
interface Rates {
  persisted: number
  pushed: number
}

/** One kind of work under one fault. */
export interface FaultRate {
  work: keyof Rates
  fault: Fault
  rate: Figure
  /** The rates it is beside, and its ratio to each: with a sound server, and of memories that are not to be embedded. */
  beside: Record<Baseline, { rate: Figure; ratio: Figure }>
}

function memories(prefix: string, count: number, embed: boolean) {
  return Array.from({ length: count }, (_, n) => ({
    key: `${prefix}-${n}`,
    value: `${prefix} ${n}${WORDS}`,
    embed,
  }))
}

async function fail(embedder: FakeOpenai, fault: Fault): Promise<void> {
  if (fault === 'dead') {
    await embedder.close()
    return
  }
  const answer = fault === 'hanging' ? 'hang' : { status: 500 }
  embedder.fail(answer, EVERY_CALL)
  embedder.failModels(answer, EVERY_CALL)
}

async function atRest(queues: readonly Queue[]): Promise<void> {
  for (const queue of queues) {
    for (;;) {
      const counts = await queue.getJobCounts('waiting', 'active', 'delayed')
      if (Object.values(counts).every((count) => count === 0)) break
      await sleep(5)
    }
  }
}

async function measure(remote: SlowServer, state: Case, count: number): Promise<Rates> {
  const folder = mkdtempSync(join(tmpdir(), 'memsync-bench-'))
  const embedder = await startFakeOpenai()
  const daemon = await startDaemon(folder, {
    MEMSYNC_REMOTE_KIND: 'http',
    MEMSYNC_REMOTE_URL: remote.url,
    MEMSYNC_REMOTE_KEY: 'a-token-of-the-benchmark',
    OPENAI_BASE_URL: embedder.baseUrl,
    MEMSYNC_DRAIN_TIMEOUT_MS: '500',
  })
  const redis = connectRedis({ kind: 'socket', path: privateRedisSocket(folder) }, 'worker')
  await waitUntilReady(redis, 5000)
  const open = (name: string) => new Queue(name, { connection: redis, prefix: QUEUE_PREFIX })
  const [sync, push, embed] = [open(SYNC_QUEUE), open(PUSH_QUEUE), open(EMBED_QUEUE)]
  const rules = { maxValueBytes: 1 << 20, redact: 'off' } as const
  const withEmbedding = state !== 'not asked'

  await enqueueMemories(sync, memories('warm-up', WARM_UP, withEmbedding), {}, rules)
  await remote.written(WARM_UP)
  while (withEmbedding && embedder.calls === 0) await sleep(5)
  await atRest([sync, push, embed])
  const fault = FAULTS.find((one) => one === state)
  if (fault) await fail(embedder, fault)

  await sync.pause()
  await enqueueMemories(sync, memories('memory', count, withEmbedding), {}, rules)
  const startedAt = performance.now()
  const rate = () => count / ((performance.now() - startedAt) / 1000)
  await sync.resume()
  const [persisted, pushed] = await Promise.all([atRest([sync]).then(rate), remote.written(count).then(rate)])

  for (const queue of [sync, push, embed]) await queue.close()
  // Before its Redis goes away.
  redis.disconnect()
  await stopDaemon(daemon)
  await embedder.close()
  rmSync(folder, { recursive: true })
  return { persisted, pushed }
}

/** All cases in turn, `rounds` times; each round begins with the next case, so that a slow moment meets them all. */
export async function besideFaultyEmbedders(rounds: number, count: number): Promise<FaultRate[]> {
  const remote = await startSlowServer(0)
  const measured: Record<Case, Rates>[] = []
  for (let round = 0; round < rounds; round++) {
    const results = {} as Record<Case, Rates>
    for (let turn = 0; turn < CASES.length; turn++) {
      const state = CASES[(round + turn) % CASES.length] as Case
      results[state] = await measure(remote, state, count)
    }
    measured.push(results)
  }
  await remote.stop()
  const compare = (work: keyof Rates, fault: Fault, baseline: Baseline) => ({
    rate: figure(measured.map((results) => results[baseline][work])),
    ratio: figure(measured.map((results) => results[fault][work] / results[baseline][work])),
  })
  return (['persisted', 'pushed'] as const).flatMap((work) =>
    FAULTS.map((fault) => ({
      ...{ work, fault, rate: figure(measured.map((results) => results[fault][work])) },
      beside: { sound: compare(work, fault, 'sound'), 'not asked': compare(work, fault, 'not asked') },
    })),
  )
}
