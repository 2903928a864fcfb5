/**
 * The push lane as a part of the daemon: the remote, its gate and the worker behind it.
 *
 * While the gate is shut nothing is fetched, and what was in flight went back unpenalised. Health is probed without
 * Redis, so that it is known while Redis is away.
 */
import type { Redis } from 'ioredis'
import type { Config } from '../config.ts'
import { MemsyncError, toMemsyncError } from '../errors.ts'
import { memoryPush, type PushContext, type PushOutcome } from '../handlers/memoryPush.ts'
import type { MemoryName, Store } from '../infrastructure/memory/port.ts'
import { probeTimeoutMs, remoteIdentity } from '../infrastructure/remote/configured.ts'
import type { Remote } from '../infrastructure/remote/port.ts'
import type { Logger } from '../logger.ts'
import type { Measurements } from '../metrics/measurements.ts'
import { CallSlots } from '../queue/callSlots.ts'
import type { DeadLetter } from '../queue/deadLetters.ts'
import type { Life } from '../queue/epoch.ts'
import { FailureBreadth } from '../queue/failureBreadth.ts'
import { type PointerContext, PointerWorker } from '../queue/pointerWorker.ts'
import { inSpan } from '../tracing/current.ts'
import { LaneGate } from './laneGate.ts'
import { createLaneWatchdog } from './laneWatchdog.ts'
import type { Notifier } from './notifier.ts'
import type { GateState, Status } from './status.ts'
import type { ProgressWatchdog } from './watchdog.ts'

/** Of one job, one after the other: update, look up, remove a copy, create, and a probe to judge a failure. */
const MAX_CALLS_PER_JOB = 5
/** While one job is fetched or its receipt is written, another's call is under way. */
const JOBS_PER_CALL = 2

export interface PushServiceOptions {
  config: Config
  remote: Remote
  store: Store
  /** A connection of the lane's own, ready. */
  redis: Redis
  logger: Logger
  notifier: Notifier
  onDeadLetter: (entry: DeadLetter) => void
  onWorkerError: (error: Error) => void
  /** It makes no progress, also with new workers; the operator was told. */
  onStalled: () => void
  measurements: Measurements
}

export class PushService {
  readonly worker: PointerWorker
  private readonly options: PushServiceOptions
  private readonly laneGate: LaneGate
  private readonly watchdog: ProgressWatchdog
  private readonly breadth = new FailureBreadth()
  private readonly slots: CallSlots
  private redisUsable = true
  private toldSuperseded = false
  private lifeToken: string | undefined

  constructor(options: PushServiceOptions) {
    const { config, remote, store, logger, notifier } = options
    this.options = options
    const counts = options.measurements.lanes.push
    this.slots = new CallSlots(config.pushConcurrency)
    this.worker = new PointerWorker({
      lane: 'push',
      config,
      concurrency: config.pushConcurrency,
      run: (name, context) => this.push(name, context),
      redis: options.redis,
      store,
      logger,
      onDependencyFailure: (error) => this.laneGate.reportFailure(error),
      onSuccess: () => this.laneGate.reportSuccess(),
      onDeadLetter: options.onDeadLetter,
      onOutcome: (outcome) => counts.count(outcome),
      onSetback: (setback) => counts.count(setback),
      onWorkerError: options.onWorkerError,
    })
    this.laneGate = new LaneGate({
      config,
      probe: (signal) => remote.probe(signal),
      probeTimeoutMs: probeTimeoutMs(config),
      concurrency: config.pushConcurrency,
      jobsPerCall: JOBS_PER_CALL,
      lane: this.worker.lane,
      logger,
      notifier,
      words: {
        subject: 'the remote',
        refused: 'the remote refuses our credentials',
        noticeOf: (change, { reason, downForMs, waiting }) => {
          if (change === 'refused') return { event: 'credentials-refused', reason }
          if (change === 'down') return { event: 'remote-down', reason, downForMs }
          return { event: 'remote-back', downForMs, waiting }
        },
      },
    })
    this.watchdog = this.createWatchdog()
  }

  /** The workers were rebuilt, and nothing has finished since. */
  get stalled(): boolean {
    return this.watchdog.stalled
  }

