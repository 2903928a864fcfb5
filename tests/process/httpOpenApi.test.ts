/** The OpenAPI document that the daemon serves, held against the table of routes and against what they answer. */
import { AjvJsonSchemaValidator } from '@modelcontextprotocol/server/validators/ajv'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { ROUTES } from '../../src/producers/httpRoutes.ts'
import {
  type Asked,
  type HttpDaemon,
  JSON_TYPE,
  NDJSON_TYPE,
  startHttpDaemon,
} from '../support/httpDaemon.ts'
import { startTestRedis, type TestRedis } from '../support/redis.ts'
import { waitFor } from '../support/waitFor.ts'

interface Responses {
  [status: string]: { content: Record<string, { schema: object }> }
}
interface Document {
  openapi: string
  paths: Record<
    string,
    Record<string, { operationId: string; responses: Responses; parameters?: { name: string }[] }>
  >
  components: { schemas: Record<string, object> }
}

let redis: TestRedis
let http: HttpDaemon
let document: Document

beforeAll(async () => {
  redis = await startTestRedis()
  http = await startHttpDaemon({
    REDIS_URL: redis.url,
    MEMSYNC_MAX_VALUE_BYTES: '1000',
    MEMSYNC_DRAIN_TIMEOUT_MS: '100',
    MEMSYNC_SPOOL_MAX_BYTES: '4096',
  })
  await http.daemon.logged('ready')
  document = (await http.ask('GET', '/openapi.json')).json as unknown as Document
  await http.post([
    { key: 'whale', value: { a: 1 }, metadata: { tag: 'x', n: 1, b: true } },
    { key: 'gone', op: 'delete' },
  ])
  await waitFor(
    'it is stored',
    async () => (await http.ask('GET', '/v1/memories/default/whale')).status === 200,
  )
})

afterAll(async () => {
  await http.stop()
  await redis.stop()
})

it('has each route of the table and no other, with every parameter of its path', () => {
  const documented = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { parameters = [] }]) => {
      for (const [, name] of path.matchAll(/\{(\w+)\}/g))
        expect(parameters).toContainEqual(expect.objectContaining({ name }))
      return `${method.toUpperCase()} ${path}`
    }),
  )
  expect(document.openapi).toBe('3.1.0')
  expect(documented.sort()).toEqual(ROUTES.map(({ method, path }) => `${method} ${path}`).sort())
  const ids = Object.values(document.paths).flatMap((methods) =>
    Object.values(methods).map(({ operationId }) => operationId),
  )
  expect(new Set(ids).size).toBe(ids.length)
})

it('has no reference that leads nowhere', () => {
  const references = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)].map(([, target]) => target)
  expect(references.length).toBeGreaterThan(10)
  for (const reference of references) {
    const [, name] = /^#\/components\/schemas\/(\w+)$/.exec(reference ?? '') ?? []
    expect(document.components.schemas).toHaveProperty(name ?? `(not a schema: ${reference})`)
  }
})

/** What the schema finds wrong with the body of an answer. */
function problemOf(schema: object, body: unknown): string | undefined {
  const rooted = JSON.parse(
    JSON.stringify({ ...schema, $defs: document.components.schemas }).replaceAll(
      '#/components/schemas/',
      '#/$defs/',
    ),
  )
  return new AjvJsonSchemaValidator().getValidator(rooted)(body).errorMessage
}

const one = '/v1/memories/default/whale'
const memories = (type: Record<string, string>, body: string): Asked => ({ headers: type, body })

