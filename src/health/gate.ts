/**
 * The gate of one lane: how many jobs may be in flight, decided from probes of the lane's dependency and from
 * its own calls. A pure reducer over events, with the clock passed in; `monitor.ts` does the I/O.
 *
 *             a probe succeeds                 a call succeeds
 *      shut ───────────────────▶ ramping ───────────────────────▶ open
 *    (0 jobs)                    (1 job)                       (all jobs)
 *       ▲                           │                              │
 *       └────── 2 probes fail in a row, or 1 after a failed call ──┤
 *       └────── 5 calls fail though a probe succeeds after each ───┤
 *       └────── credentials are refused, or a Retry-After comes ───┘
 *
 * It begins shut, and opens on nothing but a probe that began after it shut. A failed call alone only brings
 * the next probe forward. While open it probes every `intervalMs`; after a failure 1 s later, doubling to 60 s.
 * A Retry-After shuts it until then without counting as down.
 *
 * Where calls shut it against the probe (they fail though it succeeds, or they alone are refused the credentials), a
 * probe opens it to one job only, and it counts as down until a call succeeds; one that fails shuts it again, each
 * time for twice as long. So an embedder that is away behind a server that is up is one outage, and not many.
 *
 * Flapping: each time the dependency goes down within 5 minutes of coming up, the first probe waits twice as
 * long as the time before, up to 60 s. Sleep: where the timer comes more than 3 intervals late, or the wall
 * clock jumps that far against the monotonic one, the machine slept: it probes at once, and the first failed
 * probe after that counts for nothing.
 */
import { MAX_RETRY_AFTER_MS } from '../queue/retryPolicy.ts'
import { clockJumpMs, type Instant } from './clock.ts'

const FIRST_RETRY_MS = 1_000
const MAX_RETRY_MS = 60_000
/** Up for less than this is flapping. */
const STABLE_MS = 5 * MAX_RETRY_MS
const UNCONFIRMED_CALLS_TO_SHUT = 5
const GAP_INTERVALS = 3
const LYING_PROBE = { cause: 'outage', reason: 'calls fail although probes succeed' } as const

type GatePosition = 'open' | 'ramping' | 'shut'

/** What people are told about the dependency; `unknown` before the first verdict. */
type Health = 'up' | 'down' | 'credentials' | 'unknown'

export interface GateOptions {
  /** Jobs in flight while open. */
  concurrency: number
  /** Between probes while all is well. */
  intervalMs: number
  /** The longest a probe may take. */
  probeTimeoutMs: number
  /** Probes that fail in a row before it shuts; one is enough right after a failed call. */
  failedProbesToShut: number
}

export interface Failure {
  cause: 'outage' | 'credentials'
  /** For people: no value, no secret. */
  reason: string
  /** The dependency asked to be left alone for so long. */
  retryAfterMs?: number | undefined
}

export type GateEvent =
  /** Time went by: a probe may be due. */
  | { type: 'tick' }
  | { type: 'probe-succeeded'; latencyMs: number }
  | ({ type: 'probe-failed' } & Failure)
  | { type: 'call-succeeded' }
  | ({ type: 'call-failed' } & Failure)

/** What ends in `AtMs` is on the monotonic clock. */
export interface Gate {
  readonly position: GatePosition
  /** When it shut, or when it began to open. */
  readonly movedAtMs: number
  readonly health: Health
  /** When `health` became so, in Unix milliseconds. */
  readonly sinceMs: number
  /** Why it is not up, or why it is shut though up. */
  readonly reason: string | undefined
  /** How long the last probe took; undefined where it did not succeed. */
  readonly latencyMs: number | undefined
  /** When it last came up or ceased to be up. */
  readonly turnedAtMs: number
  /** Times it went down, each but the first within STABLE_MS of coming up. */
  readonly recentFalls: number
  readonly nextProbeAtMs: number
  readonly lastProbeAtMs: number
  readonly isProbing: boolean
  /** In a row, without a call that succeeded between them. */
  readonly failedProbes: number
  /** When the first failed call came that no probe has judged yet. */
  readonly failedCallAtMs: number | undefined
  /** Failed calls in a row that the probe after them did not confirm. */
  readonly unconfirmedCalls: number
  /** Calls shut it against the probe, so only a call can say that it is over. */
  readonly isSaidByCalls: boolean
  /** Times in a row that calls shut it so. */
  readonly failedRamps: number
  readonly pausedUntilAtMs: number
  /** The machine slept: the next failed probe does not count. */
  readonly isForgiving: boolean
  readonly last: Instant
}

