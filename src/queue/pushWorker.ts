/**
 * The push lane: `memory-push`, whose jobs are dirty pointers, and the sweep that makes up for pointers lost.
 *
 * A pointer is added when a write was applied, one per key at a time: while one waits it stands for every later
 * write of the key, and one added while it runs is run right after. The store's receipts say what was pushed, so
 * a pointer that never came to be (a crash, a Redis that lost everything) is found by comparing the two. The sweep
 * does so at the start, when Redis is back or lost its past, and now and then while the lane has nothing to do.
 */
import { setImmediate as immediate } from 'node:timers/promises'
import type { Redis } from 'ioredis'
import type { Config } from '../config.ts'
import { MemsyncError, toMemsyncError } from '../errors.ts'
import { memoryPush, type PushContext } from '../handlers/memoryPush.ts'
import type { MemoryName, Store } from '../infrastructure/memory/port.ts'
import type { Remote } from '../infrastructure/remote/port.ts'
import { PUSH_JOB, PUSH_QUEUE } from '../jobs/index.ts'
import type { Logger } from '../logger.ts'
import { CallSlots } from './callSlots.ts'
import { DeadLetterSweep } from './deadLetterSweep.ts'
import { type DeadLetter, DeadLetters } from './deadLetters.ts'
import { FailureBreadth } from './failureBreadth.ts'
import { Lane, type LaneJob } from './lane.ts'
import { parsePointer, pointerOptions } from './pointer.ts'
import { ReceiptWriter } from './receipts.ts'

const MARK_BATCH = 500
/** Jobs in flight for each call: while one is fetched or its receipt is written, another's call is under way. */
const JOBS_PER_CALL = 2
const SWEEP_INTERVAL_MS = 60_000

export interface PushWorkerOptions {
  config: Pick<Config, 'queuePrefix' | 'pushConcurrency'>
  /** A connection of the lane's own, ready. */
  redis: Redis
  store: Store
  remote: Remote
  logger: Logger
  /** How often the lane's gate has shut so far. */
  timesShut: () => number
  onDependencyFailure: (error: MemsyncError) => void
  onSuccess: () => void
  onDeadLetter?: (entry: DeadLetter) => void
  onWorkerError: (error: Error) => void
}

export class PushWorker {
  readonly lane: Lane
  readonly deadLetters: DeadLetters
  private readonly options: PushWorkerOptions
  private readonly receipts: ReceiptWriter
  private readonly deadLetterSweep: DeadLetterSweep
  private readonly breadth = new FailureBreadth()
  private readonly slots: CallSlots
  private readonly marked = new Map<string, MemoryName>()
  private marking: Promise<void> | undefined
  private sweeping: Promise<void> | undefined
  private sweepWanted = false
  private sweepTimer: NodeJS.Timeout | undefined
  private toldSuperseded = false
  private stopped = false

