/** The status for a person: one screen that says what is wrong, and the command to run next. Pure. */
import type { LaneStatus, Status } from '../daemon/status.ts'
import { findTroubles, withReason } from '../daemon/troubles.ts'
import { formatDuration } from '../duration.ts'
import { printable } from '../printable.ts'
import { formatBytes } from './bytes.ts'
import { wrap, wrapParts } from './layout.ts'
import type { Meaning, Paint } from './output.ts'
import { formatRate, type LaneFlow, type LaneName } from './watchFigures.ts'

const LABEL_WIDTH = 14

/** How much room there is, and what is known beside the status itself. */
export interface View {
  /** Of the terminal; without a limit unless given. */
  columns?: number
  /** How fast each lane goes, where it was looked at more than once. */
  flows?: Record<LaneName, LaneFlow>
}

/** The screen; every state has its word, so that it reads the same without colour. */
export function renderStatus(status: Status, nowMs: number, paint: Paint, view: View = {}): string {
  const troubles = renderTroubles(status, nowMs, paint, view)
  const lines = [
    headline(status, nowMs, paint),
    '',
    ...renderState(status, nowMs, paint, view),
    ...(troubles.length > 0 ? ['', ...troubles] : []),
  ]
  return `${lines.join('\n')}\n`
}

/** The release, and whether there is anything to look at. */
export function headline(status: Status, nowMs: number, paint: Paint): string {
  const count = findTroubles(status, nowMs).length
  const verdict =
    count === 0 ? paint('good', 'all is well') : paint('bad', count === 1 ? '1 problem' : `${count} problems`)
  return `${paint('heading', `memsyncd ${status.version}`)}  ${verdict}`
}

/** What is wrong, each with what to do about it. */
export function renderTroubles(status: Status, nowMs: number, paint: Paint, { columns }: View): string[] {
  const width = (columns ?? Number.POSITIVE_INFINITY) - 2
  return findTroubles(status, nowMs).flatMap(({ problem, next }) => [
    ...wrap(printable(problem), width).map((text, at) => (at === 0 ? `${paint('bad', '!')} ` : '  ') + text),
    ...wrap(`next: ${next}`, width).map((text) => `  ${text}`),
  ])
}

/** Everything else, by line. */
export function renderState(status: Status, nowMs: number, paint: Paint, view: View): string[] {
  const hasRemote = status.remote.state !== 'none'
  const parts: Row[] = [
    ['daemon', daemonText(status, nowMs, paint)],
    ['redis', redisText(status, nowMs, paint)],
    ['store', storeText(status, paint)],
    ...snapshotRow(status, nowMs),
    ...(hasRemote ? remoteRows(status, nowMs, paint) : []),
    ...rowIf(status.lanes.embed.gate !== 'off', 'embedding', () => embeddingText(status)),
  ]
  const figures: Row[] = [
    ...rowIf(status.spool.records !== 0, 'spool', () => spoolText(status, paint)),
    ['pending', numberText(pending(status))],
    ['failed', paint(status.deadLetters ? 'bad' : 'good', numberText(status.deadLetters))],
    ['total synced', totalsText(status)],
    ...rowIf(hasRemote, 'total pushed', () => pushedText(status)),
  ]
  const width = (view.columns ?? Number.POSITIVE_INFINITY) - LABEL_WIDTH
  const lay = (rows: Row[]) =>
    rows.flatMap(([label, text]) =>
      wrapParts(text, width).map((part, at) => line(at === 0 ? label : '', part)),
    )
  return [...lay(parts), '', ...laneTable(status, paint, view), '', ...lay(figures)]
}

function snapshotRow({ lastSnapshot }: Status, nowMs: number): Row[] {
  return lastSnapshot === null ? [] : [['snapshot', ageText(lastSnapshot, nowMs)]]
}

function rowIf(condition: boolean, label: string, text: () => string): Row[] {
  return condition ? [[label, text()]] : []
}

