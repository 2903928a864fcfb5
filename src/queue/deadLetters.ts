/**
 * Dead letters: jobs that cannot succeed without a person, kept whole in a queue of their own.
 *
 * The failed set of a lane's queue is the staging area: BullMQ moves a job there in one atomic step. From there
 * `collect` adds the entry under an id derived from the job and only then removes the job, so a crash in between
 * repeats to the same end. It always looks at the whole failed set: after a final failure, at the start and every
 * few seconds, because a job that stalled too often, or failed just before a crash, makes no event anybody hears.
 *
 * A redrive goes the other way round: the job is added under an id that names its version and how often it was
 * redriven, and only then the entry is removed. It keeps its version, so it cannot beat a newer write.
 */
import { hostname } from 'node:os'
import { type Job, Queue, type QueueOptions } from 'bullmq'
import type { Redis } from 'ioredis'
import { ERROR_CLASSES, type ErrorClass, type ErrorCode, MemsyncError } from '../errors.ts'
import { DEAD_LETTER_QUEUE, EMBED_QUEUE, PUSH_QUEUE } from '../jobs/index.ts'
import { isDeeperThan, MAX_VALUE_DEPTH } from '../jobs/jsonValue.ts'
import { formatVersion } from '../jobs/version.ts'
import { DAEMON_VERSION } from '../release.ts'
import { type Life, redriveJobId, redrivesOf, versionOf } from './epoch.ts'
import { type FailureNote, parseFailedReason, STAGES, type Stage } from './failure.ts'
import { parsePointer, pointerOptions } from './pointer.ts'

const PAGE_SIZE = 100
const MAX_STACK_LENGTH = 4_000
const POINTER_QUEUES: readonly string[] = [PUSH_QUEUE, EMBED_QUEUE]

/** A dead letter as it is kept: the job verbatim, and why it is here. */
export interface DeadLetter {
  /** `version-redrives`; how `memsync dlq` names it. */
  id: string
  schema: 1
  sourceQueue: string
  jobId: string
  name: string
  /** Verbatim, whatever the producer sent; its text where that is not JSON, or nested deeper than any value may be. */
  data: unknown
  /** `epoch-sequence-index`; kept when it is redriven. Null where the producer chose the job's id. */
  version: string | null
  redrives: number
  attempts: number
  stalls: number
  acceptedAtMs: number
  firstFailedAtMs: number
  lastFailedAtMs: number
  deadAtMs: number
  class: ErrorClass
  code: ErrorCode
  message: string
  stack: string | null
  stage: Stage
  host: string
  daemonVersion: string
}

export interface DeadLetterFilter {
  class?: ErrorClass
  /** At least this long dead, in milliseconds. */
  olderThanMs?: number
  keyPrefix?: string
}

/** Whether the entry passes the filter. Pure. */
function matchesFilter(entry: DeadLetter, filter: DeadLetterFilter, nowMs: number): boolean {
  if (filter.class !== undefined && entry.class !== filter.class) return false
  if (filter.olderThanMs !== undefined && nowMs - entry.deadAtMs < filter.olderThanMs) return false
  if (filter.keyPrefix === undefined) return true
  const key: unknown = (entry.data as { key?: unknown } | null)?.key
  return typeof key === 'string' && key.startsWith(filter.keyPrefix)
}

/**
 * The entry for a job of the failed set, under the life it was accepted in. Pure.
 * @param life undefined for the jobs of a lane whose ids say nothing about order
 */
function describeDeadLetter(job: Job, life: Life | undefined, nowMs: number): DeadLetter {
  const id = job.id ?? ''
  const version = life && versionOf({ id, timestamp: job.timestamp }, life)
  const error = parseFailedReason(job.failedReason ?? '')
  // Whoever reaches the queue can write it.
  const note = Object(job.progress) as Partial<Record<keyof FailureNote, unknown>>
  const failedAtMs = job.finishedOn ?? nowMs
  const redrives = redrivesOf(id)
  const origin = {
    sourceQueue: job.queueName,
    jobId: id,
    version: version ? formatVersion(version) : null,
  }
  return {
    id: idOf(origin, redrives),
    schema: 1,
    ...origin,
    name: job.name,
    data: job.data,
    redrives,
    attempts: job.attemptsMade,
    stalls: job.stalledCounter,
    acceptedAtMs: job.timestamp,
    firstFailedAtMs: typeof note.firstFailedAtMs === 'number' ? note.firstFailedAtMs : failedAtMs,
    lastFailedAtMs: failedAtMs,
    deadAtMs: nowMs,
    // As it was weighed, which may be another than its code's own.
    class: (note.code === error.code && ERROR_CLASSES.find((name) => name === note.class)) || error.class,
    code: error.code,
    message: error.message,
    stack: job.stacktrace?.at(-1)?.slice(0, MAX_STACK_LENGTH) ?? null,
    stage: STAGES.find((name) => name === note.stage) ?? 'validate',
    host: hostname(),
    daemonVersion: DAEMON_VERSION,
  }
}

function idOf(
  { version, sourceQueue, jobId }: Pick<DeadLetter, 'version' | 'sourceQueue' | 'jobId'>,
  redrives: number,
): string {
  return `${version ?? `${sourceQueue}-${Buffer.from(jobId).toString('base64url')}`}-${redrives}`
}

