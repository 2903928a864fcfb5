/**
 * The daemon: its parts, started in order and stopped in reverse.
 *
 *   lock ─ store ─ control socket ─ HTTP ─ private Redis ─ connection ─ spool, sync worker ─ store health ─ push lane ─
 *   watchdog ─▶ ready
 *
 * The control socket comes before Redis, so that `memsync status` answers while the daemon waits for it. The
 * daemon does not give up on Redis: it waits for as long as it takes, tells once, and goes on when it is there.
 */
import { chmodSync, mkdirSync } from 'node:fs'
import { Queue } from 'bullmq'
import type { Redis } from 'ioredis'
import type { Config } from '../config.ts'
import { MemsyncError, toMemsyncError } from '../errors.ts'
import { openStore } from '../infrastructure/memory/index.ts'
import type { Store } from '../infrastructure/memory/port.ts'
import { openConfiguredRemote } from '../infrastructure/remote/configured.ts'
import type { Remote } from '../infrastructure/remote/port.ts'
import { DEAD_LETTER_QUEUE, EMBED_QUEUE, PUSH_QUEUE, SYNC_QUEUE } from '../jobs/index.ts'
import type { Logger } from '../logger.ts'
import { Spool } from '../producers/spool.ts'
import { connectRedis, describeEndpoint, type RedisEndpoint, redisEndpoint } from '../queue/connection.ts'
import type { DeadLetter } from '../queue/deadLetters.ts'
import { enqueueJob, withinDeadline } from '../queue/enqueue.ts'
import { BUILT_IN_HANDLERS } from '../queue/index.ts'
import { classifyRedisError } from '../queue/redisErrors.ts'
import { conditionError, type RedisCondition } from '../queue/redisHealth.ts'
import { SyncWorker } from '../queue/syncWorker.ts'
import { DAEMON_VERSION } from '../release.ts'
import { ControlServer } from './control.ts'
import { controlSocket } from './controlClient.ts'
import { noEmbedding } from './embeddingStatus.ts'
import { EmbedService } from './embedService.ts'
import { parseEnqueueRequest, refuseLate } from './enqueueRequest.ts'
import { httpPart } from './httpPart.ts'
import { legacyFilesPart } from './legacyFiles.ts'
import { Lifecycle, type Part } from './lifecycle.ts'
import { Notifier } from './notifier.ts'
import { acquireProcessLock, instanceLockPath, type ProcessLock } from './processLock.ts'
import { PushService } from './pushService.ts'
import { QueuePause } from './queuePause.ts'
import { RedisSupervisor } from './redisSupervisor.ts'
import { awaitRedis } from './redisWait.ts'
import { readSpoolDepth, SpoolService } from './spoolService.ts'
import {
  composeStatus,
  type GateState,
  type ObservedQueues,
  readQueueFigures,
  type Status,
  unseenRemote,
} from './status.ts'
import { StoreHealth } from './storeHealth.ts'
import { ProgressWatchdog, STALLED_EXIT_CODE } from './watchdog.ts'

/** Producers ask within the exchange; a status must not wait for a Redis that hangs. */
const STATUS_TIMEOUT_MS = 1_000
/** Beyond the value itself: key, metadata and the frame around them, all escaped at worst. */
const MAX_REQUEST_OVERHEAD_BYTES = 64 * 1024

