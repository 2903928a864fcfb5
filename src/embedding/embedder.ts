/**
 * What turns texts into vectors, whoever serves it. Every adapter passes the same contract suite.
 */
import type { VectorSpace } from './text.ts'

export interface Embedded {
  /** One per text, in the order of the texts, all of one length; not normalised. */
  vectors: Float32Array[]
  /** Tokens the server charged for; undefined where it does not say. */
  tokens: number | undefined
  /** How long the server's limits ask to wait before the next request, in milliseconds; 0 for not at all. */
  pauseMs: number
}

export interface Embedder {
  readonly space: VectorSpace
  /** The most tokens to put into one request now: the API's own limit, or the account's where that is lower. */
  readonly maxRequestTokens: number

  /**
   * One call, with no retry of its own.
   * @param texts 1 to 2,048, none empty
   * @throws MEMSYNC_EMBEDDER_UNAVAILABLE, _RATE_LIMITED (with `retryAfterMs`), _CREDENTIALS, _BLOCKED,
   * _MISCONFIGURED, _REFUSED (bisect to find which text), _BAD_ANSWER; MEMSYNC_INTERRUPTED on `signal`
   */
  embed(texts: readonly string[], signal: AbortSignal): Promise<Embedded>

  /**
   * Whether a call would succeed now, by a call that costs nothing wherever that can tell.
   * @throws as `embed`
   */
  probe(signal: AbortSignal): Promise<void>
}

/** The same embedder, with each call, of so many texts, made through `watch`. Probes are none. */
export function watchCalls(
  embedder: Embedder,
  watch: (texts: number, call: () => Promise<Embedded>) => Promise<Embedded>,
): Embedder {
  return {
    get space() {
      return embedder.space
    },
    get maxRequestTokens() {
      return embedder.maxRequestTokens
    },
    embed: (texts, signal) => watch(texts.length, () => embedder.embed(texts, signal)),
    probe: (signal) => embedder.probe(signal),
  }
}
