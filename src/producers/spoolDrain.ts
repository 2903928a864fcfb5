/**
 * The drain: takes what the spool holds into the queue, in the order it was accepted and once each.
 *
 *   accepted ──rename──▶ claimed (the version is in its name) ──its jobs are in the queue──▶ removed
 *
 * A kill at any point repeats to the same end. Where a file's memories stand in the queue's order is read from the
 * queue's own counter, which adding them raises, and stands durably in the claimed file's name before a job is added; so
 * whoever drains the file again adds jobs of the same ids and versions: those still in the queue are not added twice, and
 * for those gone the store knows that it has them. What is claimed is drained before anything else is, as only then the
 * counter is past it. A file is removed only once its jobs are in the queue, so producers that look at the spool go on
 * spooling until then. One process drains at a time: a lock that dies with its holder, which no producer ever looks at.
 */
import { readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { acquireProcessLock } from '../daemon/processLock.ts'
import { SPOOL_INDEX, SPOOL_REPEAT_INDEX } from '../jobs/version.ts'
import type { Logger } from '../logger.ts'
import type { SpooledMemory } from '../queue/enqueue.ts'
import type { Spool } from './spool.ts'
import { type Claim, claimedName, type SpoolFile } from './spoolFile.ts'
import { parseSpoolRecords, type SpoolRecord } from './spoolRecord.ts'

const MAX_BATCH_RECORDS = 500
const MAX_BATCH_BYTES = 4 * 1024 * 1024

/** The queue, as far as the drain needs it. */
export interface SpoolTarget {
  /** The place in the queue's order behind all that it has taken. */
  nextPlace(): Promise<Claim>
  /** Resolves once all of them are in the queue; those that were there already are left as they are. */
  add(memories: readonly SpooledMemory[]): Promise<void>
}

interface ClaimedFile {
  name: string
  /** As many as were written. */
  records: number
  claim: Claim
}

/**
 * The files that are drained next, together: as many as go into the queue at once, at least one; the oldest that are
 * claimed, or the oldest where none is. Pure.
 */
export function nextBatch(held: readonly SpoolFile[]): SpoolFile[] {
  const claimed = held.filter(({ claim }) => claim !== undefined)
  const files = claimed.length > 0 ? claimed : held
  let records = 0
  let bytes = 0
  const end = files.findIndex((file, index) => {
    records += file.records
    bytes += file.bytes
    return index > 0 && (records > MAX_BATCH_RECORDS || bytes > MAX_BATCH_BYTES)
  })
  return files.slice(0, end < 0 ? files.length : end)
}

export class SpoolDrain {
  private readonly spool: Spool
  private readonly target: SpoolTarget
  private readonly logger: Logger

  constructor(spool: Spool, target: SpoolTarget, logger: Logger) {
    this.spool = spool
    this.target = target
    this.logger = logger
  }

  /**
   * Drains until the spool is empty or `signal` aborts; resolves with how many memories it took, or undefined where
   * another process is draining. Not to be called while it runs.
   * @throws what Redis answers, or that it does not, and MEMSYNC_SPOOL_UNAVAILABLE; what is left waits
   */
  async drain(signal: AbortSignal): Promise<number | undefined> {
    let files = await this.spool.list()
    if (files.length === 0) return 0
    const lock = acquireProcessLock(join(this.spool.folder, 'drain.lock'), 0)
    if (!lock) return undefined
    let taken = 0
    try {
      while (files.length > 0 && !signal.aborted) {
        taken += await this.drainBatch(nextBatch(files))
        files = await this.spool.list()
      }
      return taken
    } finally {
      lock.release()
    }
  }

  private async drainBatch(batch: SpoolFile[]): Promise<number> {
    const claimed = await this.claimAll(batch)
    const memories: SpooledMemory[] = []
    for (const file of claimed) memories.push(...(await this.read(file)))
    await this.target.add(memories)
    for (const { name } of claimed) await rm(join(this.spool.folder, name), { force: true })
    // A power cut must not bring them back: what was redriven meanwhile would be handed over once more.
    await this.spool.sync()
    return memories.length
  }

  /** Each with its place in the queue's order, which outlasts a crash from here on. */
  private async claimAll(batch: SpoolFile[]): Promise<ClaimedFile[]> {
    const place = batch.every(({ claim }) => claim) ? undefined : await this.target.nextPlace()
    const claimed: ClaimedFile[] = []
    let ahead = 0
    for (const { name, records, claim: given } of batch) {
      const claim = given ?? { epoch: place?.epoch ?? 0, sequence: (place?.sequence ?? 0) + ahead }
      if (!given && !(await this.claim(name, claim))) continue
      claimed.push({ name: given ? name : claimedName(name, claim), records, claim })
      ahead += records
    }
    // A rename that a power cut undoes would give the same memories another version the next time.
    if (place) await this.spool.sync()
    return claimed
  }

  /** False where its producer has just taken it back. */
  private async claim(name: string, claim: Claim): Promise<boolean> {
    const { folder } = this.spool
    try {
      await rename(join(folder, name), join(folder, claimedName(name, claim)))
      return true
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
      throw error
    }
  }

  /** The file's memories; where not all of them can be read, the file is kept aside, whole, for a person. */
  private async read({ name, records: written, claim }: ClaimedFile): Promise<SpooledMemory[]> {
    const path = join(this.spool.folder, name)
    const content = await readFile(path)
    const { records, unreadable } = parseSpoolRecords(content)
    if (unreadable > 0 || records.length !== written) {
      const keptAs = `${path}.corrupt`
      await writeFile(keptAs, content, { mode: 0o600, flush: true })
      this.logger.error(
        { written, readable: records.length, keptAs },
        'a spool file is damaged: what can be read of it is taken',
      )
    }
    return records.slice(0, written).map((record, position) => spooledMemory(record, claim, position))
  }
}

function spooledMemory(record: SpoolRecord, { epoch, sequence }: Claim, position: number): SpooledMemory {
  const index = record.mayRepeat ? SPOOL_REPEAT_INDEX : SPOOL_INDEX
  const version = { epoch, sequence: sequence + position, index }
  return { memory: record.memory, acceptedAtMs: record.acceptedAtMs, version }
}
