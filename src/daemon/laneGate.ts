/**
 * The gate of a lane behind persisting: what it depends on is probed, the lane waits out an outage of any length, and
 * each change is told once: a log line, and for the operator, for whom a short outage is none, a notice.
 *
 * Jobs flow where the monitor lets them, Redis takes writes, and nothing of the lane's own holds them back.
 */
import type { Config } from '../config.ts'
import type { MemsyncError } from '../errors.ts'
import type { Transition } from '../health/gate.ts'
import { type HealthStatus, Monitor } from '../health/monitor.ts'
import type { Logger } from '../logger.ts'
import type { Lane } from '../queue/lane.ts'
import type { Notice, Notifier } from './notifier.ts'

export interface LaneGateOptions {
  config: Pick<Config, 'healthIntervalMs' | 'healthFailures' | 'notifyAfterMs'>
  probe: (signal: AbortSignal) => Promise<unknown>
  probeTimeoutMs: number
  /** Calls that may be under way while it is open. */
  concurrency: number
  /** Jobs in flight for each call, so that one is fetched while another's call is under way. Default 1. */
  jobsPerCall?: number
  lane: Lane
  logger: Logger
  notifier: Notifier
  words: {
    /** As the log names what the lane depends on. */
    subject: string
    /** What the log says where a person must mend it. */
    refused: string
    noticeOf: (change: 'down' | 'back' | 'refused', told: Told) => Notice
  }
}

interface Told {
  reason: string
  downForMs: number
  waiting: number | null
}

export class LaneGate {
  private readonly options: LaneGateOptions
  private readonly monitor: Monitor
  private concurrency = 0
  private redisUsable = true
  private held = false
  private shuts = 0
  private longDown: NodeJS.Timeout | undefined
  private toldDown = false

  constructor(options: LaneGateOptions) {
    this.options = options
    const { config } = options
    this.monitor = new Monitor({
      probe: options.probe,
      concurrency: options.concurrency,
      probeTimeoutMs: options.probeTimeoutMs,
      intervalMs: config.healthIntervalMs,
      failedProbesToShut: config.healthFailures,
      onChange: (concurrency) => {
        this.concurrency = concurrency
        if (concurrency === 0) this.shuts++
        this.apply()
      },
      onTransition: (transition) => void this.tell(transition),
    })
  }

  get status(): HealthStatus {
    return this.monitor.status
  }

  /** How often what it depends on made it shut so far. */
  get timesShut(): number {
    return this.shuts
  }

  /** Shut until the first probe has answered. */
  start(): void {
    this.options.lane.setConcurrency(0)
    this.monitor.start()
  }

  stop(): void {
    clearTimeout(this.longDown)
    this.monitor.stop()
  }

  reportFailure(error: MemsyncError): void {
    this.monitor.reportFailure(error)
  }

  reportSuccess(): void {
    this.monitor.reportSuccess()
  }

  /** Redis refusing writes overrules the monitor. */
  setRedisUsable(usable: boolean): void {
    this.redisUsable = usable
    this.apply()
  }

  /** So does the lane's own reason to wait. */
  hold(held: boolean): void {
    this.held = held
    this.apply()
  }

  private apply(): void {
    const calls = this.redisUsable && !this.held ? this.concurrency : 0
    const { lane, jobsPerCall = 1 } = this.options
    lane.setConcurrency(calls > 1 ? calls * jobsPerCall : calls)
  }

  private async tell({ from, to, reason = '', downForMs = 0 }: Transition): Promise<void> {
    const { config, logger, notifier, words } = this.options
    clearTimeout(this.longDown)
    const told = { reason, downForMs: Math.round(downForMs), waiting: null }
    switch (to) {
      case 'up':
        if (from === 'unknown') return
        logger.info({ downForMs: told.downForMs }, `${words.subject} is back`)
        if (this.toldDown) {
          this.toldDown = false
          notifier.tell(words.noticeOf('back', { ...told, waiting: await this.waiting() }))
        }
        return
      case 'credentials':
        logger.error({ reason }, words.refused)
        notifier.tell(words.noticeOf('refused', told))
        this.toldDown = true
        return
      case 'down':
        logger.warn({ reason }, `${words.subject} is away`)
        this.longDown = setTimeout(() => {
          this.toldDown = true
          notifier.tell(words.noticeOf('down', { ...told, downForMs: config.notifyAfterMs }))
        }, config.notifyAfterMs)
        return
      case 'unknown':
        return
    }
  }

  private async waiting(): Promise<number | null> {
    try {
      const counts = await this.options.lane.queue.getJobCounts('waiting', 'delayed')
      return (counts.waiting ?? 0) + (counts.delayed ?? 0)
    } catch {
      // Redis is away too: the number is not known, and that is what is told.
      return null
    }
  }
}
