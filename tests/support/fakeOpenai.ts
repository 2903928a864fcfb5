/**
 * A real HTTP server that follows the wire contract of OpenAI's embeddings and models calls: limits, codes,
 * base64 and rate-limit headers. Faults are put in its way one request at a time.
 */
import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { countTokens } from 'gpt-tokenizer/encoding/cl100k_base'

/** What the next request meets instead of its answer. */
export type Fault =
  /** Refused with this status and OpenAI's error body. */
  | { status: number; code?: string; type?: string; param?: string; headers?: Record<string, string> }
  /** Accepted, and never answered. */
  | 'hang'
  /** Headers at once, then a byte now and then, for ever. */
  | 'drip'
  /** The same for a status of failure. */
  | 'dripError'
  /** Headers and half the body, then the connection breaks. */
  | 'cut'
  /** Success, with a page for people. */
  | 'html'
  /** Success, in JSON, but of something else. */
  | 'noData'
  | 'short'
  | 'long'
  | 'duplicateIndex'
  | 'indexOutOfRange'
  | 'noIndex'
  | 'wrongDimensions'
  | 'oneWrongDimension'
  | 'notNumbers'
  | 'notFinite'
  | 'zeroVector'

export interface FakeOpenaiOptions {
  /** The key it takes; any unless given. */
  apiKey?: string
  model?: string
  /** The model's own length of vector. Default 8. */
  dimensions?: number
  /** Answers come back in another order. */
  shuffled?: boolean
  /** The encoding asked for is ignored, as some compatible servers do. */
  floatsOnly?: boolean
  /** There is no models call. */
  withoutModels?: boolean
  /** Sent with every answer to an embeddings call. */
  headers?: Record<string, string>
}

interface EmbeddingsBody {
  model: string
  input: string[]
  dimensions?: number
  encoding_format?: string
}

export interface FakeOpenai {
  /** Up to and with `/v1`. */
  readonly baseUrl: string
  /** Embeddings calls that came in, refused ones too. */
  readonly calls: number
  readonly modelCalls: number
  /** Tokens charged for, of answered calls alone. */
  readonly tokens: number
  /** The bodies of the embeddings calls, and the headers they came with. */
  readonly requests: readonly { body: EmbeddingsBody; headers: IncomingMessage['headers'] }[]
  /** The next embeddings calls meet the fault; `times` of them, 1 unless given. */
  fail(fault: Fault, times?: number): void
  /** As `fail`, for the models call. */
  failModels(fault: Fault, times?: number): void
  /** Embeddings calls wait for their answer until what this returns is called. */
  hold(): () => void
  /** Listens again, on the port it had; after `close`. */
  listen(): Promise<void>
  /** No fault waits any more, and what hangs is cut off. */
  heal(): void
  /** Every request that holds such a text is refused with status 400. */
  refuseTexts(refused: (text: string) => boolean): void
  /** Nothing listens any more, and what is under way is cut off. */
  close(): Promise<void>
}

/** The vector the fake gives a text: always the same, of length 1, and unlike that of any other text. */
export function fakeVector(text: string, dimensions: number): Float32Array {
  const vector = new Float64Array(dimensions)
  for (let start = 0; start < dimensions; start += 8) {
    const bytes = createHash('sha256').update(`${start}\0${text}`).digest()
    for (let i = start; i < Math.min(start + 8, dimensions); i++) {
      vector[i] = bytes.readInt32LE((i - start) * 4) / 2 ** 31
    }
  }
  const length = Math.hypot(...vector)
  return Float32Array.from(vector, (component) => component / length)
}

export async function startFakeOpenai(options: FakeOpenaiOptions = {}): Promise<FakeOpenai> {
  const fake = new Fake(options)
  await fake.listen()
  return fake
}

class Refused extends Error {
  readonly status: number
  readonly code: string | undefined
  readonly param: string | undefined

  constructor(status: number, message: string, code?: string, param?: string) {
    super(message)
    this.status = status
    this.code = code
    this.param = param
  }
}

