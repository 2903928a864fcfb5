/**
 * Create-or-update and delete by our own key, over a server that chooses its own ids and takes any number of
 * records of one key. At most one record per key is left behind, the newest.
 *
 * What it cannot do: a create that timed out here and is still running there shows up only after the lookup,
 * as a duplicate; `verify` finds it and the next lookup removes it.
 */
import { compareVersions, type Version } from '../../jobs/version.ts'
import type { CallOptions, MemoryId, OutgoingMemory, PushResult, RemoteMemory, RemoveResult } from './port.ts'
import { byNewest } from './stamp.ts'

export interface IdServer {
  find(id: MemoryId, signal: AbortSignal): Promise<{ memories: RemoteMemory[]; requestId: string }>
  create(memory: OutgoingMemory, signal: AbortSignal): Promise<{ remoteId: string; requestId: string }>
  /** `found` is false where there is no such id. */
  update(
    remoteId: string,
    memory: OutgoingMemory,
    signal: AbortSignal,
  ): Promise<{ found: boolean; requestId: string }>
  delete(remoteId: string, signal: AbortSignal): Promise<{ found: boolean; requestId: string }>
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/** The receipt's id, unless another kind of remote made it: these servers fail on what is not a UUID. */
function usableId(remoteId: string | undefined): string | undefined {
  return remoteId !== undefined && UUID.test(remoteId) ? remoteId : undefined
}

function isNewer(held: RemoteMemory | undefined, version: Version): boolean {
  return held?.version !== undefined && compareVersions(held.version, version) > 0
}

export async function pushKeyed(
  server: IdServer,
  memory: OutgoingMemory,
  { signal, remoteId, lookupFirst = false }: CallOptions,
): Promise<PushResult> {
  const known = usableId(remoteId)
  if (known !== undefined && !lookupFirst) {
    const updated = await server.update(known, memory, signal)
    if (updated.found) return { outcome: 'stored', remoteId: known, requestId: updated.requestId }
  }
  // An id that is gone, or was never usable, says as little about the key as no receipt does.
  if (lookupFirst || remoteId !== undefined) {
    const placed = await pushOntoHeld(server, memory, signal)
    if (placed) return placed
  }
  return { outcome: 'stored', ...(await server.create(memory, signal)) }
}

/** Brings what the server holds of the key up to date; undefined where it holds nothing. */
async function pushOntoHeld(
  server: IdServer,
  memory: OutgoingMemory,
  signal: AbortSignal,
): Promise<PushResult | undefined> {
  const looked = await server.find(memory, signal)
  const [kept, ...duplicates] = looked.memories.toSorted(byNewest)
  if (kept?.remoteId === undefined) return undefined
  const { remoteId } = kept
  let result: PushResult
  if (isNewer(kept, memory.version)) result = { outcome: 'superseded', remoteId, requestId: looked.requestId }
  else if (kept.contentHash === memory.content.contentHash) {
    result = { outcome: 'unchanged', remoteId, requestId: looked.requestId }
  } else {
    const updated = await server.update(remoteId, memory, signal)
    if (!updated.found) return undefined
    result = { outcome: 'stored', remoteId, requestId: updated.requestId }
  }
  for (const duplicate of duplicates) {
    if (duplicate.remoteId !== undefined) await server.delete(duplicate.remoteId, signal)
  }
  return result
}

export async function removeKeyed(
  server: IdServer,
  target: MemoryId & { version: Version },
  { signal, remoteId, lookupFirst = false }: CallOptions,
): Promise<RemoveResult> {
  const known = usableId(remoteId)
  if (known !== undefined && !lookupFirst) {
    const { found, requestId } = await server.delete(known, signal)
    return { outcome: found ? 'removed' : 'absent', requestId }
  }
  const looked = await server.find(target, signal)
  if (looked.memories.some((held) => isNewer(held, target.version))) {
    return { outcome: 'superseded', requestId: looked.requestId }
  }
  let result: RemoveResult = { outcome: 'absent', requestId: looked.requestId }
  for (const held of looked.memories) {
    if (held.remoteId === undefined) continue
    const { found, requestId } = await server.delete(held.remoteId, signal)
    if (found) result = { outcome: 'removed', requestId }
  }
  return result
}
