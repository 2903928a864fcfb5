/**
 * The routes of the HTTP interface: one table, from which the server routes and the OpenAPI document is made. A route
 * is added by adding it to `ROUTES`.
 */
import type { IncomingMessage } from 'node:http'
import type { HttpBindings } from '@hono/node-server'
import type { Context } from 'hono'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import type { Status } from '../daemon/status.ts'
import { MemsyncError } from '../errors.ts'
import { memoryDocument } from '../infrastructure/memory/document.ts'
import type { ListOptions, Store } from '../infrastructure/memory/port.ts'
import { findTextProblem, MAX_KEY_BYTES, MAX_NAMESPACE_BYTES } from '../jobs/key.ts'
import { type HandOver, receiptOf } from './handOver.ts'
import { badRequest, RETRY_AFTER_S } from './httpErrors.ts'
import { type Answer, takeJson, takeNdjson } from './httpIntake.ts'
import { OPERATIONS, type Operation, openApiDocument } from './openApi.ts'
import { MAX_SEARCH_LIMIT, type Search } from './search.ts'

/** What the routes work on. */
export interface HttpSources {
  handOver: HandOver
  search: Search
  /** @throws MEMSYNC_STORE_UNAVAILABLE before there is one */
  store(): Store
  status(): Promise<Status>
  /** In Prometheus' text format. */
  metrics(): Promise<string>
  /** Whether jobs wait and nothing finishes. */
  isStalled(): boolean
  maxValueBytes: number
}

export type HttpContext = Context<{ Bindings: HttpBindings }>

export interface Route {
  method: 'GET' | 'POST' | 'DELETE'
  /** With `{name}` for a segment that varies. */
  path: string
  /** Answers without the token. */
  open?: true
  operation: Operation
  handle(context: HttpContext, sources: HttpSources): Promise<Answer>
}

/** Version 0.0.4 of the text format, which every version of Prometheus reads. */
const PROMETHEUS_TEXT = 'text/plain; version=0.0.4; charset=utf-8'
const DEFAULT_LIST_LIMIT = 100
const MAX_LIST_LIMIT = 1_000
const DEFAULT_SEARCH_LIMIT = 10

export const ROUTES: readonly Route[] = [
  { method: 'POST', path: '/v1/memories', operation: OPERATIONS.postMemories, handle: postMemories },
  { method: 'GET', path: '/v1/memories', operation: OPERATIONS.listMemories, handle: listMemories },
  {
    method: 'GET',
    path: '/v1/memories/{namespace}/{key}',
    operation: OPERATIONS.getMemory,
    handle: getMemory,
  },
  {
    method: 'DELETE',
    path: '/v1/memories/{namespace}/{key}',
    operation: OPERATIONS.deleteMemory,
    handle: deleteMemory,
  },
  { method: 'GET', path: '/v1/search', operation: OPERATIONS.searchMemories, handle: searchMemories },
  { method: 'GET', path: '/v1/status', operation: OPERATIONS.getStatus, handle: getStatus },
  { method: 'GET', path: '/metrics', operation: OPERATIONS.getMetrics, handle: getMetrics },
  { method: 'GET', path: '/healthz', open: true, operation: OPERATIONS.getHealth, handle: getHealth },
  { method: 'GET', path: '/readyz', open: true, operation: OPERATIONS.getReadiness, handle: getReadiness },
  { method: 'GET', path: '/openapi.json', open: true, operation: OPERATIONS.getOpenApi, handle: getOpenApi },
]

export function reply(context: HttpContext, { status, body, contentType }: Answer): Response {
  if (status === 503) context.header('retry-after', String(RETRY_AFTER_S))
  if (contentType !== undefined) {
    return context.body(String(body), status as ContentfulStatusCode, { 'content-type': contentType })
  }
  return context.json(body, status as ContentfulStatusCode)
}

