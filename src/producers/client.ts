/**
 * The client for a program that has memories to hand over and must not be harmed by it: an agent's hook, a server, a
 * script that ends in a second.
 *
 *   const producer = createProducer()
 *   await producer.enqueue({ key: 'user-preferences', value: { theme: 'dark' } })
 *
 * A memory goes to the queue where Redis answers within 250 ms, and to the spool where it does not; while the spool
 * holds anything, all go there, so that the order is kept. Calls settle in the order they were made, what is called
 * for meanwhile gathers and goes together. It starts no Redis, keeps no process alive, and need not be closed.
 */
import { randomUUID } from 'node:crypto'
import { type Config, loadConfig } from '../config.ts'
import { MemsyncError, toMemsyncError } from '../errors.ts'
import { type MemoryInput, parsePayload } from '../jobs/index.ts'
import { GuestQueue } from '../queue/guestQueue.ts'
import { Spool } from './spool.ts'

/** How long Redis may take before the spool is used. */
const REDIS_TIMEOUT_MS = 250
/** What a call may take before the spool is written, counted from the call; the spool takes milliseconds. */
const SPOOL_AFTER_MS = 400
/** Less time than this is not worth an attempt, which might leave open whether it was taken. */
const MIN_REDIS_TIMEOUT_MS = 20
const MAX_BATCH = 500
const MAX_BATCH_BYTES = 4 * 1024 * 1024

export interface ProducerOptions {
  /** Overrides of single settings; the rest is loaded as everywhere. */
  config?: Partial<Config>
}

/** Where an accepted memory is. Durable in both cases: in Redis as far as that Redis persists, in the spool as a file. */
export type HandedIn =
  | {
      accepted: 'queued'
      /** The id BullMQ gave the job: its place in the order of acceptance. */
      jobId: string
    }
  | {
      accepted: 'spooled'
      /** Names the memory in the spool, from which the daemon takes it as soon as it can. */
      uid: string
    }

/** How many memories were accepted, and where. */
export interface HandedInMany {
  accepted: number
  queued: number
  spooled: number
}

export interface Producer {
  /**
   * Hands a memory over; resolves once it is durable, within 500 ms whatever Redis does.
   * @throws MEMSYNC_INVALID_MEMORY, MEMSYNC_INVALID_VALUE, MEMSYNC_VALUE_TOO_LARGE, MEMSYNC_BAD_USAGE once closed;
   *   MEMSYNC_SPOOL_FULL, MEMSYNC_SPOOL_UNAVAILABLE where neither Redis nor the spool takes it
   */
  enqueue(memory: MemoryInput): Promise<HandedIn>
  /**
   * Hands many over, in order, reading the source no faster than they are taken.
   * @throws as `enqueue`, with the position of the first memory that was refused, counted from 0, and how many were accepted
   */
  enqueueMany(memories: Iterable<MemoryInput> | AsyncIterable<MemoryInput>): Promise<HandedInMany>
  /** Resolves once every call made so far has settled, whether or not its memory was accepted. */
  flush(): Promise<void>
  /** Settles what was called for and lets go of Redis. Idempotent; every later call is refused. */
  close(): Promise<void>
}

/**
 * A producer on the data folder and the Redis that the settings name. Opens nothing before its first use.
 * @throws MEMSYNC_BAD_SETTING
 */
export function createProducer(options: ProducerOptions = {}): Producer {
  return new QueueOrSpool({ ...loadConfig().config, ...options.config })
}

interface Call {
  memory: MemoryInput
  bytes: number
  acceptedAtMs: number
  /** On the clock that never jumps. */
  calledAtMs: number
  resolve: (receipt: HandedIn) => void
  reject: (error: MemsyncError) => void
}

/** Of all producers of this process: one call is never older than the one before, whatever the clock does. */
let lastAcceptedAtMs = 0

class QueueOrSpool implements Producer {
  private readonly config: Config
  private readonly spool: Spool
  private readonly queue: GuestQueue
  private calls: Call[] = []
  private working: Promise<void> | undefined
  private lastCall: Promise<unknown> = Promise.resolve()
  private closed = false

  constructor(config: Config) {
    this.config = config
    this.spool = new Spool(config.dataDir, config.spoolMaxBytes, config.redact)
    this.queue = new GuestQueue(config)
  }