export class DeadLetters {
  private readonly source: Queue
  private readonly redis: Redis
  private readonly queue: Queue
  private readonly options: QueueOptions
  private readonly onError: (error: Error) => void
  private readonly pointerQueues = new Map<string, Queue>()

  /** @param source the lane's queue, whose failed set is collected and which redriven jobs go back to */
  constructor(source: Queue, redis: Redis, queuePrefix: string, onError: (error: Error) => void) {
    this.source = source
    this.redis = redis
    this.options = { connection: redis, prefix: queuePrefix, skipVersionCheck: true, skipMetasUpdate: true }
    this.onError = onError
    this.queue = openQueue(DEAD_LETTER_QUEUE, this.options, onError)
  }

  /**
   * Moves every job of the failed set, oldest first; returns the entries. Idempotent.
   * @param currentLife asked where there is anything to move, in a lane whose ids are versions
   */
  async collect(currentLife?: () => Promise<Life>): Promise<DeadLetter[]> {
    const moved: DeadLetter[] = []
    for (;;) {
      const jobs = (await this.source.getFailed(0, PAGE_SIZE - 1)) as (Job | undefined)[]
      const present = jobs.filter((job) => job !== undefined)
      if (present.length > 0) {
        const life = await currentLife?.()
        moved.push(...(await Promise.all(present.map((job) => this.move(job, life)))))
      }
      if (jobs.length < PAGE_SIZE) return moved
    }
  }

  async count(): Promise<number> {
    return this.queue.getWaitingCount()
  }

  /** Every entry that passes the filter, oldest first, read in pages. */
  async *list(filter: DeadLetterFilter = {}): AsyncGenerator<DeadLetter> {
    for (let start = 0; ; start += PAGE_SIZE) {
      const jobs = (await this.queue.getJobs(['waiting'], start, start + PAGE_SIZE - 1, true)) as (
        | Job
        | undefined
      )[]
      for (const job of jobs) {
        if (job && matchesFilter(job.data, filter, Date.now())) yield job.data as DeadLetter
      }
      if (jobs.length < PAGE_SIZE) return
    }
  }

  /** @throws MEMSYNC_NOT_FOUND */
  async show(id: string): Promise<DeadLetter> {
    return (await this.entryJob(id)).data as DeadLetter
  }

  /**
   * Puts the entry back with fresh attempts and, in the main lane, its first version; returns the id of the job
   * to wait for.
   * @throws MEMSYNC_NOT_FOUND; MEMSYNC_UNKNOWN_JOB where it has no version, so that its place in the order is unknown;
   *   MEMSYNC_INVALID_MEMORY where it stood in a pointers' lane and is none
   */
  async redrive(id: string): Promise<string> {
    const entryJob = await this.entryJob(id)
    const entry = entryJob.data as DeadLetter
    const jobId = await (POINTER_QUEUES.includes(entry.sourceQueue)
      ? this.putPointer(entry)
      : this.putVersioned(entry))
    await entryJob.remove()
    return jobId
  }

  /** @throws MEMSYNC_NOT_FOUND */
  async drop(id: string): Promise<void> {
    await (await this.entryJob(id)).remove()
  }

  async close(): Promise<void> {
    await this.queue.close()
    for (const queue of this.pointerQueues.values()) await queue.close()
  }

  private async entryJob(id: string): Promise<Job> {
    const job = (await this.queue.getJob(`dead-${id}`)) as Job | undefined
    if (!job)
      throw new MemsyncError(
        'MEMSYNC_NOT_FOUND',
        `there is no dead letter ${JSON.stringify(id.slice(0, 80))}`,
      )
    return job
  }

  private async putVersioned(entry: DeadLetter): Promise<string> {
    if (entry.version === null) {
      throw new MemsyncError(
        'MEMSYNC_UNKNOWN_JOB',
        `dead letter ${entry.id} has no version: its producer set a job id`,
      )
    }
    const jobId = redriveJobId(entry.version, entry.redrives + 1)
    await this.source.add(entry.name, entry.data, { jobId, timestamp: entry.acceptedAtMs })
    return jobId
  }

  /** A pointer carries no value: put back, it stands for the newest version there is. */
  private async putPointer(entry: DeadLetter): Promise<string> {
    const { sourceQueue } = entry
    const queue = this.pointerQueues.get(sourceQueue) ?? openQueue(sourceQueue, this.options, this.onError)
    this.pointerQueues.set(sourceQueue, queue)
    const job = await queue.add(entry.name, entry.data, pointerOptions(parsePointer(entry.data)))
    return String(job.id)
  }

  private async move(job: Job, life: Life | undefined): Promise<DeadLetter> {
    const entry = describeDeadLetter(job, life, Date.now())
    // JSON can be read however deep it is, and not be written again: then its text is kept.
    if (isDeeperThan(job.data, MAX_VALUE_DEPTH)) {
      entry.data = await this.redis.hget(this.source.toKey(entry.jobId), 'data')
    }
    await this.queue.add(entry.name, entry, { jobId: `dead-${entry.id}` })
    // A redrive that was killed before its end left it.
    if (entry.redrives > 0) await this.queue.remove(`dead-${idOf(entry, entry.redrives - 1)}`)
    await job.remove()
    return entry
  }
}

function openQueue(name: string, options: QueueOptions, onError: (error: Error) => void): Queue {
  const queue = new Queue(name, options)
  queue.on('error', onError)
  return queue
}
