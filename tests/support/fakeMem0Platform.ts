/**
 * A test server that follows the Mem0 platform API: `Authorization: Token`, trailing slashes, v3 adding and
 * listing with filters, an exact repeat of a text within a scope dropped, run ids listed as `session_id`, and a
 * filter that names no run finds only what has none.
 */
import { randomUUID } from 'node:crypto'
import { type FaultyHttp, startFaultyHttp, type TestAnswer, type TestRequest } from './faultyHttp.ts'

interface FakePlatformRecord {
  id: string
  memory: string
  user_id: string | undefined
  session_id: string | undefined
  metadata: Record<string, unknown>
}

export interface FakeMem0Platform extends FaultyHttp {
  readonly records: Map<string, FakePlatformRecord>
}

type Records = Map<string, FakePlatformRecord>

export async function startFakeMem0Platform(options: { apiKey: string }): Promise<FakeMem0Platform> {
  const records: Records = new Map()
  const byId =
    (act: (record: FakePlatformRecord, request: TestRequest) => TestAnswer) =>
    (request: TestRequest): TestAnswer => {
      const [id = ''] = request.params
      if (!/^[0-9a-f-]{36}$/.test(id)) return bad('memory_id should be a valid UUID')
      const record = records.get(id)
      return record ? act(record, request) : { status: 404, body: { error: 'Memory not found!' } }
    }
  const http = await startFaultyHttp({
    guard: ({ headers }) =>
      headers.authorization === `Token ${options.apiKey}`
        ? undefined
        : { status: 401, body: { detail: 'Invalid API key.' } },
    notFound: { status: 404, headers: { 'content-type': 'text/html' }, body: '<h1>Not Found</h1>' },
    routes: [
      {
        method: 'GET',
        path: '/v1/ping/',
        answer: () => ({ status: 200, body: { status: 'ok', org_id: 'o' } }),
      },
      { method: 'POST', path: '/v3/memories/add/', answer: (request) => add(request, records) },
      { method: 'POST', path: '/v3/memories/', answer: (request) => list(request, records) },
      {
        method: 'GET',
        path: '/v1/memories/:id/',
        answer: byId((record) => ({ status: 200, body: publicRecord(record) })),
      },
      { method: 'PUT', path: '/v1/memories/:id/', answer: byId(update) },
      {
        method: 'DELETE',
        path: '/v1/memories/:id/',
        answer: byId((record) => {
          records.delete(record.id)
          return { status: 200, body: { message: 'Memory deleted successfully!' } }
        }),
      },
    ],
  })
  return Object.assign(http, { records })
}

function bad(error: string): TestAnswer {
  return { status: 400, body: { error } }
}

interface AddBody {
  messages?: { role: string; content: string }[]
  user_id?: string
  run_id?: string
  metadata?: Record<string, unknown>
  infer?: boolean
}

function add({ body: text }: TestRequest, records: Records): TestAnswer {
  const body = JSON.parse(text) as AddBody
  if (!body.messages) return bad('messages is required')
  if (body.user_id === undefined && body.run_id === undefined) return bad('an entity id is required')
  if (body.infer !== false) return { status: 200, body: { event_id: randomUUID(), status: 'PENDING' } }
  const results: unknown[] = []
  for (const { role, content } of body.messages) {
    if (role === 'system') continue
    const repeat = [...records.values()].some(
      (held) => held.memory === content && held.user_id === body.user_id && held.session_id === body.run_id,
    )
    if (repeat) continue
    const id = randomUUID()
    records.set(id, {
      id,
      memory: content,
      user_id: body.user_id,
      session_id: body.run_id,
      metadata: body.metadata ?? {},
    })
    results.push({ id, data: { memory: content }, event: 'ADD' })
  }
  return { status: 200, body: { message: 'done', status: 'SUCCEEDED', event_id: randomUUID(), results } }
}

function update(record: FakePlatformRecord, { body: text }: TestRequest): TestAnswer {
  const body = JSON.parse(text) as { text?: string; metadata?: Record<string, unknown> }
  record.memory = body.text ?? record.memory
  record.metadata = body.metadata ?? record.metadata
  return { status: 200, body: publicRecord(record) }
}

function publicRecord(record: FakePlatformRecord): unknown {
  return { ...record, agent_id: null, app_id: null, categories: null, created_at: '2026-01-01T00:00:00Z' }
}

function list({ body: text, query, path }: TestRequest, records: Records): TestAnswer {
  const body = JSON.parse(text) as { filters?: { AND?: Record<string, string>[] }; user_id?: string }
  if (body.user_id !== undefined) return bad('entity ids belong in filters')
  const filters = Object.assign({}, ...(body.filters?.AND ?? [])) as Record<string, string>
  if (filters.user_id === undefined) return bad('filters name no entity')
  const [page, size] = [Number(query.get('page') ?? 1), Number(query.get('page_size') ?? 100)]
  if (!(page >= 1) || !(size >= 1 && size <= 200)) return bad('page or page_size')
  const found = [...records.values()].filter(
    (record) => record.user_id === filters.user_id && inRun(filters.run_id, record.session_id),
  )
  const results = found.slice((page - 1) * size, page * size).map(publicRecord)
  const next = page * size < found.length ? `https://api.invalid${path}?page=${page + 1}` : null
  return { status: 200, body: { count: found.length, next, previous: null, results } }
}

function inRun(wanted: string | undefined, held: string | undefined): boolean {
  return wanted === '*' ? held !== undefined : wanted === held
}
