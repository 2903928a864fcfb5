/**
 * What an answer of the embeddings API that is not a success means, in one table, and how long it asks to wait.
 * Pure. Only this file and the adapter beside it know the API's statuses, codes and headers.
 *
 * Messages are made here from the table: the server's own may repeat the text or the key.
 */
import { type ErrorCode, MemsyncError } from '../../errors.ts'
import { MAX_RETRY_AFTER_MS, parseRetryAfter } from '../../queue/retryPolicy.ts'

/** The parts of a refused request that decide. */
export interface Refusal {
  status: number
  /** `error.code`, `error.type` and `error.param` of the body. */
  code?: string | null | undefined
  type?: string | null | undefined
  param?: string | null | undefined
  headers: Headers
}

interface Rule {
  /** One status, or the first and the last of a range. */
  status: number | readonly [number, number]
  /** Where given, the body's `code` or `type` must be one of these, */
  codes?: readonly string[]
  /** or its `param` one of these. */
  params?: readonly string[]
  becomes: ErrorCode
  says: string
}

const OUT_OF_QUOTA = ['insufficient_quota', 'billing_hard_limit_reached', 'billing_not_active']

/** The first rule that fits decides. */
const RULES: readonly Rule[] = [
  { status: 401, becomes: 'MEMSYNC_EMBEDDER_CREDENTIALS', says: 'refuses the key' },
  { status: 402, becomes: 'MEMSYNC_EMBEDDER_BLOCKED', says: 'asks for payment' },
  { status: 403, becomes: 'MEMSYNC_EMBEDDER_CREDENTIALS', says: 'does not allow this key to embed' },
  { status: 404, becomes: 'MEMSYNC_EMBEDDER_MISCONFIGURED', says: 'has no such model or address' },
  { status: 408, becomes: 'MEMSYNC_EMBEDDER_UNAVAILABLE', says: 'gave up waiting' },
  { status: 409, becomes: 'MEMSYNC_EMBEDDER_UNAVAILABLE', says: 'is busy' },
  { status: 425, becomes: 'MEMSYNC_EMBEDDER_UNAVAILABLE', says: 'is not ready' },
  { status: 429, codes: OUT_OF_QUOTA, becomes: 'MEMSYNC_EMBEDDER_BLOCKED', says: 'has no quota left' },
  { status: 429, becomes: 'MEMSYNC_EMBEDDER_RATE_LIMITED', says: 'limits the rate' },
  {
    status: [400, 422],
    codes: ['model_not_found'],
    params: ['model', 'dimensions', 'encoding_format'],
    becomes: 'MEMSYNC_EMBEDDER_MISCONFIGURED',
    says: 'does not take this model, its dimensions or its encoding',
  },
  { status: 400, becomes: 'MEMSYNC_EMBEDDER_REFUSED', says: 'refuses the text' },
  { status: 413, becomes: 'MEMSYNC_EMBEDDER_REFUSED', says: 'finds the text too long' },
  { status: 422, becomes: 'MEMSYNC_EMBEDDER_REFUSED', says: 'refuses the text' },
  { status: [500, 599], becomes: 'MEMSYNC_EMBEDDER_UNAVAILABLE', says: 'failed' },
]
const OTHERWISE = { becomes: 'MEMSYNC_EMBEDDER_MISCONFIGURED', says: 'is no embeddings API' } as const

/** The error of a refused request. `server` is a host, for the message. */
export function refusalError(refusal: Refusal, server: string, nowMs: number): MemsyncError {
  const { becomes, says } = RULES.find((rule) => fits(rule, refusal)) ?? OTHERWISE
  const retryAfterMs = askedToWaitMs(refusal.headers, nowMs)
  return new MemsyncError(becomes, `${server} ${says} (HTTP ${refusal.status})`, {
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  })
}

function fits(rule: Rule, refusal: Refusal): boolean {
  const [first, last] = typeof rule.status === 'number' ? [rule.status, rule.status] : rule.status
  if (refusal.status < first || refusal.status > last) return false
  if (!rule.codes && !rule.params) return true
  const named = [refusal.code, refusal.type].some((code) => code && rule.codes?.includes(code))
  return named || Boolean(refusal.param && rule.params?.includes(refusal.param))
}

/**
 * How long a refused request's headers ask to wait, in milliseconds, at most an hour; undefined where they do
 * not say. `Retry-After` (seconds or a date) beats the resets of the rate limits, of which the later one counts.
 */
function askedToWaitMs(headers: Headers, nowMs: number): number | undefined {
  const asked =
    milliseconds(headers.get('retry-after-ms')) ??
    parseRetryAfter(headers.get('retry-after'), nowMs) ??
    latest(
      durationMs(headers.get('x-ratelimit-reset-requests')),
      durationMs(headers.get('x-ratelimit-reset-tokens')),
    )
  return asked === undefined ? undefined : Math.min(Math.max(Math.ceil(asked), 0), MAX_RETRY_AFTER_MS)
}

/** How long to wait after a success, in milliseconds: until the limit that is used up is reset; else 0. */
export function pauseAfterSuccessMs(headers: Headers): number {
  const waits = ['requests', 'tokens'].map((limit) =>
    wholeNumber(headers.get(`x-ratelimit-remaining-${limit}`)) === 0
      ? durationMs(headers.get(`x-ratelimit-reset-${limit}`))
      : undefined,
  )
  return Math.min(Math.ceil(latest(...waits) ?? 0), MAX_RETRY_AFTER_MS)
}

/** The account's limit of tokens a minute, as headers tell it: a request above it would never be let through. */
export function tokensPerMinute(headers: Headers): number | undefined {
  const limit = wholeNumber(headers.get('x-ratelimit-limit-tokens'))
  return limit === 0 ? undefined : limit
}

function latest(...waits: (number | undefined)[]): number | undefined {
  const known = waits.filter((wait) => wait !== undefined)
  return known.length > 0 ? Math.max(...known) : undefined
}

function wholeNumber(text: string | null): number | undefined {
  return text !== null && /^\d{1,15}$/.test(text) ? Number(text) : undefined
}

function milliseconds(text: string | null): number | undefined {
  return text !== null && /^\d{1,15}(\.\d+)?$/.test(text) ? Number(text) : undefined
}

const UNIT_MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** A duration as the rate-limit headers write it: `20ms`, `1.5s`, `6m0s`, `1h2m3s`. */
function durationMs(text: string | null): number | undefined {
  if (text === null || !/^(\d+(\.\d+)?(ms|s|m|h|d))+$/.test(text)) return undefined
  let totalMs = 0
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)) {
    totalMs += Number(amount) * UNIT_MS[unit as keyof typeof UNIT_MS]
  }
  return totalMs
}
