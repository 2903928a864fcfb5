/**
 * Whether the remote holds of a memory what the store says it should: the judgement behind `memsync verify`. Pure.
 *
 * | problem | what it is |
 * |---|---|
 * | `missing` | pushed, by its receipt, and not there |
 * | `different` | there, with another content |
 * | `duplicate` | there more than once |
 * | `unknown` | there under our stamp, and the store has no such memory, or has it deleted |
 *
 * A memory whose receipt is behind waits for its push, and one that was refused waits for a person: what the
 * remote holds of these says nothing yet.
 */
import { compareVersions, type Version } from '../../jobs/version.ts'
import type { Receipt, StoredMemory } from '../memory/port.ts'
import { contentOf } from './content.ts'
import type { RemoteMemory } from './port.ts'

export const PROBLEMS = ['missing', 'different', 'duplicate', 'unknown'] as const
export type Problem = (typeof PROBLEMS)[number]

/** A memory as the store has it, and how far it has come. */
export interface LocalState {
  version: Version
  deleted: boolean
  /** As `Content.contentHash`; empty for a tombstone. */
  contentHash: string
  stage: 'pushed' | 'waiting' | 'refused'
}

export type Judgement = 'equal' | 'waiting' | 'refused' | Problem

export function localStateOf(memory: StoredMemory, receipts: readonly Receipt[]): LocalState {
  const reached = (lane: Receipt['lane']) =>
    receipts.some((receipt) => receipt.lane === lane && compareVersions(receipt.version, memory.version) >= 0)
  return {
    version: memory.version,
    deleted: memory.deleted,
    contentHash: memory.deleted ? '' : contentOf(memory.value ?? null, memory.metadata).contentHash,
    stage: reached('push') ? 'pushed' : reached('push-refused') ? 'refused' : 'waiting',
  }
}

/** @param local undefined where the store has no such memory */
export function judge(
  local: LocalState | undefined,
  copies: readonly Pick<RemoteMemory, 'contentHash'>[],
): Judgement {
  if (local !== undefined && local.stage !== 'pushed') return local.stage
  if (local === undefined || local.deleted) return copies.length === 0 ? 'equal' : 'unknown'
  if (copies.length !== 1) return copies.length === 0 ? 'missing' : 'duplicate'
  return copies[0]?.contentHash === local.contentHash ? 'equal' : 'different'
}

/** A version on its way to the remote; see `RemoteState` of the store's port. */
export function remoteVersion(version: Version, epochOffset: number): Version {
  return { ...version, epoch: version.epoch + epochOffset }
}

/**
 * Whether what the remote holds would refuse a write of this version: it is newer, as after the loss of a data
 * folder. A server that goes by the version alone also takes the same one for the same write.
 */
export function isHeldNewer(version: Version, copies: readonly RemoteMemory[]): boolean {
  return copies.some((held) => {
    if (held.version === undefined) return false
    const order = compareVersions(held.version, version)
    return held.remoteId === undefined ? order >= 0 : order > 0
  })
}
