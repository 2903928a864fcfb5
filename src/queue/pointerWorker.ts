/**
 * A lane whose jobs are dirty pointers (`memory-push`, `memory-embed`), and the sweep that makes up for those lost.
 *
 * A pointer is added when a write was applied, one per key at a time: while one waits it stands for every later
 * write of the key, and one added while it runs is run right after. The store's receipts say what was done, so
 * a pointer that never came to be (a crash, a Redis that lost everything) is found by comparing the two. The sweep
 * does so at the start, when Redis is back or lost its past, soon again where it could not be carried out, and now and
 * then while the lane has nothing to do.
 */
import { setImmediate as immediate } from 'node:timers/promises'
import type { Redis } from 'ioredis'
import type { Config } from '../config.ts'
import { type MemsyncError, toMemsyncError } from '../errors.ts'
import type { MemoryName, Receipt, ReceiptLane, Store } from '../infrastructure/memory/port.ts'
import { EMBED_JOB, EMBED_QUEUE, PUSH_JOB, PUSH_QUEUE } from '../jobs/index.ts'
import type { Logger } from '../logger.ts'
import { jobTelemetry } from '../tracing/current.ts'
import { DeadLetterSweep } from './deadLetterSweep.ts'
import { type DeadLetter, DeadLetters } from './deadLetters.ts'
import { GroupWriter } from './groupWriter.ts'
import { Lane, type LaneJob, type Setback } from './lane.ts'
import { findPointer, parsePointer, pointerOptions } from './pointer.ts'

const MARK_BATCH = 500
const SWEEP_INTERVAL_MS = 60_000
/** After a sweep, or a mark, that Redis or the store did not take. */
const SWEEP_RETRY_MS = 3_000

const NAMES: Record<ReceiptLane, { queue: string; job: string }> = {
  push: { queue: PUSH_QUEUE, job: PUSH_JOB },
  embed: { queue: EMBED_QUEUE, job: EMBED_JOB },
}

/** What the work on one memory is given. */
export interface PointerContext {
  /** Which try of the job this is, from 1. */
  attempt: number
  signal: AbortSignal
  /** Resolves once the receipt is durable. */
  recordReceipt(name: MemoryName, receipt: Receipt): Promise<void>
}

export interface PointerWorkerOptions {
  lane: ReceiptLane
  config: Pick<Config, 'queuePrefix'>
  concurrency: number
  /** Brings the newest version of one memory to the lane's end. */
  run: (name: MemoryName, context: PointerContext) => Promise<{ outcome: string }>
  /** A connection of the lane's own, ready. */
  redis: Redis
  store: Store
  logger: Logger
  onDependencyFailure: (error: MemsyncError) => void
  onSuccess: () => void
  onDeadLetter?: (entry: DeadLetter) => void
  onWorkerError: (error: Error) => void
  /** What became of a job that ended well. */
  onOutcome?: ((outcome: string) => void) | undefined
  onSetback?: ((setback: Setback) => void) | undefined
}

export class PointerWorker {
  readonly lane: Lane
  readonly deadLetters: DeadLetters
  private readonly options: PointerWorkerOptions
  private readonly receipts: GroupWriter<{ key: string; namespace: string; receipt: Receipt }, boolean>
  private readonly deadLetterSweep: DeadLetterSweep
  private readonly marked = new Map<string, MemoryName>()
  private marking: Promise<void> | undefined
  private sweeping: Promise<void> | undefined
  private sweepWanted = false
  private sweepTimer: NodeJS.Timeout | undefined
  private retryTimer: NodeJS.Timeout | undefined
  private stopped = false

  constructor(options: PointerWorkerOptions) {
    const { config, redis, logger } = options
    this.options = options
    this.receipts = new GroupWriter((entries) => options.store.recordReceipts(entries))
    this.lane = new Lane({
      queueName: NAMES[options.lane].queue,
      queuePrefix: config.queuePrefix,
      redis,
      concurrency: options.concurrency,
      process: (job, signal) => this.process(job, signal),
      stageOf: () => options.lane,
      logger,
      onDependencyFailure: options.onDependencyFailure,
      onSuccess: options.onSuccess,
      onDead: () => this.deadLetterSweep.request(),
      onSetback: options.onSetback,
      onWorkerError: options.onWorkerError,
    })
    this.deadLetters = new DeadLetters(this.lane.queue, redis, config.queuePrefix, options.onWorkerError)
    this.deadLetterSweep = new DeadLetterSweep({
      collect: () => this.collectDeadLetters(),
      logger,
      onDeadLetter: (entry) => options.onDeadLetter?.(entry),
      onError: options.onWorkerError,
    })
  }

  start(): void {
    this.lane.start()
    this.deadLetterSweep.start()
    this.requestSweep()
    this.sweepTimer = setInterval(() => void this.sweepIfIdle(), SWEEP_INTERVAL_MS)
  }

  /** See `Lane.stop`. */
  async stop(drainTimeoutMs: number): Promise<void> {
    this.stopped = true
    clearInterval(this.sweepTimer)
    clearTimeout(this.retryTimer)
    this.deadLetterSweep.stop()
    await this.lane.stop(drainTimeoutMs)
  }

