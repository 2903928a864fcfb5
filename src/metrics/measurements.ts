/**
 * What the daemon counts and times while it works, as plain numbers: an observation is a few additions, and no library
 * is loaded for it. What reads them is `exposition.ts`, and only when somebody asks.
 *
 * They begin at zero with the process; what outlasts it is in the store and in the status.
 */
import { ERROR_CLASSES } from '../errors.ts'
import { EMBED_QUEUE, PUSH_QUEUE } from '../jobs/index.ts'
import type { Commit } from '../queue/groupCommit.ts'
import type { Setback } from '../queue/lane.ts'

/** Every lane that can be counted. */
export const LANES = ['sync', 'push', 'embed'] as const
export type LaneName = (typeof LANES)[number]

function laneOfQueue(queue: string): LaneName {
  if (queue === PUSH_QUEUE) return 'push'
  return queue === EMBED_QUEUE ? 'embed' : 'sync'
}

/** What can become of a job; counted from zero, so that a first failure is an increase. */
const OUTCOMES = {
  sync: ['applied', 'superseded', 'repeated'],
  push: ['pushed', 'unchanged', 'removed', 'superseded', 'kept', 'absent'],
  embed: ['embedded', 'unchanged', 'removed', 'superseded', 'absent'],
} as const satisfies Record<LaneName, readonly string[]>
const SETBACKS = ['retried', 'given_back'] as const satisfies readonly Setback[]

/** Durations in seconds: from a commit in memory to a server that takes its whole timeout. */
const DURATION_BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]
/** What waits through an outage waits for hours. */
const LATENCY_BOUNDS = [...DURATION_BOUNDS, 300, 1800, 7200, 43_200]
const SIZE_BOUNDS = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000]

/** Observations by upper bound, as Prometheus has them. */
export class Distribution {
  readonly bounds: readonly number[]
  /** How many lie at or below each bound and above the one before; the last, how many lie above all. */
  readonly counts: number[]
  sum = 0

  constructor(bounds: readonly number[]) {
    this.bounds = bounds
    this.counts = new Array<number>(bounds.length + 1).fill(0)
  }

  observe(value: number): void {
    const { bounds, counts } = this
    let at = 0
    while (at < bounds.length && value > (bounds[at] as number)) at++
    counts[at] = (counts[at] as number) + 1
    this.sum += value
  }
}

/** How long calls took, by how they ended. */
export class CallTimes {
  readonly ok = new Distribution(DURATION_BOUNDS)
  readonly failed = new Distribution(DURATION_BOUNDS)

  /** Makes the call and times it. @throws what the call throws */
  async time<T>(call: () => Promise<T>): Promise<T> {
    const startedAt = performance.now()
    let ended = this.failed
    try {
      const answer = await call()
      ended = this.ok
      return answer
    } finally {
      ended.observe((performance.now() - startedAt) / 1000)
    }
  }
}

/** The jobs of one lane by what became of them. */
export class LaneCounts {
  readonly outcomes: Map<string, number>
  readonly deadLetters: Map<string, number>

  constructor(lane: LaneName) {
    this.outcomes = new Map([...OUTCOMES[lane], ...SETBACKS].map((outcome) => [outcome, 0]))
    this.deadLetters = new Map(ERROR_CLASSES.map((errorClass) => [errorClass, 0]))
  }

  count(outcome: string): void {
    this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1)
  }
}

export class Measurements {
  readonly lanes: Record<LaneName, LaneCounts> = {
    sync: new LaneCounts('sync'),
    push: new LaneCounts('push'),
    embed: new LaneCounts('embed'),
  }
  /** From the moment a memory was handed over to that in which it was durable in the store. */
  readonly acceptToPersist = new Distribution(LATENCY_BOUNDS)
  readonly commit = new Distribution(DURATION_BOUNDS)
  readonly commitWrites = new Distribution(SIZE_BOUNDS)
  readonly pushCalls = { push: new CallTimes(), remove: new CallTimes() }
  readonly embedCalls = new CallTimes()

  countDeadLetter(queue: string, errorClass: string): void {
    const { deadLetters } = this.lanes[laneOfQueue(queue)]
    deadLetters.set(errorClass, (deadLetters.get(errorClass) ?? 0) + 1)
  }

  /** What the sync worker tells. */
  readonly ofSync = {
    onCommit: (commit: Commit): void => this.countCommit(commit),
    onSetback: (setback: Setback): void => this.lanes.sync.count(setback),
  }

  private countCommit({ durationMs, committedAtMs, writes, outcomes }: Commit): void {
    this.commit.observe(durationMs / 1000)
    this.commitWrites.observe(writes.length)
    for (const { acceptedAtMs } of writes) {
      // A producer's clock may be ahead of ours.
      this.acceptToPersist.observe(Math.max(0, committedAtMs - acceptedAtMs) / 1000)
    }
    for (const { outcome, repeated } of outcomes) this.lanes.sync.count(repeated ? 'repeated' : outcome)
  }
}
