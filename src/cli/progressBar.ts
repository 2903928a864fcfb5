/** The progress of a long input on a terminal: what it looks like (pure), and when it is drawn. */
import { formatDuration } from './duration.ts'

export interface Progress {
  readBytes: number
  /** Undefined where the input does not say how long it is. */
  totalBytes: number | undefined
  accepted: number
  refused: number
  elapsedMs: number
}

const BAR_WIDTH = 24
const REDRAW_INTERVAL_MS = 100
const ERASE_LINE = '\r\u001b[K'

/** One line, never longer than the terminal is wide. */
export function renderProgress(progress: Progress, columns: number): string {
  const { readBytes, totalBytes, accepted, refused, elapsedMs } = progress
  const parts: string[] = []
  if (totalBytes !== undefined && totalBytes > 0) {
    const done = Math.min(1, readBytes / totalBytes)
    const filled = Math.floor(done * BAR_WIDTH)
    parts.push(
      `[${'#'.repeat(filled)}${'-'.repeat(BAR_WIDTH - filled)}] ${String(Math.floor(done * 100)).padStart(3)} %`,
    )
    if (done > 0 && done < 1 && elapsedMs > 1000)
      parts.push(`${formatDuration((elapsedMs * (1 - done)) / done)} left`)
  }
  parts.push(`${accepted.toLocaleString('en-US')} accepted`)
  if (refused > 0) parts.push(`${refused.toLocaleString('en-US')} refused`)
  if (elapsedMs > 500) parts.push(`${Math.round(accepted / (elapsedMs / 1000)).toLocaleString('en-US')}/s`)
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