class Fake implements FakeOpenai {
  calls = 0
  modelCalls = 0
  tokens = 0
  requests: { body: EmbeddingsBody; headers: IncomingMessage['headers'] }[] = []
  readonly #options: FakeOpenaiOptions
  readonly #server = createServer((request, response) => void this.#serve(request, response))
  #port = 0
  #held: Promise<void> = Promise.resolve()
  #faults: Fault[] = []
  #modelFaults: Fault[] = []
  #refused: (text: string) => boolean = () => false

  constructor(options: FakeOpenaiOptions) {
    this.#options = options
  }

  get baseUrl(): string {
    return `http://127.0.0.1:${this.#port}/v1`
  }

  get #model(): string {
    return this.#options.model ?? 'text-embedding-3-large'
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(this.#port, '127.0.0.1', resolve))
    this.#port = (this.#server.address() as AddressInfo).port
  }

  fail(fault: Fault, times = 1): void {
    this.#faults.push(...new Array<Fault>(times).fill(fault))
  }

  failModels(fault: Fault, times = 1): void {
    this.#modelFaults.push(...new Array<Fault>(times).fill(fault))
  }

  hold(): () => void {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#held = promise
    return resolve
  }

  heal(): void {
    this.#faults = []
    this.#modelFaults = []
    this.#server.closeAllConnections()
  }

