/**
 * The consuming end of `memory-sync`: the lane, the group commit behind it and the dead letters it makes.
 * The daemon runs one; a script that registers a handler runs one for its own lifetime.
 *
 * Starts in order (epoch, lane, dead-letter sweep) and stops in reverse. The caller owns store and connection.
 */
import type { Redis } from 'ioredis'
import type { Config } from '../config.ts'
import { MemsyncError } from '../errors.ts'
import type { HandlerContext } from '../handlers/memorySync.ts'
import type { MemoryName, Store } from '../infrastructure/memory/port.ts'
import { isJobName, type JobName, type JobTypes, parsePayload } from '../jobs/index.ts'
import { redactMemory } from '../jobs/redact.ts'
import type { Logger } from '../logger.ts'
import { inCommitSpan } from '../tracing/current.ts'
import { DeadLetterSweep } from './deadLetterSweep.ts'
import { type DeadLetter, DeadLetters } from './deadLetters.ts'
import { EpochTracker, type Life, OWN_ID_PREFIX } from './epoch.ts'
import { type Commit, GroupCommit } from './groupCommit.ts'
import { Lane, type LaneJob, type Setback } from './lane.ts'
import { conditionError, type RedisCondition, RedisHealth } from './redisHealth.ts'

/** What runs a job of one name. It resolves with the result, or throws. */
export type Handler<N extends JobName> = (
  payload: JobTypes[N]['payload'],
  context: HandlerContext,
) => Promise<JobTypes[N]['result']>

export type Handlers = { [N in JobName]?: Handler<N> }

export interface SyncWorkerOptions {
  config: Pick<Config, 'queuePrefix' | 'concurrency' | 'maxValueBytes' | 'redact'>
  queueName: string
  /** Where the versions' sequence comes from; the same as `queueName` unless the queue is a script's own. */
  sequenceQueueName: string
  /** Ready, and used by nothing that blocks. */
  redis: Redis
  store: Store
  handlers: Handlers
  logger: Logger
  /** Whether failed jobs are collected as dead letters. */
  collectDeadLetters: boolean
  onDependencyFailure?: (error: MemsyncError) => void
  onSuccess?: () => void
  onRedisChange?: (condition: RedisCondition) => void
  onDeadLetter?: (entry: DeadLetter) => void
  /** These memories have a new newest version, which is durable. */
  onApplied?: (names: MemoryName[]) => void
  onCommit?: (commit: Commit) => void
  onSetback?: (setback: Setback) => void
}

export class SyncWorker {
  readonly lane: Lane
  readonly deadLetters: DeadLetters
  readonly redisHealth: RedisHealth
  readonly epochs: EpochTracker
  private readonly options: SyncWorkerOptions
  private readonly groupCommit: GroupCommit
  private gateConcurrency: number
  private readonly deadLetterSweep: DeadLetterSweep

  constructor(options: SyncWorkerOptions) {
    const { config, redis, logger } = options
    this.options = options
    this.gateConcurrency = config.concurrency
    this.epochs = new EpochTracker(redis, options.store, config.queuePrefix, options.sequenceQueueName)
    this.groupCommit = new GroupCommit(options.store, this.epochs, {
      onApplied: (names) => options.onApplied?.(names),
      onRedisError: (error) => this.redisHealth.report(error),
      onCommit: options.onCommit,
    })
    this.redisHealth = new RedisHealth(redis, config.queuePrefix, (now, before) =>
      this.redisChanged(now, before),
    )
    this.lane = new Lane({
      queueName: options.queueName,
      queuePrefix: config.queuePrefix,
      redis,
      concurrency: config.concurrency,
      onArrival: () => this.epochs.life,
      process: (job, signal) => this.process(job, signal),
      stageOf: (error) =>
        error.code === 'MEMSYNC_UNKNOWN_JOB' || isContractError(error) ? 'validate' : 'persist',
      logger,
      onDependencyFailure: (error) => options.onDependencyFailure?.(error),
      onSuccess: () => options.onSuccess?.(),
      onDead: () => {
        if (options.collectDeadLetters) this.deadLetterSweep.request()
      },
      onSetback: options.onSetback,
      onWorkerError: this.redisHealth.report,
    })
    this.deadLetters = new DeadLetters(this.lane.queue, redis, config.queuePrefix, this.redisHealth.report)
    this.deadLetterSweep = new DeadLetterSweep({
      // Checked afresh: a job that never reached a commit may be the first of a new life of the queue.
      collect: () => this.deadLetters.collect(async () => (await this.epochs.check()).life),
      logger,
      onDeadLetter: (entry) => options.onDeadLetter?.(entry),
      onError: this.redisHealth.report,
    })
  }

