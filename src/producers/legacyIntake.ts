/**
 * Takes the predecessor's entries in: through the spool, so that they are durable here whether or not anything runs, and
 * each once: what the store or the spool has already is passed over, and what slips through is taken once by the store.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Store } from '../infrastructure/memory/port.ts'
import { DEFAULT_NAMESPACE } from '../jobs/key.ts'
import type { Spool } from './spool.ts'
import { parseSpoolRecords, type SpoolRecord } from './spoolRecord.ts'

const MAX_BATCH = 500
const MAX_BATCH_BYTES = 4 * 1024 * 1024

/** What became of the records of one call. */
export interface TakenIn {
  accepted: number
  /** In the store, in the spool, or earlier in the same call. */
  alreadyThere: number
}

export class LegacyIntake {
  private readonly spool: Spool
  private readonly store: Pick<Store, 'find'>
  private readonly isDry: boolean
  /** What this intake has seen to be durable here, by uid. */
  private readonly known = new Set<string>()
  private readSpool = false

  /** @param isDry whether nothing is written */
  constructor(spool: Spool, store: Pick<Store, 'find'>, isDry = false) {
    this.spool = spool
    this.store = store
    this.isDry = isDry
  }

  /**
   * Resolves once all of them are durable here.
   * @param onBatch told after each batch how many are
   * @throws MEMSYNC_SPOOL_FULL, MEMSYNC_SPOOL_UNAVAILABLE, MEMSYNC_STORE_UNAVAILABLE; what was told durable stays so
   */
  async take(
    records: readonly SpoolRecord[],
    onBatch: (soFar: TakenIn) => void = () => undefined,
  ): Promise<TakenIn> {
    await this.lookIntoSpool()
    const taken: TakenIn = { accepted: 0, alreadyThere: 0 }
    for (let start = 0; start < records.length; ) {
      const batch = batchFrom(records, start)
      start += batch.length
      const fresh: SpoolRecord[] = []
      for (const record of batch) {
        if (this.known.has(record.uid) || (await this.isStored(record))) taken.alreadyThere++
        else fresh.push(record)
        this.known.add(record.uid)
      }
      try {
        if (!this.isDry) await this.spool.write(fresh)
      } catch (error) {
        for (const { uid } of fresh) this.known.delete(uid)
        throw error
      }
      taken.accepted += fresh.length
      onBatch(taken)
    }
    return taken
  }

  /** Whatever was written to the key since: it came after this entry. */
  private async isStored({ memory }: SpoolRecord): Promise<boolean> {
    return (await this.store.find(memory.key, memory.namespace ?? DEFAULT_NAMESPACE)) !== undefined
  }

  /** What an earlier import left there is not put there again. */
  private async lookIntoSpool(): Promise<void> {
    if (this.readSpool) return
    for (const { name } of await this.spool.list()) {
      // One that is gone meanwhile was drained, and the store will know.
      const content = await readFile(join(this.spool.folder, name)).catch(() => Buffer.alloc(0))
      for (const { uid } of parseSpoolRecords(content).records) this.known.add(uid)
    }
    this.readSpool = true
  }
}

function batchFrom(records: readonly SpoolRecord[], start: number): SpoolRecord[] {
  const batch: SpoolRecord[] = []
  let bytes = 0
  for (const record of records.slice(start, start + MAX_BATCH)) {
    bytes += JSON.stringify(record).length
    if (batch.length > 0 && bytes > MAX_BATCH_BYTES) break
    batch.push(record)
  }
  return batch
}
