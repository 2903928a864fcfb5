/**
 * Waiting for the result of a job, whichever process runs it.
 *
 * BullMQ's event stream brings the end of each job. A job may end before its own `add` has answered, so while
 * an add is under way the ends of unknown jobs are kept. The stream can lose events (a Redis that went away, a
 * trimmed stream), so what is waited for is also looked up now and then.
 */
import { type Queue, QueueEvents } from 'bullmq'
import type { Redis } from 'ioredis'
import { MemsyncError } from '../errors.ts'
import { withinDeadline } from './enqueue.ts'
import { parseFailedReason } from './failure.ts'

const LOOK_UP_MS = 2_000
const LAST_LOOK_MS = 300
/** A read that is cut short by the end of Redis keeps the process alive for the rest of it. */
const READ_MS = 2_000
/** Ends kept while an add is under way; the oldest go first, and are looked up instead. */
const MAX_EARLY = 10_000

type End = { result: unknown } | { error: MemsyncError }

export class JobResults {
  private readonly queue: Queue
  private readonly events: QueueEvents
  private readonly onError: (error: Error) => void
  private readonly waiting = new Map<string, PromiseWithResolvers<unknown>>()
  /** Ends of jobs nobody waits for yet, while an add is under way. */
  private readonly early = new Map<string, End>()
  private addsUnderway = 0
  private timer: NodeJS.Timeout | undefined
  private closed = false

  constructor(queue: Queue, redis: Redis, queuePrefix: string, onError: (error: Error) => void) {
    this.queue = queue
    this.onError = onError
    this.events = new QueueEvents(queue.name, {
      connection: redis,
      prefix: queuePrefix,
      skipVersionCheck: true,
      blockingTimeout: READ_MS,
    })
    this.events.on('error', onError)
    this.events.on('completed', ({ jobId, returnvalue }) => this.end(jobId, { result: returnvalue }))
    this.events.on('failed', ({ jobId, failedReason }) =>
      this.end(jobId, { error: parseFailedReason(failedReason) }),
    )
  }

  async ready(): Promise<void> {
    await this.events.waitUntilReady()
  }

  /** Adds a job through `add` and resolves with its result, or rejects with its error. */
  async of(add: () => Promise<string>): Promise<unknown> {
    if (this.closed) throw interrupted()
    this.addsUnderway++
    let jobId: string
    try {
      jobId = await add()
      if (this.closed) throw interrupted()
    } finally {
      this.addsUnderway--
      // Cleared a turn later: the end of this very job may be in it.
      if (this.addsUnderway === 0) setImmediate(() => this.addsUnderway === 0 && this.early.clear())
    }
    const pending = Promise.withResolvers<unknown>()
    this.waiting.set(jobId, pending)
    this.timer ??= setInterval(() => void this.lookUp(), LOOK_UP_MS)
    const end = this.early.get(jobId)
    this.early.delete(jobId)
    if (end) this.end(jobId, end)
    return pending.promise
  }

  /** What ended is told once more; whoever still waits is rejected with MEMSYNC_INTERRUPTED. */
  async close(): Promise<void> {
    this.closed = true
    clearInterval(this.timer)
    // Its event may be on its way still. Where Redis does not answer, nothing is found.
    await withinDeadline(this.lookUp(), LAST_LOOK_MS).catch(this.onError)
    for (const pending of this.waiting.values()) pending.reject(interrupted())
    this.waiting.clear()
    await this.events.close()
  }

  private end(jobId: string, end: End): void {
    const pending = this.waiting.get(jobId)
    if (!pending) {
      if (this.addsUnderway > 0) this.keepEarly(jobId, end)
      return
    }
    this.waiting.delete(jobId)
    if (this.waiting.size === 0) {
      clearInterval(this.timer)
      this.timer = undefined
    }
    if ('error' in end) pending.reject(end.error)
    else pending.resolve(end.result)
  }

  private keepEarly(jobId: string, end: End): void {
    this.early.set(jobId, end)
    const [oldest] = this.early.keys()
    if (this.early.size > MAX_EARLY && oldest !== undefined) this.early.delete(oldest)
  }

  private async lookUp(): Promise<void> {
    for (const jobId of [...this.waiting.keys()]) {
      try {
        const job = await this.queue.getJob(jobId)
        if (!job) {
          const lost = new MemsyncError('MEMSYNC_JOB_LOST', `job ${jobId} is not in the queue any more`)
          this.end(jobId, { error: lost })
        } else if (job.finishedOn !== undefined) {
          const failed = await job.isFailed()
          this.end(
            jobId,
            failed ? { error: parseFailedReason(job.failedReason ?? '') } : { result: job.returnvalue },
          )
        }
      } catch (thrown) {
        // Redis is away, most likely: the next look comes when it is back.
        this.onError(thrown instanceof Error ? thrown : new Error(String(thrown)))
        return
      }
    }
  }
}

function interrupted(): MemsyncError {
  return new MemsyncError('MEMSYNC_INTERRUPTED', 'the queue was closed while waiting for the result')
}
