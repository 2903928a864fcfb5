/**
 * What a memory store is, whatever engine holds it. Every engine passes the same conformance suite.
 *
 * A store keeps, for each (namespace, key), the newest accepted write by `compareVersions` (and by `isOvertaken` for
 * what came through the spool), the writes before it (history), and the receipts of what became of it. Deletes are
 * kept as tombstones, so that an older write does not bring a key back.
 */
import type { JsonValue } from '../../jobs/jsonValue.ts'
import type { Version } from '../../jobs/version.ts'

export type Metadata = Record<string, string | number | boolean>

/** One write, already checked: values are JSON text, so that what is stored is what was handed over. */
export interface Write {
  op: 'set' | 'delete' | 'rollback'
  namespace: string
  key: string
  /** JSON text; present for a set only. */
  valueJson?: string
  metadataJson?: string
  embed?: boolean
  version: Version
  /** When the producer handed it over, in Unix milliseconds. */
  acceptedAtMs: number
}

/**
 * What became of a write:
 * - `applied`: it is the newest of its key
 * - `superseded`: a newer write of the same key had been applied before it
 * `repeated` is true where this very write had its outcome before (a job run again after a crash): nothing was
 * written or counted a second time, and the outcome is the first one. Of a write that may have been handed over
 * before (`mayRepeat`) it is also true where the key holds or held a write of the same acceptance time and content.
 */
export interface WriteOutcome {
  outcome: 'applied' | 'superseded'
  repeated: boolean
}

/** A memory as the store holds it. */
export interface StoredMemory {
  namespace: string
  key: string
  /** Undefined where the newest write is a delete. */
  value: JsonValue | undefined
  deleted: boolean
  metadata: Metadata | undefined
  embed: boolean
  version: Version
  acceptedAtMs: number
  persistedAtMs: number
}

/** The lanes that follow persisting, each with receipts of its own. */
export type ReceiptLane = 'embed' | 'push'

/** How far a memory has come: the newest version that reached each lane's end. */
export interface Receipt {
  /** `-refused`: this version cannot come to the lane's end, and a dead letter says why. */
  lane: ReceiptLane | `${ReceiptLane}-refused`
  version: Version
  /** The remote's own id of the memory; absent for embeddings. */
  remoteId?: string
  /** Hash of what was sent or embedded. */
  contentHash: string
  atMs: number
}

/** What identifies a memory. */
export interface MemoryName {
  namespace: string
  key: string
}

export interface ListOptions {
  namespace?: string
  prefix?: string
  /**
   * Page size; 100 unless given, 10,000 at most. A page of long values ends earlier, so go by `next`.
   */
  limit?: number
  /** Where the last page ended: its `next`. */
  after?: { namespace: string; key: string }
  /** Tombstones too. */
  includeDeleted?: boolean
}

export interface ListPage {
  memories: StoredMemory[]
  /** Pass as `after` for the next page; undefined on the last. */
  next: { namespace: string; key: string } | undefined
}

export interface StoreTotals {
  /** Live keys, tombstones not counted. */
  keys: number
  /** Bytes the store takes on disk. */
  bytes: number
  /** Writes that were applied and superseded since the store was made; each write counts once. */
  synced: number
  superseded: number
  /** Push receipts taken since the store was made. */
  pushed: number
}

/** What the store knows of the remote. */
export interface RemoteState {
  /** The remote that the push receipts speak of; empty before there was one. */
  identity: string
  /**
   * What is added to a version's epoch on its way to the remote. Raised where a lost data folder made the epochs
   * start over while the remote holds newer ones; the order of the versions stays the same.
   */
  epochOffset: number
}

export interface BehindPage {
  names: MemoryName[]
  next: MemoryName | undefined
}

/** Where the queue's life stands; see `queue/epoch.ts`. */
export interface EpochRecord {
  epoch: number
  /** Random mark of this life of the queue, also kept in Redis; empty before the first. */
  token: string
  /** The newest batch recorded with a commit; Redis counts the same and must never be behind. */
  batch: number
}

export interface Store {
  /**
   * Applies the writes in one durable transaction, in the order given, each with its own outcome.
   * `epoch` is recorded with them, unless a later one already is. On error nothing was written.
   * @throws MEMSYNC_STORE_UNAVAILABLE
   */
  apply(writes: readonly Write[], epoch?: EpochRecord): Promise<WriteOutcome[]>
  /** A version after everything the store has applied and before whatever the queue accepts next. */
  nextLocalVersion(): Promise<Version>
  readEpoch(): Promise<EpochRecord>
  /** The newest place in the queue's order that was ever applied; 0 and 0 before the first. */
  readHead(): Promise<{ epoch: number; sequence: number }>

  /** The newest write, tombstones included; undefined where there never was one. */
  find(key: string, namespace?: string): Promise<StoredMemory | undefined>
  /** Newest first: the current write, then those before it. */
  history(key: string, namespace?: string): Promise<StoredMemory[]>
  list(options?: ListOptions): Promise<ListPage>
  totals(): Promise<StoreTotals>
  /** The namespaces that hold memories, in the order of their bytes; tombstones are counted too. */
  namespaces(): Promise<{ namespace: string; memories: number }[]>

  /**
   * Records a receipt; an older version never replaces a newer one, and the same version replaces itself.
   * True where it was taken; false where it is older, or the store has no such memory.
   */
  recordReceipt(key: string, namespace: string, receipt: Receipt): Promise<boolean>
  /**
   * The same for many, in one transaction. It outlives the process at once and the machine with the next write that
   * is applied: a receipt that is lost costs a look, and nothing else.
   */
  recordReceipts(entries: readonly { key: string; namespace: string; receipt: Receipt }[]): Promise<boolean[]>
  receipts(key: string, namespace?: string): Promise<Receipt[]>
  /**
   * Names of memories whose newest version has not come to the lane's end, by pages. In the push lane these are all,
   * tombstones included, but those refused. In the embed lane those to be embedded, and those that were and are not
   * to be any more: deleted, or written again without `embed`.
   */
  behind(lane: ReceiptLane, options: { limit: number; after?: MemoryName }): Promise<BehindPage>
  /** Those of these memories that are behind in the lane. */
  behindAmong(lane: ReceiptLane, names: readonly MemoryName[]): Promise<MemoryName[]>
  /** How many memories wait to be embedded. */
  countUnembedded(namespace?: string): Promise<number>
  /** Marks live memories as to be embedded, again where they were: their embed receipts are forgotten. */
  requestEmbedding(names: readonly MemoryName[]): Promise<void>
  /**
   * Ties the push receipts to the remote they speak of: where it is another than before, they are forgotten.
   * True where they were.
   */
  adoptRemote(identity: string): Promise<boolean>
  /** Forgets that these memories were pushed or refused, so that they are pushed again, with a look first. */
  forgetPushes(names: readonly MemoryName[]): Promise<void>
  remoteState(): Promise<RemoteState>
  /** Raises `RemoteState.epochOffset` to at least this; it never falls. */
  raiseEpochOffset(epochOffset: number): Promise<void>

  /** Cheap proof that it can be written now. @throws MEMSYNC_STORE_UNAVAILABLE */
  probe(): Promise<void>
  close(): Promise<void>
}

export interface StoreOptions {
  /** Writes kept per key, the current one included. Default 10. */
  historyVersions?: number
  /** Only read, beside a daemon that writes. */
  readOnly?: boolean
}
