/**
 * Handing memories to the queue. What resolves here is on Redis's disk (as far as that Redis persists); what
 * rejects says why, and a rejection after a timeout leaves open whether it was taken.
 */
import type { JobsOptions, Queue } from 'bullmq'
import type { Config } from '../config.ts'
import { MemsyncError } from '../errors.ts'
import { type JobName, type JobTypes, type MemoryInput, parsePayload } from '../jobs/index.ts'
import { redactMemory } from '../jobs/redact.ts'
import type { Version } from '../jobs/version.ts'
import { spoolJobId } from './epoch.ts'
import { classifyRedisError } from './redisErrors.ts'

const ENQUEUE_TIMEOUT_MS = 5_000
/** Large enough to keep Redis busy, small enough to bound what an endless input holds in memory. */
const BATCH_SIZE = 500

export interface EnqueueOptions {
  /** Tries before it is a dead letter; 3 unless given. */
  attempts?: number
  /** The first retry delay in milliseconds, doubling from there; 1,000 unless given. */
  backoffMs?: number
}

export interface EnqueueManyOptions extends EnqueueOptions {
  /** Called for each memory, in order, once it is durable in the queue. What it throws ends the hand-over. */
  onAccepted?: (memory: MemoryInput, receipt: Accepted) => void
}

/** What a memory must keep to, and what is made of it before it is persisted. */
type MemoryRules = Pick<Config, 'maxValueBytes' | 'redact'>

/** The receipt of an accepted memory. */
export interface Accepted {
  /** The id BullMQ gave the job: its place in the order of acceptance. */
  jobId: string
}

function jobOptions({ attempts, backoffMs }: EnqueueOptions): JobsOptions {
  for (const [name, value, min] of [
    ['attempts', attempts, 1],
    ['backoffMs', backoffMs, 0],
  ] as const) {
    if (value !== undefined && (!Number.isSafeInteger(value) || value < min)) {
      throw new MemsyncError('MEMSYNC_BAD_USAGE', `${name} must be a whole number of at least ${min}`)
    }
  }
  return {
    ...(attempts === undefined ? {} : { attempts }),
    ...(backoffMs === undefined ? {} : { backoff: { type: 'full-jitter', delay: backoffMs } }),
  }
}

/** Runs one exchange with Redis within a deadline, with its failure in our terms. */
export async function withinDeadline<T>(exchange: Promise<T>, timeoutMs = ENQUEUE_TIMEOUT_MS): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new MemsyncError('MEMSYNC_QUEUE_UNAVAILABLE', `Redis did not answer within ${timeoutMs} ms`))
    }, timeoutMs)
  })
  try {
    return await Promise.race([exchange, late])
  } catch (error) {
    if (error instanceof MemsyncError) throw error
    throw classifyRedisError(error) ?? error
  } finally {
    clearTimeout(timer)
  }
}

/**
 * Adds one job.
 * @param identity `jobId` only for jobs that keep a version, producers never set one; `acceptedAtMs` where it was handed
 *   over earlier than now
 * @throws MEMSYNC_INVALID_MEMORY, MEMSYNC_INVALID_VALUE, MEMSYNC_VALUE_TOO_LARGE, MEMSYNC_BAD_USAGE,
 *   MEMSYNC_QUEUE_UNAVAILABLE, MEMSYNC_QUEUE_REFUSED
 */
export async function enqueueJob<N extends JobName>(
  queue: Queue,
  name: N,
  input: JobTypes[N]['input'],
  options: EnqueueOptions,
  rules: MemoryRules,
  { jobId, acceptedAtMs }: { jobId?: string | undefined; acceptedAtMs?: number | undefined } = {},
): Promise<Accepted> {
  const jobsOptions: JobsOptions = {
    ...jobOptions(options),
    ...(jobId === undefined ? {} : { jobId }),
    ...(acceptedAtMs === undefined ? {} : { timestamp: acceptedAtMs }),
  }
  parsePayload(name, input, rules.maxValueBytes)
  const job = await withinDeadline(queue.add(name, redactMemory(input, rules.redact), jobsOptions))
  return { jobId: String(job.id) }
}

