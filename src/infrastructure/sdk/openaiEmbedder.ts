/**
 * The embedder that speaks the OpenAI embeddings API, over the SDK.
 *
 * One call is one HTTP request. An answer is taken only where it has exactly one usable vector for each text,
 * matched by `index`; anything else fails the request, so that no vector lands on another text.
 */
import type OpenAI from 'openai'
import type { Embedded, Embedder } from '../../embedding/embedder.ts'
import { MAX_REQUEST_TOKENS } from '../../embedding/requests.ts'
import type { VectorSpace } from '../../embedding/text.ts'
import { MemsyncError } from '../../errors.ts'
import { type ClientSettings, createClient, DEFAULT_BASE_URL, REQUEST_TIMEOUT_MS } from './openai.ts'
import { pauseAfterSuccessMs, type Refusal, refusalError, tokensPerMinute } from './openaiErrors.ts'

export interface OpenaiEmbedderSettings extends ClientSettings {
  /** The model and the length of vector to ask for; see `VectorSpace`. */
  space: VectorSpace
  /** How long a probe may take, in milliseconds. Default 10,000. */
  probeTimeoutMs?: number | undefined
}

const PROBE_TIMEOUT_MS = 10_000
const PROBE_TEXT = 'probe'

/** Where the free call fails in another way than these, an embedding of one word decides. */
const CONCLUSIVE_CODES: readonly string[] = [
  'MEMSYNC_EMBEDDER_UNAVAILABLE',
  'MEMSYNC_EMBEDDER_RATE_LIMITED',
  'MEMSYNC_INTERRUPTED',
]

/** An embedder for these settings. Nothing is connected and no key is asked for until its first call. */
export function createOpenaiEmbedder(settings: OpenaiEmbedderSettings): Embedder {
  return new OpenaiEmbedder(settings)
}

class OpenaiEmbedder implements Embedder {
  readonly space: VectorSpace
  readonly #settings: OpenaiEmbedderSettings
  readonly #server: string
  #client: OpenAI | undefined
  /** The length every vector must have: the one asked for, or that of the first answer. */
  #vectorLength: number | undefined
  #tokensPerMinute: number | undefined
  /** The account was refused an embedding. The free call succeeds all the same, so it proves nothing. */
  #accountRefused = false

  constructor(settings: OpenaiEmbedderSettings) {
    this.space = settings.space
    this.#settings = settings
    this.#server = new URL(settings.baseUrl || DEFAULT_BASE_URL).host
    this.#vectorLength = settings.space.dimensions
  }

  get maxRequestTokens(): number {
    return Math.min(MAX_REQUEST_TOKENS, this.#tokensPerMinute ?? MAX_REQUEST_TOKENS)
  }

  async embed(texts: readonly string[], signal: AbortSignal): Promise<Embedded> {
    return this.#embed(texts, signal, this.#settings.timeoutMs ?? REQUEST_TIMEOUT_MS)
  }

  async probe(signal: AbortSignal): Promise<void> {
    const timeoutMs = this.#settings.probeTimeoutMs ?? PROBE_TIMEOUT_MS
    if (!this.#accountRefused) {
      try {
        await this.#call(signal, timeoutMs, (client, options) =>
          client.models.retrieve(this.space.model, options).withResponse(),
        )
        return
      } catch (error) {
        // A key may be allowed to embed and not to read models, and many servers have no such call.
        if (error instanceof MemsyncError && CONCLUSIVE_CODES.includes(error.code)) throw error
      }
    }
    await this.#embed([PROBE_TEXT], signal, timeoutMs)
  }

