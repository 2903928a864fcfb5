/** How the HTTP interface says no: one body for every refusal, and the status that each error code comes to. Pure. */
import { type ErrorCode, MemsyncError } from '../errors.ts'

/** The body of every answer that is not 2xx; `code` is one of `ERROR_CODES`. */
export interface ErrorBody {
  error: { code: ErrorCode; message: string; hint: string }
}

/** A refusal whose status its code alone does not say. */
export class HttpRefusal extends MemsyncError {
  readonly status: number

  constructor(status: number, code: ErrorCode, message: string) {
    super(code, message)
    this.status = status
  }
}

export function badRequest(message: string, status = 400): HttpRefusal {
  return new HttpRefusal(status, 'MEMSYNC_BAD_REQUEST', message)
}

const STATUS_OF: Partial<Record<ErrorCode, number>> = {
  MEMSYNC_BAD_REQUEST: 400,
  MEMSYNC_BAD_USAGE: 400,
  MEMSYNC_INVALID_MEMORY: 400,
  MEMSYNC_INVALID_VALUE: 400,
  MEMSYNC_UNAUTHORIZED: 401,
  MEMSYNC_FORBIDDEN: 403,
  MEMSYNC_NOT_FOUND: 404,
  MEMSYNC_VALUE_TOO_LARGE: 413,
}

/** What a client does with an outage: come back. */
export const RETRY_AFTER_S = 5

export function statusOf(error: MemsyncError): number {
  if (error instanceof HttpRefusal) return error.status
  return STATUS_OF[error.code] ?? (error.class === 'outage' ? 503 : 500)
}

export function errorBody(error: MemsyncError): ErrorBody {
  return { error: { code: error.code, message: error.message, hint: error.hint } }
}
