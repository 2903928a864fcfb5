/** Spans of time as a person writes and reads them. Pure. */
import { MemsyncError } from './errors.ts'

const UNIT_MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 } as const

/**
 * `90s`, `30m`, `2h`, `1.5d` in milliseconds.
 * @throws MEMSYNC_BAD_USAGE that names `flag`
 */
export function parseDurationMs(text: string, flag: string): number {
  const match = /^(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d|w)$/.exec(text.trim())
  if (!match) {
    throw new MemsyncError(
      'MEMSYNC_BAD_USAGE',
      `${flag}: ${JSON.stringify(text.slice(0, 40))} is not a span of time such as 90s, 30m, 2h or 7d`,
    )
  }
  return Math.round(Number(match[1]) * UNIT_MS[match[2] as keyof typeof UNIT_MS])
}

/** The span in its largest whole unit: `850 ms`, `3 s`, `12 min`, `5 h`, `9 d`. */
export function formatDuration(durationMs: number): string {
  const span = Math.max(0, durationMs)
  if (span < UNIT_MS.s) return `${Math.round(span)} ms`
  if (span < UNIT_MS.m) return `${Math.floor(span / UNIT_MS.s)} s`
  if (span < UNIT_MS.h) return `${Math.floor(span / UNIT_MS.m)} min`
  if (span < 2 * UNIT_MS.d) return `${Math.floor(span / UNIT_MS.h)} h`
  return `${Math.floor(span / UNIT_MS.d)} d`
}