/** A change of `health`: one log line. */
export interface Transition {
  from: Health
  to: Health
  reason: string | undefined
  /** When it changed, in Unix milliseconds. */
  sinceMs: number
  /** How long the dependency was away; undefined unless it is up again. */
  downForMs: number | undefined
}

export interface GateStep {
  gate: Gate
  /** Jobs that may be in flight from now on. */
  concurrency: number
  /** Start a probe now. The next `tick` is due at `gate.nextProbeAtMs`. */
  startProbe: boolean
  transition: Transition | undefined
}

/** Shut, health unknown, first probe due at once. */
export function createGate(now: Instant): Gate {
  return {
    position: 'shut',
    movedAtMs: now.monoMs,
    health: 'unknown',
    sinceMs: now.wallMs,
    reason: undefined,
    latencyMs: undefined,
    turnedAtMs: now.monoMs,
    recentFalls: 0,
    nextProbeAtMs: now.monoMs,
    lastProbeAtMs: Number.NEGATIVE_INFINITY,
    isProbing: false,
    failedProbes: 0,
    failedCallAtMs: undefined,
    unconfirmedCalls: 0,
    isSaidByCalls: false,
    failedRamps: 0,
    pausedUntilAtMs: now.monoMs,
    isForgiving: false,
    last: now,
  }
}

/** The gate after the event, and what to do. A probe's result is ignored where none is in flight. */
export function stepGate(before: Gate, event: GateEvent, now: Instant, options: GateOptions): GateStep {
  const slept = hasSlept(before, now, options)
  const gate = slept ? wake(before, now) : { ...before, last: now }
  const reduced = reduce(gate, event, slept, now, options)
  const startProbe = reduced.isProbing && !gate.isProbing
  const concurrency = { shut: 0, ramping: 1, open: options.concurrency }[reduced.position]
  if (reduced.health === before.health)
    return { gate: reduced, concurrency, startProbe, transition: undefined }

  const isUp = reduced.health === 'up'
  const turns = isUp || before.health === 'up'
  const transition = {
    from: before.health,
    to: reduced.health,
    reason: reduced.reason,
    sinceMs: now.wallMs,
    downForMs: isUp && before.health !== 'unknown' ? now.monoMs - before.turnedAtMs : undefined,
  }
  const turnedAtMs = turns ? now.monoMs : before.turnedAtMs
  const latencyMs = isUp ? reduced.latencyMs : undefined
  return {
    gate: { ...reduced, sinceMs: now.wallMs, turnedAtMs, latencyMs },
    concurrency,
    startProbe,
    transition,
  }
}

function hasSlept(gate: Gate, now: Instant, options: GateOptions): boolean {
  const gapMs = GAP_INTERVALS * options.intervalMs
  return now.monoMs - gate.nextProbeAtMs > gapMs || clockJumpMs(gate.last, now) > gapMs
}

function wake(gate: Gate, now: Instant): Gate {
  return {
    ...gate,
    isForgiving: true,
    failedProbes: 0,
    failedCallAtMs: undefined,
    unconfirmedCalls: 0,
    pausedUntilAtMs: Math.min(gate.pausedUntilAtMs, now.monoMs),
    nextProbeAtMs: gate.isProbing ? gate.nextProbeAtMs : now.monoMs,
    last: now,
  }
}

