/**
 * The server of the `http` remote over any store: `answerMemoryRequest` turns a request into an answer and
 * touches nothing but the store; `memoryListener` is the same for node:http, with a bounded body. The contract
 * is in `httpWire.ts`.
 *
 * The token is compared in constant time, before anything of the request is looked at. An older version than
 * the store holds is refused by the store's own compare-and-set, tombstones included.
 */
import { createHash, randomUUID, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { MemsyncError, toMemsyncError } from '../../errors.ts'
import { type MemorySyncPayload, parsePayload } from '../../jobs/index.ts'
import { compareVersions, formatVersion, parseVersion, type Version } from '../../jobs/version.ts'
import type { ListOptions, Store, StoredMemory, Write } from '../memory/port.ts'
import { contentOf } from './content.ts'
import { HEALTH_PATH, LIST_PATH, MEMORY_PATH, VERSION_HEADER, type WireMemory } from './httpWire.ts'

export interface MemoryRequest {
  method: string
  /** Path and query, as it came. */
  target: string
  /** Names in lower case. */
  headers: Readonly<Record<string, string | string[] | undefined>>
  body: string
}

export interface MemoryAnswer {
  status: number
  headers: Record<string, string>
  /** JSON. */
  body: string
}

export interface MemoryServerOptions {
  store: Store
  /** What a client must present as its bearer token; at least 16 characters. */
  token: string
  /** Default 1 MiB, as JSON. */
  maxValueBytes?: number
  /** Told of what went wrong here, for the log; the client only learns that something did. */
  onError?: (error: MemsyncError, requestId: string) => void
}

const DEFAULT_MAX_VALUE_BYTES = 1024 * 1024
const PAGE_LIMIT = 100
const RETRY_AFTER_S = 5

/** Ends the handling of a request with an answer that is an error. */
class Refusal extends Error {
  readonly status: number
  readonly code: string

  constructor(status: number, code: string, message: string) {
    super(message)
    this.status = status
    this.code = code
  }
}

/** The answer to one request. Never throws. */
export async function answerMemoryRequest(
  request: MemoryRequest,
  options: MemoryServerOptions,
): Promise<MemoryAnswer> {
  const requestId = requestIdOf(request)
  try {
    if (!holdsToken(request, options.token)) {
      throw new Refusal(401, 'unauthorized', 'The Authorization header does not hold the token.')
    }
    return answer(200, await route(request, options), requestId)
  } catch (thrown) {
    return refuse(thrown, requestId, options)
  }
}

function requestIdOf(request: MemoryRequest): string {
  const given = request.headers['x-request-id']
  return typeof given === 'string' && /^[\w.-]{1,64}$/.test(given) ? given : randomUUID()
}

function holdsToken(request: MemoryRequest, token: string): boolean {
  const given = request.headers.authorization
  const digest = (text: string) => createHash('sha256').update(text).digest()
  // Digests have one length, so neither the time nor an exception tells how long the token is.
  return typeof given === 'string' && timingSafeEqual(digest(given), digest(`Bearer ${token}`))
}

function answer(status: number, body: unknown, requestId: string): MemoryAnswer {
  return {
    status,
    headers: { 'content-type': 'application/json', 'cache-control': 'no-store', 'x-request-id': requestId },
    body: JSON.stringify(body),
  }
}

function refuse(thrown: unknown, requestId: string, options: MemoryServerOptions): MemoryAnswer {
  if (thrown instanceof Superseded) return answer(412, { version: formatVersion(thrown.held) }, requestId)
  if (thrown instanceof Refusal) {
    const { status, code, message } = thrown
    return answer(status, { error: { code, message } }, requestId)
  }
  const error = toMemsyncError(thrown, 'MEMSYNC_HANDLER_FAILED')
  const status = STATUS_OF[error.code] ?? (error.class === 'outage' ? 503 : 500)
  if (status >= 500) options.onError?.(error, requestId)
  const message = status >= 500 ? error.hint : error.message
  const refused = answer(status, { error: { code: error.code, message } }, requestId)
  if (status === 503) refused.headers['retry-after'] = String(RETRY_AFTER_S)
  return refused
}

const STATUS_OF: Partial<Record<MemsyncError['code'], number>> = {
  MEMSYNC_INVALID_MEMORY: 400,
  MEMSYNC_INVALID_VALUE: 400,
  MEMSYNC_VALUE_TOO_LARGE: 413,
}

class Superseded extends Error {
  readonly held: Version

  constructor(held: Version) {
    super('a newer version is held')
    this.held = held
  }
}

async function route(request: MemoryRequest, options: MemoryServerOptions): Promise<unknown> {
  const url = URL.parse(request.target, 'http://localhost')
  const methods = ROUTES.get(url?.pathname ?? '')
  if (!url || !methods) throw new Refusal(404, 'no_such_route', 'There is no such route.')
  const handle = methods.get(request.method)
  if (!handle) throw new Refusal(405, 'method_not_allowed', `Takes ${[...methods.keys()].join(', ')}.`)
  return handle(request, url.searchParams, options)
}

type Handle = (
  request: MemoryRequest,
  query: URLSearchParams,
  options: MemoryServerOptions,
) => Promise<unknown>

const ROUTES = new Map<string, Map<string, Handle>>([
  [HEALTH_PATH, new Map([['GET', health]])],
  [
    MEMORY_PATH,
    new Map([
      ['PUT', putMemory],
      ['GET', getMemory],
      ['DELETE', deleteMemory],
    ]),
  ],
  [LIST_PATH, new Map([['GET', listMemories]])],
])

async function health(
  _request: MemoryRequest,
  _query: URLSearchParams,
  { store }: MemoryServerOptions,
): Promise<unknown> {
  await store.probe()
  return { status: 'ok' }
}

function parameter(query: URLSearchParams, name: string): string {
  const value = query.get(name)
  if (value === null) throw new Refusal(400, 'bad_request', `The query lacks ${name}.`)
  return value
}

function versionOf(request: MemoryRequest): Version {
  const text = request.headers[VERSION_HEADER]
  if (text === undefined)
    throw new Refusal(428, 'version_required', `The ${VERSION_HEADER} header is missing.`)
  const version = typeof text === 'string' ? parseVersion(text) : undefined
  if (!version)
    throw new Refusal(400, 'bad_request', `The ${VERSION_HEADER} header is not epoch-sequence-index.`)
  return version
}

function parseBody(body: string): Record<string, unknown> {
  let parsed: unknown
  try {
    parsed = JSON.parse(body)
  } catch {
    throw new Refusal(400, 'bad_request', 'The body is not JSON.')
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw new Refusal(400, 'bad_request', 'The body is not a JSON object.')
  }
  const unknown = Object.keys(parsed).find((name) => name !== 'value' && name !== 'metadata')
  if (unknown !== undefined)
    throw new Refusal(400, 'bad_request', 'The body has a name other than value and metadata.')
  return parsed as Record<string, unknown>
}

async function putMemory(
  request: MemoryRequest,
  query: URLSearchParams,
  options: MemoryServerOptions,
): Promise<unknown> {
  const body = parseBody(request.body)
  const data = { ...body, key: parameter(query, 'key'), namespace: parameter(query, 'namespace') }
  await write(parsePayload('MEMORY_SYNC', data, options.maxValueBytes), versionOf(request), options.store)
  return { outcome: 'stored' }
}

async function deleteMemory(
  request: MemoryRequest,
  query: URLSearchParams,
  { store }: MemoryServerOptions,
): Promise<unknown> {
  const data = { key: parameter(query, 'key'), namespace: parameter(query, 'namespace'), op: 'delete' }
  const payload = parsePayload('MEMORY_SYNC', data)
  const version = versionOf(request)
  const held = await store.find(payload.key, payload.namespace)
  await write(payload, version, store)
  // The tombstone is written either way, so that an older write which comes later stays out.
  if (!held || held.deleted) throw new Refusal(404, 'no_such_memory', 'There was no such memory.')
  return { outcome: 'removed' }
}

/** @throws Superseded where the store holds a newer version */
async function write(payload: MemorySyncPayload, version: Version, store: Store): Promise<void> {
  const { namespace, key, op, value, metadata } = payload
  const entry: Write = {
    op,
    namespace,
    key,
    version,
    acceptedAtMs: Date.now(),
    ...(op === 'set' && { valueJson: JSON.stringify(value) }),
    ...(metadata && { metadataJson: JSON.stringify(metadata) }),
  }
  const [result] = await store.apply([entry])
  if (result?.outcome === 'applied' && !result.repeated) return
  const held = await store.find(key, namespace)
  if (held && !isSameWrite(entry, held)) throw new Superseded(held.version)
}

/**
 * Whether what is held is what this write says. A version that came again with another content is another
 * machine's, or of one that lost its past: saying that it was stored would be a lie.
 */
function isSameWrite(entry: Write, held: StoredMemory): boolean {
  if (compareVersions(entry.version, held.version) !== 0) return false
  if (entry.op === 'delete') return held.deleted
  const sent = contentOf(JSON.parse(entry.valueJson ?? 'null'), JSON.parse(entry.metadataJson ?? '{}'))
  return !held.deleted && sent.contentHash === contentOf(held.value ?? null, held.metadata).contentHash
}

async function getMemory(
  _request: MemoryRequest,
  query: URLSearchParams,
  { store }: MemoryServerOptions,
): Promise<unknown> {
  const memory = await store.find(parameter(query, 'key'), parameter(query, 'namespace'))
  if (!memory || memory.deleted) throw new Refusal(404, 'no_such_memory', 'There is no such memory.')
  return wireMemory(memory)
}

function wireMemory(memory: StoredMemory): WireMemory {
  return {
    namespace: memory.namespace,
    key: memory.key,
    value: memory.value ?? null,
    ...(memory.metadata && { metadata: memory.metadata }),
    version: formatVersion(memory.version),
  }
}

async function listMemories(
  _request: MemoryRequest,
  query: URLSearchParams,
  { store }: MemoryServerOptions,
): Promise<unknown> {
  const limit = Number(query.get('limit') ?? PAGE_LIMIT)
  if (!Number.isInteger(limit) || limit < 1)
    throw new Refusal(400, 'bad_request', 'limit is not a whole number.')
  const namespace = parameter(query, 'namespace')
  const options: ListOptions = { namespace, limit: Math.min(limit, PAGE_LIMIT) }
  const after = query.get('after')
  if (after !== null) options.after = { namespace, key: Buffer.from(after, 'base64url').toString('utf8') }
  const { memories, next } = await store.list(options)
  return {
    memories: memories.map(wireMemory),
    next: next ? Buffer.from(next.key).toString('base64url') : null,
  }
}

/**
 * The same as a listener: `createServer(memoryListener({ store, token }))`.
 * @throws MEMSYNC_BAD_SETTING where the token is shorter than 16 characters
 */
export function memoryListener(options: MemoryServerOptions): RequestListener {
  if (options.token.length < 16) {
    throw new MemsyncError(
      'MEMSYNC_BAD_SETTING',
      'the token of the memory server is shorter than 16 characters',
    )
  }
  // Twice the value: other languages write a letter as an escape. Then the metadata and the frame.
  const maxBodyBytes = 2 * (options.maxValueBytes ?? DEFAULT_MAX_VALUE_BYTES) + 65_536
  return (incoming, outgoing) => {
    const request = { method: incoming.method ?? '', target: incoming.url ?? '/', headers: incoming.headers }
    readBody(incoming, maxBodyBytes).then(
      async (body) => {
        const whole = { ...request, body: body ?? '' }
        // A stranger is told nothing of the limit.
        if (body !== undefined || !holdsToken(whole, options.token)) {
          return send(outgoing, await answerMemoryRequest(whole, options))
        }
        const tooLong = new Refusal(413, 'too_large', `The body is longer than ${maxBodyBytes} bytes.`)
        send(outgoing, refuse(tooLong, requestIdOf(whole), options))
      },
      // The client went away before it had sent its request: there is nobody to answer.
      () => outgoing.destroy(),
    )
  }
}

/** The body, or undefined above the limit: the rest is read and dropped, so that the client gets its answer. */
async function readBody(incoming: IncomingMessage, maxBytes: number): Promise<string | undefined> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of incoming) {
    bytes += (chunk as Buffer).length
    if (bytes <= maxBytes) chunks.push(chunk as Buffer)
    else chunks.length = 0
  }
  return bytes <= maxBytes ? Buffer.concat(chunks).toString('utf8') : undefined
}

function send(outgoing: ServerResponse, { status, headers, body }: MemoryAnswer): void {
  outgoing.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) }).end(body)
}
