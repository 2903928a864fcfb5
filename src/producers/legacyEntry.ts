/**
 * An entry of the predecessor's files as a memory. Pure.
 *
 *   {"id": uuid, "project_id": string, "content": string, "timestamp": Unix seconds, "retries": n, ...}
 *
 * Its key is `<project_id>/<id>`, its namespace the project. It counts as accepted when the predecessor took it, so an
 * import never overwrites what was written since, and the store takes the same entry once however often it is read, from
 * whichever of the files.
 */
import { createHash } from 'node:crypto'
import { type MemsyncError, toMemsyncError } from '../errors.ts'
import { type MemoryInput, parsePayload } from '../jobs/index.ts'
import type { SpoolRecord } from './spoolRecord.ts'

/** An entry that can be taken, or why it cannot. */
export type LegacyEntry = { record: SpoolRecord } | { refusal: MemsyncError }

/** Of an entry that does not say when it was made: before everything else. */
const UNKNOWN_TIME_MS = 1

export function readLegacyEntry(entry: unknown, maxValueBytes: number): LegacyEntry {
  const { id, project_id: project, content, timestamp } = (entry ?? {}) as Record<string, unknown>
  const memory = {
    key: typeof project === 'string' && typeof id === 'string' ? `${project}/${id}` : undefined,
    value: content,
    namespace: project,
    metadata: { source: 'legacy', ...(Number.isFinite(timestamp) ? { timestamp: timestamp as number } : {}) },
  }
  try {
    for (const [name, field] of Object.entries({ id, project_id: project, content })) {
      if (typeof field !== 'string') throw new TypeError(`${name}: ${whatIs(field)}`)
    }
    if (id === '') throw new TypeError('id: is empty')
    parsePayload('MEMORY_SYNC', memory, maxValueBytes)
  } catch (thrown) {
    return { refusal: toMemsyncError(thrown, 'MEMSYNC_INVALID_MEMORY') }
  }
  const taken = memory as MemoryInput
  return {
    record: {
      uid: `legacy-${createHash('sha256').update(JSON.stringify(taken)).digest('hex').slice(0, 32)}`,
      acceptedAtMs: acceptedAtMs(timestamp),
      mayRepeat: true,
      memory: taken,
    },
  }
}

function acceptedAtMs(timestamp: unknown): number {
  const atMs = Math.round(Number(timestamp) * 1000)
  return Number.isSafeInteger(atMs) && atMs > 0 ? atMs : UNKNOWN_TIME_MS
}

function whatIs(field: unknown): string {
  if (field === undefined) return 'is missing'
  return `is ${field === null ? 'null' : `a ${Array.isArray(field) ? 'list' : typeof field}`}, not a string`
}
