/**
 * Brings one memory to the remote: reads the newest version when it runs, so a hundred writes that waited
 * become one call, and records how far the memory has come.
 *
 * No receipt means that the remote may or may not hold the key (the process may have died between the call and
 * the receipt), so the adapter looks before it creates. The receipt of a delete says as little: what was written after
 * it may have been created already, by a call that no receipt followed.
 */
import { type MemsyncError, toMemsyncError } from '../errors.ts'
import type { MemoryName, Receipt, Store, StoredMemory } from '../infrastructure/memory/port.ts'
import { remoteVersion } from '../infrastructure/remote/compare.ts'
import { contentOf } from '../infrastructure/remote/content.ts'
import type { CallOptions, Remote } from '../infrastructure/remote/port.ts'
import { compareVersions, type Version } from '../jobs/version.ts'

/** What a push needs of the lane. */
export interface PushContext {
  store: Pick<Store, 'find' | 'history' | 'receipts' | 'remoteState'>
  remote: Pick<Remote, 'push' | 'remove' | 'probe'>
  /** Resolves once the receipt is written. */
  recordReceipt(name: MemoryName, receipt: Receipt): Promise<void>
  /** Whether the remote was found away since the push began. */
  wasAway: () => boolean
  /** Which try of the job this is, from 1. */
  attempt: number
  signal: AbortSignal
}

/**
 * - `pushed`: the remote holds this version
 * - `unchanged`: it already held this content, and no call changed anything
 * - `removed`: the memory is deleted, there and here
 * - `superseded`: the remote holds a newer version than this machine ever wrote, and was left alone
 * - `kept`: the memory is deleted here, and this kind of remote cannot delete
 * - `absent`: the store has no such memory any more
 */
export interface PushOutcome {
  outcome: 'pushed' | 'unchanged' | 'removed' | 'superseded' | 'kept' | 'absent'
  /** The remote's name for the call, where one was made. */
  requestId?: string
}

/** The hash in the receipt of a delete. */
const DELETED = 'deleted'

/** @throws what the remote refused or failed with; MEMSYNC_STORE_UNAVAILABLE */
export async function memoryPush(name: MemoryName, context: PushContext): Promise<PushOutcome> {
  const { store } = context
  const memory = await store.find(name.key, name.namespace)
  if (!memory) return { outcome: 'absent' }
  const receipts = await store.receipts(name.key, name.namespace)
  const receipt = receipts.find(({ lane }) => lane === 'push')
  if (receipt && compareVersions(receipt.version, memory.version) >= 0) return { outcome: 'unchanged' }
  const options: CallOptions = {
    signal: context.signal,
    remoteId: receipt?.remoteId,
    lookupFirst: receipt === undefined || receipt.contentHash === DELETED || context.attempt > 1,
  }
  const { epochOffset } = await store.remoteState()
  const pushed = { ...memory, remoteVersion: remoteVersion(memory.version, epochOffset) }
  try {
    return await (memory.deleted
      ? remove(pushed, receipt, options, context)
      : push(pushed, receipt, options, context))
  } catch (thrown) {
    throw await judge(toMemsyncError(thrown, 'MEMSYNC_HANDLER_FAILED'), context)
  }
}

/** A memory with its version as the remote counts it. */
type PushedMemory = StoredMemory & { remoteVersion: Version }

async function push(
  memory: PushedMemory,
  receipt: Receipt | undefined,
  options: CallOptions,
  { store, remote, recordReceipt }: PushContext,
): Promise<PushOutcome> {
  const { version } = memory
  const content = contentOf(memory.value ?? null, memory.metadata)
  const record = (remoteId: string | undefined) =>
    recordReceipt(memory, {
      lane: 'push',
      version,
      contentHash: content.contentHash,
      atMs: Date.now(),
      ...(remoteId === undefined ? {} : { remoteId }),
    })
  if (receipt && (await isSameSince(receipt, content.contentHash, memory, store))) {
    await record(receipt.remoteId)
    return { outcome: 'unchanged' }
  }
  const { namespace, key } = memory
  const result = await remote.push({ namespace, key, content, version: memory.remoteVersion }, options)
  await record(result.remoteId)
  return { outcome: result.outcome === 'stored' ? 'pushed' : result.outcome, requestId: result.requestId }
}

async function remove(
  memory: PushedMemory,
  receipt: Receipt | undefined,
  options: CallOptions,
  { store, remote, recordReceipt }: PushContext,
): Promise<PushOutcome> {
  const { namespace, key, version } = memory
  const record = () =>
    recordReceipt(memory, { lane: 'push', version, contentHash: DELETED, atMs: Date.now() })
  if (receipt && (await isSameSince(receipt, DELETED, memory, store))) {
    await record()
    return { outcome: 'unchanged' }
  }
  const result = await remote.remove({ namespace, key, version: memory.remoteVersion }, options)
  await record()
  const requestId = result.requestId === undefined ? {} : { requestId: result.requestId }
  switch (result.outcome) {
    case 'removed':
    case 'absent':
      return { outcome: 'removed', ...requestId }
    case 'superseded':
      return { outcome: 'superseded', ...requestId }
    case 'unsupported':
      return { outcome: 'kept', ...requestId }
  }
}

/**
 * Whether the remote holds this content by the receipt, and nothing else was written since. What was may have been pushed
 * without a receipt, its answer lost or the process killed; so it counts that the history goes back to the receipt.
 */
async function isSameSince(
  receipt: Receipt,
  contentHash: string,
  { namespace, key }: MemoryName,
  store: PushContext['store'],
): Promise<boolean> {
  if (receipt.contentHash !== contentHash) return false
  const writes = await store.history(key, namespace)
  const since = writes.filter(({ version }) => compareVersions(version, receipt.version) > 0)
  return since.length < writes.length && since.every((write) => hashOf(write) === contentHash)
}

function hashOf({ deleted, value, metadata }: StoredMemory): string {
  return deleted ? DELETED : contentOf(value ?? null, metadata).contentHash
}

/**
 * A call that got no answer, or one that makes no sense, may be the remote's fault or this memory's own. A remote that
 * answers a probe right after is not away, so then the job pays for it with an attempt; otherwise one memory that
 * makes the remote hang would be tried for ever.
 */
async function judge(error: MemsyncError, { remote, signal, wasAway }: PushContext): Promise<MemsyncError> {
  if (error.code !== 'MEMSYNC_REMOTE_UNCLEAR' || signal.aborted) return error
  // It may be back by now, and this push still fell into its absence.
  if (wasAway()) return error.as('outage')
  try {
    await remote.probe(signal)
  } catch {
    // Whatever it says, the remote is no better than the error in hand.
    return error.as('outage')
  }
  return error.as('transient')
}
