/**
 * What a producer asks of the daemon over its socket:
 * `{ op: 'enqueue', job, data, options?, acceptedAtMs?, answerTimeoutMs? }`. Pure.
 */
import { MemsyncError } from '../errors.ts'
import { isJobName, type JobName, type JobTypes } from '../jobs/index.ts'
import type { EnqueueOptions } from '../queue/enqueue.ts'

/** Of the time that the producer waits: it spools the memory then, and must not find it in the queue behind that. */
const TAKEN_WITHIN_SHARE = 0.5

interface EnqueueRequest {
  job: JobName
  /** Not checked yet. */
  data: JobTypes[JobName]['input']
  options: EnqueueOptions
  /** When the producer took it, in Unix milliseconds. */
  acceptedAtMs: number | undefined
  /** How long the producer waits for the answer from then on; as long as it takes where it does not say. */
  answerTimeoutMs: number | undefined
}

/** @throws MEMSYNC_UNKNOWN_JOB, MEMSYNC_BAD_USAGE */
export function parseEnqueueRequest(request: Record<string, unknown>): EnqueueRequest {
  const { job, data, options = {} } = request
  if (typeof job !== 'string' || !isJobName(job)) {
    throw new MemsyncError('MEMSYNC_UNKNOWN_JOB', 'job: there is no job of this name')
  }
  if (typeof options !== 'object' || options === null) {
    throw new MemsyncError('MEMSYNC_BAD_USAGE', 'options: must be an object')
  }
  return {
    job,
    data: data as JobTypes[JobName]['input'],
    options: options as EnqueueOptions,
    acceptedAtMs: millisecondsOf(request, 'acceptedAtMs'),
    answerTimeoutMs: millisecondsOf(request, 'answerTimeoutMs'),
  }
}

function millisecondsOf(
  request: Record<string, unknown>,
  field: 'acceptedAtMs' | 'answerTimeoutMs',
): number | undefined {
  const given = request[field]
  if (given === undefined || (Number.isSafeInteger(given) && Number(given) > 0))
    return given as number | undefined
  throw new MemsyncError('MEMSYNC_BAD_USAGE', `${field}: must be a whole number of milliseconds`)
}

/**
 * Refuses a request that has lain too long (the daemon was stopped, or drained the spool meanwhile).
 * @throws MEMSYNC_QUEUE_UNAVAILABLE
 */
export function refuseLate(
  { acceptedAtMs, answerTimeoutMs }: Pick<EnqueueRequest, 'acceptedAtMs' | 'answerTimeoutMs'>,
  nowMs: number,
): void {
  if (acceptedAtMs === undefined || answerTimeoutMs === undefined) return
  if (nowMs - acceptedAtMs <= answerTimeoutMs * TAKEN_WITHIN_SHARE) return
  throw new MemsyncError('MEMSYNC_QUEUE_UNAVAILABLE', 'the request came too late: it is not taken any more')
}
