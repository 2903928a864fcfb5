/**
 * The wire contract of the `http` remote, for whoever writes a server of it: what the adapter sends and
 * `memoryServer.ts` answers. JSON in UTF-8; `Authorization: Bearer <token>` on every request.
 *
 * | request | answers |
 * |---|---|
 * | `PUT /v1/memory?namespace=…&key=…`, header `Memory-Version`, body `{"value": …, "metadata": {…}}` | 200 `{"outcome": "stored"}`; 412 `{"version": …}` where a newer version is held |
 * | `DELETE /v1/memory?namespace=…&key=…`, header `Memory-Version` | 200 `{"outcome": "removed"}`; 404 where there was none; 412 as above |
 * | `GET /v1/memory?namespace=…&key=…` | 200 a memory; 404 |
 * | `GET /v1/memories?namespace=…&limit=…&after=…` | 200 `{"memories": […], "next": cursor or null}` |
 * | `GET /v1/health` | 200 `{"status": "ok"}`; 503 where the store cannot be written |
 *
 * A memory is `{"namespace", "key", "value", "metadata"?, "version"}`. A version is `epoch-sequence-index`,
 * three whole numbers, ordered by the first that differs. A delete is a write: the server remembers its
 * version, also of a key it never had, and refuses an older PUT with 412. The same version again is no error, unless
 * it comes with another content: then it is refused like an older one.
 * Errors are `{"error": {"code", "message"}}`: 400 for what breaks the contract, 401, 413, 428 for a missing
 * version, 429 and 503 with `Retry-After`.
 *
 * Namespace and key stand in the query and not in the path: `.` and `..` are keys, and a `%2F` in a path does
 * not survive every proxy.
 */
import { z } from 'zod'
import { isDeeperThan, MAX_VALUE_DEPTH } from '../../jobs/jsonValue.ts'
import type { Metadata } from '../memory/port.ts'

export const VERSION_HEADER = 'memory-version'
export const MEMORY_PATH = '/v1/memory'
export const LIST_PATH = '/v1/memories'
export const HEALTH_PATH = '/v1/health'

/** Kept out of zod's own handling of records, which would drop a name such as __proto__. */
const metadataSchema = z.custom<Metadata>(
  (metadata) => typeof metadata === 'object' && metadata !== null && isBounded(metadata),
)

/** Deeper than any value of ours, and too deep to be walked. */
function isBounded(value: unknown): boolean {
  return !isDeeperThan(value, MAX_VALUE_DEPTH)
}

export const wireMemorySchema = z.object({
  namespace: z.string(),
  key: z.string(),
  value: z.unknown().refine((value) => value !== undefined && isBounded(value)),
  metadata: metadataSchema.optional(),
  version: z.string(),
})
export const wireListSchema = z.object({ memories: z.array(wireMemorySchema), next: z.string().nullable() })
export const wireStoredSchema = z.object({ outcome: z.literal('stored') })
export const wireRemovedSchema = z.object({ outcome: z.literal('removed') })
export const wireHealthSchema = z.object({ status: z.literal('ok') })

export type WireMemory = z.infer<typeof wireMemorySchema>

export function memoryTarget(namespace: string, key: string): string {
  return `${MEMORY_PATH}?namespace=${encodeURIComponent(namespace)}&key=${encodeURIComponent(key)}`
}
