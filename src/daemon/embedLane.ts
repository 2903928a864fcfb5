/**
 * The embed lane at work: the vectors, the embedder, its gate and budget, and the worker behind them. Loaded where
 * there is a memory to embed; see `embedService.ts`.
 */
import type { Redis } from 'ioredis'
import type { Config } from '../config.ts'
import { EmbedBatcher } from '../embedding/batcher.ts'
import { dayOf, remainingAllowance } from '../embedding/budget.ts'
import { watchCalls } from '../embedding/embedder.ts'
import { MemsyncError } from '../errors.ts'
import { memoryEmbed } from '../handlers/memoryEmbed.ts'
import { openEmbedder, openVectors } from '../infrastructure/memory/embedding.ts'
import type { Store } from '../infrastructure/memory/port.ts'
import type { EmbeddedMemory, MemoryVersion, VectorStore } from '../infrastructure/memory/vectors.ts'
import { REQUEST_TIMEOUT_MS } from '../infrastructure/sdk/openai.ts'
import type { Logger } from '../logger.ts'
import type { Measurements } from '../metrics/measurements.ts'
import type { DeadLetter } from '../queue/deadLetters.ts'
import { GroupWriter } from '../queue/groupWriter.ts'
import { PointerWorker } from '../queue/pointerWorker.ts'
import { inSpan } from '../tracing/current.ts'
import { type EmbeddingFigures, readEmbeddingFigures } from './embeddingStatus.ts'
import { LaneGate } from './laneGate.ts'
import { createLaneWatchdog } from './laneWatchdog.ts'
import type { Notifier } from './notifier.ts'
import type { GateState } from './status.ts'
import type { ProgressWatchdog } from './watchdog.ts'

/** As many as one request may hold, so that those that wait together can go together. */
const CONCURRENCY = 2048
/** A model that is loaded for it takes seconds to answer. */
const PROBE_TIMEOUT_MS = 20_000
/** Of one job: its request, and those that find which of its texts is refused. Each has a deadline of its own. */
const MAX_REQUESTS_PER_JOB = 12
/** How soon a new day is seen, also after a sleep of the machine. */
const DAY_CHECK_MS = 30_000

export interface EmbedLaneOptions {
  config: Config
  store: Store
  /** A connection of the lane's own. */
  redis: Redis
  logger: Logger
  notifier: Notifier
  onDeadLetter: (entry: DeadLetter) => void
  onWorkerError: (error: Error) => void
  measurements: Measurements
  /** It makes no progress, also with a new worker; the operator was told. */
  onStalled: () => void
}

export class EmbedLane {
  readonly worker: PointerWorker
  readonly gate: LaneGate
  private readonly options: EmbedLaneOptions
  private readonly vectors: VectorStore
  private readonly batcher: EmbedBatcher
  private readonly watchdog: ProgressWatchdog
  private redisUsable = true
  /** When the next day's budget begins, in Unix milliseconds; undefined while there is some left. */
  private resumesAtMs: number | undefined
  private dayTimer: NodeJS.Timeout | undefined

