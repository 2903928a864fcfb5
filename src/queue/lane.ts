/**
 * A lane: one queue, its worker, and how many jobs may be in flight.
 *
 * It fetches jobs, runs `process` on each, and turns every failure into one of three actions (`outcome.ts`).
 * It knows nothing of what the jobs do. Concurrency 0 means that nothing is fetched: the gate is shut, or Redis
 * refuses writes, where BullMQ's worker would otherwise spin.
 */
import { DelayedError, type Job, Queue, UnrecoverableError } from 'bullmq'
import type { Redis } from 'ioredis'
import { MemsyncError, toMemsyncError } from '../errors.ts'
import { DEFAULT_ATTEMPTS } from '../jobs/index.ts'
import { memoryNameIn } from '../jobs/key.ts'
import type { Logger } from '../logger.ts'
import { queueTelemetry } from '../tracing/current.ts'
import { CompletedJobs, KEEP_ALL } from './completedJobs.ts'
import { formatFailedReason, nextFailureNote, type Stage } from './failure.ts'
import { assertReadable, JobFailure, LaneWorker } from './laneWorker.ts'
import { decideFailure } from './outcome.ts'
import { computeRetryDelayMs } from './retryPolicy.ts'

/** A killed process frees its jobs after this; a stalled check moves them soon after. */
const LOCK_DURATION_MS = 10_000
const STALLED_CHECK_MS = 5_000
/** So long a job may be in flight with no worker holding it, until it is moved. */
export const ORPHAN_MS = LOCK_DURATION_MS + STALLED_CHECK_MS
/**
 * A job in flight at this many crashes is taken for their cause. Returns during an outage do not count here,
 * which is why BullMQ's guard on started attempts is not used: it would turn a long outage into dead letters.
 */
const MAX_STALLS = 25
const GIVE_BACK_DELAY_MS = 1_000

export interface LaneJob {
  id: string
  name: string
  data: unknown
  timestamp: number
  token: string | undefined
  /** Which try this is, from 1. */
  attempt: number
  /** What `onArrival` returned for it. */
  arrival: unknown
}

export type Setback = 'retried' | 'given_back'

export interface LaneOptions {
  queueName: string
  queuePrefix: string
  /** The lane's own connection, ready; the caller ends it after `stop`. */
  redis: Redis
  concurrency: number
  /** Called as Redis's answer with a job is read; `process` may be called after later answers of the connection. */
  onArrival?: (() => unknown) | undefined
  /** Runs one job; its result is kept with the job. */
  process: (job: LaneJob, signal: AbortSignal) => Promise<unknown>
  /** Where in the lane an error arose. */
  stageOf: (error: MemsyncError) => Stage
  logger: Logger
  /** A job was given back because a dependency is away, not because of the job. */
  onDependencyFailure: (error: MemsyncError) => void
  /** A job ended; the lane's dependency answered. */
  onSuccess: () => void
  /** A job used up its attempts or cannot succeed. */
  onDead: (jobId: string) => void
  /** A job will run again: it failed and has attempts left, or was given back. */
  onSetback?: ((setback: Setback) => void) | undefined
  /** An error of the worker itself, from Redis. */
  onWorkerError: (error: Error) => void
}

export class Lane {
  readonly queue: Queue
  private readonly options: LaneOptions
  private readonly completedJobs: CompletedJobs
  private worker: LaneWorker | undefined
  private concurrency: number
  private readonly stopping = new AbortController()
  private finished = 0
  /** What the worker has in hand, without what the ones before it still hold. */
  private held = new Set<Job>()
  private adjustment: NodeJS.Immediate | undefined

  constructor(options: LaneOptions) {
    this.options = options
    this.concurrency = options.concurrency
    this.queue = new Queue(options.queueName, {
      connection: options.redis,
      prefix: options.queuePrefix,
      skipVersionCheck: true,
      skipMetasUpdate: true,
      ...queueTelemetry(),
    })
    this.queue.on('error', options.onWorkerError)
    this.completedJobs = new CompletedJobs(this.queue, options.redis, options.onWorkerError)
  }

