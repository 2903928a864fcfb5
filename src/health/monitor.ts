/**
 * Watches one dependency for one lane: runs the probes, keeps the timer, and tells the lane what `gate.ts`
 * decides. It runs one probe at a time, each with a deadline, and depends on nothing that it watches. After
 * `stop` no timer and no probe of it is left.
 */
import { MemsyncError } from '../errors.ts'
import { type Clock, systemClock } from './clock.ts'
import { createGate, type Failure, type Gate, type GateEvent, stepGate, type Transition } from './gate.ts'

const DEFAULT_INTERVAL_MS = 30_000
const DEFAULT_PROBE_TIMEOUT_MS = 5_000
const DEFAULT_FAILED_PROBES_TO_SHUT = 2
const MAX_REASON_LENGTH = 200

export interface MonitorOptions {
  /**
   * Resolves where the dependency works. What it throws shuts the gate as its class says: `credentials` for a
   * MemsyncError of that class, outage for all else. Called again after its deadline even if it never settled.
   */
  probe: (signal: AbortSignal) => Promise<unknown>
  /** Jobs in flight while the gate is open. */
  concurrency: number
  /** How many jobs may be in flight from now on: 0, 1 or `concurrency`. Told on start, then at each change. */
  onChange: (concurrency: number) => void
  /** The dependency changed its state: one log line. */
  onTransition: (transition: Transition) => void
  /** Between probes while all is well, in milliseconds; 30,000 unless given. */
  intervalMs?: number
  /** When a probe that has not settled counts as failed, in milliseconds; 5,000 unless given. */
  probeTimeoutMs?: number
  /** Probes that fail in a row before the gate shuts; 2 unless given. */
  failedProbesToShut?: number
  clock?: Clock
}

export type HealthStatus = Pick<Gate, 'health' | 'position' | 'sinceMs' | 'reason' | 'latencyMs'>

export class Monitor {
  private readonly options: Required<MonitorOptions>
  private gate: Gate
  private running = false
  private concurrency: number | undefined
  private cancelTimer: (() => void) | undefined
  private probe: AbortController | undefined

  constructor(options: MonitorOptions) {
    this.options = {
      intervalMs: DEFAULT_INTERVAL_MS,
      probeTimeoutMs: DEFAULT_PROBE_TIMEOUT_MS,
      failedProbesToShut: DEFAULT_FAILED_PROBES_TO_SHUT,
      clock: systemClock,
      ...options,
    }
    this.gate = createGate(this.options.clock.now())
  }

  /** Begins with the gate shut and a probe at once. Without effect while it runs. */
  start(): void {
    if (this.running) return
    this.running = true
    this.concurrency = undefined
    this.gate = createGate(this.options.clock.now())
    this.apply({ type: 'tick' })
  }

  /** Ends timer and probe, and leaves the lane as it is. Idempotent. */
  stop(): void {
    this.running = false
    this.cancelTimer?.()
    this.cancelTimer = undefined
    this.probe?.abort()
  }

  get status(): HealthStatus {
    const { health, position, sinceMs, reason, latencyMs } = this.gate
    return { health, position, sinceMs, reason, latencyMs }
  }

  /** A call of the lane failed. Classes other than outage and credentials say nothing about the dependency. */
  reportFailure(error: MemsyncError): void {
    if (error.class !== 'outage' && error.class !== 'credentials') return
    this.apply({ type: 'call-failed', ...describeFailure(error) })
  }

  /** A call of the lane was answered. */
  reportSuccess(): void {
    const { position, failedProbes, failedCallAtMs, unconfirmedCalls } = this.gate
    // Thousands a second under load, and nearly none of them is news.
    if (position === 'open' && failedProbes + unconfirmedCalls === 0 && failedCallAtMs === undefined) return
    this.apply({ type: 'call-succeeded' })
  }

  private apply(event: GateEvent): void {
    if (!this.running) return
    const step = stepGate(this.gate, event, this.options.clock.now(), this.options)
    this.gate = step.gate
    if (step.transition) this.options.onTransition(step.transition)
    if (step.concurrency !== this.concurrency) {
      this.concurrency = step.concurrency
      this.options.onChange(step.concurrency)
    }
    // Whoever was told may have stopped it.
    if (!this.running) return
    if (step.startProbe) void this.runProbe()
    this.armTimer()
  }

  private armTimer(): void {
    this.cancelTimer?.()
    this.cancelTimer = undefined
    // A probe in flight has its own deadline.
    if (this.probe) return
    const delayMs = Math.max(0, this.gate.nextProbeAtMs - this.options.clock.now().monoMs)
    this.cancelTimer = this.options.clock.schedule(delayMs, () => this.apply({ type: 'tick' }))
  }

  private async runProbe(): Promise<void> {
    const { clock, probeTimeoutMs } = this.options
    const probe = new AbortController()
    this.probe = probe
    const aborted = Promise.withResolvers<never>()
    probe.signal.addEventListener('abort', aborted.reject, { once: true })
    const begunAtMs = clock.now().monoMs
    const cancelDeadline = clock.schedule(probeTimeoutMs, () => probe.abort())
    let event: GateEvent
    try {
      await Promise.race([this.options.probe(probe.signal), aborted.promise])
      event = { type: 'probe-succeeded', latencyMs: Math.round(clock.now().monoMs - begunAtMs) }
    } catch (thrown) {
      const failure: Failure = probe.signal.aborted
        ? { cause: 'outage', reason: `no answer within ${probeTimeoutMs} ms` }
        : describeFailure(thrown)
      event = { type: 'probe-failed', ...failure }
    } finally {
      cancelDeadline()
    }
    // Started anew meanwhile.
    if (this.probe !== probe) return
    this.probe = undefined
    this.apply(event)
  }
}

function describeFailure(thrown: unknown): Failure {
  if (thrown instanceof MemsyncError) {
    const reason = thrown.message.slice(0, MAX_REASON_LENGTH)
    const cause = thrown.class === 'credentials' ? 'credentials' : 'outage'
    return { cause, reason, retryAfterMs: thrown.retryAfterMs }
  }
  // A stranger's message may hold anything, a URL with its password too.
  return { cause: 'outage', reason: `unexpected ${thrown instanceof Error ? thrown.name : typeof thrown}` }
}
