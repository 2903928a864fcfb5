/** The status as a person reads it. */
import { describe, expect, it } from 'vitest'
import { renderStatus } from '../../src/cli/statusText.ts'
import type { Status } from '../../src/daemon/status.ts'
import { findTroubles } from '../../src/daemon/troubles.ts'

const NOW = Date.parse('2026-01-01T12:00:00Z')
const off = { waiting: 0, delayed: 0, active: 0, oldestWaitingMs: null, gate: 'off' as const }

const healthy: Status = {
  version: '1.2.3',
  daemon: {
    running: true,
    pid: 4242,
    since: '2026-01-01T11:30:00Z',
    progress: { state: 'working', lastSuccess: '2026-01-01T11:59:57Z' },
  },
  redis: { state: 'up', endpoint: 'unix:/data/redis.sock', reason: null, since: '2026-01-01T11:30:00Z' },
  lanes: {
    sync: { waiting: 1200, delayed: 3, active: 100, oldestWaitingMs: 2500, gate: 'open' },
    embed: off,
    push: off,
  },
  deadLetters: 0,
  spool: { records: 0, bytes: 0, oldestMs: null },
  totals: { queued: 15_000, synced: 13_697, embedded: 0, pushed: 0, superseded: 12 },
  remote: { state: 'none', endpoint: null, since: null, latencyMs: null, reason: null },
  embedding: {
    model: 'text-embedding-3-large',
    tokens: 0,
    tokensToday: 0,
    calls: 0,
    cacheHits: 0,
    estimatedCost: null,
    reason: null,
  },
  store: { keys: 9000, bytes: 12_582_912, state: 'up', reason: null },
  lastSnapshot: null,
}

const embedding: Status['embedding'] = {
  ...healthy.embedding,
  tokens: 1_200_000,
  calls: 9,
  cacheHits: 40,
  estimatedCost: 0.156,
  reason: 'OPENAI_API_KEY is not set',
}

const plain = (_meaning: string, text: string) => text
const render = (change: Partial<Status>) => renderStatus({ ...healthy, ...change }, NOW, plain)
const problems = (change: Partial<Status>) =>
  findTroubles({ ...healthy, ...change }, NOW).map(({ problem }) => problem)

describe('the status screen', () => {
  it('says everything about a healthy daemon, without colour', () => {
    expect(render({})).toBe(`memsyncd 1.2.3  all is well

daemon        running, working, pid 4242, up 30 min, last job 3 s ago
redis         up for 30 min  unix:/data/redis.sock
store         up, 9,000 memories, 12.0 MiB

lane            waiting  delayed   active   oldest     gate
sync              1,200        3      100      2 s     open

pending       1,303
failed        0
total synced  13,697, of 15,000 accepted by this Redis, 12 superseded
`)
  })

  it('fits one screen also with all lanes, a remote and everything wrong', () => {
    const lane = { ...healthy.lanes.sync, oldestWaitingMs: 86_400_000 * 3 }
    const text = render({
      lanes: { sync: lane, embed: { ...lane, gate: 'shut' }, push: { ...lane, gate: 'ramping' } },
      remote: {
        state: 'down',
        endpoint: 'mem0 https://vps',
        since: null,
        latencyMs: null,
        reason: 'HTTP 502',
      },
      daemon: { ...healthy.daemon, progress: { state: 'stalled', lastSuccess: null } },
      redis: { ...healthy.redis, state: 'refusing', reason: 'OOM' },
      store: { ...healthy.store, state: 'down', reason: 'the disk is full' },
      deadLetters: 2,
    })
    expect(text.split('\n').length).toBeLessThanOrEqual(30)
    expect(text).toContain('remote        away  mem0 https://vps\n              HTTP 502\n')
    for (const line of text.split('\n')) expect(line.length).toBeLessThanOrEqual(100)
  })

  it('shows the remote, its lane, and what is still to be pushed', () => {
    const remote = {
      ...({ state: 'up', endpoint: 'mem0 https://vps.example:8888', reason: null } as const),
      ...{ since: '2026-01-01T09:00:00Z', latencyMs: 12.4 },
    }
    const push = { waiting: 1200, delayed: 16, active: 4, oldestWaitingMs: 185_000, gate: 'open' as const }
    const lanes = { ...healthy.lanes, push }
    const totals = { ...healthy.totals, pushed: 12_000 }
    expect(render({ remote, lanes, totals })).toBe(`memsyncd 1.2.3  all is well

daemon        running, working, pid 4242, up 30 min, last job 3 s ago
redis         up for 30 min  unix:/data/redis.sock
store         up, 9,000 memories, 12.0 MiB
remote        up for 3 h, answers in 12 ms  mem0 https://vps.example:8888

lane            waiting  delayed   active   oldest     gate
sync              1,200        3      100      2 s     open
push              1,200       16        4    3 min     open

pending       2,523
failed        0
total synced  13,697, of 15,000 accepted by this Redis, 12 superseded
total pushed  12,000, 1,220 to go, the oldest for 3 min
`)
    const away = {
      ...({
        state: 'down',
        endpoint: remote.endpoint,
        since: '2026-01-01T11:56:00Z',
        latencyMs: null,
      } as const),
      reason: 'mem0: GET /health (request 0b5f-1): cannot be reached: ECONNREFUSED',
    }
    const text = render({
      remote: away,
      lanes: { ...lanes, push: { ...push, active: 0, gate: 'shut' } },
      totals,
    })
    expect(text).toContain(`remote        away for 4 min  mem0 https://vps.example:8888
              mem0: GET /health: cannot be reached: ECONNREFUSED
`)
    expect(text).toContain('push              1,200       16        0    3 min     shut\n')
    expect(text).toContain(`
! the remote is away for 4 min
  next: mend or start it; what waits for it goes on by itself
`)
    const refused = render({
      remote: { ...away, state: 'credentials', reason: 'mem0: answered 401' },
      lanes,
      totals,
    })
    expect(refused).toContain('remote        refuses our credentials for 4 min  mem0')
    expect(refused).toContain('next: correct MEMSYNC_REMOTE_KEY')
  })

  it('never shows unknown as none', () => {
    const unknown = {
      waiting: null,
      delayed: null,
      active: null,
      oldestWaitingMs: null,
      gate: 'unknown' as const,
    }
    const text = render({ lanes: { ...healthy.lanes, sync: unknown }, deadLetters: null })
    expect(text).toMatch(/pending +unknown\nfailed +unknown\n/)
  })

  it('paints by meaning and changes no letter by it', () => {
    const marked = renderStatus(
      { ...healthy, deadLetters: 1 },
      NOW,
      (meaning, text) => `<${meaning}>${text}</>`,
    )
    expect(marked).toContain('<good>running, working</>')
    expect(marked).toContain('failed        <bad>1</>')
    expect(marked.replaceAll(/<[a-z]*>|<\/>/g, '')).toBe(render({ deadLetters: 1 }))
  })

  it('shows no control character of a reason', () => {
    expect(render({ redis: { ...healthy.redis, state: 'down', reason: 'a\u001b[2J' } })).not.toContain(
      '\u001b',
    )
  })
})