  /** Jobs that ended since the lane was made; grows as long as it makes progress. */
  get finishedCount(): number {
    return this.finished
  }

  /** Jobs in flight in the worker there is now; another process, or a worker before it, may hold more. */
  get heldCount(): number {
    return this.held.size
  }

  start(): void {
    this.worker ??= this.createWorker()
  }

  /** How many jobs may be in flight from now on; 0 fetches none. What is in flight goes on. */
  setConcurrency(concurrency: number): void {
    this.concurrency = concurrency
    // Never from a promise's callback: BullMQ's loop ends in one turn of promises and says so in a later one, and
    // a resume between the two is lost for ever. In a turn of its own there is no such moment.
    this.adjustment ??= setImmediate(() => {
      this.adjustment = undefined
      this.adjust()
    })
  }

  private adjust(): void {
    const { worker, concurrency } = this
    if (!worker) return
    if (concurrency === 0) {
      // With `true` it does not wait for the jobs in flight.
      worker.pause(true).catch(this.options.onWorkerError)
    } else {
      worker.concurrency = concurrency
      // Not running though not paused: it was made while nothing was to be fetched.
      if (worker.isPaused() || !worker.isRunning()) worker.resume().catch(this.options.onWorkerError)
    }
  }

  /** A new worker in the place of one that makes no progress. Jobs it held come back when their locks expire. */
  rebuild(): void {
    const old = this.worker
    if (!old) return
    this.worker = this.createWorker()
    old.close(true).catch(this.options.onWorkerError)
  }

  /**
   * Takes no more jobs and waits for those in flight; at the deadline they are aborted and given back. Returns
   * soon after the deadline whatever happens: with Redis away, or a handler that never ends.
   */
  async stop(drainTimeoutMs: number): Promise<void> {
    const worker = this.worker
    this.worker = undefined
    if (worker) {
      // Ends the stalled check too, which a close alone lets wait for its next turn.
      await worker.pause(true)
      const closed = worker.close().catch(this.options.onWorkerError)
      if (!(await settlesWithin(closed, drainTimeoutMs))) {
        this.stopping.abort()
        worker.cancelAllJobs()
        await settlesWithin(closed, 500)
        worker.abandon().catch(this.options.onWorkerError)
      }
    }
    this.stopping.abort()
    await settlesWithin(this.queue.close().catch(this.options.onWorkerError), 500)
  }

  private createWorker(): LaneWorker {
    const { queueName, queuePrefix, redis, onWorkerError } = this.options
    const held = new Set<Job>()
    this.held = held
    const run = (job: Job, token: string | undefined, signal: AbortSignal | undefined) =>
      this.run(job, token, signal, held, worker.arrivalOf(job))
    const worker = new LaneWorker(queueName, run, () => this.options.onArrival?.(), {
      connection: redis,
      prefix: queuePrefix,
      concurrency: Math.max(1, this.concurrency),
      autorun: this.concurrency > 0,
      lockDuration: LOCK_DURATION_MS,
      stalledInterval: STALLED_CHECK_MS,
      maxStalledCount: MAX_STALLS,
      runRetryDelay: 1_000,
      removeOnComplete: KEEP_ALL,
      skipVersionCheck: true,
      ...queueTelemetry(),
      settings: {
        backoffStrategy: (attempt, _type, error, job) =>
          computeRetryDelayMs(
            {
              attempt,
              backoffMs: backoffOf(job),
              retryAfterMs: (error as Partial<JobFailure> | undefined)?.retryAfterMs,
            },
            Math.random,
          ),
      },
    })
    worker.on('error', onWorkerError)
    worker.on('active', normalise)
    worker.on('completed', () => {
      this.finished++
      this.completedJobs.completed()
      this.options.onSuccess()
    })
    worker.on('failed', (job) => {
      this.finished++
      if (job?.id === undefined) return
      if (job.finishedOn !== undefined) this.options.onDead(job.id)
      else this.options.onSetback?.('retried')
    })
    return worker
  }

