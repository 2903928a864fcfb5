/** Values and metadata as they are written on a command line. Pure. */
import { parseJsonExactly } from '../jobs/jsonText.ts'
import { badUsage } from './failure.ts'

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