  constructor(options: PushWorkerOptions) {
    const { config, redis, logger } = options
    this.options = options
    this.receipts = new ReceiptWriter(options.store)
    this.slots = new CallSlots(config.pushConcurrency)
    this.lane = new Lane({
      queueName: PUSH_QUEUE,
      queuePrefix: config.queuePrefix,
      redis,
      concurrency: 0,
      process: (job, signal) => this.process(job, signal),
      stageOf: () => 'push',
      logger,
      onDependencyFailure: options.onDependencyFailure,
      onSuccess: options.onSuccess,
      onDead: () => this.deadLetterSweep.request(),
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

  /** How many calls may be under way from now on; 0, as at first, fetches nothing. */
  setConcurrency(calls: number): void {
    this.lane.setConcurrency(calls > 1 ? calls * JOBS_PER_CALL : calls)
  }

  /** See `Lane.stop`. */
  async stop(drainTimeoutMs: number): Promise<void> {
    this.stopped = true
    clearInterval(this.sweepTimer)
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

  private async process(job: LaneJob, signal: AbortSignal): Promise<unknown> {
    const { store, logger, timesShut } = this.options
    const name = parsePointer(job.data)
    const timesShutBefore = timesShut()
    const startedAt = performance.now()
    const wasAway = () => timesShut() !== timesShutBefore
    const pushing = memoryPush(name, {
      store,
      remote: this.pacedRemote(wasAway),
      attempt: job.attempt,
      wasAway,
      signal,
      recordReceipt: (of, receipt) => this.receipts.record(of, receipt),
    })
    const result = await pushing.catch((thrown: unknown) => {
      throw this.breadth.weigh(name, toMemsyncError(thrown, 'MEMSYNC_HANDLER_FAILED'))
    })
    // Where there was no call, the remote said nothing.
    if (result.requestId !== undefined) this.breadth.succeeded(name)
    logger.debug(
      { jobId: job.id, ...result, durationMs: Math.round(performance.now() - startedAt) },
      'push finished',
    )
    if (result.outcome === 'superseded') this.tellSuperseded()
    return { status: 'success', outcome: result.outcome }
  }

  /** The remote, at no more calls at once than are allowed. */
  private pacedRemote(wasAway: () => boolean): PushContext['remote'] {
    const { remote } = this.options
    const run = <T>(call: () => Promise<T>) =>
      this.slots.run(() => {
        if (!wasAway()) return call()
        throw new MemsyncError(
          'MEMSYNC_REMOTE_UNAVAILABLE',
          "the remote went away before it was this push's turn",
        )
      })
    return {
      probe: (signal) => remote.probe(signal),
      push: (memory, options) => run(() => remote.push(memory, options)),
      remove: (target, options) => run(() => remote.remove(target, options)),
    }
  }

  /** Once: where a data folder was lost, it is true of every memory that the remote held before. */
  private tellSuperseded(): void {
    if (this.toldSuperseded) return
    this.toldSuperseded = true
    this.options.logger.warn(
      'the remote holds a newer version than this machine ever wrote, and was left alone; `memsync verify` shows where',
    )
  }

  private async flushMarks(): Promise<void> {
    await immediate()
    while (this.marked.size > 0 && !this.stopped) {
      const names = [...this.marked.values()].slice(0, MARK_BATCH)
      for (const { namespace, key } of names) this.marked.delete(`${namespace}\0${key}`)
      try {
        await this.lane.queue.addBulk(
          names.map((name) => ({ name: PUSH_JOB, data: name, opts: pointerOptions(name) })),
        )
      } catch (error) {
        // The sweep finds them when Redis is back; that it is away is told by the health of the connection.
        this.options.onWorkerError(error instanceof Error ? error : new Error(String(error)))
        this.marked.clear()
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
    let found = 0
    try {
      let after: MemoryName | undefined
      do {
        const page = await this.options.store.unpushed({ limit: MARK_BATCH, ...(after ? { after } : {}) })
        await Promise.all(page.names.map((name) => this.freeStrayKey(name)))
        found += page.names.length
        this.mark(page.names)
        // Not all at once: the queue takes them, and whatever else happens goes on.
        await this.marking
        after = page.next
      } while (after !== undefined && !this.stopped)
    } catch (thrown) {
      const error = toMemsyncError(thrown, 'MEMSYNC_HANDLER_FAILED')
      this.options.logger.debug({ code: error.code }, 'push sweep put off')
    }
    if (found > 0) this.options.logger.info({ found }, 'memories without a push receipt were marked')
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
      const { namespace, key } = entry.data as MemoryName
      const memory = typeof key === 'string' ? await this.options.store.find(key, namespace) : undefined
      if (!memory) continue
      const { version } = memory
      await this.receipts.record(memory, {
        lane: 'push-refused',
        version,
        contentHash: '',
        atMs: entry.deadAtMs,
      })
    }
    return entries
  }
}
