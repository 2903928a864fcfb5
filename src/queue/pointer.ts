/** Dirty pointers: what a job of the push lane carries. It names a memory and never holds its value. */
import { createHash } from 'node:crypto'
import type { JobsOptions } from 'bullmq'
import { MemsyncError } from '../errors.ts'
import type { MemoryName } from '../infrastructure/memory/port.ts'

/** The name of a memory as the job carries it, or undefined where that is none. */
export function findPointer(data: unknown): MemoryName | undefined {
  const { namespace, key } = (data ?? {}) as Partial<Record<keyof MemoryName, unknown>>
  return typeof namespace === 'string' && typeof key === 'string' ? { namespace, key } : undefined
}

/** The same. @throws MEMSYNC_INVALID_MEMORY */
export function parsePointer(data: unknown): MemoryName {
  const name = findPointer(data)
  if (name) return name
  throw new MemsyncError('MEMSYNC_INVALID_MEMORY', 'a pointer needs a namespace and a key')
}

/** One pointer per key: the same id for the same name, whatever characters it holds. */
export function pointerOptions({
  namespace,
  key,
}: MemoryName): JobsOptions & { deduplication: { id: string } } {
  const id = createHash('sha256').update(`${namespace}\0${key}`).digest('hex').slice(0, 32)
  return { deduplication: { id, keepLastIfActive: true } }
}