  private async run(
    job: Job,
    token: string | undefined,
    signal: AbortSignal | undefined,
    held: Set<Job>,
    arrival: unknown,
  ): Promise<unknown> {
    held.add(job)
    const laneJob: LaneJob = {
      id: job.id ?? '',
      name: job.name,
      data: job.data,
      timestamp: job.timestamp,
      token,
      attempt: job.attemptsMade + 1,
      arrival,
    }
    const stopped = signal ?? this.stopping.signal
    try {
      assertReadable(job)
      return await this.options.process(laneJob, stopped)
    } catch (thrown) {
      const error = toMemsyncError(thrown, 'MEMSYNC_HANDLER_FAILED')
      return await this.fail(job, token, stopped.aborted ? interrupted(error) : error)
    } finally {
      held.delete(job)
    }
  }

  private async fail(job: Job, token: string | undefined, error: MemsyncError): Promise<never> {
    const action = decideFailure(error)
    switch (action) {
      case 'give-back':
        if (error.code !== 'MEMSYNC_INTERRUPTED') this.options.onDependencyFailure(error)
        await job.moveToDelayed(Date.now() + Math.max(GIVE_BACK_DELAY_MS, error.retryAfterMs ?? 0), token)
        this.options.onSetback?.('given_back')
        throw new DelayedError()
      case 'dead-letter':
      case 'retry': {
        const stage = this.options.stageOf(error)
        await job.updateProgress({ ...nextFailureNote(job.progress, error, stage, Date.now()) })
        this.options.logger.debug(
          {
            ...{ jobId: job.id, ...memoryNameIn(job.data), attempt: job.attemptsMade + 1 },
            ...{ code: error.code, class: error.class, stage },
          },
          'job failed',
        )
        throw action === 'retry' ? failureFor(error) : new UnrecoverableError(formatFailedReason(error))
      }
      default:
        return action satisfies never
    }
  }
}

/** Whatever a handler makes of being aborted is not the job's fault. */
function interrupted(error: MemsyncError): MemsyncError {
  if (error.class === 'permanent') return error
  return new MemsyncError('MEMSYNC_INTERRUPTED', 'the process is stopping', { cause: error })
}

/** What is thrown at BullMQ: it keeps message and stack, and the retry delay reads `retryAfterMs`. */
function failureFor(error: MemsyncError): JobFailure {
  const { retryAfterMs } = error
  const failure = new JobFailure(formatFailedReason(error), { cause: error, retryAfterMs })
  const stack = error.cause instanceof Error ? error.cause.stack : error.stack
  if (stack) failure.stack = stack.slice(0, 4000)
  return failure
}

/**
 * Makes a job of any producer obey the lane's promises before it runs: BullMQ takes retries and clean-up from
 * the job's own options, and a job that removes itself on failure would never become a dead letter.
 */
function normalise(job: Job): void {
  if (!job.opts.attempts) job.opts.attempts = DEFAULT_ATTEMPTS
  job.opts.removeOnFail = false
  job.opts.removeOnComplete = KEEP_ALL
  const given = job.opts.backoff
  const delay = typeof given === 'object' ? given.delay : given
  job.opts.backoff = { type: 'full-jitter', ...(typeof delay === 'number' ? { delay } : {}) }
}

function backoffOf(job: Pick<Job, 'opts'> | undefined): number | undefined {
  const backoff = job?.opts.backoff
  return typeof backoff === 'object' ? backoff.delay : backoff
}

async function settlesWithin(promise: Promise<unknown>, timeoutMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(resolve, timeoutMs, false)
  })
  try {
    return await Promise.race([promise.then(() => true), late])
  } finally {
    clearTimeout(timer)
  }
}
