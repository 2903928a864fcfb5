/**
 * The names of spool files, which say all that has to be known without opening them. Pure.
 *
 *   <writtenAtMs>-<order>-<pid>-<random>.<records>-<bytes>.spool                         accepted
 *   <writtenAtMs>-<order>-<pid>-<random>.<records>-<bytes>.<epoch>-<sequence>.claimed    being drained
 *
 * They sort as they were written. A claimed file keeps the version its first record got, so that whoever drains it
 * again after a crash gives the same ones.
 */
import { randomBytes } from 'node:crypto'

/** Where in the queue's order a file's first record stands; the next ones follow, one sequence each. */
export interface Claim {
  epoch: number
  sequence: number
}

export interface SpoolFile {
  name: string
  /** When it was written, in Unix milliseconds. */
  writtenAtMs: number
  records: number
  bytes: number
  /** Undefined until it is being drained. */
  claim: Claim | undefined
}

/** What the spool holds. */
export interface SpoolDepth {
  records: number
  /** What it takes on disk, in bytes: each file counts as whole blocks. */
  bytes: number
  /** How long the oldest has waited, in milliseconds; null where there is none. */
  oldestMs: number | null
}

const NAME = /^(\d{15})-\d{8}-\d+-[0-9a-f]{12}\.(\d+)-(\d+)(?:\.spool|\.(\d+)-(\d+)\.claimed)$/
const BLOCK_BYTES = 4096

/**
 * The name of a new file.
 * @param order counts the files of this process
 */
export function newSpoolFileName(
  writtenAtMs: number,
  order: number,
  pid: number,
  records: number,
  bytes: number,
): string {
  const place = `${String(writtenAtMs).padStart(15, '0')}-${String(order).padStart(8, '0')}`
  return `${place}-${pid}-${randomBytes(6).toString('hex')}.${records}-${bytes}.spool`
}

/** Undefined where it is no spool file's name. */
export function parseSpoolFileName(name: string): SpoolFile | undefined {
  const match = NAME.exec(name)
  if (!match) return undefined
  const [, writtenAtMs, records, bytes, epoch, sequence] = match
  const claim = epoch === undefined ? undefined : { epoch: Number(epoch), sequence: Number(sequence) }
  return { name, writtenAtMs: Number(writtenAtMs), records: Number(records), bytes: Number(bytes), claim }
}

/** The name of the file once it is claimed. */
export function claimedName(name: string, { epoch, sequence }: Claim): string {
  return name.replace(/\.spool$/, `.${epoch}-${sequence}.claimed`)
}

/** What a file of this length takes on disk. */
export function blocksOf(bytes: number): number {
  return Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES
}

export function depthOf(files: readonly SpoolFile[], nowMs: number): SpoolDepth {
  let records = 0
  let bytes = 0
  let oldestAtMs = Number.POSITIVE_INFINITY
  for (const file of files) {
    records += file.records
    bytes += blocksOf(file.bytes)
    oldestAtMs = Math.min(oldestAtMs, file.writtenAtMs)
  }
  return { records, bytes, oldestMs: files.length === 0 ? null : Math.max(0, nowMs - oldestAtMs) }
}