describe('what is wrong', () => {
  it('is nothing where nothing is', () => {
    expect(problems({})).toEqual([])
  })

  it('is that no daemon runs, and then not that its private Redis does not', () => {
    const daemon: Status['daemon'] = {
      running: false,
      pid: null,
      since: null,
      progress: { state: 'stopped', lastSuccess: null },
    }
    const down = { state: 'down', reason: 'it does not run', since: null } as const
    expect(problems({ daemon, redis: { ...down, endpoint: 'unix:/data/redis.sock' } })).toEqual([
      'no daemon runs, so accepted memories wait in the queue',
    ])
    expect(problems({ daemon, redis: { ...down, endpoint: 'redis://host:6379' } })).toContain(
      'Redis cannot be reached (it does not run)',
    )
    expect(render({ daemon })).toContain('  next: memsync daemon\n')
  })

  it('tells a daemon that does not answer from one that makes no progress', () => {
    const stalled = { state: 'stalled', lastSuccess: null } as const
    expect(problems({ daemon: { ...healthy.daemon, progress: stalled } })).toEqual([
      'the daemon makes no progress',
    ])
    expect(problems({ daemon: { running: true, pid: null, since: null, progress: stalled } })).toEqual([
      'the daemon runs and does not answer',
    ])
  })

  it('names Redis, the store, a long wait and dead letters, each with what to do', () => {
    expect(problems({ redis: { ...healthy.redis, state: 'refusing', reason: 'OOM' } })).toEqual([
      'Redis takes no writes (OOM)',
    ])
    expect(problems({ store: { ...healthy.store, state: 'down', reason: 'the disk is full' } })).toEqual([
      'the store cannot be used (the disk is full)',
    ])
    const sync = { ...healthy.lanes.sync, oldestWaitingMs: 61_000 }
    expect(problems({ lanes: { ...healthy.lanes, sync } })).toEqual(['the oldest job has waited 1 min'])
    expect(problems({ deadLetters: 1 })).toEqual(['1 dead letter'])
    for (const { next } of findTroubles({ ...healthy, deadLetters: 2 }, NOW))
      expect(next).toBe('memsync dlq list')
  })

  it('says what embedding took, and why it waits', () => {
    const lanes = { ...healthy.lanes, embed: { ...healthy.lanes.sync, gate: 'shut' as const } }
    const totals = { ...healthy.totals, embedded: 4000 }
    expect(render({ lanes, totals, embedding })).toContain(
      'embedding     4,000 embedded with text-embedding-3-large, 1,200,000 tokens in 9 calls, about $0.16, 40 from the cache\n',
    )
    expect(problems({ lanes, embedding })).toEqual(['embedding waits (OPENAI_API_KEY is not set)'])
    expect(problems({ embedding })).toEqual([])
  })
})