  async enqueue(memory: MemoryInput): Promise<HandedIn> {
    if (this.closed) throw new MemsyncError('MEMSYNC_BAD_USAGE', 'the producer is closed')
    parsePayload('MEMORY_SYNC', memory, this.config.maxValueBytes)
    const { promise, resolve, reject } = Promise.withResolvers<HandedIn>()
    lastAcceptedAtMs = Math.max(lastAcceptedAtMs, Date.now())
    // As it is at the moment of the call, whatever the caller does to it afterwards.
    const json = JSON.stringify(memory)
    this.calls.push({
      memory: JSON.parse(json) as MemoryInput,
      bytes: json.length,
      acceptedAtMs: lastAcceptedAtMs,
      calledAtMs: performance.now(),
      resolve,
      reject,
    })
    this.working ??= this.work()
    // Calls settle in the order they were made.
    this.lastCall = Promise.allSettled([promise])
    return promise
  }

  async enqueueMany(memories: Iterable<MemoryInput> | AsyncIterable<MemoryInput>): Promise<HandedInMany> {
    const sums = { accepted: 0, queued: 0, spooled: 0 }
    const failures: { position: number; error: MemsyncError }[] = []
    let position = 0
    let underway: Promise<void>[] = []
    for await (const memory of memories) {
      const at = position++
      const settled = this.enqueue(memory).then(
        ({ accepted }) => {
          sums.accepted++
          sums[accepted]++
        },
        (error: MemsyncError) => void failures.push({ position: at, error }),
      )
      underway.push(settled)
      // A refusal by the contract is known a turn later; what stands behind it is not handed over.
      await undefined
      if (underway.length < MAX_BATCH && failures.length === 0) continue
      await Promise.all(underway)
      underway = []
      if (failures.length > 0) break
    }
    await Promise.all(underway)
    const [first] = failures
    if (!first) return sums
    const { error } = first
    throw new MemsyncError(
      error.code,
      `memory ${first.position}: ${error.message} (${sums.accepted} of ${position} accepted)`,
      { cause: error, class: error.class },
    )
  }

  async flush(): Promise<void> {
    await this.lastCall
  }

  async close(): Promise<void> {
    this.closed = true
    await this.flush()
    this.queue.close()
  }

  private async work(): Promise<void> {
    // What is called for in the same turn goes together.
    await undefined
    while (this.calls.length > 0) await this.settle(this.takeBatch())
    this.working = undefined
  }

  private takeBatch(): Call[] {
    let bytes = 0
    const end = this.calls.findIndex((call, index) => {
      bytes += call.bytes
      return index === MAX_BATCH || (index > 0 && bytes > MAX_BATCH_BYTES)
    })
    return this.calls.splice(0, end < 0 ? this.calls.length : end)
  }

  private async settle(batch: Call[]): Promise<void> {
    const queued = await this.tryQueue(batch)
    if (queued === true) return
    const records = batch.map(({ memory, acceptedAtMs }) => ({
      uid: randomUUID(),
      acceptedAtMs,
      ...(queued?.mayBeTaken ? { mayRepeat: true as const } : {}),
      memory,
    }))
    try {
      await this.spool.write(records)
    } catch (thrown) {
      const error = describeRefusal(toMemsyncError(thrown, 'MEMSYNC_SPOOL_UNAVAILABLE'), queued)
      for (const { reject } of batch) reject(error)
      return
    }
    for (const [index, { resolve }] of batch.entries()) {
      resolve({ accepted: 'spooled', uid: records[index]?.uid ?? '' })
    }
  }

  /** True where the queue took the batch; otherwise why not, or undefined where it was not asked. */
  private async tryQueue(
    batch: Call[],
  ): Promise<true | { error: MemsyncError; mayBeTaken: boolean } | undefined> {
    if (await this.isSpoolInUse()) return undefined
    const waitedMs = performance.now() - (batch[0]?.calledAtMs ?? 0)
    const timeoutMs = Math.min(REDIS_TIMEOUT_MS, SPOOL_AFTER_MS - waitedMs)
    if (timeoutMs < MIN_REDIS_TIMEOUT_MS) return undefined
    const handed = await this.queue.add(batch, timeoutMs)
    if ('error' in handed) return handed
    for (const [index, { resolve }] of batch.entries()) {
      resolve({ accepted: 'queued', jobId: handed.jobIds[index] ?? '' })
    }
    return true
  }

  private async isSpoolInUse(): Promise<boolean> {
    try {
      return !(await this.spool.isEmpty())
    } catch (error) {
      // Where it cannot be read, it is no reason to refuse what the queue may well take.
      if (error instanceof MemsyncError) return false
      throw error
    }
  }
}

/** The spool's refusal, and where it leaves the memory. */
function describeRefusal(
  error: MemsyncError,
  queued: { error: MemsyncError; mayBeTaken: boolean } | undefined,
): MemsyncError {
  if (!queued) return error
  const fate = queued.mayBeTaken ? 'which may have taken it' : 'which did not take it'
  return new MemsyncError(error.code, `${error.message}; before it, the queue was tried, ${fate}`, {
    cause: error,
    class: error.class,
  })
}