  constructor(options: EmbedLaneOptions) {
    const { config, store, logger, measurements } = options
    const counts = measurements.lanes.embed
    this.options = options
    const vectors = openVectors(config)
    this.vectors = vectors
    const embedder = watchCalls(openEmbedder(config), (texts, call) =>
      inSpan('embed call', { texts }, () => measurements.embedCalls.time(call)),
    )
    this.batcher = new EmbedBatcher({
      embedder,
      missing: (hashes) => vectors.missing(hashes),
      save: (entries, spending) => vectors.save(entries, { day: this.today(), ...spending }),
      allowance: (texts) => this.allowance(texts),
    })
    const puts = new GroupWriter((memories: EmbeddedMemory[]) => vectors.put(memories))
    const removals = new GroupWriter((memories: MemoryVersion[]) => vectors.remove(memories))
    this.worker = new PointerWorker({
      lane: 'embed',
      config,
      concurrency: CONCURRENCY,
      run: (name, context) =>
        memoryEmbed(name, {
          ...context,
          store,
          vectors,
          batcher: this.batcher,
          put: (memory) => puts.write(memory),
          remove: (memory) => removals.write(memory),
        }),
      redis: options.redis,
      store,
      logger,
      onDependencyFailure: (error) => {
        // A budget that is used up says nothing about the server.
        if (error.code !== 'MEMSYNC_EMBEDDER_BUDGET') this.gate.reportFailure(error)
      },
      onSuccess: () => this.gate.reportSuccess(),
      onDeadLetter: options.onDeadLetter,
      onOutcome: (outcome) => counts.count(outcome),
      onSetback: (setback) => counts.count(setback),
      onWorkerError: options.onWorkerError,
    })
    this.gate = new LaneGate({
      config,
      probe: (signal) => embedder.probe(signal),
      probeTimeoutMs: PROBE_TIMEOUT_MS,
      concurrency: CONCURRENCY,
      lane: this.worker.lane,
      logger,
      notifier: options.notifier,
      words: {
        subject: 'the embedding server',
        refused: 'embedding waits until this is mended',
        noticeOf: (change, { reason, downForMs, waiting }) => {
          if (change === 'refused') return { event: 'embedder-refused', reason }
          if (change === 'down') return { event: 'embedder-down', reason, downForMs }
          return { event: 'embedder-back', downForMs, waiting }
        },
      },
    })
    this.watchdog = createLaneWatchdog({
      lane: 'embed',
      worker: this.worker,
      gate: () => this.position,
      isRedisUsable: () => this.redisUsable,
      stallTimeoutMs: Math.max(config.stallTimeoutMs, MAX_REQUESTS_PER_JOB * REQUEST_TIMEOUT_MS),
      logger,
      notifier: options.notifier,
      onStalled: options.onStalled,
    })
  }

  /** The worker was rebuilt, and nothing has finished since. */
  get stalled(): boolean {
    return this.watchdog.stalled
  }

  start(): void {
    this.gate.start()
    this.worker.start()
    this.watchdog.start()
  }

  /** Redis refusing writes overrules the gate. */
  setRedisUsable(usable: boolean): void {
    this.redisUsable = usable
    this.gate.setRedisUsable(usable)
  }

  async stop(): Promise<void> {
    clearTimeout(this.dayTimer)
    this.gate.stop()
    this.watchdog.stop()
    await this.worker.stop(this.options.config.drainTimeoutMs)
    await this.batcher.close()
    await this.vectors.close()
  }

  get position(): GateState {
    return this.resumesAtMs === undefined ? this.gate.status.position : 'shut'
  }

  async figures(): Promise<EmbeddingFigures> {
    const reason = this.resumesAtMs === undefined ? this.gate.status.reason : this.budgetReason()
    return readEmbeddingFigures(this.options.config, this.vectors, reason)
  }

  private today(): string {
    return dayOf(Date.now(), this.options.config.timeZone)
  }

  private budgetReason(): string {
    return `the day's budget of ${this.options.config.embedDailyTokens} tokens is used up`
  }

  private async allowance(texts: readonly { tokens: number }[]): Promise<number> {
    const { embedDailyTokens, embeddingModel, timeZone } = this.options.config
    if (embedDailyTokens === undefined) return Number.POSITIVE_INFINITY
    const spent = (await this.vectors.spending(this.today())).get(embeddingModel)?.tokens ?? 0
    const largest = texts.reduce((most, { tokens }) => Math.max(most, tokens), 0)
    const left = remainingAllowance(spent, embedDailyTokens, largest, Date.now(), timeZone)
    if (left.tokens >= (texts[0]?.tokens ?? 0)) return left.tokens
    this.waitForMidnight(left.resumesAtMs)
    throw new MemsyncError('MEMSYNC_EMBEDDER_BUDGET', this.budgetReason())
  }

  private waitForMidnight(resumesAtMs: number): void {
    if (this.resumesAtMs === undefined) {
      const until = new Date(resumesAtMs).toISOString()
      this.options.logger.warn({ reason: this.budgetReason(), until }, 'embedding waits for midnight')
    }
    this.resumesAtMs = resumesAtMs
    this.gate.hold(true)
    clearTimeout(this.dayTimer)
    // By the wall clock and again and again, as a timer does not run while the machine sleeps.
    const check = () => {
      if (Date.now() < resumesAtMs) {
        this.dayTimer = setTimeout(check, Math.min(DAY_CHECK_MS, resumesAtMs - Date.now()))
        return
      }
      this.resumesAtMs = undefined
      this.gate.hold(false)
    }
    check()
  }
}