type Row = readonly [label: string, text: string]

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

function remoteRows({ remote }: Status, nowMs: number, paint: Paint): Row[] {
  const meaning: Meaning = remote.state === 'up' ? 'good' : remote.state === 'unknown' ? 'warning' : 'bad'
  const since = remote.since === null ? '' : ` for ${formatDuration(nowMs - Date.parse(remote.since))}`
  const latency = remote.latencyMs === null ? '' : `, answers in ${Math.round(remote.latencyMs)} ms`
  // The request's id is for whoever searches the logs.
  const reason = remote.reason?.replace(/ \(request [\w.-]+\)/, '') ?? null
  const state = `${paint(meaning, REMOTE_STATES[remote.state])}${since}${latency}`
  const endpoint = remote.endpoint === null ? '' : `  ${paint('quiet', printable(remote.endpoint))}`
  const why: Row[] = reason === null ? [] : [['', printable(reason)]]
  return [['remote', `${state}${endpoint}`], ...why]
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

const COLUMN_WIDTH = 9
const NARROW_LABEL_WIDTH = 6

/** In the order in which they stand; those of a higher rank go first where there is no room. */
const COLUMNS = [
  { name: 'waiting', rank: 1 },
  { name: 'delayed', rank: 7 },
  { name: 'active', rank: 6 },
  { name: 'oldest', rank: 5 },
  { name: 'gate', rank: 2 },
  { name: 'rate', rank: 3 },
  { name: 'left', rank: 4 },
] as const

type Column = (typeof COLUMNS)[number]['name']

function laneTable(
  status: Status,
  paint: Paint,
  { columns: room = Number.POSITIVE_INFINITY, flows }: View,
): string[] {
  const known = COLUMNS.filter(({ name }) => flows !== undefined || (name !== 'rate' && name !== 'left'))
  const isNarrow = room < LABEL_WIDTH + known.length * COLUMN_WIDTH
  const labelWidth = isNarrow ? NARROW_LABEL_WIDTH : LABEL_WIDTH
  const most = Math.max(1, Math.floor((room - labelWidth) / COLUMN_WIDTH))
  const shown = known.filter(({ rank }) => known.filter((other) => other.rank < rank).length < most)
  const head = `${'lane'.padEnd(labelWidth)}${shown.map(({ name }) => name.padStart(COLUMN_WIDTH)).join('')}`
  // A lane that this release or this configuration does not have says nothing.
  const lanes = (Object.keys(status.lanes) as LaneName[]).filter((name) => status.lanes[name].gate !== 'off')
  const rows = lanes.map((name) => {
    const cells = laneCells(status.lanes[name], flows?.[name], paint)
    return name.padEnd(labelWidth) + shown.map((column) => cells[column.name]).join('')
  })
  return [paint('quiet', head), ...rows]
}

function laneCells(lane: LaneStatus, flow: LaneFlow | undefined, paint: Paint): Record<Column, string> {
  const meaning: Meaning = lane.gate === 'open' ? 'good' : lane.gate === 'shut' ? 'bad' : 'warning'
  const cell = (text: string) => text.padStart(COLUMN_WIDTH)
  const span = (durationMs: number | null | undefined) =>
    cell(durationMs == null ? '-' : formatDuration(durationMs))
  return {
    waiting: cell(numberText(lane.waiting)),
    delayed: cell(numberText(lane.delayed)),
    active: cell(numberText(lane.active)),
    oldest: span(lane.oldestWaitingMs),
    gate: paint(meaning, cell(lane.gate)),
    rate: cell(flow?.perSecond == null ? '-' : formatRate(flow.perSecond)),
    left: (flow?.shrinksPerSecond ?? 0) < 0 ? cell('grows') : span(flow?.drainMs),
  }
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

function numberText(value: number | null): string {
  return value === null ? 'unknown' : count(value)
}

function count(value: number): string {
  return value.toLocaleString('en-US')
}
