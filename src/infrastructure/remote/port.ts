/**
 * What a remote memory server is to the push lane, whatever it speaks. Every adapter passes the same contract
 * suite (`tests/contract/remote.ts`).
 *
 * Identity is our own (namespace, key). Where a server chooses its own ids, the adapter stamps the key on the
 * record so that it can be found again, and the lane keeps the id in the push receipt.
 *
 * Ambiguity: a call that was sent and never answered may or may not have been stored. The adapter keeps no
 * memory of it, so a crash between the send and the receipt is the same case as a lost answer: **no receipt
 * means unknown**, and the lane says `lookupFirst: true`. The adapter then asks the server what it holds for
 * the key before it creates anything. The same goes for the first write after a delete, and for every try after
 * the first: a server that fails on an id it no longer has (older ones of Mem0 answer 502) is then asked by key.
 *
 * Every method throws `MemsyncError` alone, with one of:
 * - MEMSYNC_REMOTE_UNAVAILABLE (outage): not reached, or it says that it, or what it stands on, is away
 * - MEMSYNC_REMOTE_RATE_LIMITED (outage): it asks for a slower pace; `retryAfterMs` where it said how long
 * - MEMSYNC_REMOTE_CREDENTIALS (credentials): it refuses the key, the account, or its provider's key
 * - MEMSYNC_REMOTE_FORBIDDEN (credentials): it, or a firewall before it, forbids this, for one memory or for all
 * - MEMSYNC_REMOTE_REFUSED (permanent): it refuses this memory
 * - MEMSYNC_REMOTE_UNCLEAR (outage where the answer never came, transient where it made no sense): the memory
 *   may or may not have been stored
 * - MEMSYNC_INTERRUPTED (outage): the signal was aborted; the same doubt holds
 */
import type { Version } from '../../jobs/version.ts'
import type { Content } from './content.ts'

export interface MemoryId {
  namespace: string
  key: string
}

/** A memory on its way out. */
export interface OutgoingMemory extends MemoryId {
  content: Content
  version: Version
}

/** A memory as the remote holds it, hashed from what it gave back and not from what it was told. */
export interface RemoteMemory {
  namespace: string
  /** Undefined where the record carries no key: something else put it there. */
  key: string | undefined
  /** The server's own id; absent where it goes by our key. */
  remoteId?: string
  /** As `Content.contentHash`: equal exactly where text and metadata are. */
  contentHash: string
  version: Version | undefined
}

interface RemotePage {
  namespace: string
  memories: RemoteMemory[]
  /** False where the server cut its list of this namespace short: ask for what is missing with `find`. */
  complete: boolean
}

export interface CallOptions {
  signal: AbortSignal
  /** The id of the receipt, where there is one. */
  remoteId?: string | undefined
  /** True where no receipt names what the remote holds, and on a retry. Default false. */
  lookupFirst?: boolean
}

/**
 * - `stored`: the remote now holds this content under this key
 * - `unchanged`: a lookup showed that it already did, and nothing was written
 * - `superseded`: it holds a newer version, which was left alone
 */
export interface PushResult {
  outcome: 'stored' | 'unchanged' | 'superseded'
  remoteId?: string
  /** Of the last call made, as the server's own log knows it where it said so. */
  requestId: string
}

/** `absent`: there was nothing to remove, which is just as well. `unsupported`: this remote cannot remove. */
export interface RemoveResult {
  outcome: 'removed' | 'absent' | 'superseded' | 'unsupported'
  requestId?: string
}

export interface Remote {
  readonly kind: RemoteKind
  readonly can: {
    /** Whether a lost answer can be cleared up. Where false, a retry after one may store a second copy. */
    lookup: boolean
    remove: boolean
    /** Whether `find` and `readAll` work. */
    readBack: boolean
  }
  /** Resolves where the remote is up and takes our key; throws what is wrong otherwise. Stores nothing. */
  probe(signal: AbortSignal): Promise<void>
  push(memory: OutgoingMemory, options: CallOptions): Promise<PushResult>
  remove(target: MemoryId & { version: Version }, options: CallOptions): Promise<RemoveResult>
  /** Every copy held under the key: none, one, or more where a lost answer left a duplicate. */
  find(id: MemoryId, signal: AbortSignal): Promise<RemoteMemory[]>
  readAll(namespaces: Iterable<string>, signal: AbortSignal): AsyncIterable<RemotePage>
  /** Lets go of idle connections. Calls in flight end by their own signals. */
  close(): void
}

export type RemoteKind = 'mem0' | 'mem0-platform' | 'legacy' | 'http'

export interface RemoteOptions {
  /** Where the server is, a path prefix included: `https://vps.example:8888`. */
  url: string
  key?: string | undefined
  /** A path (with query) that answers 2xx while the server is up, in place of the adapter's own. */
  probePath?: string | undefined
  /** From the call to a usable connection, TLS included. Default 5,000. */
  connectTimeoutMs?: number
  /** From the call to the last byte of the answer. Default 30,000. */
  callTimeoutMs?: number
  /** The same for a whole probe. Default 5,000. */
  probeTimeoutMs?: number
}
