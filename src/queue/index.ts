/**
 * `TypedWorkerQueue`: the queue as a program uses it, for handing memories over and for running handlers.
 *
 *   const queue = new TypedWorkerQueue()
 *   queue.register('MEMORY_SYNC', memorySyncHandler)
 *   await queue.dispatch('MEMORY_SYNC', { key, value })
 *   await queue.close()
 *
 * Works with a daemon running or not: where none runs and no REDIS_URL is set, the private Redis is started for
 * as long as this queue is open. A registered handler of this program's own shares the machine's queue with the
 * daemon. A handler of the caller's own never meets other producers' memories: such a queue runs what it
 * dispatches itself, under a name of its own.
 */
import { randomUUID } from 'node:crypto'
import { Queue } from 'bullmq'
import type { Redis } from 'ioredis'
import { type Config, loadConfig } from '../config.ts'
import { MemsyncError, toMemsyncError } from '../errors.ts'
import { memorySyncHandler, rollback } from '../handlers/memorySync.ts'
import { openStore } from '../infrastructure/memory/index.ts'
import type { Store } from '../infrastructure/memory/port.ts'
import { isJobName, type JobName, type JobTypes, type MemoryInput, SYNC_QUEUE } from '../jobs/index.ts'
import { type Logger, silentLogger } from '../logger.ts'
import { ensureRedis, openRedis, type RedisEndpoint, releasePrivateRedis } from './connection.ts'
import {
  type Accepted,
  type EnqueueManyOptions,
  type EnqueueOptions,
  enqueueJob,
  enqueueMemories,
  withinDeadline,
} from './enqueue.ts'
import { ownJobId } from './epoch.ts'
import type { PrivateRedis } from './privateRedis.ts'
import { JobResults } from './results.ts'
import { type Handler, type Handlers, SyncWorker } from './syncWorker.ts'

const READY_TIMEOUT_MS = 5_000

/** The handlers of this program; only they may take memories that other producers handed over. */
export const BUILT_IN_HANDLERS: Required<Handlers> = {
  MEMORY_SYNC: memorySyncHandler,
  MEMORY_ROLLBACK: rollback,
}

export interface TypedWorkerQueueOptions {
  /** Overrides of single settings; the rest is loaded as everywhere. */
  config?: Partial<Config>
  logger?: Logger
}

/** Everything that is open while the queue is; made at first use, released by `close`. */
interface Connection {
  endpoint: RedisEndpoint
  privateRedis: PrivateRedis | undefined
  producer: Redis
  /** The machine's queue, which `enqueue` hands over to. */
  queue: Queue
  /** What `dispatch` hands over to: the same, unless a handler is the caller's own. */
  dispatchQueue: Queue
}

interface Results {
  redis: Redis
  results: JobResults
}

interface Running {
  redis: Redis
  store: Store
  worker: SyncWorker
}

export class TypedWorkerQueue {
  private readonly config: Config
  private readonly logger: Logger
  private readonly handlers: Handlers = {}
  private readonly ownName = `${SYNC_QUEUE}-own-${randomUUID()}`
  private connection: Promise<Connection> | undefined
  private running: Promise<Running> | undefined
  private results: Promise<Results> | undefined
  private readonly closing = new AbortController()

  constructor(options: TypedWorkerQueueOptions = {}) {
    this.config = { ...loadConfig().config, ...options.config }
    this.logger = options.logger ?? silentLogger
  }

  /**
   * Names what runs jobs of this name in this process. To be called before the first dispatch.
   * @throws MEMSYNC_UNKNOWN_JOB, MEMSYNC_BAD_USAGE once the queue is in use
   */
  register<N extends JobName>(job: N, handler: Handler<N>): this {
    if (!isJobName(job))
      throw new MemsyncError('MEMSYNC_UNKNOWN_JOB', `there is no job ${JSON.stringify(job)}`)
    if (this.connection !== undefined) {
      throw new MemsyncError('MEMSYNC_BAD_USAGE', 'register every handler before the queue is used')
    }
    Object.assign(this.handlers, { [job]: handler })
    return this
  }

  /**
   * Hands the job over and waits until it is persisted, by this process or the daemon. An embedding is not waited for:
   * it may wait for a key, a budget or an outage for days.
   * @throws what the handler threw, or what refused the payload, as a MemsyncError
   */
  async dispatch<N extends JobName>(
    job: N,
    payload: JobTypes[N]['input'],
    options: EnqueueOptions = {},
  ): Promise<JobTypes[N]['result']> {
    if (!isJobName(job))
      throw new MemsyncError('MEMSYNC_UNKNOWN_JOB', `there is no job ${JSON.stringify(job)}`)
    const connection = await this.connect()
    const { results } = await this.openResults(connection)
    const running = Object.keys(this.handlers).length > 0 ? await this.run(connection) : undefined
    const result = await results.of(async () => {
      const { queuePrefix } = this.config
      const { producer, dispatchQueue } = connection
      const jobId =
        running && this.isOwn
          ? await withinDeadline(ownJobId(producer, queuePrefix, running.worker.epochs))
          : undefined
      return (await enqueueJob(dispatchQueue, job, payload, options, this.config, { jobId })).jobId
    })
    return result as JobTypes[N]['result']
  }

  /** Hands a memory over; resolves once it is durable in the queue. For errors see `enqueueJob`. */
  async enqueue(memory: MemoryInput, options: EnqueueOptions = {}): Promise<Accepted> {
    const { queue } = await this.connect()
    return enqueueJob(queue, 'MEMORY_SYNC', memory, options, this.config)
  }