export class Daemon {
  /** Resolves with an exit code where the daemon ends by itself, because it can make no progress. */
  readonly gaveUp: Promise<number>
  private readonly config: Config
  private readonly logger: Logger
  private readonly lifecycle: Lifecycle
  private readonly endpoint: RedisEndpoint
  private readonly supervisor: RedisSupervisor
  private readonly sinceMs = Date.now()
  private giveUp: (code: number) => void = () => undefined
  private store: Store | undefined
  private redis: Redis | undefined
  private pushRedis: Redis | undefined
  /** For commands and status: fails at once where the worker's connection would wait. */
  private producer: { redis: Redis; queues: ObservedQueues } | undefined
  private worker: SyncWorker | undefined
  private draining: Promise<void> | undefined
  private readonly spool: Spool
  private spoolService: SpoolService | undefined
  private storeHealth: StoreHealth | undefined
  private watchdog: ProgressWatchdog | undefined
  /** What is known of Redis until the worker watches it. */
  private readonly bootCondition: RedisCondition = {
    state: 'down',
    sinceMs: Date.now(),
    reason: 'not connected yet',
  }
  private readonly queuePause: QueuePause
  private lastSuccessMs: number | undefined
  private readonly remote: Remote | undefined
  private readonly notifier: Notifier
  private push: PushService | undefined
  private embed: EmbedService | undefined
  private toldDeadLetter = false

  constructor(config: Config, logger: Logger) {
    this.config = config
    this.logger = logger
    this.lifecycle = new Lifecycle(logger)
    this.endpoint = redisEndpoint(config)
    this.supervisor = new RedisSupervisor(config, logger)
    this.remote = openConfiguredRemote(config)
    this.notifier = new Notifier(config, logger)
    this.spool = new Spool(config.dataDir, config.spoolMaxBytes)
    this.queuePause = new QueuePause(logger)
    const gaveUp = Promise.withResolvers<number>()
    this.gaveUp = gaveUp.promise
    this.giveUp = gaveUp.resolve
  }

  /**
   * Resolves once jobs are being taken, however long Redis lets it wait.
   * @throws MEMSYNC_ALREADY_RUNNING, MEMSYNC_STORE_CORRUPT, MEMSYNC_STORE_UNAVAILABLE, MEMSYNC_REDIS_MISSING,
   *   MEMSYNC_BAD_SETTING; nothing is left running then
   */
  async start(): Promise<void> {
    await this.lifecycle.start([
      this.lockPart(),
      this.storePart(),
      this.controlPart(),
      this.httpPart(),
      // Before Redis: what it takes in goes into the spool.
      legacyFilesPart(this.config, this.logger, this.spool, () => this.store),
      {
        name: 'private redis',
        start: (signal) => this.supervisor.start(signal),
        stop: () => this.supervisor.stop(),
      },
      this.connectionPart(),
      this.workerPart(),
      this.storeHealthPart(),
      this.pushPart(),
      this.embedPart(),
      this.watchdogPart(),
    ])
    if (this.lifecycle.isStopping) return
    this.logger.info(
      { version: DAEMON_VERSION, dataDir: this.config.dataDir, redis: describeEndpoint(this.endpoint) },
      'ready',
    )
  }

  /** Whether a stop was asked for. */
  get isStopping(): boolean {
    return this.lifecycle.isStopping
  }

  /** Drains within the configured time and releases everything; works with Redis down. Idempotent. */
  async stop(): Promise<void> {
    await this.lifecycle.stop()
    await this.notifier.close()
  }

  private lockPart(): Part {
    let lock: ProcessLock | undefined
    return {
      name: 'lock',
      start: async () => {
        const { dataDir } = this.config
        try {
          mkdirSync(dataDir, { recursive: true, mode: 0o700 })
          chmodSync(dataDir, 0o700)
        } catch (cause) {
          const reason = cause instanceof Error ? cause.message : String(cause)
          throw new MemsyncError('MEMSYNC_BAD_SETTING', `MEMSYNC_DATA_DIR: it cannot be used: ${reason}`, {
            cause,
          })
        }
        lock = acquireProcessLock(instanceLockPath(dataDir))
        if (!lock) throw new MemsyncError('MEMSYNC_ALREADY_RUNNING', `another daemon holds ${dataDir}`)
      },
      stop: async () => lock?.release(),
    }
  }

  private storePart(): Part {
    return {
      name: 'store',
      start: async () => {
        this.store = await openStore(this.config)
      },
      stop: async () => this.store?.close(),
    }
  }