/** For each documented status of each operation, a request that ends in it. */
const CASES: Record<string, Record<number, [path: string, asked?: Asked][]>> = {
  'POST /v1/memories': {
    202: [
      ['/v1/memories', memories(JSON_TYPE, '{"key":"k","value":1}')],
      ['/v1/memories', memories(JSON_TYPE, '[{"key":"k","value":1}]')],
      ['/v1/memories', memories(NDJSON_TYPE, '{"key":"k","value":1}')],
    ],
    207: [['/v1/memories', memories(NDJSON_TYPE, '{"key":"k","value":1}\n{}')]],
    400: [
      ['/v1/memories', memories(JSON_TYPE, '{}')],
      ['/v1/memories', memories(NDJSON_TYPE, '{}')],
    ],
    413: [['/v1/memories', memories(JSON_TYPE, `{"key":"k","value":"${'x'.repeat(1000)}"}`)]],
    415: [['/v1/memories', memories({}, '{}')]],
  },
  'GET /v1/memories': {
    200: [['/v1/memories?deleted=true&limit=1'], ['/v1/memories?deleted=true']],
    400: [['/v1/memories?limit=x']],
  },
  'GET /v1/memories/{namespace}/{key}': {
    200: [[one]],
    400: [['/v1/memories/n/%']],
    404: [['/v1/memories/n/none']],
  },
  'DELETE /v1/memories/{namespace}/{key}': { 202: [['/v1/memories/n/none']], 400: [['/v1/memories/n/%']] },
  'GET /v1/search': { 200: [['/v1/search?q=whale']], 400: [['/v1/search']] },
  'GET /v1/status': { 200: [['/v1/status']], 400: [['/v1/status?x=1']] },
  'GET /metrics': { 200: [['/metrics']], 400: [['/metrics?x=1']] },
  'GET /healthz': { 200: [['/healthz']] },
  'GET /readyz': { 200: [['/readyz']] },
  'GET /openapi.json': { 200: [['/openapi.json']] },
}

/** Needs the store or the process to fail, which tests of their own do. */
const NOT_PROVOKED = [
  'GET /v1/memories 503',
  'GET /v1/memories/{namespace}/{key} 503',
  'GET /v1/search 503',
  'GET /v1/status 503',
  'GET /metrics 503',
  'GET /healthz 503',
]

it('says of each answer, in each documented status, what it is', async () => {
  const seen = new Set<string>(NOT_PROVOKED)
  const hold = async (route: string, status: number, path: string, asked?: Asked) => {
    const [method = '', documentedPath = ''] = route.split(' ')
    const answer = await http.ask(method, path, asked)
    expect(`${route} ${answer.status}`).toBe(`${route} ${status}`)
    const content = document.paths[documentedPath]?.[method.toLowerCase()]?.responses[status]?.content ?? {}
    const type = answer.headers['content-type']?.split(';')[0] ?? ''
    expect(Object.keys(content), `${route} ${status}`).toEqual([type])
    const { schema = {} } = content[type] ?? {}
    const body = type === 'application/json' ? answer.json : answer.text
    expect(problemOf(schema, body), `${route} ${status}: ${answer.text}`).toBe(undefined)
    seen.add(`${route} ${status}`)
  }
  for (const [route, statuses] of Object.entries(CASES)) {
    const path = Object.values(statuses)[0]?.[0]?.[0] ?? ''
    if (
      document.paths[route.split(' ')[1] ?? '']?.[route.split(' ')[0]?.toLowerCase() ?? '']?.responses[401]
    ) {
      await hold(route, 401, path, { headers: { authorization: 'Bearer wrong' } })
    }
    await hold(route, 403, path, { headers: { host: 'evil.example' } })
    for (const [status, requests] of Object.entries(statuses)) {
      for (const [target, asked] of requests) await hold(route, Number(status), target, asked)
    }
  }
  await redis.kill()
  await waitFor('it notices', async () => (await http.ask('GET', '/readyz')).status === 503)
  await hold('GET /readyz', 503, '/readyz')
  // It fills the spool, which has room for one.
  await hold('POST /v1/memories', 202, '/v1/memories', memories(JSON_TYPE, '{"key":"k","value":1}'))
  await hold('POST /v1/memories', 503, '/v1/memories', memories(JSON_TYPE, '[{"key":"k","value":1}]'))
  await hold('POST /v1/memories', 503, '/v1/memories', memories(NDJSON_TYPE, '{"key":"k","value":1}'))
  await hold('DELETE /v1/memories/{namespace}/{key}', 503, one)

  const documented = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).flatMap(([method, { responses }]) =>
      Object.keys(responses).map((status) => `${method.toUpperCase()} ${path} ${status}`),
    ),
  )
  expect([...seen].sort()).toEqual(documented.sort())
})

it('a schema that does not fit is noticed', () => {
  const memory = { key: 'k' }
  expect(problemOf({ $ref: '#/components/schemas/Memory' }, memory)).toMatch(/namespace/)
})
