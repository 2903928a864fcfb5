/**
 * What the daemon tells systemd (Type=notify): that it is ready, what it is doing, that it stops, and that it makes
 * progress, without which the watchdog of the unit restarts it. Without NOTIFY_SOCKET there is nobody to tell.
 *
 *   starting ──started, or waiting for longer than patienceMs──▶ ready ──stop──▶ stopping
 *
 * Node has no unix datagram socket, so `systemd-notify` speaks (NotifyAccess=all); it takes abstract sockets too, and
 * returns once systemd has read the message. Protocol: sd_notify(3).
 */
import { execFile } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from '../logger.ts'

/** What is told of the daemon. */
interface Supervised {
  /** It was given new workers and makes no progress even so. */
  isStalled(): boolean
  /** One line for `systemctl status`; no value, no key, no secret. */
  describe(): Promise<string>
}

export interface SystemdNotifyOptions {
  daemon: Supervised
  logger: Logger
  /** How long the daemon takes by itself to find that it is stalled, in milliseconds; the watchdog waits longer. */
  stallTimeoutMs: number
  /** A start that takes longer waits for something (Redis), and counts as a start that succeeded. 20 s. */
  patienceMs?: number
  /** Between two looks. 30 s, and a quarter of the watchdog's time at most. */
  intervalMs?: number
  /** With NOTIFY_SOCKET and, for the watchdog, WATCHDOG_USEC. */
  env?: NodeJS.ProcessEnv
}

const DEFAULT_PATIENCE_MS = 20_000
const DEFAULT_INTERVAL_MS = 30_000
const SEND_TIMEOUT_MS = 5_000
const DESCRIBE_TIMEOUT_MS = 3_000
/** Between the daemon's own verdict that it is stalled, and the watchdog's. */
const WATCHDOG_MARGIN_MS = 30_000

/** How long systemd is to wait for progress: what the unit says, and never less than the daemon's own patience. Pure. */
export function watchdogTimeoutMs(unitTimeoutMs: number, stallTimeoutMs: number): number {
  return Math.max(unitTimeoutMs, stallTimeoutMs + WATCHDOG_MARGIN_MS)
}

export class SystemdNotify {
  private readonly options: SystemdNotifyOptions
  private readonly env: NodeJS.ProcessEnv
  private readonly unitWatchdogMs: number
  private readonly over = new AbortController()
  private last: Promise<void> = Promise.resolve()
  private isReady = false
  private isLooking = false
  private lastText = ''
  private toldFailure = false

  constructor(options: SystemdNotifyOptions) {
    this.options = options
    this.env = options.env ?? process.env
    this.unitWatchdogMs = Number(this.env.WATCHDOG_USEC ?? 0) / 1000
  }

  private get isOn(): boolean {
    return Boolean(this.env.NOTIFY_SOCKET)
  }

  /** To be called as the daemon begins to start. */
  start(): void {
    if (!this.isOn) return
    const { patienceMs = DEFAULT_PATIENCE_MS, intervalMs = DEFAULT_INTERVAL_MS } = this.options
    const watchdogMs = this.unitWatchdogMs || Number.POSITIVE_INFINITY
    const patience = setTimeout(() => this.ready(), patienceMs)
    const looks = setInterval(() => void this.lookOnce(), Math.min(intervalMs, watchdogMs / 4))
    this.over.signal.addEventListener('abort', () => {
      clearTimeout(patience)
      clearInterval(looks)
    })
  }

  /** The daemon has started. */
  ready(): void {
    if (!this.isOn || this.isReady || this.over.signal.aborted) return
    this.isReady = true
    void this.look(['--ready', ...this.watchdogTimeout()])
  }

  /** The daemon stops: resolves once that is told, soon either way. Nothing is told after it. */
  async stopping(): Promise<void> {
    if (!this.isOn || this.over.signal.aborted) return
    this.over.abort()
    await this.send(['STOPPING=1', '--status=stopping'])
  }

  /** One look at a time, should systemd be slow to listen. */
  private async lookOnce(): Promise<void> {
    if (this.isLooking) return
    this.isLooking = true
    await this.look([])
    this.isLooking = false
  }

  /** Tells what has changed, and feeds the watchdog where there is progress. */
  private async look(words: string[]): Promise<void> {
    const text = await this.describe()
    if (this.over.signal.aborted) return
    const message = [...words]
    if (text !== this.lastText) message.push(`--status=${text}`)
    if (this.unitWatchdogMs > 0 && !this.options.daemon.isStalled()) message.push('WATCHDOG=1')
    this.lastText = text
    if (message.length > 0) await this.send(message)
  }

  private watchdogTimeout(): string[] {
    if (this.unitWatchdogMs === 0) return []
    const timeoutMs = watchdogTimeoutMs(this.unitWatchdogMs, this.options.stallTimeoutMs)
    return timeoutMs > this.unitWatchdogMs ? [`WATCHDOG_USEC=${timeoutMs * 1000}`] : []
  }

  /** The last words again where there are no new ones in time: that nothing can be read is no lack of progress. */
  private async describe(): Promise<string> {
    const late = sleep(DESCRIBE_TIMEOUT_MS, this.lastText, { ref: false })
    return Promise.race([this.options.daemon.describe().catch(() => this.lastText), late])
  }

  /** One message after the other; never rejects. */
  private send(words: string[]): Promise<void> {
    this.last = this.last.then(() => this.speak(words))
    return this.last
  }

  private speak(words: string[]): Promise<void> {
    return new Promise((resolve) => {
      execFile('systemd-notify', words, { env: this.env, timeout: SEND_TIMEOUT_MS }, (error) => {
        if (error && !this.toldFailure) {
          this.toldFailure = true
          const reason = error.code === 'ENOENT' ? 'there is no systemd-notify on the PATH' : error.message
          this.options.logger.warn({ reason: reason.trim() }, 'systemd could not be told')
        }
        resolve()
      })
    })
  }
}