  private controlPart(): Part {
    const { dataDir, maxValueBytes } = this.config
    // A value may double in length where it is all escapes.
    const maxLineBytes = maxValueBytes * 2 + MAX_REQUEST_OVERHEAD_BYTES
    const handle = (request: Record<string, unknown>) => this.answer(request)
    const server = new ControlServer(controlSocket(dataDir), maxLineBytes, handle, this.logger)
    return { name: 'control socket', start: () => server.start(), stop: () => server.stop() }
  }

  private httpPart(): Part {
    return httpPart(this.config, this.logger, {
      store: () => this.openedStore(),
      status: () => this.status(),
      isStalled: () => this.watchdog?.stalled ?? false,
    })
  }

  private openedStore(): Store {
    if (this.store) return this.store
    throw new MemsyncError('MEMSYNC_STORE_UNAVAILABLE', 'the daemon is starting')
  }

  private connectionPart(): Part {
    return {
      name: 'connection',
      start: async (signal) => {
        const redis = connectRedis(this.endpoint, 'worker')
        const producerRedis = connectRedis(this.endpoint, 'producer')
        // Told by the health of the connection, once per change.
        redis.on('error', (error) => {
          this.bootCondition.reason = classifyRedisError(error)?.message ?? this.bootCondition.reason
        })
        producerRedis.on('error', () => undefined)
        // Each time: a server that was brought back may die again before the connection is.
        redis.on('close', () => this.supervisor.revive())
        const open = (name: string) => {
          const { queuePrefix } = this.config
          const queue = new Queue(name, {
            connection: producerRedis,
            prefix: queuePrefix,
            skipVersionCheck: true,
          })
          queue.on('error', () => undefined)
          return queue
        }
        this.redis = redis
        this.pushRedis = this.remote && connectRedis(this.endpoint, 'worker')
        this.pushRedis?.on('error', () => undefined)
        const connections = [redis, producerRedis, ...(this.pushRedis ? [this.pushRedis] : [])]
        try {
          await awaitRedis(connections, this.logger, signal)
        } catch (error) {
          for (const connection of connections) connection.disconnect()
          throw error
        }
        // Only now: BullMQ takes a first connect that fails for the last word.
        this.producer = {
          redis: producerRedis,
          queues: {
            sync: open(SYNC_QUEUE),
            push: open(PUSH_QUEUE),
            embed: open(EMBED_QUEUE),
            deadLetters: open(DEAD_LETTER_QUEUE),
          },
        }
      },
      stop: async () => {
        this.redis?.disconnect()
        this.pushRedis?.disconnect()
        this.producer?.redis.disconnect()
      },
    }
  }

  private workerPart(): Part {
    return {
      name: 'sync worker',
      start: async (signal) => {
        const { redis, store } = this
        if (!redis || !store)
          throw new MemsyncError('MEMSYNC_INTERRUPTED', 'stopped before the worker started')
        this.worker = new SyncWorker({
          config: this.config,
          queueName: SYNC_QUEUE,
          sequenceQueueName: SYNC_QUEUE,
          redis,
          store,
          handlers: BUILT_IN_HANDLERS,
          logger: this.logger,
          collectDeadLetters: true,
          onDependencyFailure: (error) => this.storeHealth?.reportFailure(error),
          onSuccess: () => {
            this.lastSuccessMs = Date.now()
            this.storeHealth?.reportSuccess()
          },
          onRedisChange: ({ state }) => {
            this.push?.setRedisUsable(state === 'up')
            this.embed?.setRedisUsable(state === 'up')
            if (state === 'up') this.spoolService?.request()
          },
          onDeadLetter: (entry) => this.tellFirstDeadLetter(entry),
          onApplied: (names) => {
            this.push?.markApplied(names, this.worker?.epochs.life)
            this.embed?.markApplied(names, this.worker?.epochs.life)
          },
        })
        this.spoolService = this.openSpool(this.worker)
        try {
          // Before the lane opens: what waits there was accepted before what the lane will take next.
          await this.spoolService.start(signal)
          await this.worker.start({ signal })
        } catch (error) {
          await this.spoolService.stop()
          throw error
        }
      },
      stop: () => this.drain(),
    }
  }

