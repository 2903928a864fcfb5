/**
 * Every metric there is: its name, type, labels and meaning. docs/metrics.md is tested against this table, both ways,
 * and so are the dashboard and the alert rules.
 *
 * Names are those of Prometheus' conventions: base units, the unit last, `_total` for what only grows. A label's values
 * come from the closed set named here: no key, namespace, value, path, address or secret is one.
 */

export interface Metric {
  type: 'counter' | 'gauge' | 'histogram'
  help: string
  /** Each label with its values. */
  labels?: Record<string, string>
}

const LANE = 'sync, push, embed'

export const METRICS = {
  memsync_build_info: {
    type: 'gauge',
    help: 'Always 1; says which version runs.',
    labels: { version: 'of memsyncd', node: 'of Node' },
  },
  memsync_daemon_running: { type: 'gauge', help: '1 while a daemon holds the data folder, else 0.' },
  memsync_progress_state: {
    type: 'gauge',
    help: '1 for what the daemon is doing, 0 for the rest.',
    labels: { state: 'working, idle, waiting, stalled, stopped' },
  },
  memsync_last_success_timestamp_seconds: {
    type: 'gauge',
    help: 'When a job last ended well, in Unix seconds; absent before the first.',
  },
  memsync_redis_state: {
    type: 'gauge',
    help: '1 for the state of Redis, 0 for the others.',
    labels: { state: 'up, down, refusing' },
  },
  memsync_lane_jobs: {
    type: 'gauge',
    help: 'Jobs in a lane now; absent while Redis does not answer.',
    labels: { lane: LANE, state: 'waiting, delayed, active' },
  },
  memsync_lane_oldest_waiting_seconds: {
    type: 'gauge',
    help: 'How long the oldest waiting job of a lane has waited, 0 where none waits; absent while Redis does not answer.',
    labels: { lane: LANE },
  },
  memsync_lane_gate_state: {
    type: 'gauge',
    help: '1 for the state of a lane’s gate, 0 for the others.',
    labels: { lane: LANE, state: 'open, ramping, shut, off, unknown' },
  },
  memsync_dead_letters_waiting: {
    type: 'gauge',
    help: 'Dead letters that wait for a person; absent while Redis does not answer.',
  },
  memsync_accepted_total: {
    type: 'counter',
    help: 'Memories that the queue has accepted since it began; absent while Redis does not answer.',
  },
  memsync_persisted_total: { type: 'counter', help: 'Writes applied since the store was made.' },
  memsync_superseded_total: {
    type: 'counter',
    help: 'Writes that came after a newer one of their key since the store was made.',
  },
  memsync_pushed_total: { type: 'counter', help: 'Push receipts since the store was made.' },
  memsync_outcomes_total: {
    type: 'counter',
    help: 'What became of jobs since the daemon started: writes at their commit, pushes and embeddings at their receipt.',
    labels: {
      lane: LANE,
      outcome:
        'sync: applied, superseded, repeated; push: pushed, unchanged, removed, superseded, kept, absent; ' +
        'embed: embedded, unchanged, removed, superseded, absent; every lane: retried, given_back',
    },
  },
  memsync_dead_letters_total: {
    type: 'counter',
    help: 'Jobs that became dead letters since the daemon started.',
    labels: { lane: LANE, class: 'permanent, transient, outage, credentials' },
  },
  memsync_accept_to_persist_seconds: {
    type: 'histogram',
    help: 'From the moment a memory was handed over to that in which it was durable in the store.',
  },
  memsync_commit_seconds: { type: 'histogram', help: 'One transaction of the store.' },
  memsync_commit_writes: { type: 'histogram', help: 'Writes in one transaction of the store.' },
  memsync_push_call_seconds: {
    type: 'histogram',
    help: 'One call to the memory server.',
    labels: { operation: 'push, remove', result: 'ok, failed' },
  },
  memsync_embed_call_seconds: {
    type: 'histogram',
    help: 'One call to the embedding server.',
    labels: { result: 'ok, failed' },
  },
  memsync_remote_state: {
    type: 'gauge',
    help: '1 for the state of the memory server, 0 for the others.',
    labels: { state: 'none, up, down, credentials, unknown' },
  },
  memsync_remote_probe_seconds: {
    type: 'gauge',
    help: 'How long the last probe of the memory server took; absent where it failed.',
  },
  memsync_embedded_memories: { type: 'gauge', help: 'Memories that have vectors of the current model.' },
  memsync_embed_tokens_total: { type: 'counter', help: 'Tokens embedded with the current model.' },
  memsync_embed_calls_total: { type: 'counter', help: 'Embedding calls with the current model.' },
  memsync_embed_cache_hits_total: { type: 'counter', help: 'Texts that had a vector and made no call.' },
  memsync_embed_cost_dollars_total: {
    type: 'counter',
    help: 'Estimated cost of these tokens in US dollars, by the published price; absent where none is known.',
  },
  memsync_embed_day_tokens: { type: 'gauge', help: 'Tokens embedded today, by the configured time zone.' },
  memsync_embed_day_limit_tokens: {
    type: 'gauge',
    help: 'MEMSYNC_EMBED_DAILY_TOKENS; absent without a limit.',
  },
  memsync_spool_records: { type: 'gauge', help: 'Memories in the spool; absent where it cannot be read.' },
  memsync_spool_bytes: { type: 'gauge', help: 'Bytes in the spool; absent where it cannot be read.' },
  memsync_spool_oldest_seconds: {
    type: 'gauge',
    help: 'How long the oldest memory has been in the spool, 0 where there is none.',
  },
  memsync_spool_limit_bytes: { type: 'gauge', help: 'MEMSYNC_SPOOL_MAX_BYTES.' },
  memsync_store_up: { type: 'gauge', help: '1 while the store can be written, else 0.' },
  memsync_store_keys: { type: 'gauge', help: 'Live keys in the store.' },
  memsync_store_bytes: { type: 'gauge', help: 'Bytes the store takes on disk.' },
  memsync_active_resources: {
    type: 'gauge',
    help: 'What keeps the event loop alive: sockets, timers, requests.',
  },
  memsync_event_loop_busy_seconds_total: {
    type: 'counter',
    help: 'Time the event loop was not idle; its rate is the share of a core.',
  },
  memsync_event_loop_lag_mean_seconds: {
    type: 'gauge',
    help: 'How late timers ran on average since the metrics were last read; absent at the first time.',
  },
  memsync_event_loop_lag_max_seconds: {
    type: 'gauge',
    help: 'How late a timer ran at most since the metrics were last read; absent at the first time.',
  },
  process_cpu_seconds_total: { type: 'counter', help: 'User and system CPU time of the daemon.' },
  process_resident_memory_bytes: { type: 'gauge', help: 'Resident memory of the daemon.' },
  process_start_time_seconds: { type: 'gauge', help: 'When the daemon started, in Unix seconds.' },
  process_open_fds: { type: 'gauge', help: 'Open file descriptors of the daemon (Linux).' },
  nodejs_heap_size_used_bytes: { type: 'gauge', help: 'JavaScript heap in use.' },
  nodejs_heap_size_total_bytes: { type: 'gauge', help: 'JavaScript heap reserved.' },
} as const satisfies Record<string, Metric>

export type MetricName = keyof typeof METRICS

/** One line of the exposition. */
export interface Sample {
  name: MetricName
  labels?: Record<string, string>
  value: number
}
