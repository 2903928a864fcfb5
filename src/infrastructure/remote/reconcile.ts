/**
 * Repairs what `verify` finds, by making the push lane look again: the receipts of what is wrong are forgotten, so
 * the sweep marks it and each push looks first. The store is the truth: its content wins, also over what the
 * remote holds as newer.
 *
 * That is how a lost data folder is answered, whose epochs started over below those the remote holds, so that every
 * push is refused as too old: the epochs of all pushes are raised above the remote's, and their order among
 * themselves stays.
 *
 * What the remote holds and the store never had is removed only where that is asked for; it may be another
 * machine's. A memory that is deleted here is deleted there.
 *
 * plan (reads only) ─▶ whoever asks may say no ─▶ repair
 */
import { MemsyncError } from '../../errors.ts'
import type { Version } from '../../jobs/version.ts'
import type { MemoryName, Store } from '../memory/port.ts'
import type { Remote } from './port.ts'
import { type Finding, type VerifyOptions, type VerifySummary, verify } from './verify.ts'

const FORGET_BATCH = 500
/** No life of a queue gets there; a version above it is not ours, and raising over it would end all counting. */
const MAX_EPOCH = 2 ** 48

export interface RepairPlan {
  /** What is wrong. */
  found: VerifySummary
  /** To be pushed again. */
  mark: MemoryName[]
  /** Keys that the store never had: to be removed from the remote, where that was asked for. */
  remove: MemoryName[]
  /** How many of those stay. */
  left: number
  /** What the epochs of all pushes are to be raised by; undefined where the remote holds nothing newer. */
  epochOffset: number | undefined
}

/** @throws what the remote or the store cannot be read with */
export async function planRepair(
  options: Omit<VerifyOptions, 'onFinding'> & { removeUnknown: boolean },
): Promise<RepairPlan> {
  const mark: MemoryName[] = []
  const unknown: MemoryName[] = []
  let highestEpoch: number | undefined
  const onFinding = (finding: Finding) => {
    const { namespace, key } = finding
    const isUnknown = finding.problem === 'unknown' && !finding.deletedHere
    const names = isUnknown ? unknown : mark
    names.push({ namespace, key })
    if (isUnknown ? options.removeUnknown : finding.heldNewer) {
      highestEpoch = Math.max(highestEpoch ?? 0, ...finding.copies.map(({ version }) => version?.epoch ?? 0))
    }
  }
  const found = await verify({ ...options, onFinding })
  if (highestEpoch !== undefined && highestEpoch > MAX_EPOCH) {
    throw new MemsyncError(
      'MEMSYNC_REMOTE_UNCLEAR',
      'the remote holds a version that no machine can have written',
    )
  }
  return {
    ...{ found, mark },
    remove: options.removeUnknown ? unknown : [],
    left: options.removeUnknown ? 0 : unknown.length,
    epochOffset: highestEpoch === undefined ? undefined : highestEpoch + 1,
  }
}

/**
 * Carries the plan out; what is marked is pushed by the next sweep of a daemon.
 * @returns how many keys are gone from the remote
 */
export async function repair(
  plan: RepairPlan,
  options: {
    store: Pick<Store, 'raiseEpochOffset' | 'forgetPushes' | 'remoteState' | 'find'>
    remote: Pick<Remote, 'remove'>
    concurrency: number
    signal: AbortSignal
  },
): Promise<{ removed: number }> {
  const { store, remote, signal, concurrency } = options
  // First, as a push may follow what is forgotten at once.
  if (plan.epochOffset !== undefined) await store.raiseEpochOffset(plan.epochOffset)
  for (let start = 0; start < plan.mark.length; start += FORGET_BATCH) {
    await store.forgetPushes(plan.mark.slice(start, start + FORGET_BATCH))
  }
  // Above all that the remote holds, and below every write to come.
  const version: Version = { epoch: (await store.remoteState()).epochOffset, sequence: 0, index: 0 }
  let removed = 0
  const names = plan.remove.values()
  const worker = async () => {
    for (const { namespace, key } of names) {
      // Written here since the plan was made.
      if (await store.find(key, namespace)) continue
      const { outcome } = await remote.remove({ namespace, key, version }, { signal, lookupFirst: true })
      if (outcome === 'removed' || outcome === 'absent') removed++
    }
  }
  await Promise.all(Array.from({ length: concurrency }, worker))
  return { removed }
}
