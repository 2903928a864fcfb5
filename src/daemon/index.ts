/**
 * The daemon: its parts, started in order and stopped in reverse.
 *
 *   lock ─ store ─ control socket ─ HTTP ─ private Redis ─ connection ─ spool, sync worker ─ store health ─ push lane ─
 *   watchdog ─▶ ready
 *
 * The control socket comes before Redis, so that `memsync status` answers while the daemon waits for it. The
 * daemon does not give up on Redis: it waits for as long as it takes, tells once, and goes on when it is there.
 */
import type { Config } from '../config.ts'
import { MemsyncError } from '../errors.ts'
import { openStore } from '../infrastructure/memory/index.ts'
import type { Store } from '../infrastructure/memory/port.ts'
import { openConfiguredRemote } from '../infrastructure/remote/configured.ts'
import type { Remote } from '../infrastructure/remote/port.ts'
import { SYNC_QUEUE } from '../jobs/index.ts'
import type { Logger } from '../logger.ts'
import { Spool } from '../producers/spool.ts'
import { connectRedis, describeEndpoint, type RedisEndpoint, redisEndpoint } from '../queue/connection.ts'
import type { DeadLetter } from '../queue/deadLetters.ts'
import { BUILT_IN_HANDLERS } from '../queue/index.ts'
import { SyncWorker } from '../queue/syncWorker.ts'
import { DAEMON_VERSION } from '../release.ts'
import { controlPart } from './controlPart.ts'
import { DashboardPart } from './dashboardPart.ts'
import { EmbedService } from './embedService.ts'
import { httpPart } from './httpPart.ts'
import { legacyFilesPart } from './legacyFiles.ts'
import { Lifecycle, type Part } from './lifecycle.ts'
import { lockPart } from './lockPart.ts'
import { MetricsReport } from './metricsReport.ts'
import { Notifier } from './notifier.ts'
import { PushService } from './pushService.ts'
import { QueuePause } from './queuePause.ts'
import { RedisConnections } from './redisConnections.ts'
import { RedisSupervisor } from './redisSupervisor.ts'
import { Report, type RunningParts } from './report.ts'
import { halfRestorePart, sleepWindowPart } from './sleepWindowPart.ts'
import { SpoolService } from './spoolService.ts'
import { statusLine } from './statusLine.ts'
import { StoreHealth } from './storeHealth.ts'
import { tracingPart } from './tracingPart.ts'
import { ProgressWatchdog, STALLED_EXIT_CODE } from './watchdog.ts'

export class Daemon {
  /** Resolves with an exit code where the daemon ends by itself, because it can make no progress. */
  readonly gaveUp: Promise<number>
  private readonly config: Config
  private readonly logger: Logger
  private readonly lifecycle: Lifecycle
  private readonly endpoint: RedisEndpoint
  private readonly supervisor: RedisSupervisor
  private giveUp: (code: number) => void = () => undefined
  private readonly parts: RunningParts = {}
  private readonly connections: RedisConnections
  private readonly report: Report
  private readonly metrics: MetricsReport
  private draining: Promise<void> | undefined
  private readonly spool: Spool
  private spoolService: SpoolService | undefined
  private remote: Remote | undefined
  private readonly notifier: Notifier
  private toldDeadLetter = false
  private readonly dashboard: DashboardPart