  refuseTexts(refused: (text: string) => boolean): void {
    this.#refused = refused
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve))
    this.#server.closeAllConnections()
    await closed
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const body = await readBody(request)
      this.#checkKey(request)
      if (request.method === 'GET' && request.url?.startsWith('/v1/models')) {
        this.modelCalls += 1
        this.#serveModels(request.url, response)
      } else if (request.method === 'POST' && request.url === '/v1/embeddings') {
        this.calls += 1
        const embeddings = JSON.parse(body) as EmbeddingsBody
        this.requests.push({ body: embeddings, headers: request.headers })
        await this.#held
        this.#serveEmbeddings(embeddings, response)
      } else {
        throw new Refused(404, `Unknown request URL: ${request.method} ${request.url}`, 'unknown_url')
      }
    } catch (error) {
      const { status, message, code, param } =
        error instanceof Refused ? error : new Refused(500, `the fake failed: ${String(error)}`)
      this.#refuse(response, { status, ...(code ? { code } : {}), ...(param ? { param } : {}) }, message)
    }
  }

  #checkKey(request: IncomingMessage): void {
    const { apiKey } = this.#options
    if (apiKey !== undefined && request.headers.authorization !== `Bearer ${apiKey}`) {
      throw new Refused(401, 'Incorrect API key provided: sk-hidden', 'invalid_api_key')
    }
  }

  #refuse(
    response: ServerResponse,
    fault: Extract<Fault, object>,
    message = 'put in the way by a test',
  ): void {
    const { status, code = null, type = 'invalid_request_error', param = null, headers } = fault
    response.writeHead(status, { 'content-type': 'application/json', ...headers })
    response.end(JSON.stringify({ error: { message, type, param, code } }))
  }

  #serveModels(url: string, response: ServerResponse): void {
    const fault = this.#modelFaults.shift()
    if (fault !== undefined) {
      this.#obstruct(fault, response, '{}')
      return
    }
    if (this.#options.withoutModels) throw new Refused(404, 'not found')
    const name = decodeURIComponent(url.slice('/v1/models/'.length)) || this.#model
    if (name !== this.#model) throw new Refused(404, `The model '${name}' does not exist`, 'model_not_found')
    response.writeHead(200, { 'content-type': 'application/json' })
    const model = { id: name, object: 'model', created: 1_700_000_000, owned_by: 'system' }
    response.end(JSON.stringify(url === '/v1/models' ? { object: 'list', data: [model] } : model))
  }

  #serveEmbeddings(body: EmbeddingsBody, response: ServerResponse): void {
    const fault = this.#faults.shift()
    if (fault !== undefined && typeof fault === 'object') {
      this.#refuse(response, fault)
      return
    }
    const counts = this.#check(body)
    const dimensions = body.dimensions ?? this.#options.dimensions ?? 8
    const data = body.input.map((text, index) => ({
      object: 'embedding',
      index,
      vector: fakeVector(text, dimensions),
    }))
    const answer = distort(data, fault)
    if (this.#options.shuffled) answer.reverse()
    const tokens = counts.reduce((sum, count) => sum + count, 0)
    const asBase64 = body.encoding_format === 'base64' && !this.#options.floatsOnly
    const text = JSON.stringify({
      object: 'list',
      data: answer.map(({ vector, ...entry }) => ({
        ...entry,
        embedding: fault === 'notNumbers' ? 'AAA=' : encode(vector, asBase64),
      })),
      model: body.model,
      usage: { prompt_tokens: tokens, total_tokens: tokens },
    })
    if (fault !== undefined) {
      this.#obstruct(fault, response, text)
      return
    }
    this.tokens += tokens
    response.writeHead(200, { 'content-type': 'application/json', ...this.#options.headers })
    response.end(text)
  }

  /** The API's own limits. Returns the tokens of each input. */
  #check({ model, input }: EmbeddingsBody): number[] {
    if (model !== this.#model) {
      throw new Refused(404, `The model '${model}' does not exist`, 'model_not_found')
    }
    if (!Array.isArray(input) || input.length === 0 || input.length > 2048) {
      throw new Refused(400, "'$.input' is invalid. Please check the API reference.")
    }
    const counts = input.map((text) => countTokens(text, { disallowedSpecial: new Set() }))
    for (const [index, text] of input.entries()) {
      if (text === '') throw new Refused(400, `input[${index}] cannot be an empty string.`)
      if ((counts[index] ?? 0) > 8192)
        throw new Refused(400, "This model's maximum context length is 8192 tokens")
      if (this.#refused(text)) throw new Refused(400, `Invalid 'input[${index}]': ${text}`)
    }
    const total = counts.reduce((sum, count) => sum + count, 0)
    if (total > 300_000) {
      throw new Refused(400, `Requested ${total} tokens, max 300000`, 'max_tokens_per_request')
    }
    return counts
  }

  #obstruct(fault: Fault, response: ServerResponse, text: string): void {
    if (typeof fault === 'object') {
      this.#refuse(response, fault)
      return
    }
    const json = { 'content-type': 'application/json' }
    switch (fault) {
      case 'hang':
        return
      case 'drip':
      case 'dripError': {
        response.writeHead(fault === 'drip' ? 200 : 500, json)
        const dripping = setInterval(() => response.write(' '), 20)
        response.on('close', () => clearInterval(dripping))
        return
      }
      case 'cut':
        response.writeHead(200, { ...json, 'content-length': text.length })
        response.write(text.slice(0, text.length / 2), () => response.destroy())
        return
      case 'html':
        response.writeHead(200, { 'content-type': 'text/html' })
        response.end('<!doctype html><title>Sign in</title>')
        return
      case 'noData':
        response.writeHead(200, json)
        response.end(JSON.stringify({ error: { message: 'the provider is away' } }))
        return
      default:
        response.writeHead(200, json)
        response.end(text)
    }
  }
}

interface Entry {
  object: string
  index?: number
  vector: Float32Array
}

function distort(data: Entry[], fault: Fault | undefined): Entry[] {
  const last = data.at(-1)
  if (!last) return data
  const others = data.slice(0, -1)
  const { index: _, ...withoutIndex } = last
  switch (fault) {
    case 'short':
      return others
    case 'long':
      return [...data, { ...last, index: data.length }]
    case 'duplicateIndex':
      return data.map((entry) => ({ ...entry, index: 0 }))
    case 'indexOutOfRange':
      return [...others, { ...last, index: data.length }]
    case 'noIndex':
      return [...others, withoutIndex]
    case 'wrongDimensions':
      return data.map((entry) => ({ ...entry, vector: entry.vector.slice(1) }))
    case 'oneWrongDimension':
      return [...others, { ...last, vector: last.vector.slice(1) }]
    case 'notFinite':
      return [...others, { ...last, vector: last.vector.map((x, i) => (i === 0 ? Number.NaN : x)) }]
    case 'zeroVector':
      return [...others, { ...last, vector: last.vector.map(() => 0) }]
    default:
      return data
  }
}

function encode(vector: Float32Array, asBase64: boolean): string | number[] {
  return asBase64 ? Buffer.from(vector.buffer).toString('base64') : Array.from(vector)
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('utf8')
}
