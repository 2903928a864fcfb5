/**
 * A remote that takes versioned memories by our own key: `memsync serve` on the VPS, or any server of the
 * contract in `httpWire.ts`. A write is idempotent and refuses to go back in time, so a lost answer needs no
 * lookup, and a late push never lands on a newer one.
 *
 * What it cannot do: find keys in namespaces nobody names.
 */
import { MemsyncError } from '../../errors.ts'
import type { JsonValue } from '../../jobs/jsonValue.ts'
import { formatVersion, parseVersion } from '../../jobs/version.ts'
import { contentOf, valueJsonOf } from './content.ts'
import { createHttpClient, expectShape, type HttpAnswer, type HttpRequest } from './httpClient.ts'
import {
  HEALTH_PATH,
  LIST_PATH,
  MEMORY_PATH,
  memoryTarget,
  VERSION_HEADER,
  type WireMemory,
  wireHealthSchema,
  wireListSchema,
  wireMemorySchema,
  wireRemovedSchema,
  wireStoredSchema,
} from './httpWire.ts'
import type { MemoryId, Remote, RemoteMemory, RemoteOptions } from './port.ts'

const REMOTE = 'http'
/** Far above what a page should be; a longer one is refused rather than held in memory. */
const MAX_LIST_BYTES = 128 * 1024 * 1024

export function openHttp(options: RemoteOptions): Remote {
  const client = createHttpClient({
    remote: REMOTE,
    baseUrl: options.url,
    headers: options.key === undefined ? {} : { authorization: `Bearer ${options.key}` },
    connectTimeoutMs: options.connectTimeoutMs ?? 5000,
    callTimeoutMs: options.callTimeoutMs ?? 30_000,
  })
  return {
    kind: 'http',
    can: { lookup: true, remove: true, readBack: true },
    async probe(signal) {
      const path = options.probePath ?? HEALTH_PATH
      const timeoutMs = options.probeTimeoutMs ?? 5000
      const accept = options.probePath === undefined ? [] : [200, 204]
      const answer = await client.json({ method: 'GET', route: path, path, timeoutMs, accept }, signal)
      if (options.probePath === undefined) expectShape(REMOTE, answer, wireHealthSchema)
    },
    async push(memory, { signal }) {
      const { metadata } = memory.content
      const carried = metadata === undefined ? '' : `,"metadata":${JSON.stringify(metadata)}`
      const answer = await client.json(
        {
          ...target('PUT', memory),
          headers: { [VERSION_HEADER]: formatVersion(memory.version) },
          body: `{"value":${valueJsonOf(memory.content)}${carried}}`,
          accept: [412],
        },
        signal,
      )
      const { status, requestId } = answer
      if (status === 412) return { outcome: 'superseded', requestId }
      return { ...expectShape(REMOTE, answer, wireStoredSchema), requestId }
    },
    async remove(memory, { signal }) {
      const headers = { [VERSION_HEADER]: formatVersion(memory.version) }
      const request = { ...target('DELETE', memory), headers, accept: [404, 412] }
      const answer = await client.json(request, signal)
      const { status, requestId } = answer
      if (status === 412) return { outcome: 'superseded', requestId }
      if (status === 404) return { outcome: 'absent', requestId }
      return { ...expectShape(REMOTE, answer, wireRemovedSchema), requestId }
    },
    async find(id, signal) {
      const answer = await client.json({ ...target('GET', id), accept: [404] }, signal)
      return answer.status === 404 ? [] : [readMemory(expectShape(REMOTE, answer, wireMemorySchema))]
    },
    async *readAll(namespaces, signal) {
      for (const namespace of namespaces) {
        const first = `${LIST_PATH}?namespace=${encodeURIComponent(namespace)}`
        let after: string | null = null
        do {
          const path: string = after === null ? first : `${first}&after=${encodeURIComponent(after)}`
          const request: HttpRequest = {
            method: 'GET',
            route: LIST_PATH,
            path,
            maxAnswerBytes: MAX_LIST_BYTES,
          }
          const answer = await client.json(request, signal)
          const page = expectShape(REMOTE, answer, wireListSchema)
          // A list that goes on without getting anywhere has no end.
          if (page.next !== null && (page.next === after || page.memories.length === 0))
            throw endlessList(answer)
          yield { namespace, memories: page.memories.map(readMemory), complete: true }
          after = page.next
        } while (after !== null)
      }
    },
    close: client.close,
  }
}

function endlessList({ requestId }: HttpAnswer): MemsyncError {
  return new MemsyncError(
    'MEMSYNC_REMOTE_UNCLEAR',
    `${REMOTE}: its list goes on for ever (request ${requestId})`,
  )
}

function target(method: 'PUT' | 'GET' | 'DELETE', { namespace, key }: MemoryId): HttpRequest {
  return { method, route: MEMORY_PATH, path: memoryTarget(namespace, key) }
}

function readMemory(memory: WireMemory): RemoteMemory {
  return {
    namespace: memory.namespace,
    key: memory.key,
    contentHash: contentOf(memory.value as JsonValue, memory.metadata).contentHash,
    version: parseVersion(memory.version),
  }
}