  async #embed(texts: readonly string[], signal: AbortSignal, timeoutMs: number): Promise<Embedded> {
    try {
      const { data, response } = await this.#call(signal, timeoutMs, (client, options) =>
        client.embeddings
          .create(
            {
              model: this.space.model,
              input: texts as string[],
              // Asked for by name, so that the SDK leaves the decoding, and the checks, to this file.
              encoding_format: 'base64',
              ...(this.space.dimensions === undefined ? {} : { dimensions: this.space.dimensions }),
            },
            options,
          )
          .withResponse(),
      )
      this.#accountRefused = false
      const vectors = this.#readVectors(data, texts.length)
      return { vectors, tokens: readTokens(data), pauseMs: pauseAfterSuccessMs(response.headers) }
    } catch (error) {
      if (error instanceof MemsyncError && error.class === 'credentials') this.#accountRefused = true
      throw error
    }
  }

  /** One request with a deadline over all of it, the body included; foreign errors end here. */
  async #call<T extends { response: Response }>(
    signal: AbortSignal,
    timeoutMs: number,
    send: (client: OpenAI, options: { signal: AbortSignal; timeout: number }) => Promise<T>,
  ): Promise<T> {
    this.#client ??= await createClient(this.#settings)
    const deadline = AbortSignal.timeout(timeoutMs)
    try {
      const answer = await send(this.#client, {
        signal: AbortSignal.any([signal, deadline]),
        timeout: timeoutMs,
      })
      this.#noteLimits(answer.response.headers)
      return answer
    } catch (error) {
      if (signal.aborted) throw new MemsyncError('MEMSYNC_INTERRUPTED', 'the embedding was interrupted')
      if (isRefusal(error)) this.#noteLimits(error.headers)
      throw toEmbedderError(error, this.#server, deadline.aborted ? timeoutMs : undefined)
    }
  }

  #noteLimits(headers: Headers): void {
    this.#tokensPerMinute = tokensPerMinute(headers) ?? this.#tokensPerMinute
  }

  #readVectors(answer: unknown, count: number): Float32Array[] {
    const entries = isRecord(answer) ? answer.data : undefined
    if (!Array.isArray(entries)) {
      throw new MemsyncError('MEMSYNC_EMBEDDER_UNAVAILABLE', `${this.#server} did not answer with embeddings`)
    }
    if (entries.length !== count) throw this.#badAnswer(`${entries.length} vectors for ${count} texts`)
    const vectors = new Array<Float32Array | undefined>(count).fill(undefined)
    for (const entry of entries) {
      const index: unknown = isRecord(entry) ? entry.index : undefined
      if (!isRecord(entry) || typeof index !== 'number' || !Number.isInteger(index)) {
        throw this.#badAnswer('a vector without an index')
      }
      if (index < 0 || index >= count) throw this.#badAnswer(`index ${index} for ${count} texts`)
      if (vectors[index]) throw this.#badAnswer(`index ${index} twice`)
      vectors[index] = this.#readVector(entry.embedding, index)
    }
    return vectors as Float32Array[]
  }

  #readVector(embedding: unknown, index: number): Float32Array {
    const vector = decode(embedding)
    if (!vector || vector.length === 0) throw this.#badAnswer(`no numbers at index ${index}`)
    this.#vectorLength ??= vector.length
    if (vector.length !== this.#vectorLength) {
      throw this.#badAnswer(`${vector.length} dimensions at index ${index}, not ${this.#vectorLength}`)
    }
    if (!vector.every(Number.isFinite) || vector.every((component) => component === 0)) {
      throw this.#badAnswer(`a vector without a direction at index ${index}`)
    }
    return vector
  }

  #badAnswer(what: string): MemsyncError {
    return new MemsyncError('MEMSYNC_EMBEDDER_BAD_ANSWER', `${this.#server} answered with ${what}`)
  }
}

/** Base64 of little-endian float32, or an array of numbers from servers that ignore the encoding asked for. */
function decode(embedding: unknown): Float32Array | undefined {
  if (typeof embedding === 'string') {
    const bytes = Buffer.from(embedding, 'base64')
    if (bytes.length % 4 !== 0) return undefined
    // Copied, as a pooled buffer need not begin at a multiple of four.
    return new Float32Array(Uint8Array.from(bytes).buffer)
  }
  const isNumbers = Array.isArray(embedding) && embedding.every((component) => typeof component === 'number')
  return isNumbers ? Float32Array.from(embedding as number[]) : undefined
}

function readTokens(answer: unknown): number | undefined {
  const usage = isRecord(answer) && isRecord(answer.usage) ? answer.usage : {}
  const tokens = usage.total_tokens ?? usage.prompt_tokens
  return typeof tokens === 'number' && Number.isInteger(tokens) && tokens > 0 ? tokens : undefined
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}

/** The SDK's errors of refused requests carry the answer's status and headers; no other error does. */
function isRefusal(error: unknown): error is Refusal {
  return isRecord(error) && typeof error.status === 'number' && error.headers instanceof Headers
}

/**
 * What a call of the SDK ended in, as an error of ours.
 * @param server its host, for the message
 * @param passedMs the deadline, in milliseconds, where that was what ended it
 */
export function toEmbedderError(error: unknown, server: string, passedMs: number | undefined): MemsyncError {
  if (isRefusal(error)) return refusalError(error, server, Date.now())
  const reason = passedMs === undefined ? connectionProblem(error) : `did not answer within ${passedMs} ms`
  return new MemsyncError('MEMSYNC_EMBEDDER_UNAVAILABLE', `${server} ${reason}`)
}

/** What a network error says of itself: its code alone, as its message may hold a URL with a password. */
function connectionProblem(error: unknown): string {
  for (let cause = error; isRecord(cause); cause = cause.cause) {
    if (typeof cause.code === 'string' && /^[A-Z0-9_]{3,60}$/.test(cause.code)) {
      return `cannot be reached (${cause.code})`
    }
  }
  return error instanceof SyntaxError ? 'did not answer in JSON' : 'broke off the connection'
}