  /**
   * Says that these memories changed. Returns at once and never fails: what does not reach the queue is found by
   * the sweep.
   */
  mark(names: Iterable<MemoryName>): void {
    for (const { namespace, key } of names) this.marked.set(`${namespace}\0${key}`, { namespace, key })
    this.marking ??= this.flushMarks().finally(() => {
      this.marking = undefined
      // Marked after the last look and before this.
      if (this.marked.size > 0 && !this.stopped) this.mark([])
    })
  }

  /**
   * Looks for memories without a receipt of their newest version and marks them; one look at a time, and another
   * one after it for whoever asked meanwhile.
   */
  requestSweep(): void {
    if (this.stopped) return
    if (this.sweeping !== undefined) {
      this.sweepWanted = true
      return
    }
    this.sweeping = this.sweep().finally(() => {
      this.sweeping = undefined
      if (!this.sweepWanted) return
      this.sweepWanted = false
      this.requestSweep()
    })
  }

  /** What could not be marked is found again. */
  private sweepSoon(): void {
    if (this.stopped) return
    this.retryTimer ??= setTimeout(() => {
      this.retryTimer = undefined
      this.requestSweep()
    }, SWEEP_RETRY_MS)
  }

  private async process(job: LaneJob, signal: AbortSignal): Promise<unknown> {
    const { run, lane, logger, onOutcome } = this.options
    const startedAt = performance.now()
    const { namespace, key } = parsePointer(job.data)
    const result = await run(
      { namespace, key },
      {
        attempt: job.attempt,
        signal,
        recordReceipt: (of, receipt) => this.record(of, receipt),
      },
    )
    logger.debug(
      {
        jobId: job.id,
        lane,
        namespace,
        key,
        ...result,
        durationMs: Math.round(performance.now() - startedAt),
      },
      'memory done',
    )
    onOutcome?.(result.outcome)
    return { status: 'success', outcome: result.outcome }
  }

  private async record({ key, namespace }: MemoryName, receipt: Receipt): Promise<void> {
    await this.receipts.write({ key, namespace, receipt })
  }

  private async flushMarks(): Promise<void> {
    await immediate()
    while (this.marked.size > 0 && !this.stopped) {
      const names = [...this.marked.values()].slice(0, MARK_BATCH)
      for (const { namespace, key } of names) this.marked.delete(`${namespace}\0${key}`)
      try {
        await this.lane.queue.addBulk(
          names.map((name) => ({
            name: NAMES[this.options.lane].job,
            data: name,
            opts: { ...pointerOptions(name), ...jobTelemetry(name) },
          })),
        )
      } catch (error) {
        // That Redis is away is told by the health of the connection.
        this.options.onWorkerError(error instanceof Error ? error : new Error(String(error)))
        this.marked.clear()
        this.sweepSoon()
      }
    }
  }

  private async sweepIfIdle(): Promise<void> {
    try {
      const counts = await this.lane.queue.getJobCounts('waiting', 'delayed', 'active')
      if (Object.values(counts).every((count) => count === 0)) this.requestSweep()
    } catch (error) {
      this.options.onWorkerError(error instanceof Error ? error : new Error(String(error)))
    }
  }

  private async sweep(): Promise<void> {
    const { store, lane, logger } = this.options
    let found = 0
    try {
      let after: MemoryName | undefined
      do {
        const page = await store.behind(lane, { limit: MARK_BATCH, ...(after ? { after } : {}) })
        await Promise.all(page.names.map((name) => this.freeStrayKey(name)))
        found += page.names.length
        this.mark(page.names)
        // Not all at once: the queue takes them, and whatever else happens goes on.
        await this.marking
        after = page.next
      } while (after !== undefined && !this.stopped)
    } catch (thrown) {
      const error = toMemsyncError(thrown, 'MEMSYNC_HANDLER_FAILED')
      logger.debug({ lane, code: error.code }, 'sweep put off')
      this.sweepSoon()
    }
    if (found > 0) logger.info({ lane, found }, 'memories without a receipt were marked')
  }

  /** An outage can leave the key that keeps pointers single without its job, which would silence the memory. */
  private async freeStrayKey(name: MemoryName): Promise<void> {
    const { queue } = this.lane
    const { id } = pointerOptions(name).deduplication
    const jobId = await queue.getDeduplicationJobId(id)
    if (jobId !== null && (await queue.getJob(jobId)) === undefined) await queue.removeDeduplicationKey(id)
  }

  /** What is a dead letter now must not be marked again by every sweep. */
  private async collectDeadLetters(): Promise<DeadLetter[]> {
    const entries = await this.deadLetters.collect()
    for (const entry of entries) {
      // A stranger's job, refused for being no pointer, names no memory.
      const name = findPointer(entry.data)
      const memory = name && (await this.options.store.find(name.key, name.namespace))
      if (!memory) continue
      const { version } = memory
      await this.record(memory, {
        lane: `${this.options.lane}-refused`,
        version,
        contentHash: '',
        atMs: entry.deadAtMs,
      })
    }
    return entries
  }
}
