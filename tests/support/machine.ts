/** A whole machine in one test: a real Redis, a real store, and the consuming end of the queue between them. */
import { Queue } from 'bullmq'
import type { Redis } from 'ioredis'
import { type Config, loadConfig } from '../../src/config.ts'
import { openStore } from '../../src/infrastructure/memory/index.ts'
import type { Store } from '../../src/infrastructure/memory/port.ts'
import { SYNC_QUEUE } from '../../src/jobs/index.ts'
import { silentLogger } from '../../src/logger.ts'
import { connectRedis, redisEndpoint, waitUntilReady } from '../../src/queue/connection.ts'
import { BUILT_IN_HANDLERS } from '../../src/queue/index.ts'
import { SyncWorker, type SyncWorkerOptions } from '../../src/queue/syncWorker.ts'
import { startTestRedis, type TestRedis } from './redis.ts'
import { tempDir } from './tempDir.ts'
import { waitFor } from './waitFor.ts'

export interface Machine {
  config: Config
  server: TestRedis
  store: Store
  /** A producer's side of the queue. */
  queue: Queue
  redis: Redis
  /** Another consuming end on the same Redis and store. */
  startWorker(overrides?: Partial<SyncWorkerOptions>): Promise<SyncWorker>
  /** Resolves once nothing waits, is delayed or in flight. */
  drained(timeoutMs?: number): Promise<void>
  close(): Promise<void>
}

export async function startMachine(settings: Partial<Config> = {}, server?: TestRedis): Promise<Machine> {
  const redisServer = server ?? (await startTestRedis())
  const config = {
    ...loadConfig({}, {}).config,
    redisUrl: redisServer.url,
    dataDir: tempDir(),
    ...settings,
  }
  const store = await openStore(config)
  const connections: Redis[] = []
  const workers: SyncWorker[] = []
  const connect = async () => {
    const redis = connectRedis(redisEndpoint(config), 'worker')
    redis.on('error', () => undefined)
    connections.push(redis)
    await waitUntilReady(redis, 5000)
    return redis
  }
  const redis = await connect()
  const queue = new Queue(SYNC_QUEUE, { connection: redis, prefix: config.queuePrefix })
  queue.on('error', () => undefined)
  return {
    config,
    server: redisServer,
    store,
    queue,
    redis,
    async startWorker(overrides = {}) {
      const worker = new SyncWorker({
        config,
        queueName: SYNC_QUEUE,
        sequenceQueueName: SYNC_QUEUE,
        redis: await connect(),
        store,
        handlers: BUILT_IN_HANDLERS,
        logger: silentLogger,
        collectDeadLetters: true,
        ...overrides,
      })
      workers.push(worker)
      await worker.start()
      return worker
    },
    async drained(timeoutMs = 60_000) {
      await waitFor(
        'the queue is drained',
        async () => {
          const counts = await queue.getJobCounts('waiting', 'delayed', 'active', 'failed', 'prioritized')
          return Object.values(counts).every((count) => count === 0)
        },
        { timeoutMs },
      )
    },
    async close() {
      for (const worker of workers) await worker.stop(500)
      for (const connection of connections) connection.disconnect()
      await store.close()
      if (!server) await redisServer.stop()
    },
  }
}
