/**
 * The order of acceptance, as data. Pure.
 *
 * A version is (epoch, sequence, index): the epoch counts the lives of the queue (a flushed or replaced Redis
 * begins a new one), the sequence is the job id that Redis handed out atomically within it, and the index is
 * the memory's place in its job. Writes made beside the queue take an index of `LOCAL_INDEX_BASE` or more.
 *
 * A memory that came through the spool got its sequence when it was drained, later than it was accepted, so its
 * index says so (`isSpooled`) and a store settles it by acceptance time too (`isOvertaken`).
 */
export interface Version {
  readonly epoch: number
  readonly sequence: number
  readonly index: number
}

/** Indexes from here on belong to writes made in-process, ordered after all that the store has applied. */
export const LOCAL_INDEX_BASE = 1_000_000

/** The index of a memory that came through the spool. */
export const SPOOL_INDEX = 900_000
/** The same, of one that may have been handed over before: a store takes it once, by key, acceptance time and content. */
export const SPOOL_REPEAT_INDEX = 950_000

/** Whether the memory came through the spool, so that its sequence is later than its acceptance. */
function isSpooled({ index }: Version): boolean {
  return index >= SPOOL_INDEX && index < LOCAL_INDEX_BASE
}

/** Whether the memory may have been handed over before under another version. */
export function mayRepeat({ index }: Version): boolean {
  return index >= SPOOL_REPEAT_INDEX && index < LOCAL_INDEX_BASE
}

/**
 * Whether of two writes the one with the newer version (`write`) was accepted before the other all the same, and so lost
 * to it: only a memory that came through the spool can be, whichever of the two is applied first. Where both were
 * accepted in the same millisecond the version decides. As good as the clocks of the producers: one that runs ahead, of a
 * producer that does not look at the spool, wins for as long as it is ahead.
 */
export function isOvertaken(
  write: { version: Version; acceptedAtMs: number },
  other: { acceptedAtMs: number },
): boolean {
  return isSpooled(write.version) && other.acceptedAtMs > write.acceptedAtMs
}

/** Negative where `a` was accepted before `b`, positive where after, 0 where they are the same write. */
export function compareVersions(a: Version, b: Version): number {
  return a.epoch - b.epoch || a.sequence - b.sequence || a.index - b.index
}

/** `epoch-sequence-index`: how a version stands in ids and in what a person reads. */
export function formatVersion(version: Version): string {
  return `${version.epoch}-${version.sequence}-${version.index}`
}

const FORMATTED = /^(0|[1-9]\d{0,15})-(0|[1-9]\d{0,15})-(0|[1-9]\d{0,15})$/

/** The version in `text`, exactly as `formatVersion` writes it, or undefined where it is not one. */
export function parseVersion(text: string): Version | undefined {
  const match = FORMATTED.exec(text)
  if (!match) return undefined
  const version = { epoch: Number(match[1]), sequence: Number(match[2]), index: Number(match[3]) }
  return Object.values(version).every(Number.isSafeInteger) ? version : undefined
}