  private openSpool(worker: SyncWorker): SpoolService {
    return new SpoolService({
      spool: this.spool,
      queue: () => this.producer?.queues.sync,
      currentEpoch: async () => (await worker.epochs.check()).life.epoch,
      isRedisUp: () => this.redisCondition.state === 'up',
      logger: this.logger,
    })
  }

  /** Every lane at once, as they share one deadline. */
  private drain(): Promise<void> {
    this.draining ??= (async () => {
      await this.spoolService?.stop()
      await Promise.all([
        this.push?.stop(),
        this.embed?.stop(),
        this.worker?.stop(this.config.drainTimeoutMs),
      ])
    })()
    return this.draining
  }

  private storeHealthPart(): Part {
    return {
      name: 'store health',
      start: async () => {
        const { store, worker } = this
        if (!store || !worker) return
        this.storeHealth = new StoreHealth(store, this.logger, this.config.concurrency, (concurrency) =>
          worker.setConcurrency(concurrency),
        )
        this.storeHealth.start()
      },
      stop: async () => this.storeHealth?.stop(),
    }
  }

  private pushPart(): Part {
    return {
      name: 'push lane',
      start: async () => {
        const { store, pushRedis, remote, config, logger, notifier, worker } = this
        if (!store || !pushRedis || !remote || !worker) return
        this.push = new PushService({
          config,
          remote,
          store,
          redis: pushRedis,
          logger,
          notifier,
          onDeadLetter: (entry) => this.tellFirstDeadLetter(entry),
          onWorkerError: worker.redisHealth.report,
          onStalled: () => this.giveUp(STALLED_EXIT_CODE),
        })
        await this.push.start()
      },
      stop: () => this.drain(),
    }
  }

  private embedPart(): Part {
    return {
      name: 'embed lane',
      start: async () => {
        const { store, config, logger, notifier, worker } = this
        if (!store || !worker) return
        this.embed = new EmbedService({
          config,
          store,
          connect: () => connectRedis(this.endpoint, 'worker'),
          logger,
          notifier,
          onDeadLetter: (entry) => this.tellFirstDeadLetter(entry),
          onWorkerError: worker.redisHealth.report,
        })
        await this.embed.start()
      },
      stop: () => this.drain(),
    }
  }

  private watchdogPart(): Part {
    return {
      name: 'watchdog',
      start: async () => {
        this.watchdog = new ProgressWatchdog({
          stallTimeoutMs: this.config.stallTimeoutMs,
          sample: () => this.sampleProgress(),
          rebuild: () => {
            this.logger.error(
              { stallTimeoutMs: this.config.stallTimeoutMs },
              'no progress: the worker is rebuilt',
            )
            this.worker?.lane.rebuild()
          },
          exit: (error) => {
            this.logger.fatal({ code: error.code, reason: error.message }, 'no progress even so: exiting')
            this.notifier.tell({ event: 'lane-stalled', lane: 'sync', reason: error.message })
            this.giveUp(STALLED_EXIT_CODE)
          },
        })
        this.watchdog.start()
      },
      stop: async () => this.watchdog?.stop(),
    }
  }

  private async sampleProgress() {
    const { worker } = this
    const figures = await this.figures(this.producer, worker)
    if (!worker || !figures) return undefined
    if (this.producer) await this.queuePause.look(this.producer.queues.sync)
    return {
      waiting: figures.sync.waiting ?? 0,
      active: figures.sync.active ?? 0,
      finished: worker.lane.finishedCount,
      isGateOpen: this.syncGate !== 'shut',
      isRedisReachable: this.redisCondition.state === 'up',
    }
  }

