/**
 * How a memory of ours is marked on a Mem0 record, and read back from one. Pure. Shared by both Mem0 servers.
 *
 * | field | holds |
 * |---|---|
 * | `user_id` | the namespace, escaped |
 * | `run_id` | `k_` and 32 hex digits of the SHA-256 of the key: an exact, free lookup |
 * | `metadata.sync_key` | the key, escaped |
 * | `metadata.sync_rev` | the version, `epoch-sequence-index` |
 * | `metadata.sync_sha256` | SHA-256 of the text, for whoever reads the record there |
 * | `metadata.sync_format` | `text` or `json`: what the text is |
 * | `metadata.sync_metadata` | the memory's own metadata, as JSON; the truth, as the server merges the flat copy |
 * | `metadata.sync_source` | `memsyncd` |
 * | other `metadata` | a flat copy of the memory's own, to filter by, without the names Mem0 keeps for itself |
 */
import { canonicalJson } from '../../jobs/canonicalJson.ts'
import type { JsonValue } from '../../jobs/jsonValue.ts'
import { compareVersions, formatVersion, parseVersion, type Version } from '../../jobs/version.ts'
import type { Metadata } from '../memory/port.ts'
import { type Content, contentOfText, sha256 } from './content.ts'
import type { MemoryId, OutgoingMemory, RemoteMemory } from './port.ts'

/** Overwritten, stripped or given a meaning of their own by a Mem0 server. */
const SERVER_NAMES = new Set([
  'data',
  'hash',
  'created_at',
  'updated_at',
  'text_lemmatized',
  'role',
  'user_id',
  'agent_id',
  'run_id',
  'app_id',
  'actor_id',
])

/**
 * Percent-encodes white space, control characters, `%` and `*`, and nothing else: Mem0 refuses white space in
 * an id, PostgreSQL a NUL, and `*` is a wildcard in filters. Ordinary names stay as they are.
 */
export function escapeName(name: string): string {
  return name.replace(/[\s\p{Cc}%*]/gu, (character) =>
    character === '*' ? '%2A' : encodeURIComponent(character),
  )
}

/** The name, or undefined where `escapeName` did not make the text. */
export function unescapeName(text: string): string | undefined {
  try {
    return text.replace(/(%[0-9A-F]{2})+/g, decodeURIComponent)
  } catch {
    // Not UTF-8 once decoded: something else wrote it.
    return undefined
  }
}

export function runIdOf(key: string): string {
  return `k_${sha256(key).slice(0, 32)}`
}

/** The record's `metadata`. */
export function stampOf(memory: OutgoingMemory): Metadata {
  const { content } = memory
  const carried = Object.entries(content.metadata ?? {}).filter(
    ([name]) => !SERVER_NAMES.has(name) && !name.startsWith('sync_'),
  )
  return Object.fromEntries([
    ...carried,
    ['sync_key', escapeName(memory.key)],
    ['sync_rev', formatVersion(memory.version)],
    ['sync_sha256', sha256(content.text)],
    ['sync_format', content.format],
    ['sync_source', 'memsyncd'],
    ['sync_metadata', canonicalJson((content.metadata ?? {}) as JsonValue)],
  ])
}

export interface Mem0Record {
  id: string
  memory: string
  metadata?: Record<string, unknown> | null | undefined
  run_id?: string | null | undefined
  /** What the platform's list calls `run_id`. */
  session_id?: string | null | undefined
}

/** The record as a memory; `key` is undefined where it is none of ours. */
export function readRecord(namespace: string, record: Mem0Record): RemoteMemory {
  const metadata = record.metadata ?? {}
  const key = typeof metadata.sync_key === 'string' ? unescapeName(metadata.sync_key) : undefined
  const format: Content['format'] = metadata.sync_format === 'json' ? 'json' : 'text'
  return {
    namespace,
    key,
    remoteId: record.id,
    contentHash: contentOfText(record.memory, format, readMetadata(metadata.sync_metadata)).contentHash,
    version: typeof metadata.sync_rev === 'string' ? parseVersion(metadata.sync_rev) : undefined,
  }
}

function readMetadata(json: unknown): Metadata | undefined {
  try {
    const parsed: unknown = JSON.parse(String(json))
    return typeof parsed === 'object' && parsed !== null ? (parsed as Metadata) : undefined
  } catch {
    // Missing or edited by hand: then the record differs from ours, and its hash says so.
    return undefined
  }
}

/**
 * The records that hold this key, whatever the server's filter let through. One whose metadata was lost (older
 * servers drop it on update) still is ours by its run id.
 */
export function recordsOf(id: MemoryId, records: readonly Mem0Record[]): RemoteMemory[] {
  const runId = runIdOf(id.key)
  return records
    .filter((record) => (record.run_id ?? record.session_id) === runId)
    .map((record) => readRecord(id.namespace, record))
    .filter((memory) => memory.key === undefined || memory.key === id.key)
    .map((memory) => ({ ...memory, key: id.key }))
}

/** The newest first; those of no known version last; then by id, so that every reader picks the same. */
export function byNewest(a: RemoteMemory, b: RemoteMemory): number {
  const [idA, idB] = [a.remoteId ?? '', b.remoteId ?? '']
  return compareVersions(b.version ?? NEVER, a.version ?? NEVER) || (idA < idB ? -1 : Number(idA > idB))
}

const NEVER: Version = { epoch: -1, sequence: 0, index: 0 }
