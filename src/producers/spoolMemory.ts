/** One memory into the spool, past a queue that does not take it now. */
import { randomUUID } from 'node:crypto'
import type { Config } from '../config.ts'
import type { MemoryInput } from '../jobs/index.ts'
import { Spool } from './spool.ts'
import type { SpoolRecord } from './spoolRecord.ts'

/**
 * Resolves once it is durable.
 * @param memory one that keeps the contract: the schema library is not loaded for it here
 * @param how `mayRepeat` where the queue may take it yet: the store takes the two as one
 * @throws MEMSYNC_SPOOL_FULL, MEMSYNC_SPOOL_UNAVAILABLE
 */
export async function spoolMemory(
  config: Config,
  memory: MemoryInput,
  how: Pick<SpoolRecord, 'acceptedAtMs' | 'mayRepeat'>,
): Promise<{ accepted: 'spooled'; uid: string }> {
  const uid = randomUUID()
  await new Spool(config.dataDir, config.spoolMaxBytes, config.redact).write([{ uid, ...how, memory }])
  return { accepted: 'spooled', uid }
}
