/**
 * What an answer that is not a success means for the job in hand: one table of statuses for every remote, one
 * of codes for the self-hosted Mem0. Pure.
 */
import type { ErrorClass, ErrorCode } from '../../errors.ts'

export interface Verdict {
  code: ErrorCode
  /** Where it is not the code's own class. */
  class?: ErrorClass
}

const REFUSED: Verdict = { code: 'MEMSYNC_REMOTE_REFUSED' }
const CREDENTIALS: Verdict = { code: 'MEMSYNC_REMOTE_CREDENTIALS' }
const FORBIDDEN: Verdict = { code: 'MEMSYNC_REMOTE_FORBIDDEN' }
const RATE_LIMITED: Verdict = { code: 'MEMSYNC_REMOTE_RATE_LIMITED' }
const UNAVAILABLE: Verdict = { code: 'MEMSYNC_REMOTE_UNAVAILABLE' }
const UNCLEAR: Verdict = { code: 'MEMSYNC_REMOTE_UNCLEAR' }
const UNANSWERED: Verdict = { code: 'MEMSYNC_REMOTE_UNCLEAR', class: 'outage' }

/** What is not here and not in a remote's own table is `UNCLEAR`: tried again, for as long as attempts last. */
const STATUSES: Record<number, Verdict> = {
  // A redirect and a missing route speak of the URL we were given, not of the memory: none may be a dead letter.
  301: UNAVAILABLE,
  302: UNAVAILABLE,
  303: UNAVAILABLE,
  307: UNAVAILABLE,
  308: UNAVAILABLE,
  404: UNAVAILABLE,
  405: UNAVAILABLE,
  400: REFUSED,
  413: REFUSED,
  422: REFUSED,
  401: CREDENTIALS,
  402: CREDENTIALS,
  403: FORBIDDEN,
  407: CREDENTIALS,
  408: UNANSWERED,
  429: RATE_LIMITED,
  // A proxy whose server is gone; a 502 of Mem0 itself has a code, below.
  502: UNAVAILABLE,
  503: UNAVAILABLE,
  504: UNANSWERED,
  507: UNAVAILABLE,
  // The proxies of a well-known network: origin down, unreachable, or too slow to answer.
  521: UNAVAILABLE,
  522: UNAVAILABLE,
  523: UNAVAILABLE,
  524: UNANSWERED,
  530: UNAVAILABLE,
}

/** The codes of the self-hosted server's 502 (its `server/errors.py`). */
const MEM0_CODES: Record<string, Verdict> = {
  provider_auth_failed: CREDENTIALS,
  provider_bad_request: REFUSED,
  provider_rate_limited: RATE_LIMITED,
  provider_timeout: UNAVAILABLE,
  provider_unavailable: UNAVAILABLE,
  datastore_unavailable: UNAVAILABLE,
  vector_store_unavailable: UNAVAILABLE,
  unknown: UNCLEAR,
}

/**
 * @param mem0Code the `code` of a 502's body, for the self-hosted Mem0 alone
 * @returns `reason` is safe to print: a status, and a code only where the table knows it
 */
export function classifyStatus(status: number, mem0Code?: unknown): Verdict & { reason: string } {
  if (status === 502 && typeof mem0Code === 'string') {
    const known = Object.hasOwn(MEM0_CODES, mem0Code)
    const verdict = (known ? MEM0_CODES[mem0Code] : undefined) ?? UNCLEAR
    return { ...verdict, reason: `502 ${known ? mem0Code : 'with an unknown code'}` }
  }
  return { ...(STATUSES[status] ?? UNCLEAR), reason: String(status) }
}
