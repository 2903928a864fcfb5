/** A producer of any kind: BullMQ alone on a Redis, without a line of this program between. */
import { Queue } from 'bullmq'
import type { Redis } from 'ioredis'
import { SYNC_QUEUE } from '../../src/jobs/index.ts'
import { connectRedis, type RedisEndpoint, waitUntilReady } from '../../src/queue/connection.ts'

export interface Producer {
  queue: Queue
  redis: Redis
  /** Hands over one memory for each key; resolves once Redis has them. */
  add(keys: string[], value?: unknown): Promise<void>
  /** Jobs that have not ended: waiting, delayed, in flight, or failed and not yet swept. */
  pending(): Promise<number>
  close(): void
}

export async function produceOn(endpoint: RedisEndpoint): Promise<Producer> {
  const redis = connectRedis(endpoint, 'worker')
  redis.on('error', () => undefined)
  await waitUntilReady(redis, 5000)
  const queue = new Queue(SYNC_QUEUE, { connection: redis })
  queue.on('error', () => undefined)
  return {
    queue,
    redis,
    async add(keys, value = 'v') {
      await queue.addBulk(keys.map((key) => ({ name: 'MEMORY_SYNC', data: { key, value } })))
    },
    async pending() {
      const counts = await queue.getJobCounts('waiting', 'delayed', 'active', 'failed', 'prioritized')
      return Object.values(counts).reduce((sum, count) => sum + count, 0)
    },
    close: () => redis.disconnect(),
  }
}

/** `count` keys that begin with `prefix`. */
export function keysOf(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}${index}`)
}
