/** The metrics that a status says, whoever composed it. What is not known is left out, never 0. Pure. */
import type { Config } from '../config.ts'
import type { Status } from '../daemon/status.ts'
import type { MetricName, Sample } from './catalogue.ts'
import { LANES } from './measurements.ts'

type Given = readonly [name: MetricName, value: number | null, labels?: Record<string, string>]

export function statusSamples(
  status: Status,
  config: Pick<Config, 'spoolMaxBytes' | 'embedDailyTokens'>,
): Sample[] {
  const { daemon, redis, remote, deadLetters, totals } = status
  const given: Given[] = [
    ['memsync_build_info', 1, { version: status.version, node: process.versions.node }],
    ['memsync_daemon_running', Number(daemon.running)],
    ...states('memsync_progress_state', daemon.progress.state, [
      ...['working', 'idle', 'waiting', 'stalled', 'stopped'],
    ]),
    ['memsync_last_success_timestamp_seconds', unixSeconds(daemon.progress.lastSuccess)],
    ...states('memsync_redis_state', redis.state, ['up', 'down', 'refusing']),
    ...LANES.flatMap((lane) => ofLane(lane, status.lanes[lane])),
    ['memsync_dead_letters_waiting', deadLetters],
    ['memsync_accepted_total', totals.queued],
    ...states('memsync_remote_state', remote.state, ['none', 'up', 'down', 'credentials', 'unknown']),
    ['memsync_remote_probe_seconds', seconds(remote.latencyMs)],
    ...ofEmbedding(status, config.embedDailyTokens),
    ...ofSpool(status.spool),
    ['memsync_spool_limit_bytes', config.spoolMaxBytes],
    ...ofStore(status),
  ]
  return given.flatMap(([name, value, labels]) =>
    value === null ? [] : [{ name, value, ...(labels ? { labels } : {}) }],
  )
}

function ofLane(lane: string, { oldestWaitingMs, gate, ...jobs }: Status['lanes']['sync']): Given[] {
  // Where the count is not known, "none waits" is not either.
  const oldest = oldestWaitingMs ?? (jobs.waiting === null ? null : 0)
  return [
    ...(['waiting', 'delayed', 'active'] as const).map(
      (state): Given => ['memsync_lane_jobs', jobs[state], { lane, state }],
    ),
    ['memsync_lane_oldest_waiting_seconds', seconds(oldest), { lane }],
    ...states('memsync_lane_gate_state', gate, ['open', 'ramping', 'shut', 'off', 'unknown'], { lane }),
  ]
}

function ofEmbedding({ embedding, totals }: Status, dailyTokens: number | undefined): Given[] {
  return [
    ['memsync_embedded_memories', totals.embedded],
    ['memsync_embed_tokens_total', embedding.tokens],
    ['memsync_embed_calls_total', embedding.calls],
    ['memsync_embed_cache_hits_total', embedding.cacheHits],
    ['memsync_embed_cost_dollars_total', embedding.estimatedCost],
    ['memsync_embed_day_tokens', embedding.tokensToday],
    ['memsync_embed_day_limit_tokens', dailyTokens ?? null],
  ]
}

function ofSpool({ records, bytes, oldestMs }: Status['spool']): Given[] {
  return [
    ['memsync_spool_records', records],
    ['memsync_spool_bytes', bytes],
    ['memsync_spool_oldest_seconds', seconds(oldestMs ?? (records === null ? null : 0))],
  ]
}

/** A store that cannot be used says nothing of what is in it. */
function ofStore({ store, totals }: Status): Given[] {
  const isUp = store.state === 'up'
  const known = (value: number) => (isUp ? value : null)
  return [
    ['memsync_store_up', Number(isUp)],
    ['memsync_store_keys', known(store.keys)],
    ['memsync_store_bytes', known(store.bytes)],
    ['memsync_persisted_total', known(totals.synced)],
    ['memsync_superseded_total', known(totals.superseded)],
    ['memsync_pushed_total', known(totals.pushed)],
  ]
}

/** One series for each state, so that one that is left goes to 0. */
function states(
  name: MetricName,
  current: string,
  all: readonly string[],
  labels: Record<string, string> = {},
): Given[] {
  return all.map((state) => [name, Number(state === current), { ...labels, state }])
}

function seconds(ms: number | null): number | null {
  return ms === null ? null : ms / 1000
}

function unixSeconds(isoTime: string | null): number | null {
  return isoTime === null ? null : Date.parse(isoTime) / 1000
}
