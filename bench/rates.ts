/**
 * The rates of a drain and of enqueuing, and the latency at low load, beside a bare BullMQ worker whose handler
 * does nothing: the same private Redis, the same jobs, the same concurrency.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Queue, QueueEvents, Worker } from 'bullmq'
import { Redis } from 'ioredis'
import { loadConfig } from '../src/config.ts'
import { openStore } from '../src/infrastructure/memory/index.ts'
import { silentLogger } from '../src/logger.ts'
import { connectRedis, type RedisEndpoint, waitUntilReady } from '../src/queue/connection.ts'
import { enqueueMemories } from '../src/queue/enqueue.ts'
import { BUILT_IN_HANDLERS } from '../src/queue/index.ts'
import { SyncWorker } from '../src/queue/syncWorker.ts'
import { percentile } from './measure.ts'

const KEEP_COMPLETED = { count: 1000, age: 3600 }
const VALUE = { note: 'x'.repeat(480) }

export function memories(count: number): { key: string; value: unknown }[] {
  return Array.from({ length: count }, (_, number) => ({ key: `bench-${number}`, value: VALUE }))
}

/** Something that consumes the queue, and how to stop it. */
interface Consumer {
  /** Resolves once this many more jobs have completed. */
  completed(count: number): Promise<void>
  stop(): Promise<void>
}

export interface Bench {
  redis: Redis
  endpoint: RedisEndpoint
  prefix: string
  concurrency: number
}

/** Counts what ends, and tells when it is so many. */
function counter() {
  let seen = 0
  let waiting: { target: number; resolve: () => void } | undefined
  return {
    hit() {
      seen++
      if (waiting && seen >= waiting.target) {
        waiting.resolve()
        waiting = undefined
      }
    },
    completed(count: number): Promise<void> {
      const { promise, resolve } = Promise.withResolvers<void>()
      if (seen >= count) resolve()
      else waiting = { target: count, resolve }
      return promise
    },
  }
}

async function bareConsumer(bench: Bench): Promise<Consumer> {
  // As whoever uses BullMQ alone makes it.
  const { endpoint } = bench
  const address = endpoint.kind === 'socket' ? endpoint.path : endpoint.url
  const redis = new Redis(address, { maxRetriesPerRequest: null })
  await waitUntilReady(redis, 5000)
  const count = counter()
  const worker = new Worker('memory-sync', async () => ({ status: 'success' }), {
    connection: redis,
    prefix: bench.prefix,
    concurrency: bench.concurrency,
    removeOnComplete: KEEP_COMPLETED,
  })
  worker.on('completed', count.hit)
  return {
    completed: count.completed,
    async stop() {
      await worker.close()
      redis.disconnect()
    },
  }
}

async function ourConsumer(bench: Bench): Promise<Consumer> {
  const folder = mkdtempSync(join(tmpdir(), 'memsync-bench-'))
  const config = {
    ...loadConfig({}, {}).config,
    dataDir: folder,
    queuePrefix: bench.prefix,
    concurrency: bench.concurrency,
  }
  const store = await openStore(config)
  const redis = connectRedis(bench.endpoint, 'worker')
  await waitUntilReady(redis, 5000)
  const count = counter()
  const worker = new SyncWorker({
    config,
    queueName: 'memory-sync',
    sequenceQueueName: 'memory-sync',
    redis,
    store,
    handlers: BUILT_IN_HANDLERS,
    logger: silentLogger,
    collectDeadLetters: true,
    onSuccess: count.hit,
  })
  await worker.start()
  return {
    completed: count.completed,
    async stop() {
      await worker.stop(8000)
      redis.disconnect()
      await store.close()
      rmSync(folder, { recursive: true })
    },
  }
}

/** Jobs per second of a drain of `count` waiting jobs. */
export async function drainRate(bench: Bench, kind: 'ours' | 'bare', count: number): Promise<number> {
  await bench.redis.flushall()
  const queue = new Queue('memory-sync', { connection: bench.redis, prefix: bench.prefix })
  await enqueueMemories(queue, memories(count), {}, { maxValueBytes: 1 << 20, redact: 'off' })
  const consumer = await (kind === 'ours' ? ourConsumer(bench) : bareConsumer(bench))
  // From the tenth part on: both are past their first connection and the compiler's first pass.
  await consumer.completed(count / 10)
  const startedAt = performance.now()
  await consumer.completed(count)
  const seconds = (performance.now() - startedAt) / 1000
  await consumer.stop()
  await queue.close()
  return (count * 0.9) / seconds
}

/** Memories per second of handing `count` over, against BullMQ's own `addBulk` of all of them. */
export async function enqueueRate(bench: Bench, kind: 'ours' | 'bare', count: number): Promise<number> {
  await bench.redis.flushall()
  const queue = new Queue('memory-sync', { connection: bench.redis, prefix: bench.prefix })
  const input = memories(count)
  const startedAt = performance.now()
  if (kind === 'ours') await enqueueMemories(queue, input, {}, { maxValueBytes: 1 << 20, redact: 'off' })
  else await queue.addBulk(input.map((data) => ({ name: 'MEMORY_SYNC', data })))
  const seconds = (performance.now() - startedAt) / 1000
  await queue.close()
  return count / seconds
}

/** Milliseconds from the acceptance of a memory to its completion, one at a time: p50 and p99. */
export async function latencies(
  bench: Bench,
  kind: 'ours' | 'bare',
  count: number,
): Promise<{ p50: number; p99: number }> {
  await bench.redis.flushall()
  const queue = new Queue('memory-sync', { connection: bench.redis, prefix: bench.prefix })
  const eventsRedis = connectRedis(bench.endpoint, 'worker')
  await waitUntilReady(eventsRedis, 5000)
  const events = new QueueEvents('memory-sync', { connection: eventsRedis, prefix: bench.prefix })
  await events.waitUntilReady()
  const consumer = await (kind === 'ours' ? ourConsumer(bench) : bareConsumer(bench))
  const taken: number[] = []
  for (let number = 0; number < count; number++) {
    const job = await queue.add('MEMORY_SYNC', { key: `latency-${number}`, value: VALUE })
    const acceptedAt = performance.now()
    await job.waitUntilFinished(events)
    taken.push(performance.now() - acceptedAt)
  }
  await consumer.stop()
  await events.close()
  eventsRedis.disconnect()
  await queue.close()
  const sorted = taken.slice(count / 10).sort((a, b) => a - b)
  return { p50: percentile(sorted, 0.5), p99: percentile(sorted, 0.99) }
}
