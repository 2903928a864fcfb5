/** Values and metadata as they are written on a command line or a line of NDJSON. Pure. */
import { MemsyncError } from '../errors.ts'
import { assertJsonValue } from '../jobs/jsonValue.ts'
import { badUsage } from './failure.ts'

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

/** What VALUE means: the JSON it is, or else the text itself. */
export function parseValueText(text: string): unknown {
  try {
    return parseJsonExactly(text)
  } catch (error) {
    if (error instanceof SyntaxError) return text
    throw error
  }
}

/**
 * `NAME=VALUE` items as a flat object: true, false and plain numbers as such, everything else as text.
 * @throws MEMSYNC_BAD_USAGE
 */
export function parseMetadata(items: readonly string[]): Record<string, string | number | boolean> {
  return Object.fromEntries(
    items.map((item) => {
      const at = item.indexOf('=')
      if (at < 1) {
        throw badUsage(
          `--metadata: ${JSON.stringify(item.slice(0, 40))} is not NAME=VALUE (KEY and VALUE stand before it)`,
        )
      }
      return [item.slice(0, at), scalar(item.slice(at + 1))]
    }),
  )
}

function scalar(text: string): string | number | boolean {
  if (text === 'true' || text === 'false') return text === 'true'
  // Only what is written just so: 1.10 and 007 are names of something, not numbers.
  return String(Number(text)) === text && Number.isFinite(Number(text)) ? Number(text) : text
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
