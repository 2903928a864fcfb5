/** Dirty pointers: what a job of the push lane carries. It names a memory and never holds its value. */
import { createHash } from 'node:crypto'
import type { JobsOptions } from 'bullmq'
import { MemsyncError } from '../errors.ts'
import type { MemoryName } from '../infrastructure/memory/port.ts'

/** The name of a memory as the job carries it. */
export function parsePointer(data: unknown): MemoryName {
  const { namespace, key } = (data ?? {}) as Partial<Record<keyof MemoryName, unknown>>
  if (typeof namespace !== 'string' || typeof key !== 'string') {
    throw new MemsyncError('MEMSYNC_INVALID_MEMORY', 'a pointer needs a namespace and a key')
  }
  return { namespace, key }
}

/** One pointer per key: the same id for the same name, whatever characters it holds. */
export function pointerOptions({
  namespace,
  key,
}: MemoryName): JobsOptions & { deduplication: { id: string } } {
  const id = createHash('sha256').update(`${namespace}\0${key}`).digest('hex').slice(0, 32)
  return { deduplication: { id, keepLastIfActive: true } }
}
