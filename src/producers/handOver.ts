/**
 * How a producer hands one memory over: the daemon takes it over its socket, in a few milliseconds; where none does,
 * whatever `fallback` is. Only Node's own modules: the hook's fast path loads this file.
 */
import { askDaemon } from '../daemon/controlClient.ts'
import { MemsyncError } from '../errors.ts'
import type { MemoryInput } from '../jobs/index.ts'
import { DEFAULT_NAMESPACE } from '../jobs/key.ts'

/** What became of an accepted memory: it is a job in the queue, or a line in the spool. Either is on disk. */
export type HandedOver = { accepted: 'queued'; jobId: string } | { accepted: 'spooled'; uid: string }

/**
 * Resolves once the memory is durable.
 * @throws what the memory breaks (MEMSYNC_INVALID_MEMORY, MEMSYNC_INVALID_VALUE, MEMSYNC_VALUE_TOO_LARGE), or why
 *   nothing takes it now (MEMSYNC_QUEUE_UNAVAILABLE, MEMSYNC_QUEUE_REFUSED)
 */
export type HandOver = (memory: MemoryInput) => Promise<HandedOver>

interface HandOverOptions {
  dataDir: string
  /** How long the daemon may take before the fallback is asked, in milliseconds. */
  answerTimeoutMs: number
  /** Asked where no daemon takes it, with what the daemon answered, if anything. */
  fallback?: HandOver
}

/** Hands over to the daemon of this data folder first. */
export function createHandOver({ dataDir, answerTimeoutMs, fallback }: HandOverOptions): HandOver {
  return async (memory) => {
    let reason: MemsyncError
    try {
      const request = { op: 'enqueue', job: 'MEMORY_SYNC', data: memory }
      const answer = await askDaemon(dataDir, request, answerTimeoutMs)
      if (answer) return { accepted: 'queued', jobId: String(answer.jobId) }
      reason = new MemsyncError('MEMSYNC_QUEUE_UNAVAILABLE', 'no daemon runs, so nothing took the memory')
    } catch (thrown) {
      // An outage is somebody else's fault, so another may take it; anything else is the memory's own.
      if (!(thrown instanceof MemsyncError) || thrown.class !== 'outage') throw thrown
      reason = thrown
    }
    if (fallback) return fallback(memory)
    throw reason
  }
}

/** A receipt with the name of what it is for. */
export type Receipt = HandedOver & { key: string; namespace: string }

export function receiptOf(memory: MemoryInput, handedOver: HandedOver): Receipt {
  return { ...handedOver, key: memory.key, namespace: memory.namespace ?? DEFAULT_NAMESPACE }
}