  /**
   * Resolves once jobs are being fetched; waits while Redis is away or refuses writes. Where it throws, nothing is
   * left running.
   * @param limits `signal` ends the wait, and so does `timeoutMs`; without both it has no limit
   * @throws MEMSYNC_INTERRUPTED, MEMSYNC_STORE_UNAVAILABLE; after `timeoutMs` MEMSYNC_QUEUE_REFUSED or
   *   MEMSYNC_QUEUE_UNAVAILABLE
   */
  async start({ signal, timeoutMs }: { signal?: AbortSignal; timeoutMs?: number } = {}): Promise<void> {
    const giveUp = () => void this.groupCommit.close()
    if (signal?.aborted) giveUp()
    signal?.addEventListener('abort', giveUp, { once: true })
    const timer = timeoutMs === undefined ? undefined : setTimeout(giveUp, timeoutMs)
    try {
      await this.groupCommit.checkEpoch()
    } catch (error) {
      const { current } = this.redisHealth
      await this.stop(0)
      throw signal?.aborted || current.state === 'up' ? error : conditionError(current)
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', giveUp)
    }
    this.lane.start()
    if (this.options.collectDeadLetters) this.deadLetterSweep.start()
  }

  /** How many jobs the gate lets through at once; Redis refusing writes still overrules it. */
  setConcurrency(concurrency: number): void {
    if (this.gateConcurrency === 0 && concurrency > 0) this.groupCommit.storeIsBack()
    this.gateConcurrency = concurrency
    this.applyConcurrency()
  }

  /** See `Lane.stop`. */
  async stop(drainTimeoutMs: number): Promise<void> {
    this.deadLetterSweep.stop()
    this.redisHealth.stop()
    await this.lane.stop(drainTimeoutMs)
    // Only now: jobs that drain still commit.
    await this.groupCommit.close()
  }

  private process(job: LaneJob, signal: AbortSignal): Promise<unknown> {
    const arrivedUnder = job.arrival as Life | undefined
    const { queueName, sequenceQueueName } = this.options
    if (queueName === sequenceQueueName && job.id.startsWith(OWN_ID_PREFIX)) {
      throw new MemsyncError('MEMSYNC_UNKNOWN_JOB', 'the job id was chosen by its producer: set no job id')
    }
    if (!isJobName(job.name)) {
      throw new MemsyncError(
        'MEMSYNC_UNKNOWN_JOB',
        `there is no job ${JSON.stringify(job.name.slice(0, 80))}`,
      )
    }
    return this.runHandler(job.name, job, {
      jobId: job.id,
      attempt: job.attempt,
      signal,
      commit: (write) =>
        inCommitSpan(write, () =>
          this.groupCommit.submit(
            { ...write, acceptedAtMs: job.timestamp },
            { id: job.id, timestamp: job.timestamp, token: job.token },
            arrivedUnder,
          ),
        ),
    })
  }

  private async runHandler<N extends JobName>(
    name: N,
    job: LaneJob,
    context: HandlerContext,
  ): Promise<unknown> {
    const { handlers, config, logger } = this.options
    const handler: Handler<N> | undefined = handlers[name]
    if (!handler) throw new MemsyncError('MEMSYNC_UNKNOWN_JOB', `no handler is registered for ${name}`)
    // Redacted once more, for producers that do not.
    const payload = redactMemory(parsePayload(name, job.data, config.maxValueBytes), config.redact)
    const result = await handler(payload, context)
    const { namespace, key } = payload
    logger.debug({ jobId: job.id, lane: 'sync', job: name, namespace, key }, 'memory done')
    return result
  }

  private applyConcurrency(): void {
    this.lane.setConcurrency(this.redisHealth.current.state === 'refusing' ? 0 : this.gateConcurrency)
  }

  private redisChanged(now: RedisCondition, before: RedisCondition): void {
    const { logger, onRedisChange } = this.options
    if (now.state === 'up') {
      logger.info({ downForMs: now.sinceMs - before.sinceMs, was: before.state }, 'redis is back')
    } else {
      logger.warn({ state: now.state, reason: now.reason }, 'redis is away')
    }
    this.applyConcurrency()
    onRedisChange?.(now)
  }
}

function isContractError(error: MemsyncError): boolean {
  return ['MEMSYNC_INVALID_MEMORY', 'MEMSYNC_INVALID_VALUE', 'MEMSYNC_VALUE_TOO_LARGE'].includes(error.code)
}
