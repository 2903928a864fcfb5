/** A memory as this program shows it to other programs: by `--json`, over HTTP and to agents. Pure. */
import type { JsonValue } from '../../jobs/jsonValue.ts'
import { formatVersion } from '../../jobs/version.ts'
import type { Metadata, StoredMemory } from './port.ts'

export interface MemoryDocument {
  key: string
  namespace: string
  /** Absent where the memory is deleted. */
  value?: JsonValue
  deleted: boolean
  metadata?: Metadata
  embed: boolean
  version: string
  /** ISO 8601. */
  acceptedAt: string
  persistedAt: string
}

export function memoryDocument(memory: StoredMemory): MemoryDocument {
  const { namespace, key, value, deleted, metadata, embed, version, acceptedAtMs, persistedAtMs } = memory
  return {
    key,
    namespace,
    ...(deleted || value === undefined ? {} : { value }),
    deleted,
    ...(metadata ? { metadata } : {}),
    embed,
    version: formatVersion(version),
    acceptedAt: new Date(acceptedAtMs).toISOString(),
    persistedAt: new Date(persistedAtMs).toISOString(),
  }
}
