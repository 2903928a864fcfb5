/**
 * One HTTP call to a remote, with every wait bounded: a connect deadline, a total deadline that also cuts an
 * answer that drips, a cap on the bytes read, and the lane's signal. Redirects are not followed, so the key
 * goes nowhere else. Errors name the route, the status and the request id; never the body, the key or a query.
 *
 * Built on node:http rather than fetch: fetch has a fixed connect deadline of 10 s (10.5 s measured), does not
 * say whether a request had been sent when it failed, which is what tells "not stored" from "unclear", and
 * refuses some eighty port numbers outright.
 */
import { randomUUID } from 'node:crypto'
import {
  type ClientRequest,
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
} from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { MemsyncError } from '../../errors.ts'
import { parseRetryAfter } from '../../queue/retryPolicy.ts'
import { classifyStatus } from './classify.ts'

export interface HttpClientOptions {
  /** How errors name the remote. */
  remote: string
  baseUrl: string
  headers: Record<string, string>
  connectTimeoutMs: number
  callTimeoutMs: number
}

export interface HttpRequest {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** Without ids or query, for errors: `/memories/{id}`. */
  route: string
  /** What is asked for under the base URL, encoded. */
  path: string
  /** JSON text. */
  body?: string
  headers?: Record<string, string>
  /** Default 16 MiB. */
  maxAnswerBytes?: number
  /** In place of the client's `callTimeoutMs`. */
  timeoutMs?: number
  /** Statuses beside 2xx that are an answer and not an error. */
  accept?: readonly number[]
}

export interface HttpAnswer {
  status: number
  /** Parsed; undefined where an accepted status came without JSON. */
  body: unknown
  requestId: string
}

interface RawAnswer {
  status: number
  headers: IncomingHttpHeaders
  text: string
}

export interface HttpClient {
  /** Any 2xx with JSON, or an accepted status. @throws as the port says */
  json(request: HttpRequest, signal: AbortSignal): Promise<HttpAnswer>
  close(): void
}

const MAX_ANSWER_BYTES = 16 * 1024 * 1024
/** Below the 5 s after which common servers close an idle connection, so that none is used as it closes. */
const IDLE_TIMEOUT_MS = 4_000

type Cut = 'connect' | 'total' | 'abort' | 'size'

export function createHttpClient(options: HttpClientOptions): HttpClient {
  const base = parseBaseUrl(options.baseUrl)
  const headers = checkHeaders(options.headers)
  const secure = base.protocol === 'https:'
  const agentOptions = { keepAlive: true, timeout: IDLE_TIMEOUT_MS, scheduling: 'lifo' } as const
  const agent = secure ? new HttpsAgent(agentOptions) : new HttpAgent(agentOptions)

  const open = (request: HttpRequest, requestId: string): ClientRequest => {
    const body = request.body === undefined ? {} : jsonHeaders(request.body)
    return (secure ? httpsRequest : httpRequest)({
      agent,
      protocol: base.protocol,
      hostname: base.hostname.replace(/^\[|\]$/g, ''),
      port: base.port,
      method: request.method,
      path: base.pathname.replace(/\/+$/, '') + request.path,
      headers: {
        accept: 'application/json',
        'x-request-id': requestId,
        ...headers,
        ...request.headers,
        ...body,
      },
    })
  }

  return {
    async json(request, signal) {
      const requestId = randomUUID()
      const callTimeoutMs = request.timeoutMs ?? options.callTimeoutMs
      const context = { ...options, callTimeoutMs, request, requestId, secure, signal }
      const raw = await exchange(() => open(request, requestId), context)
      return readAnswer(options.remote, request, raw, knownId(raw, options.headers) ?? requestId)
    },
    close: () => agent.destroy(),
  }
}

function parseBaseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const bad = (problem: string) =>
    new MemsyncError(
      'MEMSYNC_BAD_SETTING',
      `MEMSYNC_REMOTE_URL: ${problem}; for example MEMSYNC_REMOTE_URL=https://vps.example:8888`,
    )
  if (!url || !/^https?:$/.test(url.protocol)) throw bad('is not a URL of http or https')
  if (url.username || url.password) throw bad('holds credentials; put the key in MEMSYNC_REMOTE_KEY')
  if (url.search || url.hash) throw bad('has a query or a fragment')
  return url
}

function checkHeaders(headers: Record<string, string>): Record<string, string> {
  for (const value of Object.values(headers)) {
    if (/^[\x21-\x7e]+( [\x21-\x7e]+)*$/.test(value)) continue
    throw new MemsyncError(
      'MEMSYNC_BAD_SETTING',
      'MEMSYNC_REMOTE_KEY: its value holds a space, a line break or a letter that no header can carry',
    )
  }
  return headers
}

function jsonHeaders(body: string): Record<string, string | number> {
  return { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
}

interface Exchange {
  remote: string
  request: HttpRequest
  requestId: string
  secure: boolean
  signal: AbortSignal
  connectTimeoutMs: number
  callTimeoutMs: number
}

/** Sends, and settles exactly once: with whatever answer came, or with why none did. */
function exchange(open: () => ClientRequest, context: Exchange): Promise<RawAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<RawAnswer>()
  if (context.signal.aborted) {
    reject(interrupted(context))
    return promise
  }
  const outgoing = open()
  let connected = false
  let cutBy: Cut | undefined
  const cut = (reason: Cut) => {
    cutBy ??= reason
    outgoing.destroy(new Error(reason))
  }
  const onAbort = () => cut('abort')
  const connectTimer = setTimeout(cut, context.connectTimeoutMs, 'connect')
  const totalTimer = setTimeout(cut, context.callTimeoutMs, 'total')
  context.signal.addEventListener('abort', onAbort, { once: true })

  const release = () => {
    clearTimeout(connectTimer)
    clearTimeout(totalTimer)
    context.signal.removeEventListener('abort', onAbort)
  }
  const fail = (error: Error) => {
    release()
    reject(noAnswer(context, { connected, cutBy, errorCode: (error as NodeJS.ErrnoException).code }))
  }
  const onConnected = () => {
    connected = true
    clearTimeout(connectTimer)
  }
  outgoing.on('socket', (socket) => {
    if (outgoing.reusedSocket) onConnected()
    else socket.once(context.secure ? 'secureConnect' : 'connect', onConnected)
  })
  let answered = false
  outgoing.on('error', (error) => {
    // Once there is a head, reading the body fails by itself, and what the head says still counts.
    if (!answered) fail(error)
  })
  outgoing.on('response', (response) => {
    answered = true
    const done = (text: string) => {
      release()
      resolve({ status: response.statusCode ?? 0, headers: response.headers, text })
    }
    const limit = context.request.maxAnswerBytes ?? MAX_ANSWER_BYTES
    collect(response, limit, () => cut('size')).then(done, (error: Error) => {
      // A refusal is known from its head; only a success needs its body.
      if ((response.statusCode ?? 0) >= 300 && cutBy !== 'abort') done('')
      else fail(error)
    })
  })
  outgoing.end(context.request.body)
  return promise
}

