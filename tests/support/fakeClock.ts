/** A clock whose time is the test's to pass. Timers fire in order, and promises settle between them. */
import { setImmediate as settled } from 'node:timers/promises'
import type { Clock, Instant } from '../../src/health/clock.ts'

interface Timer {
  atMs: number
  callback: () => void
}

export class FakeClock implements Clock {
  private instant: Instant = { monoMs: 1_000, wallMs: Date.UTC(2026, 0, 1) }
  private readonly timers = new Set<Timer>()

  now(): Instant {
    return { ...this.instant }
  }

  schedule(delayMs: number, callback: () => void): () => void {
    const timer = { atMs: this.instant.monoMs + delayMs, callback }
    this.timers.add(timer)
    return () => void this.timers.delete(timer)
  }

  get pendingTimers(): number {
    return this.timers.size
  }

  /** Passes the time on both clocks, firing what falls due. */
  async advance(ms: number): Promise<void> {
    const endMs = this.instant.monoMs + ms
    for (;;) {
      await settled()
      const due = [...this.timers].filter((timer) => timer.atMs <= endMs).sort((a, b) => a.atMs - b.atMs)[0]
      if (!due) break
      this.timers.delete(due)
      this.pass(Math.max(0, due.atMs - this.instant.monoMs))
      due.callback()
    }
    this.pass(endMs - this.instant.monoMs)
  }

  /** The machine sleeps: nothing fires meanwhile; with `monotonic: false` only the wall clock goes on. */
  sleep(ms: number, { monotonic }: { monotonic: boolean }): void {
    this.instant.wallMs += ms
    if (monotonic) this.instant.monoMs += ms
  }

  private pass(ms: number): void {
    this.instant = { monoMs: this.instant.monoMs + ms, wallMs: this.instant.wallMs + ms }
  }
}
