/** What is counted, and what a status comes to as metrics. */
import { describe, expect, it } from 'vitest'
import type { Status } from '../../src/daemon/status.ts'
import { MemsyncError } from '../../src/errors.ts'
import { METRICS, type Metric } from '../../src/metrics/catalogue.ts'
import { expose } from '../../src/metrics/exposition.ts'
import { CallTimes, Distribution, Measurements } from '../../src/metrics/measurements.ts'
import { statusSamples } from '../../src/metrics/statusSamples.ts'
import { readMetrics } from '../support/promText.ts'

const lane = { waiting: 3, delayed: 1, active: 2, oldestWaitingMs: 1500, gate: 'open' as const }
const STATUS: Status = {
  version: '1.2.3',
  daemon: { running: true, pid: 1, since: null, progress: { state: 'working', lastSuccess: null } },
  redis: { state: 'up', endpoint: 'redis://sEcReT', reason: 'sEcReT', since: null },
  lanes: {
    sync: lane,
    embed: { ...lane, waiting: 0, oldestWaitingMs: null },
    push: { ...lane, gate: 'off' },
  },
  deadLetters: 0,
  spool: { records: 2, bytes: 8192, oldestMs: 250 },
  totals: { queued: 10, synced: 9, embedded: 1, pushed: 4, superseded: 1 },
  remote: { state: 'down', endpoint: 'http://sEcReT', since: null, latencyMs: null, reason: 'sEcReT' },
  embedding: {
    ...{ model: 'sEcReT', tokens: 7, tokensToday: 5, calls: 2, cacheHits: 1, estimatedCost: null },
    reason: 'sEcReT',
  },
  store: { keys: 8, bytes: 4096, state: 'up', reason: null },
  lastSnapshot: null,
}
const CONFIG = { spoolMaxBytes: 10_000, embedDailyTokens: undefined }

async function ofStatus(status: Status) {
  return readMetrics(await expose(statusSamples(status, CONFIG)).text())
}

describe('a distribution', () => {
  it('counts a value on a bound below it, and one above all in the last', async () => {
    const distribution = new Distribution([1, 2])
    for (const value of [0, 1, 1.5, 2, 3]) distribution.observe(value)
    expect(distribution.counts).toEqual([2, 2, 1])
    expect(distribution.sum).toBe(7.5)
  })

  it('is exposed cumulatively, with sum and count', async () => {
    const measurements = new Measurements()
    measurements.ofSync.onCommit({
      durationMs: 3,
      committedAtMs: 10_000,
      writes: [{ acceptedAtMs: 9_900 }, { acceptedAtMs: 4_000 }, { acceptedAtMs: 11_000 }].map(
        ({ acceptedAtMs }) => ({
          ...{ op: 'set' as const, namespace: 'n', key: 'k', version: { epoch: 1, sequence: 1, index: 0 } },
          acceptedAtMs,
        }),
      ),
      outcomes: [
        { outcome: 'applied', repeated: false },
        { outcome: 'superseded', repeated: false },
        { outcome: 'applied', repeated: true },
      ],
    })
    const { value } = readMetrics(await expose([], measurements).text())
    const bucket = (name: string, le: string) => value(`${name}_bucket`, { le })
    expect(bucket('memsync_commit_seconds', '0.0025')).toBe(0)
    expect(bucket('memsync_commit_seconds', '0.005')).toBe(1)
    expect(bucket('memsync_commit_seconds', '+Inf')).toBe(1)
    expect(value('memsync_commit_writes_sum')).toBe(3)
    // 0.1 s, 6 s, and one whose producer's clock is ahead.
    expect(bucket('memsync_accept_to_persist_seconds', '0.001')).toBe(1)
    expect(bucket('memsync_accept_to_persist_seconds', '0.1')).toBe(2)
    expect(bucket('memsync_accept_to_persist_seconds', '5')).toBe(2)
    expect(bucket('memsync_accept_to_persist_seconds', '10')).toBe(3)
    expect(value('memsync_accept_to_persist_seconds_sum')).toBeCloseTo(6.1)
    expect(value('memsync_accept_to_persist_seconds_count')).toBe(3)
    const outcome = (name: string) => value('memsync_outcomes_total', { lane: 'sync', outcome: name })
    expect([outcome('applied'), outcome('superseded'), outcome('repeated')]).toEqual([1, 1, 1])
  })
})

