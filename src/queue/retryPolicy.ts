/**
 * How long a failed job waits before its next try. Pure.
 *
 * The delay only spaces tries out: an outage is waited out by the lane's gate and burns none of them.
 */

const DEFAULT_BACKOFF_MS = 1_000
const MAX_BACKOFF_MS = 5 * 60_000
/** The longest wait a dependency can ask for; an absurd `Retry-After` must not park a job for a year. */
export const MAX_RETRY_AFTER_MS = 60 * 60_000

export interface RetryInput {
  /** The tries that have failed, this one included: 1 after the first. */
  attempt: number
  /** The job's own first delay, in milliseconds; 1,000 unless given. */
  backoffMs?: number | undefined
  /** The least wait the dependency asked for, in milliseconds. */
  retryAfterMs?: number | undefined
}

/**
 * The delay before the next try, in whole milliseconds:
 *
 *     max(random() * min(300,000, backoffMs * 2 ** (attempt - 1)), min(retryAfterMs, 3,600,000))
 *
 * which is exponential backoff with "full jitter"
 * (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/): of the schemes compared there it
 * gives the least work for a dependency that has just come back.
 *
 * Bounds: 0 to 300,000, and to 3,600,000 with a `Retry-After`. Degenerate input never yields NaN, a negative or
 * an endless delay: an attempt below 1 or NaN counts as 1; a negative backoff is 0, an infinite or NaN one the
 * default; a negative or NaN `Retry-After` is none; a random value outside [0, 1] is brought inside.
 * @param random uniform in [0, 1)
 */
export function computeRetryDelayMs(input: RetryInput, random: () => number): number {
  const { backoffMs, retryAfterMs } = input
  const attempt = Math.max(1, input.attempt || 1)
  const firstMs = Number.isFinite(backoffMs) ? Math.max(0, backoffMs ?? 0) : DEFAULT_BACKOFF_MS
  // 0 * 2 ** Infinity would be NaN.
  const ceilingMs = firstMs === 0 ? 0 : Math.min(MAX_BACKOFF_MS, firstMs * 2 ** (attempt - 1))
  const jitteredMs = Math.round(Math.min(1, Math.max(0, random() || 0)) * ceilingMs)
  return Math.max(jitteredMs, clampRetryAfterMs(retryAfterMs ?? 0))
}

function clampRetryAfterMs(ms: number): number {
  return Math.ceil(Math.min(Math.max(ms || 0, 0), MAX_RETRY_AFTER_MS))
}

const DAY = '(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)'
const MONTH = '(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)'
const TIME = '\\d{2}:\\d{2}:\\d{2}'
/** IMF-fixdate and the two obsolete forms a recipient must still take (RFC 9110, section 5.6.7). */
const HTTP_DATES = [
  new RegExp(`^${DAY}, \\d{2} ${MONTH} \\d{4} ${TIME} GMT$`),
  new RegExp(`^(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, \\d{2}-${MONTH}-\\d{2} ${TIME} GMT$`),
  new RegExp(`^${DAY} ${MONTH} [ \\d]\\d ${TIME} \\d{4}$`),
]

/**
 * The wait a `Retry-After` header asks for (RFC 9110, section 10.2.3), in milliseconds from now, 0 to 3,600,000.
 * It takes seconds (also with a fraction, which some servers send) and HTTP dates; a date gone by is 0.
 * @param nowMs Unix milliseconds
 * @returns undefined where there is no header or it is neither
 */
export function parseRetryAfter(header: string | null | undefined, nowMs: number): number | undefined {
  const text = header?.trim() ?? ''
  const waitMs = /^\d+(?:\.\d+)?$/.test(text) ? Number(text) * 1000 : parseHttpDate(text) - nowMs
  return Number.isNaN(waitMs) ? undefined : clampRetryAfterMs(waitMs)
}

/** Unix milliseconds; NaN where it is none, as `Date.parse` alone would find a date in almost any text. */
function parseHttpDate(text: string): number {
  if (!HTTP_DATES.some((form) => form.test(text))) return Number.NaN
  return Date.parse(text.endsWith('GMT') ? text : `${text} GMT`)
}
