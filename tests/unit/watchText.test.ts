/** One frame of `memsync status --watch`, on terminals of many sizes. */
import { styleText } from 'node:util'
import { describe, expect, it } from 'vitest'
import { visibleWidth } from '../../src/cli/layout.ts'
import { flowOf, type Sample } from '../../src/cli/watchFigures.ts'
import { type Frame, renderWatch } from '../../src/cli/watchText.ts'
import type { Status } from '../../src/daemon/status.ts'

const NOW = Date.parse('2026-01-01T12:00:00Z')
const lane = { waiting: 1200, delayed: 3, active: 100, oldestWaitingMs: 2500, gate: 'open' as const }

const status: Status = {
  version: '1.2.3',
  daemon: {
    running: true,
    pid: 4242,
    since: '2026-01-01T11:30:00Z',
    progress: { state: 'working', lastSuccess: '2026-01-01T11:59:57Z' },
  },
  redis: { state: 'up', endpoint: 'unix:/data/redis.sock', reason: null, since: '2026-01-01T11:30:00Z' },
  lanes: { sync: lane, embed: lane, push: { ...lane, gate: 'shut' } },
  deadLetters: 2,
  spool: { records: 3, bytes: 4096, oldestMs: 1000 },
  totals: { queued: 15_000, synced: 13_697, embedded: 5, pushed: 7, superseded: 12 },
  remote: {
    state: 'down',
    endpoint: 'mem0 https://vps.example:8888',
    since: '2026-01-01T11:00:00Z',
    latencyMs: null,
    reason: 'mem0: GET /memories: cannot be reached: ECONNREFUSED',
  },
  lastSnapshot: null,
  embedding: {
    model: 'text-embedding-3-large',
    tokens: 1_000_000,
    tokensToday: 0,
    calls: 12,
    cacheHits: 3,
    estimatedCost: 0.13,
    reason: null,
  },
  store: { keys: 9000, bytes: 12_582_912, state: 'up', reason: null },
}

const at = (seconds: number, synced: number, pending: number): Sample => ({
  ...{ atMs: seconds * 1000, synced, embedded: 0, pushed: 0 },
  pending: { sync: pending, embed: 0, push: 0 },
})

function frame(change: Partial<Frame> = {}): string[] {
  const samples = change.samples ?? [at(0, 0, 2000), at(4, 400, 1600)]
  const flows = {
    sync: flowOf(samples, 'sync'),
    embed: flowOf(samples, 'embed'),
    push: flowOf(samples, 'push'),
  }
  const paint = (_meaning: string, text: string) => text
  return renderWatch({ ...{ status, samples, flows, nowMs: NOW, columns: 80, rows: 60, paint }, ...change })
}

describe('a frame', () => {
  it('has rates, the time to drain, and what the last minutes were like', () => {
    const lines = frame({ status: { ...status, lanes: { ...status.lanes, sync: lane } } })
    expect(lines).toContain('lane            waiting  delayed   active   oldest     gate     rate     left')
    expect(lines).toContain('sync              1,200        3      100      2 s     open    100/s     16 s')
    expect(lines.join('\n')).toMatch(/^sync {10,}.*█ {2}peak \d+\/s$/m)
    const growing = frame({ samples: [at(0, 0, 100), at(4, 4, 500)] })
    expect(growing.find((line) => line.startsWith('sync'))).toMatch(/1\/s +grows$/)
  })

  it('says the three lines of old, and what is wrong above everything else', () => {
    const lines = frame()
    expect(lines.filter((line) => /^(pending|failed|total synced) /.test(line))).toHaveLength(3)
    const place = (start: string) => lines.findIndex((line) => line.startsWith(start))
    expect(place('! the remote is away')).toBeGreaterThan(0)
    expect(place('! 2 dead letters')).toBeLessThan(place('daemon'))
  })

  it('fits terminals of every size, in colour too', () => {
    const paint = (_meaning: string, text: string) => styleText('red', text, { validateStream: false })
    for (const columns of [20, 40, 60, 80, 200]) {
      for (const rows of [3, 10, 24, 60]) {
        const lines = frame({ columns, rows, paint })
        expect(lines.length).toBeLessThanOrEqual(rows)
        for (const line of lines) expect(visibleWidth(line), line).toBeLessThanOrEqual(columns)
      }
    }
  })

  it('shows what matters most of a lane where there is little room', () => {
    expect(frame({ columns: 40 })).toContain('lane    waiting     gate     rate')
  })
})
