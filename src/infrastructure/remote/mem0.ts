/**
 * The self-hosted Mem0 server (mem0ai/mem0, `server/`): `X-API-Key`, no trailing slashes, one message per
 * request with `infer: false`, so that the text is stored verbatim and one at a time.
 *
 * What it cannot do:
 * - list more than 1,000 memories of a namespace: `readAll` then says `complete: false`, and `find`, which is
 *   exact and free for a key, tells the rest
 * - compare-and-set: an update that was delayed on the way can land on a newer one; `verify` finds it
 * - drop a metadata name on update (it merges): the flat copy keeps old names, `sync_metadata` is the truth
 * - show in a probe whether its embedder works: only a write does
 */
import { z } from 'zod'
import {
  countdown,
  createHttpClient,
  expectShape,
  type HttpAnswer,
  type HttpClient,
  type HttpRequest,
  storedNothing,
} from './httpClient.ts'
import { type IdServer, pushKeyed, removeKeyed } from './keyedPush.ts'
import type { MemoryId, OutgoingMemory, Remote, RemoteOptions } from './port.ts'
import { escapeName, readRecord, recordsOf, runIdOf, stampOf } from './stamp.ts'

const REMOTE = 'mem0'
const LIST_LIMIT = 1000
/** A full list can hold 1,000 values of a megabyte; above this it is refused rather than held in memory. */
const MAX_LIST_BYTES = 128 * 1024 * 1024

const recordSchema = z.object({
  id: z.string(),
  memory: z.string(),
  metadata: z.record(z.string(), z.unknown()).nullish(),
  run_id: z.string().nullish(),
})
const listSchema = z.object({ results: z.array(recordSchema) })
const createdSchema = z.object({ results: z.array(z.object({ id: z.string() })) })
const messageSchema = z.object({ message: z.string() })

export function openMem0(options: RemoteOptions): Remote {
  const client = createHttpClient({
    remote: REMOTE,
    baseUrl: options.url,
    headers: options.key === undefined ? {} : { 'x-api-key': options.key },
    connectTimeoutMs: options.connectTimeoutMs ?? 5000,
    callTimeoutMs: options.callTimeoutMs ?? 30_000,
  })
  const server = idServer(client)
  const probe = probeOf(client, options)
  return {
    kind: 'mem0',
    can: { lookup: true, remove: true, readBack: true },
    probe,
    push: (memory, callOptions) => pushKeyed(server, memory, callOptions),
    remove: (target, callOptions) => removeKeyed(server, target, callOptions),
    find: async (id, signal) => (await server.find(id, signal)).memories,
    async *readAll(namespaces, signal) {
      for (const namespace of namespaces) {
        const query = { user_id: escapeName(namespace), top_k: LIST_LIMIT, show_expired: true }
        const { results } = expectShape(REMOTE, await client.json(listRequest(query), signal), listSchema)
        const memories = results.map((record) => readRecord(namespace, record))
        yield { namespace, memories, complete: memories.length < LIST_LIMIT }
      }
    },
    close: client.close,
  }
}

function listRequest(query: Record<string, string | number | boolean>): HttpRequest {
  const search = Object.entries(query).map(([name, value]) => `${name}=${encodeURIComponent(value)}`)
  return {
    method: 'GET',
    route: '/memories',
    path: `/memories?${search.join('&')}`,
    maxAnswerBytes: MAX_LIST_BYTES,
  }
}

function idServer(client: HttpClient): IdServer {
  const byId = (method: 'PUT' | 'DELETE', remoteId: string): HttpRequest => ({
    method,
    route: '/memories/{id}',
    path: `/memories/${encodeURIComponent(remoteId)}`,
    accept: [404],
  })
  const change = (answer: HttpAnswer) => {
    if (answer.status !== 404) expectShape(REMOTE, answer, messageSchema)
    return { found: answer.status !== 404, requestId: answer.requestId }
  }
  return {
    async find(id: MemoryId, signal) {
      const query = { user_id: escapeName(id.namespace), run_id: runIdOf(id.key), show_expired: true }
      const answer = await client.json(listRequest({ ...query, top_k: LIST_LIMIT }), signal)
      const { results } = expectShape(REMOTE, answer, listSchema)
      return { memories: recordsOf(id, results), requestId: answer.requestId }
    },
    async create(memory: OutgoingMemory, signal) {
      const body = JSON.stringify({
        messages: [{ role: 'user', content: memory.content.text }],
        user_id: escapeName(memory.namespace),
        run_id: runIdOf(memory.key),
        metadata: stampOf(memory),
        infer: false,
      })
      const answer = await client.json(
        { method: 'POST', route: '/memories', path: '/memories', body },
        signal,
      )
      const [created] = expectShape(REMOTE, answer, createdSchema).results
      if (!created) throw storedNothing(REMOTE, answer)
      return { remoteId: created.id, requestId: answer.requestId }
    },
    async update(remoteId, memory, signal) {
      // The metadata goes each time: servers before mid-2026 drop it where it is not sent.
      const body = JSON.stringify({ text: memory.content.text, metadata: stampOf(memory) })
      return change(await client.json({ ...byId('PUT', remoteId), body }, signal))
    },
    async delete(remoteId, signal) {
      return change(await client.json(byId('DELETE', remoteId), signal))
    },
  }
}

/**
 * The server has no documented health route. First whether it is up: `/health` where it has one, else the
 * set-up status, which asks its database; then one authenticated read, which proves the key and the vectors'
 * store and costs no embedding.
 */
function probeOf(client: HttpClient, options: RemoteOptions): Remote['probe'] {
  const read = listRequest({ user_id: 'memsync-probe', top_k: 1 })
  const given = options.probePath
  let paths = given === undefined ? ['/health', '/auth/setup-status'] : [given]
  const accept = given === undefined ? [200, 204, 404] : [200, 204]
  return async (signal) => {
    const leftMs = countdown(options.probeTimeoutMs ?? 5000)
    for (const path of paths) {
      const up: HttpRequest = { method: 'GET', route: path, path, accept, timeoutMs: leftMs() }
      if ((await client.json(up, signal)).status === 404) continue
      paths = [path]
      break
    }
    const answer = await client.json({ ...read, timeoutMs: leftMs() }, signal)
    expectShape(REMOTE, answer, listSchema)
  }
}
