/**
 * A test server that follows the self-hosted Mem0 (its `server/`): X-API-Key, no trailing slashes, its own
 * ids, no deduplication, 422 lists, 502 with a code, `null` with 200 for an unknown id, lists cut at `top_k`.
 */
import { createHash, randomUUID } from 'node:crypto'
import { type FaultyHttp, startFaultyHttp, type TestAnswer, type TestRequest } from './faultyHttp.ts'

export interface FakeMem0Record {
  id: string
  memory: string
  user_id: string | undefined
  run_id: string | undefined
  metadata: Record<string, unknown>
}

export interface FakeMem0 extends FaultyHttp {
  readonly records: Map<string, FakeMem0Record>
  /** A 502 code that every embedding ends in, while reads go on; undefined where it works. */
  embedderFault: string | undefined
}

const STRIPPED = [
  'data',
  'hash',
  'updated_at',
  'text_lemmatized',
  'role',
  'user_id',
  'agent_id',
  'run_id',
  'actor_id',
]
const ID_FIELDS = ['user_id', 'agent_id', 'run_id'] as const

export async function startFakeMem0(
  options: { apiKey?: string; healthRoute?: boolean } = {},
): Promise<FakeMem0> {
  const records = new Map<string, FakeMem0Record>()
  const embed = (text: string): TestAnswer | undefined => {
    if (fake.embedderFault !== undefined) return upstream(fake.embedderFault)
    // PostgreSQL takes no NUL, and the embedding provider no empty text.
    if (text.includes('\0')) return upstream('unknown')
    return text === '' ? upstream('provider_bad_request') : undefined
  }

  const http = await startFaultyHttp({
    guard: (request) => guard(request, options.apiKey),
    notFound: { status: 404, body: { detail: 'Not Found' } },
    routes: [
      { method: 'POST', path: '/memories', answer: (request) => create(request, records, embed) },
      { method: 'GET', path: '/memories', answer: (request) => list(request, records) },
      {
        method: 'GET',
        path: '/memories/:id',
        answer: ({ params: [id = ''] }) =>
          withRecord(id, records, publicRecord) ?? { status: 200, body: null },
      },
      { method: 'PUT', path: '/memories/:id', answer: (request) => update(request, records, embed) },
      {
        method: 'DELETE',
        path: '/memories/:id',
        answer: ({ params: [id = ''] }) => {
          if (!isUuid(id)) return upstream('unknown')
          if (!records.delete(id)) return { status: 404, body: { detail: 'Memory not found' } }
          return { status: 200, body: { message: 'Memory deleted successfully' } }
        },
      },
      {
        method: 'GET',
        path: '/auth/setup-status',
        answer: () => ({ status: 200, body: { needsSetup: false } }),
      },
      ...(options.healthRoute
        ? [{ method: 'GET', path: '/health', answer: () => ({ status: 200, body: { status: 'ok' } }) }]
        : []),
    ],
  })
  const fake: FakeMem0 = Object.assign(http, { records, embedderFault: undefined })
  return fake
}

function isUuid(id: string): boolean {
  return /^[0-9a-f-]{36}$/.test(id)
}

function upstream(code: string): TestAnswer {
  return { status: 502, body: { detail: 'Upstream provider error.', code, request_id: 'deadbeef' } }
}

function guard(request: TestRequest, apiKey: string | undefined): TestAnswer | undefined {
  if (apiKey === undefined || ['/auth/setup-status', '/health'].includes(request.path)) return undefined
  // A bearer header wins, and must be a JWT.
  const refused = request.headers.authorization !== undefined || request.headers['x-api-key'] !== apiKey
  return refused ? { status: 401, body: { detail: 'Invalid API key.' } } : undefined
}

interface CreateBody {
  messages?: { role?: string; content?: string }[]
  user_id?: string
  agent_id?: string
  run_id?: string
  metadata?: Record<string, unknown>
  infer?: boolean
}

function unprocessable(field: string): TestAnswer {
  return { status: 422, body: { detail: [{ type: 'missing', loc: ['body', field], msg: 'Field required' }] } }
}

function create(
  request: TestRequest,
  records: Map<string, FakeMem0Record>,
  embed: (text: string) => TestAnswer | undefined,
): TestAnswer {
  const body = JSON.parse(request.body) as CreateBody
  if (!Array.isArray(body.messages)) return unprocessable('messages')
  const ids = ID_FIELDS.map((field) => body[field]).filter((id) => id !== undefined)
  if (ids.length === 0) return { status: 400, body: { detail: 'At least one identifier is required.' } }
  if (ids.some((id) => /\s/.test(id))) return { status: 400, body: { detail: 'An id holds white space.' } }
  if (body.infer !== false) return { status: 200, body: { results: [] } }
  if (JSON.stringify(body.metadata ?? {}).includes('\\u0000')) return upstream('unknown')
  const results: unknown[] = []
  for (const { role, content } of body.messages) {
    if (role === 'system' || content === undefined) continue
    const failed = embed(content)
    if (failed) return failed
    const id = randomUUID()
    const metadata = strip(body.metadata ?? {})
    records.set(id, { id, memory: content, user_id: body.user_id, run_id: body.run_id, metadata })
    results.push({ id, memory: content, event: 'ADD', actor_id: null, role })
  }
  return { status: 200, body: { results } }
}

function strip(metadata: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(metadata).filter(([name]) => !STRIPPED.includes(name)))
}

function update(
  { params: [id = ''], body: text }: TestRequest,
  records: Map<string, FakeMem0Record>,
  embed: (text: string) => TestAnswer | undefined,
): TestAnswer {
  if (!isUuid(id)) return upstream('unknown')
  const record = records.get(id)
  if (!record) return { status: 404, body: { detail: 'Memory not found' } }
  const body = JSON.parse(text) as { text?: string; metadata?: Record<string, unknown> }
  const failed = embed(body.text ?? record.memory)
  if (failed) return failed
  record.memory = body.text ?? record.memory
  record.metadata = { ...record.metadata, ...strip(body.metadata ?? {}) }
  return { status: 200, body: { message: 'Memory updated successfully!' } }
}

function publicRecord(record: FakeMem0Record): unknown {
  const hash = createHash('md5').update(record.memory).digest('hex')
  return { ...record, hash, created_at: '2026-01-01T00:00:00Z', updated_at: null }
}

function withRecord(
  id: string,
  records: Map<string, FakeMem0Record>,
  show: (record: FakeMem0Record) => unknown,
): TestAnswer | undefined {
  const record = records.get(id)
  return record && { status: 200, body: show(record) }
}

function list({ query }: TestRequest, records: Map<string, FakeMem0Record>): TestAnswer {
  const [user, run] = [query.get('user_id'), query.get('run_id')]
  if ([user, run].some((id) => id !== null && /\s/.test(id))) return upstream('unknown')
  const topK = Number(query.get('top_k') ?? 20)
  if (!Number.isInteger(topK) || topK < 0 || topK > 1000) return unprocessable('top_k')
  const found = [...records.values()].filter(
    (record) => (user === null || record.user_id === user) && (run === null || record.run_id === run),
  )
  return { status: 200, body: { results: found.slice(0, topK).map(publicRecord) } }
}
