/**
 * BullMQ's worker, mended where its own ways would break a promise of the lane:
 *
 * - It takes every error for a failure of the job, also where Redis refused the acknowledgement of a job that was
 *   done. Here only a verdict of the lane fails a job. All else leaves it in flight without a lock: the stalled
 *   check has it run again, which is harmless and burns no attempt.
 * - Its close waits for Redis, and without one its timers keep the process alive.
 */
import { DelayedError, type Job, type Span, UnrecoverableError, Worker } from 'bullmq'

/** The job failed for a reason of its own and may be tried again. */
export class JobFailure extends Error {
  readonly retryAfterMs: number | undefined

  constructor(message: string, options: ErrorOptions & { retryAfterMs: number | undefined }) {
    super(message, options)
    this.retryAfterMs = options.retryAfterMs
  }
}

export class LaneWorker extends Worker {
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
