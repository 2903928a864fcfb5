/**
 * What a fault run knows from outside: what producers were told, and what is found when all is over. Types alone.
 *
 * Times are milliseconds of the runner's own clock, which never jumps. Every set and delete carries its operation's number in its
 * metadata, so that what is found says who wrote it.
 */

export interface Name {
  namespace: string
  key: string
}

/** What its producer was told. */
export type Answer =
  /** Accepted, as this job. */
  | { kind: 'queued'; jobId: string; atMs: number }
  /** Accepted into the spool. */
  | { kind: 'spooled'; uid: string; atMs: number }
  /** Not taken, for a reason of its own. */
  | { kind: 'refused'; code: string; atMs: number }
  /** No answer, or one that leaves it open: it may come to be at any time, or never. */
  | { kind: 'unknown'; reason: string }

export interface Operation extends Name {
  /** From 1, in the order of the plan. */
  number: number
  /**
   * - `oversized`: a set of a value that is too large for the daemon until the last act, when its limit is raised
   * - `poison`: a job that breaks the contract
   */
  kind: 'set' | 'delete' | 'rollback' | 'oversized' | 'poison'
  /** The value as JSON; undefined for all but sets. */
  valueText: string | undefined
  embed: boolean
  via: Way
  sentAtMs: number
  answer: Answer
}

export type Way = 'client' | 'bullmq' | 'http' | 'command'

/** One write as the store keeps it. */
export interface StoredWrite {
  version: { epoch: number; sequence: number; index: number }
  deleted: boolean
  valueText: string | undefined
  embed: boolean
  /** The number of the operation that wrote it, as its metadata says. */
  operation: number | undefined
}

export interface StoredKey extends Name {
  /** Every write that was applied, oldest first. */
  writes: StoredWrite[]
}

export interface RemoteRecord extends Name {
  id: string
  /** The text held there. */
  text: string
}

export interface EmbeddedKey extends Name {
  version: { epoch: number; sequence: number; index: number }
  /** Hashes of the texts whose vectors a search finds; none for one that has no vectors. */
  contentHashes: string[]
}

/** The hash that the vector of this value must be kept under. */
type ExpectedHash = (valueText: string) => string

export interface FoundDeadLetter {
  id: string
  sourceQueue: string
  jobId: string
  code: string
  errorClass: string
  /** Of the operation, where its data says so. */
  operation: number | undefined
  attempts: number
}

/** Jobs that are still somewhere in a queue. */
export interface QueueCounts {
  waiting: number
  delayed: number
  active: number
  failed: number
}

/** A job that ended well after more than one attempt. */
export interface RetriedJob {
  queue: string
  jobId: string
  attempts: number
}

export interface Evidence {
  operations: Operation[]
  keys: StoredKey[]
  /** Undefined where there is none. */
  remote: RemoteRecord[] | undefined
  /** Undefined where nothing embeds. */
  embedded: { keys: EmbeddedKey[]; expectedHash: ExpectedHash } | undefined
  /** When work had come to rest for the first time. */
  deadLetters: FoundDeadLetter[]
  /** After the last act: the limit raised and every dead letter redriven. */
  deadLettersAtTheEnd: FoundDeadLetter[]
  retried: RetriedJob[]
  queues: Record<string, QueueCounts>
  spoolFiles: string[]
  totals: { synced: number; superseded: number }
  /** What the run met that has no place in a state: an exit, a wait in vain, a value in a log. */
  incidents: string[]
  /** What the plan's faults leave open, so that the checker must allow it. */
  allowance: Allowance
}

/** What a fault makes legitimate. */
export interface Allowance {
  /** Some calls to the remote got no clear answer, so a push may pay with attempts and become a dead letter. */
  unclearRemote: boolean
  /** The same of the embedder's answers. */
  unclearEmbedder: boolean
}