  /** Hands many over, in order and in batches, reading the source no faster than the queue takes them. */
  async enqueueMany(
    memories: Iterable<MemoryInput> | AsyncIterable<MemoryInput>,
    options: EnqueueManyOptions = {},
  ): Promise<{ accepted: number }> {
    const { queue } = await this.connect()
    return enqueueMemories(queue, memories, options, this.config)
  }

  /** Finishes what is in flight and releases everything, so that the process can end. Idempotent. */
  async close(): Promise<void> {
    if (this.closing.signal.aborted) return
    this.closing.abort()
    // What could not be opened holds nothing, and whoever asked for it was told why.
    const results = await this.results?.catch(() => undefined)
    const running = await this.running?.catch(() => undefined)
    const connection = await this.connection?.catch(() => undefined)
    await running?.worker.stop(this.config.drainTimeoutMs)
    if (results) {
      await withinDeadline(results.results.close(), 1000).catch(this.noteLeftover)
      results.redis.disconnect()
    }
    if (running) {
      if (this.isOwn) await this.removeOwnQueue(running)
      running.redis.disconnect()
      await running.store.close()
    }
    if (connection) {
      const { privateRedis, producer } = connection
      if (privateRedis) await releasePrivateRedis(privateRedis, this.config.dataDir, producer)
      producer.disconnect()
    }
  }

  /** Whether a handler is the caller's own, so that the queue must be too. */
  private get isOwn(): boolean {
    return (Object.keys(this.handlers) as JobName[]).some(
      (name) => this.handlers[name] !== BUILT_IN_HANDLERS[name],
    )
  }

  private connect(): Promise<Connection> {
    if (this.closing.signal.aborted) throw new MemsyncError('MEMSYNC_BAD_USAGE', 'the queue is closed')
    this.connection ??= this.openConnection()
    // A failed attempt must not be the answer for ever; nor are those below.
    this.connection.catch(() => {
      this.connection = undefined
    })
    return this.connection
  }

  /** What is opened once the queue closes would never be released. */
  private throwIfClosed(): void {
    if (!this.closing.signal.aborted) return
    throw new MemsyncError('MEMSYNC_INTERRUPTED', 'the queue was closed before the job was handed over')
  }

  private async openConnection(): Promise<Connection> {
    const { endpoint, privateRedis } = await ensureRedis(this.config)
    const producer = await this.open(endpoint, 'producer')
    const queue = this.openQueue(producer, SYNC_QUEUE)
    const dispatchQueue = this.isOwn ? this.openQueue(producer, this.ownName) : queue
    return { endpoint, privateRedis, producer, queue, dispatchQueue }
  }

  private openQueue(redis: Redis, name: string): Queue {
    const queue = new Queue(name, {
      connection: redis,
      prefix: this.config.queuePrefix,
      skipVersionCheck: true,
    })
    queue.on('error', (error) => this.logger.debug({ reason: error.name }, 'queue error'))
    return queue
  }

  private open(endpoint: RedisEndpoint, role: 'producer' | 'worker'): Promise<Redis> {
    return openRedis(endpoint, role, READY_TIMEOUT_MS, (error) =>
      this.logger.debug({ reason: error.name }, 'redis connection error'),
    )
  }

  private run(connection: Connection): Promise<Running> {
    this.throwIfClosed()
    this.running ??= this.startWorker(connection)
    this.running.catch(() => {
      this.running = undefined
    })
    return this.running
  }

  private async startWorker({ endpoint }: Connection): Promise<Running> {
    const redis = await this.open(endpoint, 'worker')
    let store: Store | undefined
    try {
      store = await openStore(this.config)
      const worker = this.createWorker(redis, store)
      await worker.start({ signal: this.closing.signal, timeoutMs: READY_TIMEOUT_MS })
      return { redis, store, worker }
    } catch (error) {
      redis.disconnect()
      await store?.close()
      throw error
    }
  }

  private createWorker(redis: Redis, store: Store): SyncWorker {
    return new SyncWorker({
      config: this.config,
      queueName: this.isOwn ? this.ownName : SYNC_QUEUE,
      sequenceQueueName: SYNC_QUEUE,
      redis,
      store,
      handlers: this.isOwn ? this.handlers : BUILT_IN_HANDLERS,
      logger: this.logger,
      collectDeadLetters: !this.isOwn,
    })
  }

  private openResults({ endpoint, dispatchQueue }: Connection): Promise<Results> {
    this.throwIfClosed()
    this.results ??= (async () => {
      const redis = await this.open(endpoint, 'worker')
      const results = new JobResults(dispatchQueue, redis, this.config.queuePrefix, (error) =>
        this.logger.debug({ reason: error.name }, 'result stream error'),
      )
      await results.ready()
      return { redis, results }
    })()
    this.results.catch(() => {
      this.results = undefined
    })
    return this.results
  }

  /** A close comes to its end whatever Redis does; what stays there is of no use to anybody. */
  private readonly noteLeftover = (thrown: unknown): void => {
    const { code } = toMemsyncError(thrown, 'MEMSYNC_HANDLER_FAILED')
    this.logger.debug({ code }, 'something was left behind at the close')
  }

  /** Nothing of it is anybody else's: what failed was told to whoever dispatched it. */
  private async removeOwnQueue(running: Running): Promise<void> {
    const queue = this.openQueue(running.redis, this.ownName)
    await withinDeadline(queue.obliterate({ force: true }), 1000).catch(this.noteLeftover)
  }
}