function reduce(gate: Gate, event: GateEvent, slept: boolean, now: Instant, options: GateOptions): Gate {
  const nowMs = now.monoMs
  switch (event.type) {
    case 'tick':
      if (gate.isProbing || nowMs < gate.nextProbeAtMs) return gate
      return { ...gate, isProbing: true, lastProbeAtMs: nowMs, nextProbeAtMs: nowMs + options.probeTimeoutMs }
    case 'probe-succeeded':
      return gate.isProbing ? onProbeSuccess(gate, event.latencyMs, nowMs, options) : gate
    case 'probe-failed':
      if (!gate.isProbing) return gate
      // It ran into the sleep, so it tells nothing of the time after it.
      if (slept) return { ...gate, isProbing: false, nextProbeAtMs: nowMs }
      return onProbeFailure({ ...gate, isProbing: false }, event, nowMs, options)
    case 'call-succeeded':
      if (gate.position === 'shut') return gate
      return onCallSuccess(gate)
    case 'call-failed': {
      const after = onCallFailure(gate, event, nowMs, options)
      // Late failures of what was in flight must not put the probe off that would open it again.
      return gate.position === 'shut' ? { ...after, nextProbeAtMs: gate.nextProbeAtMs } : after
    }
  }
}

function onCallSuccess(gate: Gate): Gate {
  const proven = gate.isSaidByCalls ? { health: 'up' as const, reason: undefined } : {}
  const calls = { failedCallAtMs: undefined, unconfirmedCalls: 0, isSaidByCalls: false, failedRamps: 0 }
  return { ...gate, ...proven, ...calls, position: 'open', failedProbes: 0 }
}

function onProbeSuccess(before: Gate, latencyMs: number, nowMs: number, options: GateOptions): Gate {
  const gate: Gate = { ...before, isProbing: false, latencyMs, failedProbes: 0, isForgiving: false }
  const nextProbeAtMs = nowMs + options.intervalMs
  if (gate.position === 'shut') {
    // Begun before whatever shut it, it does not speak of what came after.
    if (gate.lastProbeAtMs < gate.movedAtMs) return { ...before, isProbing: false }
    const { health, reason } = gate.isSaidByCalls ? before : { health: 'up' as const, reason: undefined }
    if (nowMs < gate.pausedUntilAtMs) {
      return { ...gate, health, nextProbeAtMs: Math.min(nextProbeAtMs, gate.pausedUntilAtMs) }
    }
    return { ...gate, position: 'ramping', movedAtMs: nowMs, health, reason, nextProbeAtMs }
  }
  if (gate.failedCallAtMs === undefined) return { ...gate, nextProbeAtMs }
  if (gate.failedCallAtMs > gate.lastProbeAtMs)
    return { ...gate, nextProbeAtMs: nowMs + firstRetryMs(options) }
  const unconfirmedCalls = gate.unconfirmedCalls + 1
  if (unconfirmedCalls >= UNCONFIRMED_CALLS_TO_SHUT) return shutByCalls(gate, LYING_PROBE, nowMs, options)
  return { ...gate, failedCallAtMs: undefined, unconfirmedCalls, nextProbeAtMs }
}

function onProbeFailure(gate: Gate, failure: Failure, nowMs: number, options: GateOptions): Gate {
  const failed: Gate = { ...gate, failedProbes: gate.failedProbes + 1 }
  if (failure.cause === 'credentials') return shut(failed, failure, nowMs, options)
  if (failure.retryAfterMs !== undefined) return pause(gate, failure, nowMs, options)
  if (gate.isForgiving) return { ...gate, isForgiving: false, nextProbeAtMs: nowMs + firstRetryMs(options) }
  if (failed.failedProbes >= options.failedProbesToShut || gate.failedCallAtMs !== undefined) {
    return shut(failed, failure, nowMs, options)
  }
  const reason = gate.health === 'unknown' ? failure.reason : gate.reason
  return { ...failed, reason, nextProbeAtMs: nowMs + retryDelayMs(failed, options) }
}