async function postMemories(context: HttpContext, sources: HttpSources): Promise<Answer> {
  readQuery(context, [])
  const { incoming } = context.env
  if ((incoming.headers['content-encoding'] ?? 'identity') !== 'identity') {
    throw badRequest('content-encoding: is not taken; send the body as it is', 415)
  }
  const [type = '', ...parameters] = (incoming.headers['content-type'] ?? '').toLowerCase().split(/\s*;\s*/)
  if (parameters.some((parameter) => /^charset=(?!"?utf-8"?$)/.test(parameter))) {
    throw badRequest('content-type: the charset is not utf-8', 415)
  }
  if (type === 'application/json') return takeJson(incoming, sources)
  if (/^application\/(x-)?(ndjson|jsonl|jsonlines)$/.test(type)) return takeNdjson(incoming, sources)
  throw badRequest('content-type: is neither application/json nor application/x-ndjson', 415)
}

async function listMemories(context: HttpContext, sources: HttpSources): Promise<Answer> {
  const query = readQuery(context, ['namespace', 'prefix', 'limit', 'after', 'deleted'])
  const { deleted = 'false' } = query
  if (deleted !== 'true' && deleted !== 'false') throw badRequest('deleted: is neither true nor false')
  const options: ListOptions = {
    limit: readLimit(query.limit, DEFAULT_LIST_LIMIT, MAX_LIST_LIMIT),
    includeDeleted: deleted === 'true',
    ...(query.namespace === undefined ? {} : { namespace: query.namespace }),
    ...(query.prefix === undefined ? {} : { prefix: query.prefix }),
    ...(query.after === undefined ? {} : { after: readCursor(query.after) }),
  }
  const { memories, next } = await sources.store().list(options)
  return {
    status: 200,
    body: { memories: memories.map(memoryDocument), next: next ? writeCursor(next) : null },
  }
}

async function getMemory(context: HttpContext, sources: HttpSources): Promise<Answer> {
  readQuery(context, [])
  const { namespace, key } = readName(context)
  const memory = await sources.store().find(key, namespace)
  if (memory && !memory.deleted) return { status: 200, body: memoryDocument(memory) }
  throw new MemsyncError('MEMSYNC_NOT_FOUND', 'there is no memory of this namespace and key')
}

async function deleteMemory(context: HttpContext, sources: HttpSources): Promise<Answer> {
  readQuery(context, [])
  const memory = { ...readName(context), op: 'delete' as const }
  return { status: 202, body: receiptOf(memory, await sources.handOver(memory)) }
}

async function searchMemories(context: HttpContext, sources: HttpSources): Promise<Answer> {
  const { q, namespace, limit } = readQuery(context, ['q', 'namespace', 'limit'])
  if (q === undefined) throw badRequest('q: missing; it is the words to look for')
  const { hits, ...rest } = await sources.search(sources.store(), {
    query: q,
    limit: readLimit(limit, DEFAULT_SEARCH_LIMIT, MAX_SEARCH_LIMIT),
    signal: context.req.raw.signal,
    ...(namespace === undefined ? {} : { namespace }),
  })
  const found = hits.map(({ memory, excerpt }) => ({ ...memoryDocument(memory), excerpt }))
  return { status: 200, body: { hits: found, ...rest } }
}

async function getStatus(context: HttpContext, sources: HttpSources): Promise<Answer> {
  readQuery(context, [])
  return { status: 200, body: await sources.status() }
}

async function getMetrics(context: HttpContext, sources: HttpSources): Promise<Answer> {
  readQuery(context, [])
  const body = await sources.metrics()
  return { status: 200, body, contentType: PROMETHEUS_TEXT }
}

/** Alive means making progress. */
async function getHealth(_context: HttpContext, sources: HttpSources): Promise<Answer> {
  return sources.isStalled()
    ? { status: 503, body: { status: 'stalled' } }
    : { status: 200, body: { status: 'ok' } }
}

