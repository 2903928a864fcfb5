/**
 * The daily token budget: how much may still be spent, and when the next day begins. Pure.
 *
 * Days are those of a wall clock in a time zone, so one may have 23 or 25 hours, and where clocks are set
 * forward at midnight it begins at 01:00.
 */

const HOUR_MS = 3_600_000
const DATE_PARTS = { year: 'numeric', month: '2-digit', day: '2-digit' } as const

/** The day at `nowMs` in an IANA time zone, the machine's unless given, as `YYYY-MM-DD`. @throws RangeError where there is no such zone */
export function dayOf(nowMs: number, timeZone: string | undefined): string {
  return dayFormat(timeZone).format(nowMs)
}

/** The first millisecond of the day after the one at `nowMs`, in Unix milliseconds. */
export function nextDayStartMs(nowMs: number, timeZone: string | undefined): number {
  const format = dayFormat(timeZone)
  const today = format.format(nowMs)
  // No day is longer than 25 hours; between here and there the date changes once.
  let before = nowMs
  let after = nowMs + 26 * HOUR_MS
  while (after - before > 1) {
    const middle = Math.floor((before + after) / 2)
    if (format.format(middle) === today) before = middle
    else after = middle
  }
  return after
}

export interface Allowance {
  /** How many tokens the requests up to `resumesAtMs` may take; `Infinity` without a limit. */
  tokens: number
  /** When the next day's budget begins, in Unix milliseconds. */
  resumesAtMs: number
}

/**
 * What may still be spent today.
 * @param spentTokens what the day at `nowMs` has taken so far
 * @param dailyTokens the limit; undefined for none
 * @param largestTextTokens the longest text that waits: on a day that spent nothing it may go even where it is
 * above the limit, or it would wait for ever
 */
export function remainingAllowance(
  spentTokens: number,
  dailyTokens: number | undefined,
  largestTextTokens: number,
  nowMs: number,
  timeZone: string | undefined,
): Allowance {
  const resumesAtMs = nextDayStartMs(nowMs, timeZone)
  if (dailyTokens === undefined) return { tokens: Number.POSITIVE_INFINITY, resumesAtMs }
  const tokens = spentTokens === 0 ? Math.max(dailyTokens, largestTextTokens) : dailyTokens - spentTokens
  return { tokens: Math.max(0, tokens), resumesAtMs }
}

function dayFormat(timeZone: string | undefined): Intl.DateTimeFormat {
  // Swedish dates are ISO dates.
  return new Intl.DateTimeFormat('sv-SE', { ...(timeZone === undefined ? {} : { timeZone }), ...DATE_PARTS })
}