function onCallFailure(gate: Gate, failure: Failure, nowMs: number, options: GateOptions): Gate {
  if (failure.cause === 'credentials') return shutByCalls(gate, failure, nowMs, options)
  if (failure.retryAfterMs !== undefined) return pause(gate, failure, nowMs, options)
  if (gate.position === 'shut') return gate
  if (gate.isSaidByCalls) return shutByCalls(gate, LYING_PROBE, nowMs, options)
  const failedCallAtMs = gate.failedCallAtMs ?? nowMs
  if (gate.isProbing) return { ...gate, failedCallAtMs }
  const soonestMs = Math.max(nowMs, gate.lastProbeAtMs + firstRetryMs(options))
  return { ...gate, failedCallAtMs, nextProbeAtMs: Math.min(gate.nextProbeAtMs, soonestMs) }
}

function shutByCalls(gate: Gate, failure: Failure, nowMs: number, options: GateOptions): Gate {
  // What was in flight when it shut fails late, and says nothing new.
  const failedRamps = gate.failedRamps + (gate.position === 'shut' ? 0 : 1)
  return shut({ ...gate, isSaidByCalls: true, failedRamps }, failure, nowMs, options)
}

function shut(gate: Gate, failure: Failure, nowMs: number, options: GateOptions): Gate {
  const falls = gate.health === 'up' || gate.health === 'unknown'
  const flaps = gate.health === 'up' && nowMs - gate.turnedAtMs < STABLE_MS
  // What a person must mend stays said until it works again, whatever else fails meanwhile.
  const said = gate.health === 'credentials'
  const after: Gate = {
    ...gate,
    position: 'shut',
    movedAtMs: gate.position === 'shut' ? gate.movedAtMs : nowMs,
    health: said || failure.cause === 'credentials' ? 'credentials' : 'down',
    reason: said ? gate.reason : failure.reason,
    recentFalls: falls ? (flaps ? gate.recentFalls : 0) + 1 : gate.recentFalls,
    latencyMs: undefined,
    failedCallAtMs: undefined,
  }
  return { ...after, nextProbeAtMs: nowMs + retryDelayMs(after, options) }
}

function pause(gate: Gate, failure: Failure, nowMs: number, options: GateOptions): Gate {
  const pauseMs = Math.min(Math.max(failure.retryAfterMs || 0, 0), MAX_RETRY_AFTER_MS)
  const pausedUntilAtMs = Math.max(gate.pausedUntilAtMs, nowMs + pauseMs)
  const nextProbeAtMs = Math.min(pausedUntilAtMs, nowMs + options.intervalMs)
  return {
    ...gate,
    position: 'shut',
    movedAtMs: gate.position === 'shut' ? gate.movedAtMs : nowMs,
    reason: gate.health === 'up' || gate.health === 'unknown' ? failure.reason : gate.reason,
    failedCallAtMs: undefined,
    pausedUntilAtMs,
    nextProbeAtMs: Math.max(nextProbeAtMs, gate.lastProbeAtMs + firstRetryMs(options)),
  }
}

/** A short interval (a test, an impatient operator) shortens the retries too. */
function firstRetryMs(options: GateOptions): number {
  return Math.min(FIRST_RETRY_MS, options.intervalMs)
}

function retryDelayMs(gate: Gate, options: GateOptions): number {
  const flaps = gate.health === 'up' ? 0 : Math.max(0, gate.recentFalls - 1)
  const doublings = Math.max(0, gate.failedProbes - 1) + Math.max(0, gate.failedRamps - 1) + flaps
  return Math.min(MAX_RETRY_MS, firstRetryMs(options) * 2 ** doublings)
}
