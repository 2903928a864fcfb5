/**
 * Group commit: the writes of all jobs in flight go to the store in one durable transaction.
 *
 * A write is submitted without a version; it gets one at the commit, under the life of the queue. What arrives in
 * one turn of the event loop is one batch, so a batch grows with the load and a lone write does not wait for
 * company. The life is checked before the commit unless the batch shows by itself that it is still the same (see
 * `EpochTracker.vouches`). Each submitter learns its own fate.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { MemsyncError, toMemsyncError } from '../errors.ts'
import type { EpochRecord, MemoryName, Store, Write, WriteOutcome } from '../infrastructure/memory/port.ts'
import type { Version } from '../jobs/version.ts'
import { type Checked, type EpochTracker, type JobIdentity, type Life, versionOf } from './epoch.ts'
import { classifyRedisError } from './redisErrors.ts'

const REDIS_REFUSAL_RETRY_MS = 500
/**
 * A store that is locked blocks the process while it waits, so one write finds that out for all that are in flight:
 * for so long that the gate's own probe, which waits too, has shut the gate meanwhile.
 */
const STORE_RETRY_MS = 3_000

interface Submission {
  write: Omit<Write, 'version'>
  job: JobIdentity
  arrivedUnder: Life | undefined
  resolve: (outcome: WriteOutcome & { version: Version }) => void
  reject: (error: MemsyncError) => void
}

export interface GroupCommitListeners {
  /** These memories have a new newest version; told after each commit. */
  onApplied: (names: MemoryName[]) => void
  /** Redis refused what a commit needs of it; told at each try. */
  onRedisError: (error: Error) => void
  /** A transaction is durable and its jobs know. */
  onCommit?: ((commit: Commit) => void) | undefined
}

export interface Commit {
  durationMs: number
  /** In Unix milliseconds. */
  committedAtMs: number
  writes: readonly Write[]
  /** Of each write. */
  outcomes: readonly WriteOutcome[]
}

export class GroupCommit {
  private readonly store: Store
  private readonly epochs: EpochTracker
  private readonly listeners: GroupCommitListeners
  private pending: Submission[] = []
  private turn: NodeJS.Immediate | undefined
  private readonly underway = new Set<Promise<void>>()
  private readonly stopping = new AbortController()
  private storeAway: { error: MemsyncError; untilMs: number } | undefined

  constructor(store: Store, epochs: EpochTracker, listeners: GroupCommitListeners) {
    this.store = store
    this.epochs = epochs
    this.listeners = listeners
  }

  /**
   * Resolves once the write is durable, or known to be superseded.
   * @param arrivedUnder `epochs.life` when the job arrived, before anything was awaited
   * @throws MEMSYNC_STORE_UNAVAILABLE, MEMSYNC_UNKNOWN_JOB, MEMSYNC_INTERRUPTED
   */
  submit(
    write: Omit<Write, 'version'>,
    job: JobIdentity,
    arrivedUnder: Life | undefined,
  ): Promise<WriteOutcome & { version: Version }> {
    const { promise, resolve, reject } = Promise.withResolvers<WriteOutcome & { version: Version }>()
    this.pending.push({ write, job, arrivedUnder, resolve, reject })
    this.turn ??= setImmediate(() => this.endTurn())
    return promise
  }

  /** To be called when the store is known to be back: its last failure says nothing any more. */
  storeIsBack(): void {
    this.storeAway = undefined
  }

  /** Gives up waiting for a Redis that refuses or does not answer; what is being written is finished. */
  async close(): Promise<void> {
    this.stopping.abort()
    if (this.turn !== undefined) this.endTurn()
    while (this.underway.size > 0) await Promise.all(this.underway)
  }

  private endTurn(): void {
    clearImmediate(this.turn)
    this.turn = undefined
    const batch = this.pending
    this.pending = []
    const round = this.round(batch).finally(() => this.underway.delete(round))
    this.underway.add(round)
  }

  private async round(batch: Submission[]): Promise<void> {
    const known = this.epochs.life
    if (known !== undefined && this.epochs.vouches(batch)) {
      await this.commit(batch, known)
      return
    }
    try {
      const { life, record } = await this.checkEpoch(() => this.epochs.confirm())
      await this.commit(batch, life, record)
    } catch (thrown) {
      const error = toMemsyncError(thrown, 'MEMSYNC_HANDLER_FAILED')
      for (const submission of batch) submission.reject(error)
    }
  }

