/**
 * Work on the dead letters from outside the daemon: look, redrive and learn what became of it, drop. Where no daemon
 * runs, the desk can run the worker itself for as long as it is open. What it opened, `close` releases.
 */
import { Queue } from 'bullmq'
import type { Redis } from 'ioredis'
import type { Config } from '../config.ts'
import { type MemsyncError, toMemsyncError } from '../errors.ts'
import { openStore } from '../infrastructure/memory/index.ts'
import { SYNC_QUEUE } from '../jobs/index.ts'
import { silentLogger } from '../logger.ts'
import {
  ensureRedis,
  openRedis,
  type RedisEndpoint,
  redisEndpoint,
  releasePrivateRedis,
} from './connection.ts'
import { DeadLetters } from './deadLetters.ts'
import { withinDeadline } from './enqueue.ts'
import { EpochTracker } from './epoch.ts'
import { BUILT_IN_HANDLERS } from './index.ts'
import type { PrivateRedis } from './privateRedis.ts'
import { JobResults } from './results.ts'
import { SyncWorker } from './syncWorker.ts'

const READY_TIMEOUT_MS = 5_000

/** What became of a redrive: put back (and not waited for), written, beaten by a newer write, or dead again. */
export type RedriveOutcome =
  | { outcome: 'queued' | 'redriven' | 'superseded' }
  | { outcome: 'failed'; error: MemsyncError }

export class DeadLetterDesk {
  readonly deadLetters: DeadLetters
  private readonly config: Config
  private readonly endpoint: RedisEndpoint
  private readonly privateRedis: PrivateRedis | undefined
  private readonly redis: Redis
  private readonly queue: Queue
  private readonly closers: (() => Promise<void>)[] = []
  private results: Promise<JobResults> | undefined

  private constructor(
    config: Config,
    endpoint: RedisEndpoint,
    privateRedis: PrivateRedis | undefined,
    redis: Redis,
  ) {
    this.config = config
    this.endpoint = endpoint
    this.privateRedis = privateRedis
    this.redis = redis
    const options = { connection: redis, prefix: config.queuePrefix, skipVersionCheck: true }
    this.queue = new Queue(SYNC_QUEUE, options)
    this.queue.on('error', ignoreError)
    this.deadLetters = new DeadLetters(this.queue, redis, config.queuePrefix, ignoreError)
  }

  /**
   * @param startsRedis whether the private Redis is started where it does not run
   * @throws MEMSYNC_QUEUE_UNAVAILABLE, MEMSYNC_REDIS_MISSING
   */
  static async open(config: Config, { startsRedis = true } = {}): Promise<DeadLetterDesk> {
    const running = { endpoint: redisEndpoint(config), privateRedis: undefined }
    const { endpoint, privateRedis } = startsRedis ? await ensureRedis(config) : running
    const redis = await openRedis(endpoint, 'producer', READY_TIMEOUT_MS)
    return new DeadLetterDesk(config, endpoint, privateRedis, redis)
  }

  /**
   * Makes dead letters of the jobs that failed since the last sweep, as a daemon does every few seconds.
   * For where none runs: what a worker of a few seconds left behind is to be found too.
   */
  async sweep(): Promise<void> {
    if ((await withinDeadline(this.queue.getFailedCount())) === 0) return
    const store = await openStore(this.config)
    try {
      const epochs = new EpochTracker(this.redis, store, this.config.queuePrefix, SYNC_QUEUE)
      await this.deadLetters.collect(async () => (await epochs.check()).life)
    } finally {
      await store.close()
    }
  }

  /**
   * Puts it back and, where `wait` is set, resolves with its end, whichever process brings it about. A push is not
   * waited for: it may be waiting for the remote for days.
   * @throws as `DeadLetters.redrive`
   */
  async redrive(id: string, wait: boolean): Promise<RedriveOutcome> {
    const { sourceQueue } = await withinDeadline(this.deadLetters.show(id))
    if (!wait || sourceQueue !== SYNC_QUEUE) {
      await withinDeadline(this.deadLetters.redrive(id))
      return { outcome: 'queued' }
    }
    const results = await this.openResults()
    let queued = false
    try {
      const result = await results.of(async () => {
        const jobId = await withinDeadline(this.deadLetters.redrive(id))
        queued = true
        return jobId
      })
      return { outcome: (result as { superseded?: true } | null)?.superseded ? 'superseded' : 'redriven' }
    } catch (thrown) {
      if (!queued) throw thrown
      return { outcome: 'failed', error: toMemsyncError(thrown, 'MEMSYNC_HANDLER_FAILED') }
    }
  }

  /** Runs what is in the queue in this process until `close`. */
  async runWorker(): Promise<void> {
    const redis = await openRedis(this.endpoint, 'worker', READY_TIMEOUT_MS)
    this.closers.push(async () => redis.disconnect())
    const store = await openStore(this.config)
    this.closers.push(() => store.close())
    const worker = new SyncWorker({
      config: this.config,
      queueName: SYNC_QUEUE,
      sequenceQueueName: SYNC_QUEUE,
      redis,
      store,
      handlers: BUILT_IN_HANDLERS,
      logger: silentLogger,
      collectDeadLetters: true,
    })
    await worker.start({ timeoutMs: READY_TIMEOUT_MS })
    this.closers.push(() => worker.stop(this.config.drainTimeoutMs))
  }

  async close(): Promise<void> {
    for (let closer = this.closers.pop(); closer; closer = this.closers.pop()) await closer()
    if (this.privateRedis) await releasePrivateRedis(this.privateRedis, this.config.dataDir, this.redis)
    this.redis.disconnect()
  }

  private openResults(): Promise<JobResults> {
    this.results ??= (async () => {
      const redis = await openRedis(this.endpoint, 'worker', READY_TIMEOUT_MS)
      this.closers.push(async () => redis.disconnect())
      const results = new JobResults(this.queue, redis, this.config.queuePrefix, ignoreError)
      this.closers.push(async () => {
        await withinDeadline(results.close(), 500).catch(ignoreError)
      })
      await results.ready()
      return results
    })()
    return this.results
  }
}

/** For errors that the exchange which meets them tells, and for those of a close that must come to its end. */
function ignoreError(): void {}