/** Ready means that what is handed over now is carried through now. */
async function getReadiness(_context: HttpContext, sources: HttpSources): Promise<Answer> {
  const { daemon, redis, store, lanes } = await sources.status()
  const reasons = [
    ...(daemon.progress.state === 'stalled' ? ['the daemon makes no progress'] : []),
    ...(redis.state === 'up' ? [] : [`redis is ${redis.state}`]),
    ...(store.state === 'up' ? [] : [`the store is ${store.state}`]),
    ...(lanes.sync.gate === 'open' || lanes.sync.gate === 'ramping'
      ? []
      : [`the sync lane is ${lanes.sync.gate}`]),
  ]
  return reasons.length === 0
    ? { status: 200, body: { status: 'ready' } }
    : { status: 503, body: { status: 'waiting', reasons } }
}

async function getOpenApi(_context: HttpContext, sources: HttpSources): Promise<Answer> {
  return { status: 200, body: openApiDocument(ROUTES, sources.maxValueBytes) }
}

/** The path as it came: a URL library would fold `.` and `..`, which are keys like any other. */
export function pathOf({ url = '' }: IncomingMessage): string {
  return url.split('?', 1)[0] ?? ''
}

function queryOf({ url = '' }: IncomingMessage): string {
  const at = url.indexOf('?')
  return at === -1 ? '' : url.slice(at + 1)
}

function decode(text: string, what: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    // The decoder's error says no more than this.
    throw badRequest(`${what}: is not percent-encoded UTF-8`)
  }
}

function readName(context: HttpContext): { namespace: string; key: string } {
  const [namespaceText = '', keyText = ''] = pathOf(context.env.incoming).split('/').slice(3)
  const namespace = decode(namespaceText, 'namespace')
  const key = decode(keyText, 'key')
  const problem = findTextProblem(namespace, MAX_NAMESPACE_BYTES)
  if (problem) throw badRequest(`namespace: ${problem}`)
  const keyProblem = findTextProblem(key, MAX_KEY_BYTES)
  if (keyProblem) throw badRequest(`key: ${keyProblem}`)
  return { namespace, key }
}

/** The query's parameters by name; one that is not known, or that stands twice, is refused. */
function readQuery<const N extends string>(
  context: HttpContext,
  names: readonly N[],
): { [name in N]?: string } {
  const found: { [name in N]?: string } = {}
  for (const pair of queryOf(context.env.incoming).split('&').filter(Boolean)) {
    const [nameText = '', ...rest] = pair.replaceAll('+', ' ').split('=')
    const given = decode(nameText, 'query')
    const name = names.find((candidate) => candidate === given)
    if (name === undefined)
      throw badRequest(`${JSON.stringify(given.slice(0, 80))}: is no parameter of this route`)
    if (found[name] !== undefined) throw badRequest(`${name}: stands twice`)
    found[name] = decode(rest.join('='), name)
  }
  return found
}

function readLimit(text: string | undefined, fallback: number, max: number): number {
  if (text === undefined) return fallback
  const limit = Number(text)
  if (!/^\d{1,9}$/.test(text) || limit < 1 || limit > max) {
    throw badRequest(`limit: is not a whole number from 1 to ${max}`)
  }
  return limit
}

export function writeCursor({ namespace, key }: { namespace: string; key: string }): string {
  return Buffer.from(JSON.stringify([namespace, key])).toString('base64url')
}

export function readCursor(text: string): { namespace: string; key: string } {
  let parsed: unknown
  try {
    parsed = JSON.parse(Buffer.from(text, 'base64url').toString('utf8'))
  } catch {
    // Refused below, like all else that is no cursor.
  }
  const [namespace, key] = Array.isArray(parsed) ? parsed : []
  if (typeof namespace === 'string' && typeof key === 'string') return { namespace, key }
  throw badRequest('after: is not the `next` of an earlier answer')
}
