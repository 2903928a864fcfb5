/**
 * What the status was: samples of the last hour as they were taken, of the last day one every five minutes, and each
 * change of a state with its time. Bounded whatever happens. Pure: the clock is the caller's.
 */
import type { GateState, LaneStatus, Status } from '../daemon/status.ts'

const RECENT_MS = 3_600_000
const OLDER_MS = 24 * 3_600_000
const OLDER_SPACING_MS = 300_000
/** Samples closer than this are one. */
const MIN_SPACING_MS = 1_500
const MAX_EVENTS = 200
const GOOD_STATES: readonly string[] = ['up', 'open', 'off', 'none']

const LANES = ['sync', 'embed', 'push'] as const
export type LaneName = (typeof LANES)[number]

interface LaneSample {
  /** Waiting, delayed and active; null where unknown. */
  pending: number | null
  oldestMs: number | null
  gate: GateState
  /** Memories that came to this lane's end since the store was made. */
  done: number
}

export interface Sample {
  atMs: number
  daemon: Status['daemon']['progress']['state']
  redis: Status['redis']['state']
  store: Status['store']['state']
  remote: Status['remote']['state']
  deadLetters: number | null
  spool: number | null
  lanes: Record<LaneName, LaneSample>
}

/** A state changed. */
export interface HistoryEvent {
  atMs: number
  what: 'daemon' | 'redis' | 'store' | 'remote' | LaneName
  from: string
  to: string
  reason: string | null
}

export interface History {
  /** Oldest first. */
  samples: Sample[]
  events: HistoryEvent[]
}

export class StatusHistory {
  private older: Sample[] = []
  private recent: Sample[] = []
  private events: HistoryEvent[] = []

  /** Takes the status of this moment. */
  record(status: Status, nowMs: number): void {
    const previous = this.recent.at(-1)
    if (previous && nowMs - previous.atMs < MIN_SPACING_MS) return
    const sample = sampleOf(status, nowMs)
    if (previous) this.events.push(...changes(previous, sample, status))
    this.add(sample)
  }

  /** Takes what another process saw before this one looked. */
  adopt({ samples, events }: History): void {
    const own = [...this.older, ...this.recent]
    const ownEvents = this.events
    const fromMs = own[0]?.atMs ?? Number.POSITIVE_INFINITY
    this.older = []
    this.recent = []
    this.events = [...events.filter(({ atMs }) => atMs < fromMs), ...ownEvents]
    for (const sample of [...samples.filter(({ atMs }) => atMs < fromMs), ...own]) this.add(sample)
  }

  /** What came after this moment, Unix milliseconds. */
  since(afterMs: number): History {
    const isNew = ({ atMs }: { atMs: number }) => atMs > afterMs
    return {
      samples: [...this.older, ...this.recent].filter(isNew),
      events: this.events.filter(isNew),
    }
  }

  private add(sample: Sample): void {
    const nowMs = sample.atMs
    this.recent.push(sample)
    const firstKept = this.recent.findIndex(({ atMs }) => atMs > nowMs - RECENT_MS)
    for (const left of this.recent.splice(0, firstKept)) {
      const last = this.older.at(-1)
      if (!last || left.atMs - last.atMs >= OLDER_SPACING_MS) this.older.push(left)
    }
    while (this.older[0] && this.older[0].atMs <= nowMs - OLDER_MS) this.older.shift()
    this.events = this.events.slice(-MAX_EVENTS)
  }
}

function sampleOf({ daemon, redis, store, remote, lanes, totals, ...rest }: Status, atMs: number): Sample {
  return {
    atMs,
    daemon: daemon.progress.state,
    redis: redis.state,
    store: store.state,
    remote: remote.state,
    deadLetters: rest.deadLetters,
    spool: rest.spool.records,
    lanes: {
      sync: laneSample(lanes.sync, totals.synced + totals.superseded),
      embed: laneSample(lanes.embed, totals.embedded),
      push: laneSample(lanes.push, totals.pushed),
    },
  }
}

function laneSample(
  { waiting, delayed, active, oldestWaitingMs, gate }: LaneStatus,
  done: number,
): LaneSample {
  const pending = waiting === null ? null : waiting + (delayed ?? 0) + (active ?? 0)
  return { pending, oldestMs: oldestWaitingMs, gate, done }
}

/** A gate that ramps is one that opens. */
function gateNews(gate: GateState): string {
  return gate === 'ramping' ? 'open' : gate
}

/** Working and idle change all the time, and neither is news. */
function daemonNews(state: Sample['daemon']): string {
  return state === 'working' || state === 'idle' ? 'running' : state
}

function changes(before: Sample, now: Sample, { redis, store, remote }: Status): HistoryEvent[] {
  const precise = (since: string | null) => {
    const sinceMs = since === null ? Number.NaN : Date.parse(since)
    return sinceMs > before.atMs && sinceMs <= now.atMs ? sinceMs : now.atMs
  }
  const { atMs } = now
  const all: HistoryEvent[] = [
    { what: 'daemon', from: daemonNews(before.daemon), to: daemonNews(now.daemon), reason: null, atMs },
    { what: 'redis', from: before.redis, to: now.redis, reason: redis.reason, atMs: precise(redis.since) },
    { what: 'store', from: before.store, to: now.store, reason: store.reason, atMs },
    {
      what: 'remote',
      from: before.remote,
      to: now.remote,
      reason: remote.reason,
      atMs: precise(remote.since),
    },
    ...LANES.map((what) => ({
      ...{ what, from: gateNews(before.lanes[what].gate), to: gateNews(now.lanes[what].gate) },
      ...{ reason: null, atMs },
    })),
  ]
  // What becomes known is no change, unless it is bad.
  return all.filter(({ from, to }) => from !== to && !(from === 'unknown' && GOOD_STATES.includes(to)))
}