  /**
   * The life of the queue now. Redis being away or refusing writes is an outage of the queue, not of a job: this
   * waits until it is over.
   * @throws MEMSYNC_INTERRUPTED, MEMSYNC_STORE_UNAVAILABLE
   */
  async checkEpoch(check: () => Promise<Checked> = () => this.epochs.check()): Promise<Checked> {
    for (;;) {
      try {
        return await this.unlessStopped(check())
      } catch (error) {
        if (error instanceof MemsyncError || !classifyRedisError(error)) throw error
        this.listeners.onRedisError(error as Error)
        await this.unlessStopped(sleep(REDIS_REFUSAL_RETRY_MS))
      }
    }
  }

  /** What Redis is asked may never be answered: a connection that ends while Redis is away forgets it. */
  private async unlessStopped<T>(exchange: Promise<T>): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    exchange.then(resolve, reject)
    const interrupt = () => reject(new MemsyncError('MEMSYNC_INTERRUPTED', 'stopping before Redis answered'))
    const { signal } = this.stopping
    signal.addEventListener('abort', interrupt, { once: true })
    if (signal.aborted) interrupt()
    try {
      return await promise
    } finally {
      signal.removeEventListener('abort', interrupt)
    }
  }

  private async commit(batch: Submission[], life: Life, record?: EpochRecord): Promise<void> {
    const writes: Write[] = []
    const writers: Submission[] = []
    for (const submission of batch) {
      const { job, arrivedUnder } = submission
      const version =
        arrivedUnder?.token === life.token ? versionOf(job, life) : await this.versionOf(submission, life)
      if (version instanceof MemsyncError) {
        submission.reject(version)
      } else if (version === undefined) {
        submission.reject(
          new MemsyncError('MEMSYNC_UNKNOWN_JOB', 'the job id was chosen by its producer: set no job id'),
        )
      } else {
        writes.push({ ...submission.write, version })
        writers.push(submission)
      }
    }
    await this.apply(writes, writers, record)
  }

  private async versionOf(
    { job, arrivedUnder }: Submission,
    life: Life,
  ): Promise<Version | MemsyncError | undefined> {
    try {
      return await this.unlessStopped(this.epochs.versionAt(job, arrivedUnder, life))
    } catch (thrown) {
      return classifyRedisError(thrown) ?? toMemsyncError(thrown, 'MEMSYNC_HANDLER_FAILED')
    }
  }

  private async apply(writes: Write[], writers: Submission[], record?: EpochRecord): Promise<void> {
    try {
      if (this.storeAway && performance.now() < this.storeAway.untilMs) throw this.storeAway.error
      const startedAt = performance.now()
      const outcomes = await this.store.apply(writes, record)
      const durationMs = performance.now() - startedAt
      // Before the jobs are told: whoever waits for one may rely on the memory being marked.
      this.listeners.onApplied(writes.filter((_, position) => outcomes[position]?.outcome === 'applied'))
      for (const [position, submission] of writers.entries()) {
        const outcome = outcomes[position]
        const version = writes[position]?.version
        if (outcome && version) submission.resolve({ ...outcome, version })
        else submission.reject(new MemsyncError('MEMSYNC_HANDLER_FAILED', 'the store gave no outcome'))
      }
      this.listeners.onCommit?.({ durationMs, committedAtMs: Date.now(), writes, outcomes })
    } catch (thrown) {
      const error = storeFailure(thrown)
      if (error.class === 'outage' && error !== this.storeAway?.error) {
        this.storeAway = { error, untilMs: performance.now() + STORE_RETRY_MS }
      }
      if (error.class === 'outage' || writers.length === 1) {
        for (const submission of writers) submission.reject(error)
        return
      }
      // One write spoilt the transaction: each is tried alone, so that only it fails.
      for (const [position, submission] of writers.entries()) {
        await this.apply(writes.slice(position, position + 1), [submission], record)
      }
    }
  }
}

/** A store that is damaged is no reason of any one write: it is waited for like one that is away. */
function storeFailure(thrown: unknown): MemsyncError {
  const error = toMemsyncError(thrown, 'MEMSYNC_HANDLER_FAILED')
  if (error.code !== 'MEMSYNC_STORE_CORRUPT') return error
  return new MemsyncError(error.code, error.message, { class: 'outage', cause: error.cause })
}
