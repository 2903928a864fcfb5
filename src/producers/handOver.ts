/**
 * How an agent's hook and MCP server hand one memory over: the daemon takes it over its socket, in a few milliseconds;
 * where it does not, the spool takes it. Only Node's own modules until then: the hook's fast path loads this file.
 */
import type { Config } from '../config.ts'
import { askDaemon } from '../daemon/controlClient.ts'
import { MemsyncError } from '../errors.ts'
import type { MemoryInput } from '../jobs/index.ts'
import { DEFAULT_NAMESPACE } from '../jobs/key.ts'

/** What became of an accepted memory: it is a job in the queue, or a record in the spool. Either is on disk. */
export type HandedOver = { accepted: 'queued'; jobId: string } | { accepted: 'spooled'; uid: string }

/**
 * Resolves once the memory is durable. It is one that keeps the contract, as the spool refuses nothing.
 * @throws what the memory breaks (MEMSYNC_INVALID_MEMORY, MEMSYNC_INVALID_VALUE, MEMSYNC_VALUE_TOO_LARGE), or why
 *   nothing takes it (MEMSYNC_SPOOL_FULL, MEMSYNC_SPOOL_UNAVAILABLE)
 */
export type HandOver = (memory: MemoryInput) => Promise<HandedOver>

/**
 * Hands over to the daemon of this data folder, or to its spool.
 * @param answerTimeoutMs how long the daemon may take before the spool is written, in milliseconds
 */
export function createHandOver(config: Config, answerTimeoutMs: number): HandOver {
  return async (memory) => {
    const acceptedAtMs = Date.now()
    const request = { op: 'enqueue', job: 'MEMORY_SYNC', data: memory, acceptedAtMs, answerTimeoutMs }
    let how: { mayRepeat?: true } = {}
    try {
      const answer = await askDaemon(config.dataDir, request, answerTimeoutMs)
      if (answer) return { accepted: 'queued', jobId: String(answer.jobId) }
    } catch (thrown) {
      // An outage is somebody else's fault, so the spool takes it; anything else is the memory's own.
      if (!(thrown instanceof MemsyncError) || thrown.class !== 'outage') throw thrown
      // A daemon that did not answer may take it yet.
      how = { mayRepeat: true }
    }
    const { spoolMemory } = await import('./spoolMemory.ts')
    return spoolMemory(config, memory, { acceptedAtMs, ...how })
  }
}

/** A receipt with the name of what it is for. */
export type Receipt = HandedOver & { key: string; namespace: string }

export function receiptOf(memory: MemoryInput, handedOver: HandedOver): Receipt {
  return { ...handedOver, key: memory.key, namespace: memory.namespace ?? DEFAULT_NAMESPACE }
}
