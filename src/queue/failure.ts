/**
 * How a failure is written into BullMQ's own fields, so that whoever reads the job later (another process, the
 * dead-letter sweep, a dispatch that waits) gets the code back: `failedReason` is `CODE: message`, and the
 * job's progress holds when it first and last failed.
 */
import { ERROR_CODES, type ErrorClass, type ErrorCode, MemsyncError } from '../errors.ts'

/** Where in the lane it failed. */
export const STAGES = ['validate', 'persist', 'push', 'embed'] as const

export type Stage = (typeof STAGES)[number]

/** What the job's progress field holds once it failed. */
export interface FailureNote {
  firstFailedAtMs: number
  lastFailedAtMs: number
  code: ErrorCode
  class: ErrorClass
  stage: Stage
}

/** The text BullMQ keeps as the job's `failedReason`. */
export function formatFailedReason(error: MemsyncError): string {
  return `${error.code}: ${error.message}`.slice(0, 1000)
}

/** The error behind a `failedReason`, whoever wrote it. */
export function parseFailedReason(reason: string): MemsyncError {
  const match = /^(MEMSYNC_[A-Z_]+): ([\s\S]*)$/.exec(reason)
  const code = match?.[1]
  if (code !== undefined && Object.hasOwn(ERROR_CODES, code)) {
    return new MemsyncError(code as ErrorCode, match?.[2] ?? '')
  }
  // BullMQ's own words for a job that never reached the handler again.
  if (/stalled more than|started more than/.test(reason)) return new MemsyncError('MEMSYNC_STALLED', reason)
  return new MemsyncError('MEMSYNC_HANDLER_FAILED', reason)
}

/** The note after one more failure. */
export function nextFailureNote(
  before: unknown,
  error: MemsyncError,
  stage: Stage,
  nowMs: number,
): FailureNote {
  const first = (before as Partial<FailureNote> | null)?.firstFailedAtMs
  return {
    firstFailedAtMs: typeof first === 'number' ? first : nowMs,
    lastFailedAtMs: nowMs,
    code: error.code,
    class: error.class,
    stage,
  }
}