it('a call is timed by how it ended, and its error goes on', async () => {
  const times = new CallTimes()
  const error = new MemsyncError('MEMSYNC_REMOTE_UNAVAILABLE', 'away')
  expect(await times.time(async () => 'answer')).toBe('answer')
  await expect(times.time(() => Promise.reject(error))).rejects.toBe(error)
  const counted = ({ counts }: Distribution) => counts.reduce((sum, count) => sum + count, 0)
  expect([counted(times.ok), counted(times.failed)]).toEqual([1, 1])
})

it('every series that can be counted is there from the start, at 0, with labels of the closed set alone', async () => {
  const text = await expose(statusSamples(STATUS, CONFIG), new Measurements()).text()
  const { value } = readMetrics(text)
  expect(value('memsync_dead_letters_total', { lane: 'push', class: 'permanent' })).toBe(0)
  expect(value('memsync_outcomes_total', { lane: 'embed', outcome: 'given_back' })).toBe(0)
  expect(value('memsync_push_call_seconds_count', { operation: 'remove', result: 'failed' })).toBe(0)
  for (const [, name = '', labels = ''] of text.matchAll(/^(\w+)\{(.*)\} /gm)) {
    if (name === 'memsync_build_info') continue
    const base = name.replace(/_(bucket|sum|count)$/, '')
    const metrics: Record<string, Metric> = METRICS
    const known = (metrics[name] ?? metrics[base])?.labels ?? {}
    for (const [, label = '', said = ''] of labels.matchAll(/(\w+)="([^"]*)"/g)) {
      if (label !== 'le') expect(known[label]?.split(/, |: |; /), `${name} ${label}`).toContain(said)
    }
  }
})

describe('a status as metrics', () => {
  it('has base units, one series for each state, and nothing that is text', async () => {
    const { value } = await ofStatus(STATUS)
    expect(value('memsync_lane_jobs', { lane: 'sync', state: 'waiting' })).toBe(3)
    expect(value('memsync_lane_oldest_waiting_seconds', { lane: 'sync' })).toBe(1.5)
    expect(value('memsync_lane_oldest_waiting_seconds', { lane: 'embed' })).toBe(0)
    expect(value('memsync_lane_gate_state', { lane: 'push', state: 'off' })).toBe(1)
    expect(value('memsync_lane_gate_state', { lane: 'push', state: 'open' })).toBe(0)
    expect(value('memsync_remote_state', { state: 'down' })).toBe(1)
    expect(value('memsync_spool_oldest_seconds')).toBe(0.25)
    expect(value('memsync_persisted_total')).toBe(9)
    expect(value('memsync_embed_tokens_total')).toBe(7)
    expect(value('memsync_embed_day_tokens')).toBe(5)
    expect(value('memsync_embed_calls_total')).toBe(2)
    expect(value('memsync_embed_cache_hits_total')).toBe(1)
    expect(await expose(statusSamples(STATUS, CONFIG)).text()).not.toContain('sEcReT')
  })

  it('leaves out what is not known, which is not 0', async () => {
    const unknown = {
      waiting: null,
      delayed: null,
      active: null,
      oldestWaitingMs: null,
      gate: 'shut' as const,
    }
    const { value, names } = await ofStatus({
      ...STATUS,
      lanes: { sync: unknown, push: unknown, embed: unknown },
      deadLetters: null,
      spool: { records: null, bytes: null, oldestMs: null },
      totals: { ...STATUS.totals, queued: null },
      store: { keys: 0, bytes: 0, state: 'down', reason: 'gone' },
    })
    for (const name of [
      ...['memsync_lane_jobs', 'memsync_lane_oldest_waiting_seconds', 'memsync_dead_letters_waiting'],
      ...['memsync_accepted_total', 'memsync_spool_records', 'memsync_spool_oldest_seconds'],
      ...['memsync_store_keys', 'memsync_persisted_total', 'memsync_remote_probe_seconds'],
      ...['memsync_embed_cost_dollars_total', 'memsync_embed_day_limit_tokens'],
      'memsync_last_success_timestamp_seconds',
    ]) {
      expect(names).not.toContain(name)
    }
    expect(value('memsync_store_up')).toBe(0)
    expect(value('memsync_lane_gate_state', { lane: 'sync', state: 'shut' })).toBe(1)
  })
})

it('as JSON it says the same', async () => {
  const exposition = expose(statusSamples(STATUS, CONFIG), new Measurements())
  const metrics = (await exposition.json()) as { name: string; type: string; samples: { value: number }[] }[]
  const { names } = readMetrics(await exposition.text())
  expect(metrics.map(({ name }) => name)).toEqual(names)
  for (const { name, type, samples } of metrics) {
    expect(type).toBe((METRICS as Record<string, Metric>)[name]?.type)
    expect(samples.length).toBeGreaterThan(0)
  }
})
