/** The progress of a long run on a terminal: what it looks like (pure), and when it is drawn. */
import { formatDuration } from '../duration.ts'

export interface Progress {
  /** How far it is, in whatever unit `total` has. */
  done: number
  /** Undefined where nobody knows how much there is. */
  total: number | undefined
  /** What was counted so far: the first always, with its rate, the others where they are not 0. */
  tallies: readonly [Tally, ...Tally[]]
  elapsedMs: number
}

type Tally = readonly [count: number, word: string]

const BAR_WIDTH = 24
const REDRAW_INTERVAL_MS = 100
const ERASE_LINE = '\r\u001b[K'

/** One line, never longer than the terminal is wide. */
export function renderProgress(progress: Progress, columns: number): string {
  const { total, tallies, elapsedMs } = progress
  const parts: string[] = []
  if (total !== undefined && total > 0) {
    const done = Math.min(1, progress.done / total)
    const filled = Math.floor(done * BAR_WIDTH)
    parts.push(
      `[${'#'.repeat(filled)}${'-'.repeat(BAR_WIDTH - filled)}] ${String(Math.floor(done * 100)).padStart(3)} %`,
    )
    if (done > 0 && done < 1 && elapsedMs > 1000)
      parts.push(`${formatDuration((elapsedMs * (1 - done)) / done)} left`)
  }
  for (const [place, [count, word]] of tallies.entries()) {
    if (place === 0 || count > 0) parts.push(`${count.toLocaleString('en-US')} ${word}`)
  }
  const [[first]] = tallies
  if (elapsedMs > 500) parts.push(`${Math.round(first / (elapsedMs / 1000)).toLocaleString('en-US')}/s`)
  return parts.join('  ').slice(0, Math.max(0, columns - 1))
}

/** Draws at most ten times a second, and nothing where the stream is no terminal. */
export class ProgressBar {
  private readonly stream: NodeJS.WriteStream
  private readonly startedAtMs = performance.now()
  private drawnAtMs = 0

  constructor(stream: NodeJS.WriteStream) {
    this.stream = stream
  }

  update(progress: Omit<Progress, 'elapsedMs'>): void {
    const nowMs = performance.now()
    if (!this.stream.isTTY || nowMs - this.drawnAtMs < REDRAW_INTERVAL_MS) return
    this.drawnAtMs = nowMs
    const line = renderProgress(
      { ...progress, elapsedMs: nowMs - this.startedAtMs },
      this.stream.columns || 80,
    )
    this.stream.write(`${ERASE_LINE}${line}`)
  }

  /** Leaves the line empty for what is printed next. */
  clear(): void {
    if (this.drawnAtMs > 0) this.stream.write(ERASE_LINE)
  }
}
