/** The status for a person: one screen that says what is wrong, and the command to run next. Pure. */
import type { LaneStatus, Status } from '../daemon/status.ts'
import { formatDuration } from './duration.ts'
import { type Meaning, type Paint, printable } from './output.ts'

/** Jobs that wait longer than this beside a daemon that runs are worth a word. */
const LONG_WAIT_MS = 60_000
const LABEL_WIDTH = 14

interface Trouble {
  problem: string
  next: string
}

/** What keeps memories from arriving, worst first, each with what to do about it. */
export function findTroubles(status: Status, nowMs: number): Trouble[] {
  const { daemon, redis, store, lanes, deadLetters, spool } = status
  const troubles: Trouble[] = []
  const add = (problem: string, next: string) => troubles.push({ problem, next })
  if (!daemon.running) add('no daemon runs, so accepted memories wait in the queue', 'memsync daemon')
  if (daemon.progress.state === 'stalled') {
    add(
      daemon.pid === null ? 'the daemon runs and does not answer' : 'the daemon makes no progress',
      'read its log; where it does not recover by itself, restart it',
    )
  }
  // Without a daemon the private Redis is not meant to run.
  if (redis.state !== 'up' && (daemon.running || !redis.endpoint.startsWith('unix:'))) {
    const what = redis.state === 'refusing' ? 'Redis takes no writes' : 'Redis cannot be reached'
    add(withReason(what, redis.reason), 'mend or start it; what waits there goes on by itself')
  }
  if (store.state === 'down') {
    add(withReason('the store cannot be used', store.reason), 'mend it; what waits goes on by itself')
  }
  if (spool.records === null) add('the spool cannot be read', 'make its folder readable for this user')
  if (daemon.running && redis.state === 'up' && (spool.oldestMs ?? 0) > LONG_WAIT_MS) {
    add(
      `the oldest memory in the spool has waited ${formatDuration(spool.oldestMs ?? 0)}`,
      'read the log of the daemon: it says why the spool is not drained',
    )
  }
  if (status.remote.state === 'down') {
    const since =
      status.remote.since === null ? '' : ` for ${formatDuration(nowMs - Date.parse(status.remote.since))}`
    add(`the remote is away${since}`, 'mend or start it; what waits for it goes on by itself')
  }
  if (status.remote.state === 'credentials') {
    add('the remote refuses the credentials', 'correct MEMSYNC_REMOTE_KEY, or the key in the remote')
  }
  const { oldestWaitingMs, gate } = lanes.sync
  if (daemon.running && redis.state === 'up' && gate === 'open' && (oldestWaitingMs ?? 0) > LONG_WAIT_MS) {
    add(
      `the oldest job has waited ${formatDuration(oldestWaitingMs ?? 0)}`,
      'memsync status, to see whether it falls',
    )
  }
  if (status.embedding.reason !== null && lanes.embed.gate !== 'off') {
    add(
      withReason('embedding waits', status.embedding.reason),
      'mend what it names (memsync config); what waits goes on by itself',
    )
  }
  if (deadLetters)
    add(`${count(deadLetters)} ${deadLetters === 1 ? 'dead letter' : 'dead letters'}`, 'memsync dlq list')
  return troubles
}

/** The screen; every state has its word, so that it reads the same without colour. */
export function renderStatus(status: Status, nowMs: number, paint: Paint): string {
  const lines = [
    paint('heading', `memsyncd ${status.version}`),
    '',
    line('daemon', daemonText(status, nowMs, paint)),
    line('redis', redisText(status, nowMs, paint)),
    line('store', storeText(status, paint)),
    ...(status.lastSnapshot === null ? [] : [line('snapshot', ageText(status.lastSnapshot, nowMs))]),
    ...(status.remote.state === 'none' ? [] : [line('remote', remoteText(status, nowMs, paint))]),
    ...(status.lanes.embed.gate === 'off' ? [] : [line('embedding', embeddingText(status))]),
    '',
    ...laneTable(status, paint),
    '',
    ...(status.spool.records === 0 ? [] : [line('spool', spoolText(status, paint))]),
    line('pending', numberText(pending(status))),
    line('failed', paint(status.deadLetters ? 'bad' : 'good', numberText(status.deadLetters))),
    line('total synced', totalsText(status)),
    ...(status.remote.state === 'none' ? [] : [line('total pushed', pushedText(status))]),
  ]
  const troubles = findTroubles(status, nowMs)
  if (troubles.length > 0) lines.push('')
  for (const { problem, next } of troubles) {
    lines.push(`${paint('bad', '!')} ${printable(problem)}`, `  next: ${next}`)
  }
  return `${lines.join('\n')}\n`
}

function line(label: string, text: string): string {
  return `${label.padEnd(LABEL_WIDTH)}${text}`
}

function daemonText({ daemon }: Status, nowMs: number, paint: Paint): string {
  if (!daemon.running) return paint('bad', 'stopped')
  const { state, lastSuccess } = daemon.progress
  const facts = [
    daemon.pid === null ? undefined : `pid ${daemon.pid}`,
    daemon.since === null ? undefined : `up ${formatDuration(nowMs - Date.parse(daemon.since))}`,
    lastSuccess === null ? undefined : `last job ${formatDuration(nowMs - Date.parse(lastSuccess))} ago`,
  ].filter((fact) => fact !== undefined)
  const meaning: Meaning = state === 'stalled' ? 'bad' : state === 'waiting' ? 'warning' : 'good'
  return [paint(meaning, `running, ${state}`), ...facts].join(', ')
}

