/** Time as an argument: what reads a clock or sets a timer takes one of these, so that tests own the time. */

/** One reading of both clocks, in milliseconds: monotonic from any origin, and Unix time. */
export interface Instant {
  monoMs: number
  wallMs: number
}

export interface Clock {
  now(): Instant
  /** Calls back once after `delayMs`; what it returns cancels that. */
  schedule(delayMs: number, callback: () => void): () => void
}

export const systemClock: Clock = {
  now: () => ({ monoMs: performance.now(), wallMs: Date.now() }),
  schedule(delayMs, callback) {
    // Node cuts fractions off, and a timer that comes early finds nothing due.
    const timer = setTimeout(callback, Math.ceil(delayMs))
    return () => clearTimeout(timer)
  },
}

/**
 * How far the wall clock moved against the monotonic one between two readings, in milliseconds, unsigned. Large
 * after a sleep, where the monotonic clock stands still in one (Linux), or after the clock was set.
 */
export function clockJumpMs(before: Instant, after: Instant): number {
  return Math.abs(after.wallMs - before.wallMs - (after.monoMs - before.monoMs))
}
