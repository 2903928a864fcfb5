/** JSON as other programs write it: bytes as text, and text as the value it says, or a refusal. Pure. */
import { MemsyncError } from '../errors.ts'
import { assertJsonValue } from './jsonValue.ts'

/** JSON may write a byte as six (`\u0041`), so this much text can still be a value within the limit. */
export const MAX_ESCAPED_LENGTH = 6

const MAYBE_TOO_PRECISE = /\d{16}/
const INTEGER = /^-?\d+$/

/** With the text of each number, which TypeScript's own declaration does not know yet. */
const parseWithSource = JSON.parse as (
  text: string,
  reviver: (name: string, part: unknown, context: { source?: string }) => unknown,
) => unknown

/**
 * The JSON in the text.
 * @throws SyntaxError where it is not JSON; MEMSYNC_INVALID_VALUE where it holds an integer that would come back with
 *   other digits, MEMSYNC_VALUE_TOO_LARGE where it is nested too deep
 */
export function parseJsonExactly(text: string): unknown {
  const value: unknown = JSON.parse(text)
  if (!MAYBE_TOO_PRECISE.test(text)) return value
  // Its depth is known to be harmless before the recursive second look.
  assertJsonValue(value)
  parseWithSource(text, (_name, part, { source }) => {
    if (
      typeof part === 'number' &&
      source !== undefined &&
      INTEGER.test(source) &&
      JSON.stringify(part) !== source &&
      source !== '-0'
    ) {
      throw new MemsyncError(
        'MEMSYNC_INVALID_VALUE',
        'value holds an integer beyond 2^53, which would lose digits; write it as a string',
      )
    }
    return part
  })
  return value
}

/**
 * The bytes as text.
 * @throws MEMSYNC_INVALID_VALUE where they are not UTF-8
 */
export function decodeUtf8(bytes: Uint8Array, what: string): string {
  try {
    // A decoder of its own: one that failed or stopped in the middle would carry bytes over.
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    // The decoder's error says no more than this.
    throw new MemsyncError('MEMSYNC_INVALID_VALUE', `${what} is not UTF-8`)
  }
}
