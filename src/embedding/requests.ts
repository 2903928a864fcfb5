/**
 * How texts are put into requests, and how the one text a server refuses is found among them.
 */
import { MemsyncError } from '../errors.ts'
import type { Embedder } from './embedder.ts'

/** The most inputs one request may hold. */
const MAX_REQUEST_INPUTS = 2048
/** The most tokens the inputs of one request may hold together. */
export const MAX_REQUEST_TOKENS = 300_000

/** A text no server has a reason to refuse: where it is refused too, the fault is not in the texts. */
const HARMLESS_TEXT = 'memory'

/**
 * Puts the texts into as few requests as their order allows: the order stays, and the chunks of one memory may
 * end up in several. A text above `maxTokens` goes alone. Pure.
 */
export function fillRequests<T extends { tokens: number }>(
  texts: readonly T[],
  maxTokens: number = MAX_REQUEST_TOKENS,
  maxInputs: number = MAX_REQUEST_INPUTS,
): T[][] {
  const requests: T[][] = []
  let open: T[] = []
  let tokens = 0
  for (const text of texts) {
    if (open.length > 0 && (open.length >= maxInputs || tokens + text.tokens > maxTokens)) {
      requests.push(open)
      open = []
      tokens = 0
    }
    open.push(text)
    tokens += text.tokens
  }
  if (open.length > 0) requests.push(open)
  return requests
}

/** What one request made of some of the texts, by their place in what was handed over. */
export type EmbedOutcome =
  | { positions: number[]; vectors: Float32Array[]; tokens: number | undefined; pauseMs: number }
  | { positions: [number]; error: MemsyncError }

/**
 * Embeds the texts of one request. Where the server refuses it, it is halved until the refused texts stand
 * alone; a text is paid once, as a refused request costs nothing. Yields after each call, so that what was
 * paid for can be saved before the next.
 * @throws whatever the embedder throws, but MEMSYNC_EMBEDDER_REFUSED; what was yielded before stays good.
 * MEMSYNC_EMBEDDER_MISCONFIGURED where every text was refused and a harmless one is too.
 */
export async function* embedBisecting(
  embedder: Embedder,
  texts: readonly string[],
  signal: AbortSignal,
): AsyncGenerator<EmbedOutcome, void, undefined> {
  const waiting: number[][] = [Array.from(texts.keys())]
  const refused: { positions: [number]; error: MemsyncError }[] = []
  for (let positions = waiting.pop(); positions; positions = waiting.pop()) {
    const [first] = positions
    if (first === undefined) continue
    try {
      const answer = await embedder.embed(
        positions.map((position) => texts[position] as string),
        signal,
      )
      yield { positions, ...answer }
    } catch (error) {
      if (!isRefusal(error)) throw error
      const middle = positions.length >> 1
      if (middle === 0) refused.push({ positions: [first], error })
      else waiting.push(positions.slice(middle), positions.slice(0, middle))
    }
  }
  if (refused.length > 0 && refused.length === texts.length) await proveServerTakesTexts(embedder, signal)
  yield* refused
}

async function proveServerTakesTexts(embedder: Embedder, signal: AbortSignal): Promise<void> {
  try {
    await embedder.embed([HARMLESS_TEXT], signal)
  } catch (error) {
    if (!isRefusal(error)) throw error
    throw new MemsyncError(
      'MEMSYNC_EMBEDDER_MISCONFIGURED',
      `the server refuses every text: ${error.message}`,
    )
  }
}

function isRefusal(error: unknown): error is MemsyncError {
  return error instanceof MemsyncError && error.code === 'MEMSYNC_EMBEDDER_REFUSED'
}