  private get syncGate(): GateState {
    return this.queuePause.isPaused ? 'shut' : (this.storeHealth?.gate ?? 'unknown')
  }

  private get redisCondition(): RedisCondition {
    return this.worker?.redisHealth.current ?? this.bootCondition
  }

  /** Only the first of this process's life: the rest is in the log and in the status. */
  private tellFirstDeadLetter({ sourceQueue, code, id }: DeadLetter): void {
    if (this.toldDeadLetter) return
    this.toldDeadLetter = true
    this.notifier.tell({ event: 'first-dead-letter', lane: sourceQueue, code, deadLetter: id })
  }

  private async answer(request: Record<string, unknown>): Promise<Record<string, unknown>> {
    switch (request.op) {
      case 'status':
        return { status: await this.status() }
      case 'enqueue':
        return { ...(await this.enqueue(request)) }
      case 'sweep-push':
        this.push?.worker.requestSweep()
        return {}
      case 'sweep-embed':
        await this.embed?.sweep()
        return {}
      default:
        throw new MemsyncError('MEMSYNC_BAD_USAGE', 'op: must be status, enqueue, sweep-push or sweep-embed')
    }
  }

  private async enqueue(request: Record<string, unknown>): Promise<{ jobId: string }> {
    const { job, data, options, acceptedAtMs } = parseEnqueueRequest(request)
    if (!this.producer || this.redisCondition.state !== 'up') throw conditionError(this.redisCondition)
    // What is in the spool was accepted before this.
    await this.spoolService?.emptied()
    refuseLate(acceptedAtMs, Date.now())
    const { sync } = this.producer.queues
    return enqueueJob(sync, job, data, options, this.config.maxValueBytes, { acceptedAtMs })
  }

  private async status(): Promise<Status> {
    const { producer, worker } = this
    const store = this.openedStore()
    const figures = await this.figures(producer, worker)
    const { state, reason, sinceMs } = this.redisCondition
    return composeStatus({
      daemon: {
        running: true,
        pid: process.pid,
        since: new Date(this.sinceMs).toISOString(),
        progress: {
          state: this.progressState(figures),
          lastSuccess: this.lastSuccessMs === undefined ? null : new Date(this.lastSuccessMs).toISOString(),
        },
      },
      redis: {
        state,
        endpoint: describeEndpoint(this.endpoint),
        reason: reason ?? null,
        since: new Date(sinceMs).toISOString(),
      },
      figures,
      syncGate: this.syncGate,
      pushGate: this.remote ? (this.push?.gate ?? 'unknown') : 'off',
      remote: this.push?.remoteStatus ?? unseenRemote(this.config),
      embedGate: this.embed?.gate ?? 'unknown',
      embedding: (await this.embed?.figures()) ?? noEmbedding(this.config),
      store,
      spool: await readSpoolDepth(this.spool),
      storeState: this.storeHealth?.storeState ?? { state: 'up', reason: null },
    })
  }

  private async figures(producer: typeof this.producer, worker: SyncWorker | undefined) {
    if (!producer || !worker || producer.redis.status !== 'ready') return undefined
    try {
      return await withinDeadline(readQueueFigures(producer.queues), STATUS_TIMEOUT_MS)
    } catch (thrown) {
      const error = toMemsyncError(thrown, 'MEMSYNC_QUEUE_UNAVAILABLE')
      this.logger.debug({ code: error.code }, 'the queue figures are not to be had')
      return undefined
    }
  }

  private progressState(
    figures: Awaited<ReturnType<typeof this.figures>>,
  ): Status['daemon']['progress']['state'] {
    if (this.watchdog?.stalled || this.push?.stalled) return 'stalled'
    if (!figures || this.redisCondition.state !== 'up' || this.syncGate === 'shut') return 'waiting'
    const { waiting, active, delayed } = figures.sync
    return (waiting ?? 0) + (active ?? 0) + (delayed ?? 0) === 0 ? 'idle' : 'working'
  }
}
