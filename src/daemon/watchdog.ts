/**
 * Liveness of one lane, judged by progress alone: a process that answers may still be stuck.
 *
 *                    nothing finished for            nothing finished for
 *                    stallTimeoutMs                  stallTimeoutMs more
 *      watching ───────────────────────▶ rebuilt ───────────────────────▶ exit (code 70)
 *         ▲      rebuild the worker         │
 *         └──────── anything finished ──────┘
 *
 * Time counts only while jobs wait or are in flight, the gate lets jobs through and Redis answers. Whatever
 * interrupts that, and a gap between two looks (the machine slept), begins the count anew.
 *
 * Jobs in flight that this process does not hold (one that was killed did, or the worker before the rebuild) come back
 * once their locks expire. Where there are no others, the count stands still for that time.
 */
import { MemsyncError } from '../errors.ts'
import { type Clock, clockJumpMs, type Instant, systemClock } from '../health/clock.ts'
import { ORPHAN_MS } from '../queue/lane.ts'

/** What the process exits with when it is stuck; the supervisor starts it afresh (EX_SOFTWARE of sysexits.h). */
export const STALLED_EXIT_CODE = 70

/** This many looks that did not happen are a sleep. */
const GAP_LOOKS = 3
const MAX_INTERVAL_MS = 5_000
/** What nobody holds is moved by then; if not, the lane that should is stuck. */
const ORPHAN_GRACE_MS = ORPHAN_MS + 5_000

export interface LivenessSample {
  at: Instant
  /** Jobs that could run now; not those that are delayed. */
  waiting: number
  /** Jobs in flight, whoever holds them. */
  active: number
  /** Those of them that this process's worker holds. */
  held: number
  /** Jobs that ended, whatever their end, since the process began. */
  finished: number
  /** False while the gate lets no job through. */
  isGateOpen: boolean
  isRedisReachable: boolean
}

export interface LivenessOptions {
  stallTimeoutMs: number
  /** Between two samples. */
  intervalMs: number
}

export interface LivenessState {
  /** Since when nothing finished, on the monotonic clock. */
  readonly stuckSinceMs: number
  readonly isRebuilt: boolean
  /** Since when all that is to be done is in flight and held by no worker of this process; the same clock. */
  readonly orphanedSinceMs?: number | undefined
  readonly finished: number
  readonly last: Instant
}

export type LivenessAction = 'none' | 'rebuild' | 'exit'

/** The state after the sample, and what to do about it. `state` is undefined before the first sample. */
export function decideLiveness(
  state: LivenessState | undefined,
  sample: LivenessSample,
  { stallTimeoutMs, intervalMs }: LivenessOptions,
): { state: LivenessState; action: LivenessAction } {
  const { at, finished } = sample
  const anew = { stuckSinceMs: at.monoMs, isRebuilt: false, finished, last: at }
  const hasWork = sample.waiting + sample.active > 0
  const couldWork = hasWork && sample.isGateOpen && sample.isRedisReachable
  if (state === undefined || !couldWork || finished !== state.finished) return { state: anew, action: 'none' }
  const gapMs = Math.max(at.monoMs - state.last.monoMs, clockJumpMs(state.last, at))
  if (gapMs > GAP_LOOKS * intervalMs) return { state: anew, action: 'none' }
  if (sample.waiting + sample.held === 0) {
    const { isRebuilt, orphanedSinceMs = at.monoMs } = state
    if (at.monoMs - orphanedSinceMs < Math.max(stallTimeoutMs, ORPHAN_GRACE_MS)) {
      return { state: { ...anew, isRebuilt, orphanedSinceMs }, action: 'none' }
    }
    return { state: { ...anew, isRebuilt: true }, action: isRebuilt ? 'exit' : 'rebuild' }
  }
  if (at.monoMs - state.stuckSinceMs < stallTimeoutMs)
    return { state: { ...state, orphanedSinceMs: undefined, last: at }, action: 'none' }
  return { state: { ...anew, isRebuilt: true }, action: state.isRebuilt ? 'exit' : 'rebuild' }
}

export interface WatchdogOptions {
  /** Looks at the lane. A look that fails, finds nothing or is not done by the next counts as Redis away. */
  sample: () => Promise<Omit<LivenessSample, 'at'> | undefined>
  /** Puts a new worker in the place of the stuck one. */
  rebuild: () => void
  /** Ends the process with STALLED_EXIT_CODE. Nothing is watched any more. */
  exit: (error: MemsyncError) => void
  stallTimeoutMs: number
  clock?: Clock
}

/** The timer around `decideLiveness`: looks six times per `stallTimeoutMs`, at least every 5 s. */
export class ProgressWatchdog {
  private readonly options: WatchdogOptions
  private readonly clock: Clock
  private readonly intervalMs: number
  private state: LivenessState | undefined
  private cancelTimer: (() => void) | undefined
  private look: symbol | undefined

  constructor(options: WatchdogOptions) {
    this.options = options
    this.clock = options.clock ?? systemClock
    this.intervalMs = Math.min(MAX_INTERVAL_MS, options.stallTimeoutMs / 6)
  }

  /** Without effect while it runs. */
  start(): void {
    if (this.cancelTimer) return
    this.state = undefined
    this.arm()
  }

  /** Idempotent; no timer is left. */
  stop(): void {
    this.cancelTimer?.()
    this.cancelTimer = undefined
    this.look = undefined
  }

  /** The worker was rebuilt, and nothing has finished since. */
  get stalled(): boolean {
    return this.state?.isRebuilt ?? false
  }

  private arm(): void {
    this.cancelTimer = this.clock.schedule(this.intervalMs, () => {
      // The look before this one never came back; the one that begins here makes its answer void.
      if (this.look) this.state = undefined
      this.arm()
      void this.takeLook()
    })
  }

  private async takeLook(): Promise<void> {
    const look = Symbol('look')
    this.look = look
    let seen: Omit<LivenessSample, 'at'> | undefined
    try {
      seen = await this.options.sample()
    } catch {
      // Redis did not answer, which its own watcher reports; without figures nothing can be judged.
    }
    if (this.look !== look) return
    this.look = undefined
    if (seen === undefined) this.state = undefined
    else this.judge({ ...seen, at: this.clock.now() })
  }

  private judge(sample: LivenessSample): void {
    const { stallTimeoutMs, rebuild, exit } = this.options
    const { state, action } = decideLiveness(this.state, sample, {
      stallTimeoutMs,
      intervalMs: this.intervalMs,
    })
    this.state = state
    if (action === 'rebuild') rebuild()
    if (action !== 'exit') return
    this.stop()
    const problem = `${sample.waiting} jobs wait and ${sample.active} are in flight, and none finished`
    exit(new MemsyncError('MEMSYNC_STALLED_LANE', `${problem} in ${2 * stallTimeoutMs} ms`))
  }
}
