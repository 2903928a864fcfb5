/** A status in which all is well, with what a test changes. */
import type { LaneStatus, Status } from '../../src/daemon/status.ts'

export function lane(facts: Partial<LaneStatus> = {}): LaneStatus {
  return { waiting: 0, delayed: 0, active: 0, oldestWaitingMs: null, gate: 'open', ...facts }
}

export function goodStatus(facts: Partial<Status> = {}): Status {
  return {
    version: '0.1.0',
    daemon: {
      ...{ running: true, pid: 1, since: '2026-11-22T10:00:00.000Z' },
      progress: { state: 'idle', lastSuccess: null },
    },
    redis: { state: 'up', endpoint: 'unix:/r.sock', reason: null, since: '2026-11-22T10:00:00.000Z' },
    lanes: { sync: lane(), embed: lane({ gate: 'off' }), push: lane() },
    deadLetters: 0,
    spool: { records: 0, bytes: 0, oldestMs: null },
    totals: { queued: 10, synced: 10, embedded: 0, pushed: 10, superseded: 0 },
    remote: {
      state: 'up',
      endpoint: 'http x',
      since: '2026-11-22T10:00:00.000Z',
      latencyMs: 5,
      reason: null,
    },
    embedding: {
      ...{ model: 'm', tokens: 0, tokensToday: 0, calls: 0, cacheHits: 0 },
      ...{ estimatedCost: null, reason: null },
    },
    store: { keys: 10, bytes: 4096, state: 'up', reason: null },
    lastSnapshot: null,
    ...facts,
  }
}
