/**
 * BullMQ's worker, mended where its own ways would break a promise of the lane:
 *
 * - It takes every error for a failure of the job, also where Redis refused the acknowledgement of a job that was
 *   done. Here only a verdict of the lane fails a job. All else leaves it in flight without a lock: the stalled
 *   check has it run again, which is harmless and burns no attempt.
 * - Its close waits for Redis, and without one its timers keep the process alive.
 * - It throws at each look at a job whose data is not JSON, so that the job is in flight and stalls for ever. Here its
 *   text becomes its data, as a JSON string, in Redis too: everything that reads the job from then on can.
 * - Its loop waits for a fetch while jobs that came with an acknowledgement stand in line, so a job may run long after
 *   Redis gave it. Here `onArrival` is called, and its result kept for the job, as the answer is read.
 */
import {
  DelayedError,
  type Job,
  type JobJson,
  type Processor,
  type Span,
  UnrecoverableError,
  Worker,
  type WorkerOptions,
} from 'bullmq'
import { MemsyncError } from '../errors.ts'

/** The job failed for a reason of its own and may be tried again. */
export class JobFailure extends Error {
  readonly retryAfterMs: number | undefined

  constructor(message: string, options: ErrorOptions & { retryAfterMs: number | undefined }) {
    super(message, options)
    this.retryAfterMs = options.retryAfterMs
  }
}

/** Jobs whose data was no JSON, so that the text stands in its place. */
const unreadable = new WeakSet<Job>()

/** @throws MEMSYNC_INVALID_MEMORY where the job's data was not JSON */
export function assertReadable(job: Job): void {
  if (!unreadable.has(job)) return
  throw new MemsyncError(
    'MEMSYNC_INVALID_MEMORY',
    "the job's data is not JSON; its dead letter holds the text",
  )
}

export class LaneWorker extends Worker {
  private readonly onArrival: () => unknown
  private readonly arrivals = new WeakMap<Job, unknown>()

  constructor(queueName: string, run: Processor, onArrival: () => unknown, options: WorkerOptions) {
    super(queueName, run, options)
    this.onArrival = onArrival
  }

  /** What `onArrival` returned when Redis's answer with this job was read. */
  arrivalOf(job: Job): unknown {
    return this.arrivals.get(job)
  }

  protected override createJob(json: JobJson, jobId: string): Job {
    const job = this.readJob(json, jobId)
    this.arrivals.set(job, this.onArrival())
    return job
  }

  private readJob(json: JobJson, jobId: string): Job {
    try {
      return super.createJob(json, jobId)
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error
      const job = super.createJob({ ...json, data: JSON.stringify(json.data) }, jobId)
      unreadable.add(job)
      return job
    }
  }

  /** @returns the next job, where one was fetched in the same exchange */
  override processJob(...args: Parameters<Worker['processJob']>): ReturnType<Worker['processJob']> {
    return unreadable.has(args[0]) ? this.processUnreadable(...args) : super.processJob(...args)
  }

  private async processUnreadable(
    ...args: Parameters<Worker['processJob']>
  ): ReturnType<Worker['processJob']> {
    const [job] = args
    try {
      await job.updateData(job.data)
    } catch (error) {
      // It stays in flight without a lock: the stalled check has it run again.
      this.emit('error', error instanceof Error ? error : new Error(String(error)))
      return undefined
    }
    return super.processJob(...args)
  }

  /** @returns the next job, where one was fetched in the same exchange */
  protected override async handleFailed(
    error: Error,
    job: Job,
    token: string,
    fetchNextCallback?: () => boolean,
    span?: Span,
  ): Promise<Job> {
    if (isVerdict(error)) return super.handleFailed(error, job, token, fetchNextCallback, span)
    if (!this.closing) this.emit('error', error)
    // BullMQ's type leaves out that there may be no next job.
    return undefined as unknown as Job
  }

  /** Lets go of everything, whatever is still waited for. */
  async abandon(): Promise<void> {
    await this.lockManager.close()
    await this.disconnect()
  }
}

function isVerdict(error: Error): boolean {
  // UnrecoverableError is also what BullMQ itself gives to a job that stalled too often.
  return error instanceof DelayedError || error instanceof UnrecoverableError || error instanceof JobFailure
}
