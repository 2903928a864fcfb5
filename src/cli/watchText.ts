/** One frame of `memsync status --watch`: what is wrong first, as the end is cut off where there is no room. Pure. */
import type { Status } from '../daemon/status.ts'
import { formatDuration } from '../duration.ts'
import { clip, fitRows, visibleWidth } from './layout.ts'
import type { Paint } from './output.ts'
import { headline, renderState, renderTroubles } from './statusText.ts'
import {
  formatRate,
  type LaneFlow,
  type LaneName,
  ratesOver,
  type Sample,
  sparkline,
} from './watchFigures.ts'

/** How far the sparklines go back. */
export const HISTORY_MS = 180_000
const LABEL_WIDTH = 14
const MAX_BARS = 60
/** `  peak 1,250/s` */
const PEAK_WIDTH = 18

export interface Frame {
  status: Status
  samples: readonly Sample[]
  flows: Record<LaneName, LaneFlow>
  nowMs: number
  columns: number
  rows: number
  paint: Paint
}

/** The lines of the frame: none wider than the terminal, nor more than it has rows. */
export function renderWatch(frame: Frame): string[] {
  const { status, flows, nowMs, columns, rows, paint } = frame
  const view = { columns, flows }
  const troubles = renderTroubles(status, nowMs, paint, view)
  const lines = [
    titled(headline(status, nowMs, paint), paint('quiet', `${timeOf(nowMs)}  q quits`), columns),
    '',
    ...(troubles.length > 0 ? [...troubles, ''] : []),
    ...renderState(status, nowMs, paint, view),
    '',
    ...renderHistory(frame),
  ]
  return fitRows(lines, rows).map((line) => clip(line, columns))
}

/** Both in one line, where there is room for both. */
function titled(left: string, right: string, columns: number): string {
  const gap = columns - visibleWidth(left) - visibleWidth(right)
  return gap < 2 ? left : left + ' '.repeat(gap) + right
}

function timeOf(nowMs: number): string {
  return new Date(nowMs).toLocaleTimeString('en-GB')
}

/** What each lane did over the last minutes. */
function renderHistory({ status, samples, columns, paint }: Frame): string[] {
  const lanes = (Object.keys(status.lanes) as LaneName[]).filter((lane) => status.lanes[lane].gate !== 'off')
  const labelWidth = columns < 60 ? 6 : LABEL_WIDTH
  const slots = Math.max(4, Math.min(MAX_BARS, columns - labelWidth - PEAK_WIDTH))
  const rows = lanes.map((lane) => {
    const rates = ratesOver(samples, lane, slots, HISTORY_MS)
    const peak = Math.max(...rates.map((rate) => rate ?? 0))
    return `${lane.padEnd(labelWidth)}${sparkline(rates)}  ${paint('quiet', `peak ${formatRate(peak)}`)}`
  })
  return [paint('quiet', `done per second, last ${formatDuration(HISTORY_MS)}`), ...rows]
}
