/** How a failed command ends: its exit code, and what it says. Pure. */
import { type ErrorCode, MemsyncError } from '../errors.ts'
import { printable } from '../printable.ts'

const WRONG_USAGE_OR_INPUT: ReadonlySet<ErrorCode> = new Set([
  'MEMSYNC_BAD_USAGE',
  'MEMSYNC_BAD_SETTING',
  'MEMSYNC_INVALID_MEMORY',
  'MEMSYNC_INVALID_VALUE',
  'MEMSYNC_VALUE_TOO_LARGE',
])

/** 2 where the caller has to change what was asked, 1 where the same call may succeed another time. */
export function exitCodeOf(code: ErrorCode): 1 | 2 {
  return WRONG_USAGE_OR_INPUT.has(code) ? 2 : 1
}

/** An error as every `--json` document holds it. */
export interface ErrorDocument {
  code: ErrorCode
  message: string
  hint: string
}

export function errorDocument(error: MemsyncError): ErrorDocument {
  return { code: error.code, message: error.message, hint: error.hint }
}

/** One line with the error, one with what to do about it, and the stack for who debugs. */
export function errorText(error: MemsyncError, withStack: boolean): string {
  const lines = [`memsync: ${printable(oneLine(error.message))} (${error.code})`, `  ${error.hint}`]
  for (let cause: unknown = error; withStack && cause instanceof Error; cause = cause.cause) {
    lines.push(cause.stack ?? String(cause))
  }
  return `${lines.join('\n')}\n`
}

/** What was wrong with the command line. */
export function badUsage(message: string): MemsyncError {
  return new MemsyncError('MEMSYNC_BAD_USAGE', message)
}

function oneLine(text: string): string {
  return text.replace(/\s*\n\s*/g, ' ').trim()
}