async function collect(response: IncomingMessage, maxBytes: number, tooLong: () => void): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of response) {
    bytes += (chunk as Buffer).length
    if (bytes > maxBytes) {
      tooLong()
      throw new Error('too long')
    }
    chunks.push(chunk as Buffer)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function interrupted(context: Exchange): MemsyncError {
  const { reason } = context.signal
  if (reason instanceof MemsyncError) return reason
  return new MemsyncError('MEMSYNC_INTERRUPTED', `${describe(context)} was called off`)
}

function describe(context: { remote: string; request: HttpRequest; requestId: string }): string {
  return `${context.remote}: ${context.request.method} ${context.request.route} (request ${context.requestId})`
}

function noAnswer(
  context: Exchange,
  failure: { connected: boolean; cutBy: Cut | undefined; errorCode: string | undefined },
): MemsyncError {
  const { connected, cutBy, errorCode } = failure
  const what = describe(context)
  if (cutBy === 'abort') return interrupted(context)
  if (cutBy === 'size') return new MemsyncError('MEMSYNC_REMOTE_UNCLEAR', `${what}: the answer is too long`)
  if (!connected) {
    const why = cutBy
      ? `no connection within ${Math.min(context.connectTimeoutMs, context.callTimeoutMs)} ms`
      : errorCode
    return new MemsyncError(
      'MEMSYNC_REMOTE_UNAVAILABLE',
      `${what}: cannot be reached: ${why ?? 'no connection'}`,
    )
  }
  const why = cutBy
    ? `no whole answer within ${context.callTimeoutMs} ms`
    : `the connection was lost (${errorCode ?? 'cut'})`
  return new MemsyncError('MEMSYNC_REMOTE_UNCLEAR', `${what}: ${why}`, { class: 'outage' })
}

/** The id under which the server knows the request; none that is part of what we sent it, which may be the key. */
function knownId({ headers }: RawAnswer, sent: Record<string, string>): string | undefined {
  const given = headers['x-request-id']
  if (typeof given !== 'string' || !/^[\w.-]{1,64}$/.test(given)) return undefined
  return Object.values(sent).some((value) => value.includes(given)) ? undefined : given
}

function readAnswer(remote: string, request: HttpRequest, raw: RawAnswer, requestId: string): HttpAnswer {
  const body = parseJson(raw.text)
  if (request.accept?.includes(raw.status)) return { status: raw.status, body, requestId }
  const what = describe({ remote, request, requestId })
  if (raw.status >= 200 && raw.status < 300) {
    if (body !== undefined) return { status: raw.status, body, requestId }
    throw new MemsyncError('MEMSYNC_REMOTE_UNCLEAR', `${what}: answered ${raw.status} with what is not JSON`)
  }
  const code = typeof body === 'object' && body !== null ? (body as { code?: unknown }).code : undefined
  const verdict = classifyStatus(raw.status, code)
  const serverNowMs = Date.parse(raw.headers.date ?? '') || Date.now()
  const retryAfterMs = parseRetryAfter(raw.headers['retry-after'], serverNowMs)
  throw new MemsyncError(verdict.code, `${what}: answered ${verdict.reason}${redirectHint(raw)}`, {
    ...(verdict.class && { class: verdict.class }),
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  })
}

function redirectHint(raw: RawAnswer): string {
  const to = raw.headers.location
  if (raw.status < 300 || raw.status > 399 || to === undefined || !URL.canParse(to)) return ''
  return `, a redirect to ${new URL(to).origin}, which is not followed: is MEMSYNC_REMOTE_URL right?`
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // Not JSON is an answer of its own here: the caller decides by the status what it means.
    return undefined
  }
}

/** How many milliseconds of `totalMs` are left, at least 1: for calls that share one deadline. */
export function countdown(totalMs: number): () => number {
  const endMs = performance.now() + totalMs
  return () => Math.max(1, Math.ceil(endMs - performance.now()))
}

/** The body, where it has the shape asked for. @throws MEMSYNC_REMOTE_UNCLEAR */
export function expectShape<T>(
  remote: string,
  answer: HttpAnswer,
  schema: { safeParse(body: unknown): { success: true; data: T } | { success: false } },
): T {
  const parsed = schema.safeParse(answer.body)
  if (parsed.success) return parsed.data
  throw new MemsyncError(
    'MEMSYNC_REMOTE_UNCLEAR',
    `${remote}: answered ${answer.status} with JSON of another shape than documented (request ${answer.requestId})`,
  )
}

/** A server that says 200 and names nothing it stored has stored nothing. */
export function storedNothing(remote: string, answer: HttpAnswer): MemsyncError {
  const text = `${remote}: answered ${answer.status} but stored nothing (request ${answer.requestId})`
  return new MemsyncError('MEMSYNC_REMOTE_UNCLEAR', text)
}
