/** What a producer asks of the daemon over its socket: `{ op: 'enqueue', job, data, options?, acceptedAtMs? }`. Pure. */
import { MemsyncError } from '../errors.ts'
import { isJobName, type JobName, type JobTypes } from '../jobs/index.ts'
import type { EnqueueOptions } from '../queue/enqueue.ts'

/** Well below what a producer waits: it spools the memory then, and must not find it in the queue as well. */
const MAX_AGE_MS = 1_000

interface EnqueueRequest {
  job: JobName
  /** Not checked yet. */
  data: JobTypes[JobName]['input']
  options: EnqueueOptions
  /** When the producer took it, in Unix milliseconds. */
  acceptedAtMs: number | undefined
}

/** @throws MEMSYNC_UNKNOWN_JOB, MEMSYNC_BAD_USAGE */
export function parseEnqueueRequest(request: Record<string, unknown>): EnqueueRequest {
  const { job, data, options = {}, acceptedAtMs } = request
  if (typeof job !== 'string' || !isJobName(job)) {
    throw new MemsyncError('MEMSYNC_UNKNOWN_JOB', 'job: there is no job of this name')
  }
  if (typeof options !== 'object' || options === null) {
    throw new MemsyncError('MEMSYNC_BAD_USAGE', 'options: must be an object')
  }
  if (acceptedAtMs !== undefined && (!Number.isSafeInteger(acceptedAtMs) || Number(acceptedAtMs) < 1)) {
    throw new MemsyncError('MEMSYNC_BAD_USAGE', 'acceptedAtMs: must be a whole number of milliseconds')
  }
  return {
    job,
    data: data as JobTypes[JobName]['input'],
    options: options as EnqueueOptions,
    acceptedAtMs: acceptedAtMs as number | undefined,
  }
}

/**
 * Refuses a request that has lain too long (the daemon was stopped, or drained the spool meanwhile).
 * @throws MEMSYNC_QUEUE_UNAVAILABLE
 */
export function refuseLate(acceptedAtMs: number | undefined, nowMs: number): void {
  if (acceptedAtMs === undefined || nowMs - acceptedAtMs <= MAX_AGE_MS) return
  throw new MemsyncError('MEMSYNC_QUEUE_UNAVAILABLE', 'the request came too late: it is not taken any more')
}