  get gate(): GateState {
    return this.laneGate.status.position
  }

  get remoteStatus(): Status['remote'] {
    const { health, sinceMs, reason, latencyMs } = this.laneGate.status
    return {
      state: health,
      endpoint: remoteIdentity(this.options.config),
      since: new Date(sinceMs).toISOString(),
      latencyMs: latencyMs ?? null,
      reason: reason ?? null,
    }
  }

  async start(): Promise<void> {
    const { config, store, logger } = this.options
    if (await store.adoptRemote(remoteIdentity(config))) {
      logger.info({ kind: config.remoteKind }, 'a new remote: every memory will be pushed to it')
    }
    this.laneGate.start()
    this.worker.start()
    this.watchdog.start()
  }

  async stop(): Promise<void> {
    this.laneGate.stop()
    this.watchdog.stop()
    await this.worker.stop(this.options.config.drainTimeoutMs)
  }

  /** @param life the queue's: where it is a new one, pointers may have been lost with the old */
  markApplied(names: MemoryName[], life: Life | undefined): void {
    this.worker.mark(names)
    if (life === undefined || life.token === this.lifeToken) return
    if (this.lifeToken !== undefined) this.worker.requestSweep()
    this.lifeToken = life.token
  }

  /** Redis refusing writes overrules the gate. */
  setRedisUsable(usable: boolean): void {
    this.redisUsable = usable
    this.laneGate.setRedisUsable(usable)
    if (usable) this.worker.requestSweep()
  }

  private async push(name: MemoryName, context: PointerContext): Promise<PushOutcome> {
    const { store } = this.options
    const timesShut = this.laneGate.timesShut
    const wasAway = () => this.laneGate.timesShut !== timesShut
    let result: PushOutcome
    try {
      result = await memoryPush(name, { ...context, store, remote: this.pacedRemote(wasAway), wasAway })
    } catch (thrown) {
      throw this.breadth.weigh(name, toMemsyncError(thrown, 'MEMSYNC_HANDLER_FAILED'))
    }
    // Where there was no call, the remote said nothing.
    if (result.requestId !== undefined) this.breadth.succeeded(name, result.outcome === 'pushed')
    if (result.outcome === 'superseded') this.tellSuperseded()
    return result
  }

  /** The remote, at no more calls at once than are allowed. */
  private pacedRemote(wasAway: () => boolean): PushContext['remote'] {
    const { remote, measurements } = this.options
    const { pushCalls } = measurements
    const run = <T>(operation: 'push' | 'remove', call: () => Promise<T>) =>
      this.slots.run(() => {
        if (!wasAway()) return inSpan('push call', { operation }, () => pushCalls[operation].time(call))
        throw new MemsyncError(
          'MEMSYNC_REMOTE_UNAVAILABLE',
          "the remote went away before it was this push's turn",
        )
      })
    return {
      probe: (signal) => remote.probe(signal),
      push: (memory, options) => run('push', () => remote.push(memory, options)),
      remove: (target, options) => run('remove', () => remote.remove(target, options)),
    }
  }

  private createWatchdog(): ProgressWatchdog {
    const { config, logger, notifier, onStalled } = this.options
    return createLaneWatchdog({
      lane: 'push',
      worker: this.worker,
      gate: () => this.gate,
      isRedisUsable: () => this.redisUsable,
      stallTimeoutMs: pushStallTimeoutMs(config),
      ...{ logger, notifier, onStalled },
    })
  }

  /** Once: where a data folder was lost, it is true of every memory that the remote held before. */
  private tellSuperseded(): void {
    if (this.toldSuperseded) return
    this.toldSuperseded = true
    this.options.logger.warn(
      'the remote holds a newer version than this machine ever wrote, and was left alone; `memsync verify` shows where',
    )
  }
}

/** A job that waits for the remote is no stall: each of its calls has a deadline, and their sum is waited for. */
export function pushStallTimeoutMs({
  stallTimeoutMs,
  pushTimeoutMs,
}: Pick<Config, 'stallTimeoutMs' | 'pushTimeoutMs'>): number {
  return Math.max(stallTimeoutMs, MAX_CALLS_PER_JOB * pushTimeoutMs)
}
