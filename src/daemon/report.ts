/** What the daemon knows of itself: its status, and whether it makes progress. */
import type { Config } from '../config.ts'
import { MemsyncError, toMemsyncError } from '../errors.ts'
import type { Store } from '../infrastructure/memory/port.ts'
import type { Logger } from '../logger.ts'
import type { Spool } from '../producers/spool.ts'
import { describeEndpoint, type RedisEndpoint } from '../queue/connection.ts'
import { withinDeadline } from '../queue/enqueue.ts'
import type { RedisCondition } from '../queue/redisHealth.ts'
import type { SyncWorker } from '../queue/syncWorker.ts'
import { latestSnapshotAtMs } from '../snapshot/folder.ts'
import { noEmbedding } from './embeddingStatus.ts'
import type { EmbedService } from './embedService.ts'
import type { PushService } from './pushService.ts'
import type { QueuePause } from './queuePause.ts'
import type { RedisConnections } from './redisConnections.ts'
import { readSpoolDepth } from './spoolService.ts'
import {
  composeStatus,
  type GateState,
  type QueueFigures,
  readQueueFigures,
  type Status,
  unseenRemote,
} from './status.ts'
import type { StoreHealth } from './storeHealth.ts'
import type { LivenessSample, ProgressWatchdog } from './watchdog.ts'

/** Commands ask within the exchange; a status must not wait for a Redis that hangs. */
const STATUS_TIMEOUT_MS = 1_000

/** The daemon's parts, each there once it has started. */
export interface RunningParts {
  store?: Store
  worker?: SyncWorker
  storeHealth?: StoreHealth
  watchdog?: ProgressWatchdog
  push?: PushService
  embed?: EmbedService
}

export interface ReportSources {
  config: Config
  logger: Logger
  endpoint: RedisEndpoint
  parts: RunningParts
  connections: RedisConnections
  spool: Spool
  queuePause: QueuePause
}

export class Report {
  private readonly sources: ReportSources
  private readonly sinceMs = Date.now()
  private lastSuccessMs: number | undefined
  /** As they were last read, and when on the clock that never jumps. */
  private lastFigures: { figures: QueueFigures | undefined; readAtMs: number } | undefined
  /** What is known of Redis until the worker watches it. */
  private readonly bootCondition: RedisCondition = {
    state: 'down',
    sinceMs: Date.now(),
    reason: 'not connected yet',
  }

  constructor(sources: ReportSources) {
    this.sources = sources
  }

  /** A job ended. */
  noteSuccess(): void {
    this.lastSuccessMs = Date.now()
  }

  /** Why Redis cannot be reached, while the daemon starts. */
  noteBootError(reason: string): void {
    this.bootCondition.reason = reason
  }

  get redisCondition(): RedisCondition {
    return this.sources.parts.worker?.redisHealth.current ?? this.bootCondition
  }

  /** @throws MEMSYNC_STORE_UNAVAILABLE before it is open */
  openedStore(): Store {
    const { store } = this.sources.parts
    if (store) return store
    throw new MemsyncError('MEMSYNC_STORE_UNAVAILABLE', 'the daemon is starting')
  }

  /** What the watchdog judges by; undefined where Redis does not answer. */
  async sampleProgress(): Promise<Omit<LivenessSample, 'at'> | undefined> {
    const { parts, connections, queuePause } = this.sources
    const figures = await this.figures()
    if (!parts.worker || !figures) return undefined
    if (connections.producer) await queuePause.look(connections.producer.queues.sync)
    return {
      waiting: figures.sync.waiting ?? 0,
      active: figures.sync.active ?? 0,
      held: parts.worker.lane.heldCount,
      finished: parts.worker.lane.finishedCount,
      isGateOpen: this.syncGate !== 'shut',
      isRedisReachable: this.redisCondition.state === 'up',
    }
  }

  /**
   * @param figuresAgeMs how old the figures of the queues may be: the watchdog reads them every few seconds, so who looks
   *   all the time need not ask Redis again
   * @throws MEMSYNC_STORE_UNAVAILABLE
   */
  async status(figuresAgeMs = 0): Promise<Status> {
    const { config, endpoint, parts, spool } = this.sources
    const store = this.openedStore()
    const last = this.lastFigures
    const isRecent = last !== undefined && performance.now() - last.readAtMs < figuresAgeMs
    const figures = isRecent ? last.figures : await this.figures()
    const { state, reason, sinceMs } = this.redisCondition
    return composeStatus({
      daemon: {
        running: true,
        pid: process.pid,
        since: isoTime(this.sinceMs),
        progress: {
          state: this.progressState(figures),
          lastSuccess: this.lastSuccessMs === undefined ? null : isoTime(this.lastSuccessMs),
        },
      },
      redis: { state, endpoint: describeEndpoint(endpoint), reason: reason ?? null, since: isoTime(sinceMs) },
      figures,
      syncGate: this.syncGate,
      pushGate: config.remoteKind === 'none' ? 'off' : (parts.push?.gate ?? 'unknown'),
      remote: parts.push?.remoteStatus ?? unseenRemote(config),
      embedGate: parts.embed?.gate ?? 'unknown',
      embedding: (await parts.embed?.figures()) ?? noEmbedding(config),
      store,
      spool: await readSpoolDepth(spool),
      lastSnapshotAtMs: latestSnapshotAtMs(config),
      storeState: parts.storeHealth?.storeState ?? { state: 'up', reason: null },
    })
  }

  private get syncGate(): GateState {
    const { parts, queuePause } = this.sources
    return queuePause.isPaused ? 'shut' : (parts.storeHealth?.gate ?? 'unknown')
  }

  private async figures(): Promise<QueueFigures | undefined> {
    const figures = await this.readFigures()
    this.lastFigures = { figures, readAtMs: performance.now() }
    return figures
  }

  private async readFigures(): Promise<QueueFigures | undefined> {
    const { connections, parts, logger } = this.sources
    const { producer } = connections
    if (!producer || !parts.worker || producer.redis.status !== 'ready') return undefined
    try {
      return await withinDeadline(readQueueFigures(producer.queues), STATUS_TIMEOUT_MS)
    } catch (thrown) {
      const error = toMemsyncError(thrown, 'MEMSYNC_QUEUE_UNAVAILABLE')
      logger.debug({ code: error.code }, 'the queue figures are not to be had')
      return undefined
    }
  }

  /** A lane was given new workers and makes no progress even so. */
  get isStalled(): boolean {
    const { watchdog, push, embed } = this.sources.parts
    return [watchdog, push, embed].some((part) => part?.stalled)
  }

  private progressState(figures: QueueFigures | undefined): Status['daemon']['progress']['state'] {
    if (this.isStalled) return 'stalled'
    if (!figures || this.redisCondition.state !== 'up' || this.syncGate === 'shut') return 'waiting'
    const { waiting, active, delayed } = figures.sync
    return (waiting ?? 0) + (active ?? 0) + (delayed ?? 0) === 0 ? 'idle' : 'working'
  }
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString()
}