function redisText({ redis }: Status, nowMs: number, paint: Paint): string {
  const since = redis.since === null ? '' : ` for ${formatDuration(nowMs - Date.parse(redis.since))}`
  const state = paint(redis.state === 'up' ? 'good' : 'bad', redis.state)
  return `${withReason(`${state}${since}`, redis.reason)}  ${paint('quiet', printable(redis.endpoint))}`
}

function storeText({ store }: Status, paint: Paint): string {
  const state = withReason(paint(store.state === 'up' ? 'good' : 'bad', store.state), store.reason)
  return `${state}, ${count(store.keys)} ${store.keys === 1 ? 'memory' : 'memories'}, ${formatBytes(store.bytes)}`
}

function ageText(time: string, nowMs: number): string {
  return `${formatDuration(Math.max(0, nowMs - Date.parse(time)))} ago`
}

const REMOTE_STATES = {
  ...{ up: 'up', down: 'away', credentials: 'refuses our credentials' },
  ...{ unknown: 'unknown', none: 'none' },
} as const satisfies Record<Status['remote']['state'], string>

function remoteText({ remote }: Status, nowMs: number, paint: Paint): string {
  const meaning: Meaning = remote.state === 'up' ? 'good' : remote.state === 'unknown' ? 'warning' : 'bad'
  const since = remote.since === null ? '' : ` for ${formatDuration(nowMs - Date.parse(remote.since))}`
  const latency = remote.latencyMs === null ? '' : `, answers in ${Math.round(remote.latencyMs)} ms`
  // The request's id is for whoever searches the logs.
  const reason = remote.reason?.replace(/ \(request [\w.-]+\)/, '') ?? null
  const state = `${paint(meaning, REMOTE_STATES[remote.state])}${since}${latency}`
  const endpoint = remote.endpoint === null ? '' : `  ${paint('quiet', printable(remote.endpoint))}`
  const why = reason === null ? '' : `\n${line('', printable(reason))}`
  return `${state}${endpoint}${why}`
}

/** Pointers stand for memories: one for each that is not yet on the remote. */
function pushedText({ totals, lanes: { push } }: Status): string {
  if (push.waiting === null) return count(totals.pushed)
  const left = push.waiting + (push.delayed ?? 0) + (push.active ?? 0)
  const oldest =
    push.oldestWaitingMs === null ? '' : `, the oldest for ${formatDuration(push.oldestWaitingMs)}`
  return `${count(totals.pushed)}${left === 0 ? '' : `, ${count(left)} to go${oldest}`}`
}

function spoolText({ spool: { records, bytes, oldestMs } }: Status, paint: Paint): string {
  if (records === null || bytes === null) return paint('bad', 'unknown')
  const oldest = oldestMs === null ? '' : `, the oldest for ${formatDuration(oldestMs)}`
  const waiting = `${count(records)} ${records === 1 ? 'memory waits' : 'memories wait'}`
  return `${paint('warning', waiting)} for Redis, ${formatBytes(bytes)}${oldest}`
}

function embeddingText({ totals, embedding }: Status): string {
  const { model, tokens, calls, cacheHits, estimatedCost } = embedding
  const cost = estimatedCost === null ? '' : `, about $${estimatedCost.toFixed(2)}`
  const spent = `${count(tokens)} tokens in ${count(calls)} calls${cost}, ${count(cacheHits)} from the cache`
  return `${count(totals.embedded)} embedded with ${printable(model)}, ${spent}`
}

const COLUMNS = ['waiting', 'delayed', 'active', 'oldest', 'gate'] as const

function laneTable(status: Status, paint: Paint): string[] {
  const head = `${'lane'.padEnd(LABEL_WIDTH)}${COLUMNS.map((name) => name.padStart(9)).join('')}`
  // A lane that this release or this configuration does not have says nothing.
  const lanes = Object.entries(status.lanes).filter(([, lane]) => lane.gate !== 'off')
  return [paint('quiet', head), ...lanes.map(([name, lane]) => laneRow(name, lane, paint))]
}

function laneRow(name: string, lane: LaneStatus, paint: Paint): string {
  const oldest = lane.oldestWaitingMs === null ? '-' : formatDuration(lane.oldestWaitingMs)
  const cells = [numberText(lane.waiting), numberText(lane.delayed), numberText(lane.active), oldest]
  const meaning: Meaning = lane.gate === 'open' ? 'good' : lane.gate === 'shut' ? 'bad' : 'warning'
  const gate = paint(meaning, lane.gate.padStart(9))
  return `${name.padEnd(LABEL_WIDTH)}${cells.map((cell) => cell.padStart(9)).join('')}${gate}`
}

function pending({ lanes, spool }: Status): number | null {
  const queued = Object.values(lanes).flatMap(({ waiting, delayed, active }) => [waiting, delayed, active])
  const counts = [...queued, spool.records]
  return counts.reduce((sum, next) => (sum === null || next === null ? null : sum + next), 0)
}

function totalsText({ totals }: Status): string {
  const queued = totals.queued === null ? '' : `, of ${count(totals.queued)} accepted by this Redis`
  const superseded = totals.superseded > 0 ? `, ${count(totals.superseded)} superseded` : ''
  return `${count(totals.synced)}${queued}${superseded}`
}

function withReason(text: string, reason: string | null): string {
  return reason === null ? text : `${text} (${printable(reason)})`
}

function numberText(value: number | null): string {
  return value === null ? 'unknown' : count(value)
}

function count(value: number): string {
  return value.toLocaleString('en-US')
}

export function formatBytes(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB']
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit++
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`
}
