/** What the dashboard remembers, and what its page makes of it: bounded, and never more than was seen. */
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Status } from '../../src/daemon/status.ts'
import { StatusHistory } from '../../src/dashboard/history.ts'
import { goodStatus, lane } from '../support/statusFacts.ts'

const PAGE = join(import.meta.dirname, '..', '..', 'src', 'dashboard', 'page')
const { throughput, peaks, stretches, oldestOf, rateNow } = await import(join(PAGE, 'series.js'))
const { verdicts } = await import(join(PAGE, 'verdict.js'))
const { duration, rate, visible, visibleLines, bytes } = await import(join(PAGE, 'format.js'))

const T0 = Date.parse('2026-11-22T12:00:00.000Z')
const remote = (state: Status['remote']['state'], facts: Partial<Status['remote']> = {}) =>
  goodStatus({ remote: { ...goodStatus().remote, state, ...facts } })
const synced = (count: number) => goodStatus({ totals: { ...goodStatus().totals, synced: count } })

describe('the history', () => {
  it('keeps an hour whole and a day thinned, however long it goes on', () => {
    const history = new StatusHistory()
    for (let s = 0; s < 3 * 86_400; s += 10) history.record(goodStatus(), T0 + s * 1_000)
    const { samples } = history.since(0)
    const endMs = T0 + 3 * 86_400_000 - 10_000
    expect(samples.filter(({ atMs }) => atMs > endMs - 3_600_000)).toHaveLength(360)
    expect(samples.length).toBeLessThan(360 + 24 * 12)
    expect(samples.length).toBeGreaterThan(360 + 22 * 12)
    expect(samples[0]?.atMs).toBeGreaterThan(endMs - 86_400_000)
    expect(samples.map(({ atMs }) => atMs)).toEqual(samples.map(({ atMs }) => atMs).toSorted((a, b) => a - b))
  })

  it('tells each change of a state once, with the time the state itself gives', () => {
    const history = new StatusHistory()
    history.record(goodStatus(), T0)
    history.record(
      goodStatus({ daemon: { ...goodStatus().daemon, progress: { state: 'working', lastSuccess: null } } }),
      T0 + 5_000,
    )
    const since = new Date(T0 + 7_000).toISOString()
    history.record(remote('down', { since, reason: 'refused' }), T0 + 10_000)
    history.record(remote('down', { since, reason: 'refused' }), T0 + 20_000)
    history.record(remote('up', { since: new Date(T0).toISOString() }), T0 + 30_000)
    expect(history.since(0).events).toEqual([
      { atMs: T0 + 7_000, what: 'remote', from: 'up', to: 'down', reason: 'refused' },
      { atMs: T0 + 30_000, what: 'remote', from: 'down', to: 'up', reason: null },
    ])
  })

  it('tells nothing of a gate that ramps on its way, nor of what becomes known and is good', () => {
    const history = new StatusHistory()
    const gates = ['unknown', 'open', 'shut', 'ramping', 'open', 'unknown', 'shut'] as const
    for (const [at, gate] of gates.entries()) {
      history.record(goodStatus({ lanes: { ...goodStatus().lanes, push: lane({ gate }) } }), T0 + at * 10_000)
    }
    expect(history.since(0).events.map(({ from, to }) => `${from} ${to}`)).toEqual([
      'open shut',
      'shut open',
      'open unknown',
      'unknown shut',
    ])
  })

  it('bounds the changes, and takes looks in quick succession as one', () => {
    const history = new StatusHistory()
    for (let n = 0; n < 1_000; n++) history.record(remote(n % 2 === 0 ? 'up' : 'down'), T0 + n * 2_000)
    expect(history.since(0).events).toHaveLength(200)
    const quick = new StatusHistory()
    for (let n = 0; n < 30; n++) quick.record(goodStatus(), T0 + n * 100)
    expect(quick.since(0).samples).toHaveLength(2)
  })

  it('takes what another saw before it, and nothing twice', () => {
    const daemon = new StatusHistory()
    for (let n = 0; n < 10; n++) daemon.record(remote(n < 5 ? 'down' : 'up'), T0 + n * 10_000)
    const own = new StatusHistory()
    own.adopt(daemon.since(0))
    own.record(goodStatus(), T0 + 100_000)
    own.adopt(daemon.since(0))
    const { samples, events } = own.since(0)
    expect(samples.map(({ atMs }) => (atMs - T0) / 10_000)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    expect(events).toHaveLength(1)
    expect(own.since(T0 + 90_000).samples).toHaveLength(1)
  })
})

describe('the charts', () => {
  const samplesOf = (statuses: [number, Status][]) => {
    const history = new StatusHistory()
    for (const [seconds, status] of statuses) history.record(status, T0 + seconds * 1_000)
    return history.since(0).samples
  }
  const range = { fromMs: T0, toMs: T0 + 60_000, stepMs: 1 }

  it('throughput is what was done over the time it took; a silence is a gap, and a new store no miracle', () => {
    const samples = samplesOf([
      [0, synced(100)],
      [10, synced(150)],
      [20, synced(150)],
      [200, synced(900)],
      [210, synced(5)],
    ])
    const steps = throughput(samples, 'sync', { ...range, toMs: T0 + 210_000 })
    expect(steps.map((step: { value: number } | null) => step?.value ?? null)).toEqual([5, 0, null, 0])
    expect(rateNow(samples.slice(0, 2), 'sync')).toBe(5)
    expect(rateNow(samples.slice(0, 1), 'sync')).toBeNull()
  })

  it('steps closer than a few pixels are one, and keep the worst age', () => {
    const old = (oldestWaitingMs: number | null, waiting: number | null = 1) =>
      goodStatus({ lanes: { ...goodStatus().lanes, sync: lane({ waiting, oldestWaitingMs }) } })
    const samples = samplesOf([
      [0, old(null, 0)],
      [5, old(9_000)],
      [10, old(2_000)],
      [15, old(1_000)],
      [20, old(null, null)],
    ])
    const steps = peaks(samples, oldestOf('sync'), { ...range, stepMs: 10_000 })
    expect(steps.map((step: { value: number } | null) => step?.value ?? null)).toEqual([9_000, 1_000])
    const unknown = peaks(samples, oldestOf('sync'), { ...range, fromMs: T0 + 16_000 })
    expect(unknown).toEqual([null])
  })

  it('stretches of one state are one, and what nobody saw is left out', () => {
    const samples = samplesOf([
      [0, remote('up')],
      [10, remote('up')],
      [20, remote('down')],
      [200, remote('up')],
    ])
    const found = stretches(samples, (sample: { remote: string }) => sample.remote, {
      fromMs: T0,
      toMs: T0 + 203_000,
    })
    expect(found).toEqual([
      { fromMs: T0, toMs: T0 + 20_000, state: 'up' },
      { fromMs: T0 + 20_000, toMs: T0 + 32_000, state: 'down' },
      { fromMs: T0 + 200_000, toMs: T0 + 203_000, state: 'up' },
    ])
  })
})

describe('the verdict', () => {
  const say = (facts: Partial<Status>): string[] =>
    verdicts(goodStatus(facts), T0).map(
      ({ tone, text }: { tone: string; text: string }) => `${tone}: ${text}`,
    )

  it.each<[string, Partial<Status>, string[]]>([
    ['all is well', {}, ['good: All caught up']],
    [
      'work is going on',
      { lanes: { ...goodStatus().lanes, sync: lane({ waiting: 1_200, active: 34 }) } },
      ['good: Working: 1,234 to persist'],
    ],
    ['dead letters', { deadLetters: 1 }, ['warn: 1 dead letter waits for a person']],
    [
      'no daemon',
      {
        daemon: { running: false, pid: null, since: null, progress: { state: 'stopped', lastSuccess: null } },
        lanes: { ...goodStatus().lanes, sync: lane({ waiting: 1 }) },
      },
      ['bad: No daemon runs, and 1 memory waits'],
    ],
    [
      'the remote and Redis are away',
      {
        redis: { state: 'down', endpoint: '', reason: 'x', since: '2026-11-22T11:58:30.000Z' },
        remote: { ...goodStatus().remote, state: 'down', since: '2026-11-22T11:00:00.000Z' },
      },
      ['bad: Redis is away for 1 min 30 s', 'bad: The memory server is away for 1 h'],
    ],
    [
      'the key is refused',
      { remote: { ...goodStatus().remote, state: 'credentials' } },
      ['bad: The memory server refuses our key for 2 h'],
    ],
    [
      'the disk',
      { store: { ...goodStatus().store, state: 'down', reason: 'full' } },
      ['bad: The store cannot be written'],
    ],
  ])('%s', (_what, facts, expected) => {
    expect(say(facts)).toEqual(expected)
  })
})

describe('what is shown', () => {
  it('durations, rates and sizes are short', () => {
    expect([0, 1_400, 61_000, 3_600_000, 90_000_000, null].map(duration)).toEqual([
      '0 s',
      '1 s',
      '1 min 1 s',
      '1 h',
      '1 d 1 h',
      '?',
    ])
    expect([0, 0.01, 2.34, 1_234.5, null].map(rate)).toEqual(['0/s', '36/h', '2.3/s', '1,235/s', '?'])
    expect([0, 512, 2_048, 5 * 1024 ** 3].map(bytes)).toEqual(['0 bytes', '512 bytes', '2.0 KiB', '5.0 GiB'])
  })

  it('what no eye sees is shown', () => {
    expect(visible('a\u202eb\u0000c\u200bd')).toBe('a\\u202eb\\u0000c\\u200bd')
    expect(visibleLines('a\n\tb\r\u2066')).toBe('a\n\tb\\u000d\\u2066')
  })
})
