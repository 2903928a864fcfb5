/**
 * The Mem0 platform API (api.mem0.ai): `Authorization: Token`, trailing slashes, v3 for adding and listing, v1
 * for one memory by id. `infer: false` makes an add synchronous and verbatim.
 *
 * The key's hash stands in `run_id`, so that two keys with the same text are two memories: the platform drops
 * an exact repeat of a text within one scope. A reader there therefore asks for
 * `{"AND": [{"user_id": …}, {"run_id": "*"}]}`; by its documents a filter of `user_id` alone means "no run".
 *
 * What it cannot do:
 * - compare-and-set: an update that was delayed on the way can land on a newer one; `verify` finds it
 * - list what others put there without a run id: it is none of ours, and `readAll` does not see it
 */
import { z } from 'zod'
import {
  createHttpClient,
  expectShape,
  type HttpAnswer,
  type HttpClient,
  type HttpRequest,
  storedNothing,
} from './httpClient.ts'
import { type IdServer, pushKeyed, removeKeyed } from './keyedPush.ts'
import type { Remote, RemoteOptions } from './port.ts'
import { escapeName, type Mem0Record, readRecord, recordsOf, runIdOf, stampOf } from './stamp.ts'

const REMOTE = 'mem0-platform'
const PAGE_SIZE = 200
/** A page can hold 200 values of a megabyte; above this it is refused rather than held in memory. */
const MAX_LIST_BYTES = 128 * 1024 * 1024

const listSchema = z.object({
  next: z.string().nullish(),
  results: z.array(
    z.object({
      id: z.string(),
      memory: z.string(),
      metadata: z.record(z.string(), z.unknown()).nullish(),
      session_id: z.string().nullish(),
      run_id: z.string().nullish(),
    }),
  ),
})
const createdSchema = z.object({ results: z.array(z.object({ id: z.string() })) })
const updatedSchema = z.object({ id: z.string() })
const deletedSchema = z.object({ message: z.string() })
const pingSchema = z.object({ status: z.literal('ok') })

export function openMem0Platform(options: RemoteOptions): Remote {
  const client = createHttpClient({
    remote: REMOTE,
    baseUrl: options.url,
    headers: options.key === undefined ? {} : { authorization: `Token ${options.key}` },
    connectTimeoutMs: options.connectTimeoutMs ?? 5000,
    callTimeoutMs: options.callTimeoutMs ?? 30_000,
  })
  const server = idServer(client)
  return {
    kind: 'mem0-platform',
    can: { lookup: true, remove: true, readBack: true },
    async probe(signal) {
      const path = options.probePath ?? '/v1/ping/'
      const timeoutMs = options.probeTimeoutMs ?? 5000
      const accept = options.probePath === undefined ? [] : [200, 204]
      const answer = await client.json({ method: 'GET', route: path, path, timeoutMs, accept }, signal)
      if (options.probePath === undefined) expectShape(REMOTE, answer, pingSchema)
    },
    push: (memory, callOptions) => pushKeyed(server, memory, callOptions),
    remove: (target, callOptions) => removeKeyed(server, target, callOptions),
    find: async (id, signal) => (await server.find(id, signal)).memories,
    async *readAll(namespaces, signal) {
      for (const namespace of namespaces) {
        for await (const page of pages(client, scope(namespace, '*'), signal)) {
          const memories = page.results.map((record) => readRecord(namespace, record))
          yield { namespace, memories, complete: true }
        }
      }
    },
    close: client.close,
  }
}

function scope(namespace: string, runId: string): unknown {
  return { AND: [{ user_id: escapeName(namespace) }, { run_id: runId }] }
}

async function* pages(client: HttpClient, filters: unknown, signal: AbortSignal) {
  const body = JSON.stringify({ filters, show_expired: true })
  for (let page = 1, more = true; more; page++) {
    const answer = await client.json(
      {
        method: 'POST',
        route: '/v3/memories/',
        path: `/v3/memories/?page=${page}&page_size=${PAGE_SIZE}`,
        body,
        maxAnswerBytes: MAX_LIST_BYTES,
      },
      signal,
    )
    const { next, results } = expectShape(REMOTE, answer, listSchema)
    yield { results, requestId: answer.requestId }
    // The address in `next` is not followed: only whether there is one counts.
    more = typeof next === 'string' && results.length > 0
  }
}

function idServer(client: HttpClient): IdServer {
  const byId = (method: 'PUT' | 'DELETE', remoteId: string): HttpRequest => ({
    method,
    route: '/v1/memories/{id}/',
    path: `/v1/memories/${encodeURIComponent(remoteId)}/`,
    accept: [404],
  })
  const change = (answer: HttpAnswer, schema: typeof updatedSchema | typeof deletedSchema) => {
    if (answer.status !== 404) expectShape<unknown>(REMOTE, answer, schema)
    return { found: answer.status !== 404, requestId: answer.requestId }
  }
  return {
    async find(id, signal) {
      const records: Mem0Record[] = []
      let requestId = ''
      for await (const page of pages(client, scope(id.namespace, runIdOf(id.key)), signal)) {
        records.push(...page.results)
        requestId = page.requestId
      }
      return { memories: recordsOf(id, records), requestId }
    },
    async create(memory, signal) {
      const body = JSON.stringify({
        messages: [{ role: 'user', content: memory.content.text }],
        user_id: escapeName(memory.namespace),
        run_id: runIdOf(memory.key),
        metadata: stampOf(memory),
        infer: false,
      })
      const path = '/v3/memories/add/'
      const answer = await client.json({ method: 'POST', route: path, path, body }, signal)
      const [created] = expectShape(REMOTE, answer, createdSchema).results
      if (!created) throw storedNothing(REMOTE, answer)
      return { remoteId: created.id, requestId: answer.requestId }
    },
    async update(remoteId, memory, signal) {
      const body = JSON.stringify({ text: memory.content.text, metadata: stampOf(memory) })
      return change(await client.json({ ...byId('PUT', remoteId), body }, signal), updatedSchema)
    },
    async delete(remoteId, signal) {
      return change(await client.json(byId('DELETE', remoteId), signal), deletedSchema)
    },
  }
}
