/**
 * The main handler: persists one memory. It asks for the write and reports what became of it; ordering,
 * grouping and durability are the store's and the group commit's.
 */
import { MemoryStore } from '../infrastructure/memory/index.ts'
import type { Write, WriteOutcome } from '../infrastructure/memory/port.ts'
import type {
  MemoryInput,
  MemoryRollbackPayload,
  MemoryRollbackResult,
  MemorySyncPayload,
  MemorySyncResult,
} from '../jobs/index.ts'

/** What a handler is given beside its payload. */
export interface HandlerContext {
  /** The queue's id of the job. */
  jobId: string
  /** Which try this is, from 1. */
  attempt: number
  /** Aborted when the process must stop now. */
  signal: AbortSignal
  /** Writes to the store under the job's version, in one transaction with whatever else is in flight. */
  commit(write: Omit<Write, 'version' | 'acceptedAtMs'>): Promise<WriteOutcome>
}

/**
 * Persists the memory. Called without a context (a script of its own, no queue) it writes to the default
 * `MemoryStore` directly.
 * @returns `{ status: 'success', key }`, with `superseded: true` where a newer write had been applied before
 */
export async function memorySyncHandler(
  payload: MemorySyncPayload | MemoryInput,
  context?: HandlerContext,
): Promise<MemorySyncResult> {
  const { key, value, op = 'set', embed = false, namespace = 'default', metadata } = payload
  if (!context) {
    const options = { namespace, embed, ...(metadata ? { metadata } : {}) }
    if (op === 'delete') await MemoryStore.delete(key, { namespace })
    else await MemoryStore.set(key, value, options)
    return { status: 'success', key }
  }
  const { outcome } = await context.commit({
    op,
    namespace,
    key,
    embed,
    ...(op === 'set' ? { valueJson: JSON.stringify(value) } : {}),
    ...(metadata ? { metadataJson: JSON.stringify(metadata) } : {}),
  })
  return outcome === 'superseded' ? { status: 'success', key, superseded: true } : { status: 'success', key }
}

/**
 * Restores the value before the last write of the key, or deletes the key where there was none, as a new
 * version. Called without a context it works on the default `MemoryStore` directly.
 */
export async function rollback(
  payload: MemoryRollbackPayload | { key: string; namespace?: string },
  context?: HandlerContext,
): Promise<MemoryRollbackResult> {
  const { key, namespace = 'default' } = payload
  if (!context) {
    await MemoryStore.rollback(key, { namespace })
    return { status: 'rolled_back', key }
  }
  const { outcome } = await context.commit({ op: 'rollback', namespace, key })
  return outcome === 'superseded'
    ? { status: 'rolled_back', key, superseded: true }
    : { status: 'rolled_back', key }
}
