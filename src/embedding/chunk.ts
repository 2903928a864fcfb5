/**
 * Splits a text that is too long for one input into overlapping chunks.
 *
 * Nothing is lost: every character stands in a chunk, in order, and no chunk begins or ends within a character.
 * Long texts give the event loop a turn every few milliseconds.
 */
import { setImmediate } from 'node:timers/promises'
import type { CountTokens } from './tokens.ts'

/** The longest input sent, in tokens. The API's documents say 8,192 and, for the same models, 8,191. */
const MAX_INPUT_TOKENS = 8191

/** A stretch of a text, from UTF-16 offset `start` up to `end`. */
export interface Chunk {
  text: string
  start: number
  end: number
  tokens: number
}

export interface ChunkLimits {
  /** The longest text that stays whole. At least 16. */
  maxInputTokens: number
  /** The longest chunk of one that does not; below the input's limit, as pieces are counted one by one. */
  chunkTokens: number
  /** How much of a chunk's end the next one begins with; below half of `chunkTokens`. */
  overlapTokens: number
}

const DEFAULT_LIMITS: ChunkLimits = {
  maxInputTokens: MAX_INPUT_TOKENS,
  chunkTokens: 8000,
  overlapTokens: 200,
}

/** Blanks and the word after them: the places where a text may be cut. A word without an end is cut too. */
const SEGMENT = /\s{1,64}\S{0,64}|\S{1,64}/gu
/** Characters counted between two turns of the event loop; 10 to 50 ms of work. */
const TURN_CHARACTERS = 32_768

interface Segment {
  start: number
  end: number
  tokens: number
}

/**
 * The chunks of a text: none of an empty one, a single one where it fits an input.
 * `tokens` of a chunk is counted by its pieces, a little above what the whole would give.
 */
export async function splitIntoChunks(
  text: string,
  countTokens: CountTokens,
  limits: ChunkLimits = DEFAULT_LIMITS,
): Promise<Chunk[]> {
  if (text.length === 0) return []
  if (text.length <= TURN_CHARACTERS) {
    const tokens = countTokens(text)
    if (tokens <= limits.maxInputTokens) return [{ text, start: 0, end: text.length, tokens }]
  }
  const segments: Segment[] = []
  let turnAt = TURN_CHARACTERS
  for (const match of text.matchAll(SEGMENT)) {
    pushSegments(segments, text, match.index, match.index + match[0].length, countTokens, limits)
    if (match.index >= turnAt) {
      turnAt = match.index + TURN_CHARACTERS
      await setImmediate()
    }
  }
  const tokens = segments.reduce((sum, segment) => sum + segment.tokens, 0)
  if (tokens <= limits.maxInputTokens) return [{ text, start: 0, end: text.length, tokens }]
  return groupSegments(segments, limits).map((group) => ({
    text: text.slice(group.start, group.end),
    ...group,
  }))
}

/** Halves a piece that takes more tokens than may be repeated, so that every overlap can be met. */
function pushSegments(
  segments: Segment[],
  text: string,
  start: number,
  end: number,
  countTokens: CountTokens,
  limits: ChunkLimits,
): void {
  const tokens = countTokens(text.slice(start, end))
  const middle = start + ((end - start) >> 1)
  const cut = isLowSurrogate(text, middle) ? middle + 1 : middle
  if (tokens <= limits.chunkTokens / 2 || cut === start || cut === end) {
    segments.push({ start, end, tokens })
    return
  }
  pushSegments(segments, text, start, cut, countTokens, limits)
  pushSegments(segments, text, cut, end, countTokens, limits)
}

function isLowSurrogate(text: string, offset: number): boolean {
  const unit = text.charCodeAt(offset)
  return unit >= 0xdc00 && unit <= 0xdfff
}

function groupSegments(segments: readonly Segment[], limits: ChunkLimits): Segment[] {
  const groups: Segment[] = []
  let first = 0
  let tokens = 0
  for (const [position, segment] of segments.entries()) {
    if (position > first && tokens + segment.tokens > limits.chunkTokens) {
      groups.push(join(segments, first, position, tokens))
      // The next chunk starts as far back as the overlap allows and the new segment leaves room for.
      const room = Math.min(limits.overlapTokens, limits.chunkTokens - segment.tokens)
      let next = position
      tokens = 0
      while (next - 1 > first && tokens + (segments[next - 1]?.tokens ?? 0) <= room) {
        next -= 1
        tokens += segments[next]?.tokens ?? 0
      }
      first = next
    }
    tokens += segment.tokens
  }
  groups.push(join(segments, first, segments.length, tokens))
  return groups
}

function join(segments: readonly Segment[], first: number, after: number, tokens: number): Segment {
  const start = segments[first]?.start ?? 0
  return { start, end: segments[after - 1]?.end ?? start, tokens }
}
