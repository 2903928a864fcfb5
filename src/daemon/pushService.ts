/**
 * The push lane as a part of the daemon: the remote, its health, its gate and the worker behind it.
 *
 * The lane waits out an outage of any length: while the gate is shut nothing is fetched, and what was in flight
 * went back unpenalised. Health is probed without Redis, so that it is known while Redis is away.
 */
import type { Redis } from 'ioredis'
import type { Config } from '../config.ts'
import type { Transition } from '../health/gate.ts'
import { Monitor } from '../health/monitor.ts'
import type { MemoryName, Store } from '../infrastructure/memory/port.ts'
import { probeTimeoutMs, remoteIdentity } from '../infrastructure/remote/configured.ts'
import type { Remote } from '../infrastructure/remote/port.ts'
import type { Logger } from '../logger.ts'
import type { DeadLetter } from '../queue/deadLetters.ts'
import type { Life } from '../queue/epoch.ts'
import { PushWorker } from '../queue/pushWorker.ts'
import type { Notifier } from './notifier.ts'
import type { GateState, Status } from './status.ts'
import { ProgressWatchdog } from './watchdog.ts'

/** Of one job, one after the other: update, look up, remove a copy, create, and a probe to judge a failure. */
const MAX_CALLS_PER_JOB = 5

export interface PushServiceOptions {
  config: Config
  remote: Remote
  store: Store
  /** A connection of the lane's own, ready. */
  redis: Redis
  logger: Logger
  notifier: Notifier
  onDeadLetter: (entry: DeadLetter) => void
  onWorkerError: (error: Error) => void
  /** It makes no progress, also with new workers; the operator was told. */
  onStalled: () => void
}

export class PushService {
  readonly worker: PushWorker
  private readonly options: PushServiceOptions
  private readonly monitor: Monitor
  private readonly watchdog: ProgressWatchdog
  private gateConcurrency = 0
  private timesShut = 0
  private redisUsable = true
  private longDown: NodeJS.Timeout | undefined
  private toldDown = false
  private lifeToken: string | undefined

  constructor(options: PushServiceOptions) {
    const { config, remote } = options
    this.options = options
    this.worker = new PushWorker({
      config,
      redis: options.redis,
      store: options.store,
      remote,
      logger: options.logger,
      timesShut: () => this.timesShut,
      onDependencyFailure: (error) => this.monitor.reportFailure(error),
      onSuccess: () => this.monitor.reportSuccess(),
      onDeadLetter: options.onDeadLetter,
      onWorkerError: options.onWorkerError,
    })
    this.monitor = new Monitor({
      probe: (signal) => remote.probe(signal),
      concurrency: config.pushConcurrency,
      intervalMs: config.healthIntervalMs,
      probeTimeoutMs: probeTimeoutMs(config),
      failedProbesToShut: config.healthFailures,
      onChange: (concurrency) => {
        this.gateConcurrency = concurrency
        if (concurrency === 0) this.timesShut++
        this.applyConcurrency()
      },
      onTransition: (transition) => void this.tell(transition),
    })
    this.watchdog = this.createWatchdog()
  }

  /** The workers were rebuilt, and nothing has finished since. */
  get stalled(): boolean {
    return this.watchdog.stalled
  }

  get gate(): GateState {
    return this.monitor.status.position
  }

  get remoteStatus(): Status['remote'] {
    const { health, sinceMs, reason, latencyMs } = this.monitor.status
    return {
      state: health,
      endpoint: remoteIdentity(this.options.config),
      since: new Date(sinceMs).toISOString(),
      latencyMs: latencyMs ?? null,
      reason: reason ?? null,
    }
  }

  async start(): Promise<void> {
    const { config, store, logger } = this.options
    if (await store.adoptRemote(remoteIdentity(config))) {
      logger.info({ kind: config.remoteKind }, 'a new remote: every memory will be pushed to it')
    }
    this.worker.start()
    this.monitor.start()
    this.watchdog.start()
  }

  async stop(): Promise<void> {
    clearTimeout(this.longDown)
    this.monitor.stop()
    this.watchdog.stop()
    await this.worker.stop(this.options.config.drainTimeoutMs)
    this.options.remote.close()
  }

  /** @param life the queue's: where it is a new one, pointers may have been lost with the old */
  markApplied(names: MemoryName[], life: Life | undefined): void {
    this.worker.mark(names)
    if (life === undefined || life.token === this.lifeToken) return
    if (this.lifeToken !== undefined) this.worker.requestSweep()
    this.lifeToken = life.token
  }

  /** Redis refusing writes overrules the gate. */
  setRedisUsable(usable: boolean): void {
    this.redisUsable = usable
    this.applyConcurrency()
    if (usable) this.worker.requestSweep()
  }

  /** A job that waits for the remote is no stall: each of its calls has a deadline, and their sum is waited for. */
  private createWatchdog(): ProgressWatchdog {
    const { config, logger, notifier, onStalled } = this.options
    const stallTimeoutMs = Math.max(config.stallTimeoutMs, MAX_CALLS_PER_JOB * config.pushTimeoutMs)
    return new ProgressWatchdog({
      stallTimeoutMs,
      sample: async () => {
        const { waiting = 0, active = 0 } = await this.worker.lane.queue.getJobCounts('waiting', 'active')
        const isGateOpen = this.gate !== 'shut'
        const finished = this.worker.lane.finishedCount
        return { waiting, active, finished, isGateOpen, isRedisReachable: this.redisUsable }
      },
      rebuild: () => {
        logger.error({ lane: 'push', stallTimeoutMs }, 'no progress: the worker is rebuilt')
        this.worker.lane.rebuild()
      },
      exit: (error) => {
        logger.fatal(
          { lane: 'push', code: error.code, reason: error.message },
          'no progress even so: exiting',
        )
        notifier.tell({ event: 'lane-stalled', lane: 'push', reason: error.message })
        onStalled()
      },
    })
  }

  private applyConcurrency(): void {
    this.worker.setConcurrency(this.redisUsable ? this.gateConcurrency : 0)
  }

  /** One log line per change, and the operator, for whom a short outage is none. */
  private async tell({ from, to, reason, downForMs }: Transition): Promise<void> {
    const { config, logger, notifier } = this.options
    clearTimeout(this.longDown)
    switch (to) {
      case 'up':
        if (from === 'unknown') return
        logger.info({ downForMs: Math.round(downForMs ?? 0) }, 'the remote is back')
        if (this.toldDown) {
          notifier.tell({
            event: 'remote-back',
            downForMs: Math.round(downForMs ?? 0),
            waiting: await this.waiting(),
          })
        }
        this.toldDown = false
        return
      case 'credentials':
        logger.error({ reason }, 'the remote refuses our credentials')
        notifier.tell({ event: 'credentials-refused', reason: reason ?? '' })
        this.toldDown = true
        return
      case 'down':
        logger.warn({ reason }, 'the remote is away')
        this.longDown = setTimeout(() => {
          this.toldDown = true
          notifier.tell({ event: 'remote-down', reason: reason ?? '', downForMs: config.notifyAfterMs })
        }, config.notifyAfterMs)
        return
      case 'unknown':
        return
    }
  }

  private async waiting(): Promise<number | null> {
    try {
      const counts = await this.worker.lane.queue.getJobCounts('waiting', 'delayed')
      return (counts.waiting ?? 0) + (counts.delayed ?? 0)
    } catch {
      // Redis is away too: the number is not known, and that is what is told.
      return null
    }
  }
}
