/**
 * What `memsync status` shows, collected by the daemon from what it knows, or by the command itself from the
 * store and Redis where no daemon answers.
 */
import type { Queue } from 'bullmq'
import type { Config } from '../config.ts'
import type { Store } from '../infrastructure/memory/port.ts'
import { remoteIdentity } from '../infrastructure/remote/configured.ts'
import type { SpoolDepth } from '../producers/spoolFile.ts'
import { DAEMON_VERSION } from '../release.ts'
import type { EmbeddingFigures, EmbeddingStatus } from './embeddingStatus.ts'

/** Whether a lane works: `off` where this release or this configuration has no such lane. */
export type GateState = 'open' | 'shut' | 'ramping' | 'off' | 'unknown'

export interface LaneStatus {
  /** Counts are null where Redis does not answer, so that nobody takes "unknown" for "none". */
  waiting: number | null
  delayed: number | null
  active: number | null
  /** How long the oldest waiting job has waited; null where none waits. */
  oldestWaitingMs: number | null
  gate: GateState
}

export interface Status {
  version: string
  daemon: {
    running: boolean
    pid: number | null
    /** ISO 8601. */
    since: string | null
    progress: {
      state: 'working' | 'idle' | 'waiting' | 'stalled' | 'stopped'
      /** When a job last ended, ISO 8601. */
      lastSuccess: string | null
    }
  }
  redis: { state: 'up' | 'down' | 'refusing'; endpoint: string; reason: string | null; since: string | null }
  lanes: { sync: LaneStatus; embed: LaneStatus; push: LaneStatus }
  deadLetters: number | null
  /** Accepted while Redis was away and not yet in the queue; each null where the spool cannot be read. */
  spool: {
    records: number | null
    bytes: number | null
    /** How long the oldest has waited, in milliseconds; null where none waits. */
    oldestMs: number | null
  }
  totals: {
    /** Memories this Redis has accepted since its queue began. */
    queued: number | null
    synced: number
    embedded: number
    pushed: number
    superseded: number
  }
  remote: {
    state: 'none' | 'up' | 'down' | 'credentials' | 'unknown'
    /** Kind and URL; null where there is none. */
    endpoint: string | null
    since: string | null
    latencyMs: number | null
    reason: string | null
  }
  embedding: EmbeddingStatus
  store: { keys: number; bytes: number; state: 'up' | 'down'; reason: string | null }
  /** When the newest snapshot was made, ISO 8601; null where there is none. */
  lastSnapshot: string | null
}

const UNKNOWN_COUNTS = { waiting: null, delayed: null, active: null, oldestWaitingMs: null }
const LANE_OFF: LaneStatus = { waiting: 0, delayed: 0, active: 0, oldestWaitingMs: null, gate: 'off' }

type LaneFigures = Omit<LaneStatus, 'gate'>

export interface QueueFigures {
  sync: LaneFigures
  push: LaneFigures
  embed: LaneFigures
  deadLetters: number
  queued: number
}

/** The queues whose figures are shown, on a connection that fails fast. */
export interface ObservedQueues {
  sync: Queue
  push: Queue
  embed: Queue
  deadLetters: Queue
}

/** @throws what Redis answers, or that it does not */
export async function readQueueFigures({
  sync,
  push,
  embed,
  deadLetters,
}: ObservedQueues): Promise<QueueFigures> {
  const client = await sync.getBackend().client
  const [syncLane, pushLane, embedLane, dead, lastId] = await Promise.all([
    readLane(sync),
    readLane(push),
    readLane(embed),
    deadLetters.getWaitingCount(),
    client.get(sync.toKey('id')),
  ])
  return {
    sync: syncLane.figures,
    push: pushLane.figures,
    embed: embedLane.figures,
    // A failed job is a dead letter that the next sweep moves.
    deadLetters: dead + syncLane.failed + pushLane.failed + embedLane.failed,
    queued: Number(lastId ?? 0),
  }
}

async function readLane(queue: Queue): Promise<{ figures: LaneFigures; failed: number }> {
  const client = await queue.getBackend().client
  const [counts, oldest] = await Promise.all([
    queue.getJobCounts('waiting', 'delayed', 'active', 'failed', 'prioritized'),
    // What is delayed was taken once and given back, so it may well be the oldest.
    queue.getRanges(['waiting', 'delayed'], 0, 0, true),
  ])
  // The time alone: a job as such may be long, or no JSON.
  const acceptedAt = await Promise.all(oldest.map((id) => client.hget(queue.toKey(id), 'timestamp')))
  const oldestMs = Math.min(...acceptedAt.map((ms) => Number(ms ?? Number.POSITIVE_INFINITY)))
  const figures = {
    waiting: (counts.waiting ?? 0) + (counts.prioritized ?? 0),
    delayed: counts.delayed ?? 0,
    active: counts.active ?? 0,
    oldestWaitingMs: Number.isFinite(oldestMs) ? Math.max(0, Date.now() - oldestMs) : null,
  }
  return { figures, failed: counts.failed ?? 0 }
}

export interface StatusSources {
  daemon: Status['daemon']
  redis: Status['redis']
  /** Undefined where Redis does not answer. */
  figures: QueueFigures | undefined
  syncGate: GateState
  /** `off` where no remote is configured. */
  pushGate: GateState
  /** `off` where nothing was ever to be embedded. */
  embedGate: GateState
  embedding: EmbeddingFigures
  remote: Status['remote']
  /** Undefined where it cannot be read. */
  spool: SpoolDepth | undefined
  store: Pick<Store, 'totals'>
  storeState: { state: 'up' | 'down'; reason: string | null }
  lastSnapshotAtMs: number | undefined
}

function laneStatus(figures: LaneFigures | undefined, gate: GateState): LaneStatus {
  return gate === 'off' ? LANE_OFF : { ...(figures ?? UNKNOWN_COUNTS), gate }
}

export async function composeStatus(sources: StatusSources): Promise<Status> {
  const totals = await sources.store.totals()
  const { figures } = sources
  return {
    version: DAEMON_VERSION,
    daemon: sources.daemon,
    redis: sources.redis,
    lanes: {
      sync: { ...(figures?.sync ?? UNKNOWN_COUNTS), gate: sources.syncGate },
      embed: laneStatus(figures?.embed, sources.embedGate),
      push: laneStatus(figures?.push, sources.pushGate),
    },
    deadLetters: figures?.deadLetters ?? null,
    spool: sources.spool ?? { records: null, bytes: null, oldestMs: null },
    totals: {
      queued: figures?.queued ?? null,
      synced: totals.synced,
      embedded: sources.embedding.embedded,
      pushed: totals.pushed,
      superseded: totals.superseded,
    },
    remote: sources.remote,
    embedding: sources.embedding.embedding,
    store: { keys: totals.keys, bytes: totals.bytes, ...sources.storeState },
    lastSnapshot:
      sources.lastSnapshotAtMs === undefined ? null : new Date(sources.lastSnapshotAtMs).toISOString(),
  }
}

const NO_REMOTE: Status['remote'] = {
  state: 'none',
  endpoint: null,
  since: null,
  latencyMs: null,
  reason: null,
}

/** What is said of the remote where nothing has looked at it. */
export function unseenRemote(config: Pick<Config, 'remoteKind' | 'remoteUrl'>): Status['remote'] {
  if (config.remoteKind === 'none') return NO_REMOTE
  return { ...NO_REMOTE, state: 'unknown', endpoint: remoteIdentity(config) }
}