/** A memory that came through the spool, with its place in the order. */
export interface SpooledMemory {
  memory: MemoryInput
  version: Version
  /** In Unix milliseconds. */
  acceptedAtMs: number
}

/**
 * The last id the queue has handed out, 0 before the first.
 * @throws MEMSYNC_QUEUE_UNAVAILABLE, MEMSYNC_QUEUE_REFUSED
 */
export async function lastJobId(queue: Queue): Promise<number> {
  const { client } = queue.getBackend()
  return Number((await withinDeadline((await client).get(queue.toKey('id')))) ?? 0)
}

/**
 * Adds memories that came through the spool, in the order given, under the versions they were given when they were
 * claimed; one that is in the queue already is left as it is. Each raises the queue's id counter by one, added or not.
 * @throws MEMSYNC_QUEUE_UNAVAILABLE, MEMSYNC_QUEUE_REFUSED
 */
export async function addSpooled(queue: Queue, memories: readonly SpooledMemory[]): Promise<void> {
  const jobs = memories.map(({ memory, version, acceptedAtMs }) => ({
    name: 'MEMORY_SYNC',
    data: memory,
    opts: { jobId: spoolJobId(version), timestamp: acceptedAtMs },
  }))
  // A file may hold any number of them, and each batch has its own deadline.
  for (let start = 0; start < jobs.length; start += BATCH_SIZE) {
    await withinDeadline(queue.addBulk(jobs.slice(start, start + BATCH_SIZE)))
  }
}

/**
 * Adds many memories in the order given, in batches. The source is read no faster than Redis takes them.
 * @returns how many were accepted
 * @throws as `enqueueJob`; the message says which memory, counted from 0, and how many before it were accepted
 */
export async function enqueueMemories(
  queue: Queue,
  memories: Iterable<MemoryInput> | AsyncIterable<MemoryInput>,
  options: EnqueueManyOptions,
  rules: MemoryRules,
): Promise<{ accepted: number }> {
  const opts = jobOptions(options)
  let accepted = 0
  let batch: { name: string; data: MemoryInput; opts: JobsOptions }[] = []
  // One batch is on its way while the next is checked; both go over one connection, which keeps their order.
  let underway: Promise<void> = Promise.resolve()

  const send = async () => {
    const jobs = batch
    batch = []
    await underway
    underway = withinDeadline(queue.addBulk(jobs)).then((added) => {
      accepted += jobs.length
      for (const [index, { data }] of jobs.entries()) {
        options.onAccepted?.(data, { jobId: String(added[index]?.id) })
      }
    })
    // Awaited before the next send; until then its failure must not count as unhandled.
    underway.catch(() => undefined)
  }

  let position = 0
  try {
    for await (const memory of memories) {
      parsePayload('MEMORY_SYNC', memory, rules.maxValueBytes)
      batch.push({ name: 'MEMORY_SYNC', data: redactMemory(memory, rules.redact), opts })
      position++
      if (batch.length === BATCH_SIZE) await send()
    }
    await send()
    await underway
    return { accepted }
  } catch (thrown) {
    // What was valid before a bad memory is still handed over: a caller can then go on behind it.
    if (thrown instanceof MemsyncError && thrown.class === 'permanent') {
      await send()
      await underway
    } else {
      // Its failure is the one that was thrown, or comes of the same Redis; waited for so that the count is right.
      await underway.catch(() => undefined)
    }
    if (!(thrown instanceof MemsyncError)) throw thrown
    throw new MemsyncError(
      thrown.code,
      `memory ${position}: ${thrown.message} (${accepted} accepted before it)`,
      {
        cause: thrown,
        class: thrown.class,
      },
    )
  }
}