  constructor(config: Config, logger: Logger) {
    this.config = config
    this.logger = logger
    this.lifecycle = new Lifecycle(logger)
    this.endpoint = redisEndpoint(config)
    this.supervisor = new RedisSupervisor(config, logger)
    this.notifier = new Notifier(config, logger)
    this.spool = new Spool(config.dataDir, config.spoolMaxBytes, config.redact)
    this.connections = new RedisConnections({
      config,
      endpoint: this.endpoint,
      logger,
      onError: (reason) => this.report.noteBootError(reason),
      onClose: () => this.supervisor.revive(),
    })
    this.report = new Report({
      config,
      logger,
      endpoint: this.endpoint,
      parts: this.parts,
      connections: this.connections,
      spool: this.spool,
      queuePause: new QueuePause(logger),
    })
    this.metrics = new MetricsReport(config, () => this.report.status())
    this.dashboard = new DashboardPart(config, logger, {
      store: () => this.report.openedStore(),
      status: (figuresAgeMs) => this.report.status(figuresAgeMs),
    })
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
      lockPart(this.config.dataDir),
      tracingPart(this.config, this.logger),
      halfRestorePart(this.config, this.logger),
      {
        name: 'remote',
        start: async () => {
          this.remote = await openConfiguredRemote(this.config)
        },
        stop: async () => this.remote?.close(),
      },
      this.storePart(),
      controlPart(this.config, this.logger, {
        report: this.report,
        metrics: this.metrics,
        dashboard: this.dashboard,
        parts: this.parts,
        connections: this.connections,
        spoolEmptied: async () => this.spoolService?.emptied(),
      }),
      this.httpPart(),
      this.dashboard,
      // Before Redis: what it takes in goes into the spool.
      legacyFilesPart(this.config, this.logger, this.spool, () => this.parts.store),
      {
        name: 'private redis',
        start: (signal) => this.supervisor.start(signal),
        stop: () => this.supervisor.stop(),
      },
      {
        name: 'connection',
        start: (signal) => this.connections.open(signal),
        stop: async () => this.connections.close(),
      },
      this.workerPart(),
      this.storeHealthPart(),
      this.pushPart(),
      this.embedPart(),
      this.watchdogPart(),
      sleepWindowPart(this.config, this.logger),
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

  /** Whether a lane was given new workers and makes no progress even so. */
  isStalled(): boolean {
    return this.report.isStalled
  }

  /** What it does, in one line. */
  async describe(): Promise<string> {
    if (this.parts.watchdog) return statusLine(await this.report.status())
    const { state, reason } = this.report.redisCondition
    return state === 'up' ? 'starting' : `starting; redis is away: ${reason ?? 'it does not answer'}`
  }

  /** Drains within the configured time and releases everything; works with Redis down. Idempotent. */
  async stop(): Promise<void> {
    await this.lifecycle.stop()
    await this.notifier.close()
  }

  private storePart(): Part {
    return {
      name: 'store',
      start: async () => {
        this.parts.store = await openStore(this.config)
      },
      stop: async () => this.parts.store?.close(),
    }
  }

  private httpPart(): Part {
    return httpPart(this.config, this.logger, {
      store: () => this.report.openedStore(),
      status: () => this.report.status(),
      metrics: () => this.metrics.text(),
      isStalled: () => this.parts.watchdog?.stalled ?? false,
    })
  }

  private workerPart(): Part {
    return {
      name: 'sync worker',
      start: async (signal) => {
        const redis = this.connections.worker
        if (!redis) throw new MemsyncError('MEMSYNC_INTERRUPTED', 'stopped before the worker started')
        const worker = new SyncWorker({
          config: this.config,
          queueName: SYNC_QUEUE,
          sequenceQueueName: SYNC_QUEUE,
          redis,
          store: this.report.openedStore(),
          handlers: BUILT_IN_HANDLERS,
          logger: this.logger,
          collectDeadLetters: true,
          onDependencyFailure: (error) => this.parts.storeHealth?.reportFailure(error),
          onSuccess: () => {
            this.report.noteSuccess()
            this.parts.storeHealth?.reportSuccess()
          },
          onRedisChange: ({ state }) => {
            this.parts.push?.setRedisUsable(state === 'up')
            this.parts.embed?.setRedisUsable(state === 'up')
            if (state === 'up') this.spoolService?.request()
          },
          onDeadLetter: (entry) => this.noteDeadLetter(entry),
          ...this.metrics.measurements.ofSync,
          onApplied: (names) => {
            this.parts.push?.markApplied(names, worker.epochs.life)
            this.parts.embed?.markApplied(names, worker.epochs.life)
          },
        })
        this.parts.worker = worker
        this.spoolService = this.openSpool(worker)
        try {
          // Before the lane opens: what waits there was accepted before what the lane will take next.
          await this.spoolService.start(signal)
          await worker.start({ signal })
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
      queue: () => this.connections.producer?.queues.sync,
      currentEpoch: async () => (await worker.epochs.check()).life.epoch,
      isRedisUp: () => this.report.redisCondition.state === 'up',
      logger: this.logger,
    })
  }

  /** Every lane at once, as they share one deadline. */
  private drain(): Promise<void> {
    this.draining ??= (async () => {
      await this.spoolService?.stop()
      await Promise.all([
        this.parts.push?.stop(),
        this.parts.embed?.stop(),
        this.parts.worker?.stop(this.config.drainTimeoutMs),
      ])
    })()
    return this.draining
  }

  private storeHealthPart(): Part {
    return {
      name: 'store health',
      start: async () => {
        const { store, worker } = this.parts
        if (!store || !worker) return
        const { concurrency } = this.config
        this.parts.storeHealth = new StoreHealth(store, this.logger, concurrency, (allowed) =>
          worker.setConcurrency(allowed),
        )
        this.parts.storeHealth.start()
      },
      stop: async () => this.parts.storeHealth?.stop(),
    }
  }

  private pushPart(): Part {
    return {
      name: 'push lane',
      start: async () => {
        const { remote } = this
        const { store, worker } = this.parts
        const redis = this.connections.push
        if (!store || !redis || !remote || !worker) return
        this.parts.push = new PushService({ ...this.laneOptions(store, worker), remote, redis })
        await this.parts.push.start()
      },
      stop: () => this.drain(),
    }
  }

  private embedPart(): Part {
    return {
      name: 'embed lane',
      start: async () => {
        const { store, worker } = this.parts
        if (!store || !worker) return
        this.parts.embed = new EmbedService({
          ...this.laneOptions(store, worker),
          connect: () => connectRedis(this.endpoint, 'worker'),
        })
        await this.parts.embed.start()
      },
      stop: () => this.drain(),
    }
  }

  /** What the lanes behind the store have in common. */
  private laneOptions(store: Store, worker: SyncWorker) {
    const { config, logger, notifier } = this
    return {
      config,
      store,
      logger,
      notifier,
      onDeadLetter: (entry: DeadLetter) => this.noteDeadLetter(entry),
      measurements: this.metrics.measurements,
      onWorkerError: worker.redisHealth.report,
      onStalled: () => this.giveUp(STALLED_EXIT_CODE),
    }
  }

  private watchdogPart(): Part {
    return {
      name: 'watchdog',
      start: async () => {
        this.parts.watchdog = new ProgressWatchdog({
          stallTimeoutMs: this.config.stallTimeoutMs,
          sample: () => this.report.sampleProgress(),
          rebuild: () => {
            this.logger.error(
              { stallTimeoutMs: this.config.stallTimeoutMs },
              'no progress: the worker is rebuilt',
            )
            this.parts.worker?.lane.rebuild()
          },
          exit: (error) => {
            this.logger.fatal({ code: error.code, reason: error.message }, 'no progress even so: exiting')
            this.notifier.tell({ event: 'lane-stalled', lane: 'sync', reason: error.message })
            this.giveUp(STALLED_EXIT_CODE)
          },
        })
        this.parts.watchdog.start()
      },
      stop: async () => this.parts.watchdog?.stop(),
    }
  }

  /** Only the first of this process's life is told: the rest is in the log, the status and the metrics. */
  private noteDeadLetter({ sourceQueue, code, id, class: errorClass }: DeadLetter): void {
    this.metrics.measurements.countDeadLetter(sourceQueue, errorClass)
    if (this.toldDeadLetter) return
    this.toldDeadLetter = true
    this.notifier.tell({ event: 'first-dead-letter', lane: sourceQueue, code, deadLetter: id })
  }
}
