/**
 * The order of acceptance, as data. Pure.
 *
 * A version is (epoch, sequence, index): the epoch counts the lives of the queue (a flushed or replaced Redis
 * begins a new one), the sequence is the job id that Redis handed out atomically within it, and the index is
 * the memory's place in its job. Writes made beside the queue take an index of `LOCAL_INDEX_BASE` or more.
 */
export interface Version {
  readonly epoch: number
  readonly sequence: number
  readonly index: number
}

/** Indexes from here on belong to writes made in-process, ordered after all that the store has applied. */
export const LOCAL_INDEX_BASE = 1_000_000

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
