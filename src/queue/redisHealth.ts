/**
 * Whether Redis can be used now, told once per change.
 *
 *   up ──link lost──▶ down ──link back──▶ up
 *   up ──a write is refused──▶ refusing ──a write is taken──▶ up
 *   refusing ──Redis cannot be reached──▶ down ──reached, a write is refused──▶ refusing
 *
 * A link that ends while Redis refuses is no change by itself: connections are made anew then, as a failover may
 * have left them on the wrong server.
 *
 * `refusing` (READONLY, OOM, MISCONF, NOPERM ...) matters because BullMQ's worker retries such an answer at
 * once, thousands of times a second; whoever listens takes the workers off until it is over.
 */
import type { Redis } from 'ioredis'
import { MemsyncError } from '../errors.ts'
import { classifyRedisError } from './redisErrors.ts'

const REFUSAL_PROBE_MS = 1_000

type RedisState = 'up' | 'down' | 'refusing'

export interface RedisCondition {
  state: RedisState
  sinceMs: number
  /** Why it is not up. */
  reason: string | undefined
}

export class RedisHealth {
  private readonly redis: Redis
  private readonly probeKey: string
  private readonly onChange: (condition: RedisCondition, before: RedisCondition) => void
  private condition: RedisCondition
  private lastError: MemsyncError | undefined
  private timer: NodeJS.Timeout | undefined
  private stopped = false

  constructor(
    redis: Redis,
    queuePrefix: string,
    onChange: (condition: RedisCondition, before: RedisCondition) => void,
  ) {
    this.redis = redis
    this.probeKey = `${queuePrefix}:memsync:probe`
    this.onChange = onChange
    this.condition = {
      state: redis.status === 'ready' ? 'up' : 'down',
      sinceMs: Date.now(),
      reason: undefined,
    }
    redis.on('ready', this.onReady)
    redis.on('close', this.onClose)
    redis.on('error', this.onConnectionError)
  }

  get current(): RedisCondition {
    return this.condition
  }

  /** An error that came from Redis, from wherever; others are ignored. */
  readonly report = (error: Error): void => {
    const classified = classifyRedisError(error)
    if (!classified) return
    this.lastError = classified
    if (classified.code === 'MEMSYNC_QUEUE_REFUSED' && this.isReached) {
      this.change('refusing', classified.message)
      this.scheduleProbe()
    }
  }

  /** Ready, or made anew because of a refusal, which is reported while that goes on. */
  private get isReached(): boolean {
    return this.redis.status === 'ready' || this.condition.state !== 'down'
  }

  stop(): void {
    this.stopped = true
    clearTimeout(this.timer)
    this.redis.off('ready', this.onReady)
    this.redis.off('close', this.onClose)
    // 'error' stays listened to: a connection that ends may still emit one, which would end the process.
  }

  private readonly onReady = (): void => {
    // A replica after a failover, or a full server, is reached and still takes no writes.
    void this.probe()
  }

  private readonly onConnectionError = (error: Error): void => {
    this.report(error)
    if (this.condition.state === 'refusing' && this.redis.status !== 'ready') this.becomeDown()
    // A person who looks is told the newest reason; the log has the first.
    if (this.condition.state === 'down') this.condition.reason = this.lastError?.message
  }

  private readonly onClose = (): void => {
    if (this.condition.state !== 'refusing') this.becomeDown()
  }

  private becomeDown(): void {
    this.change('down', this.lastError?.message ?? 'the connection was lost')
  }

  private change(state: RedisState, reason: string | undefined): void {
    if (this.stopped || this.condition.state === state) return
    const before = this.condition
    this.condition = { state, sinceMs: Date.now(), reason }
    this.onChange(this.condition, before)
  }

  private scheduleProbe(): void {
    if (this.stopped || this.timer !== undefined) return
    this.timer = setTimeout(() => {
      this.timer = undefined
      void this.probe()
    }, REFUSAL_PROBE_MS)
  }

  private async probe(): Promise<void> {
    if (this.stopped || this.redis.status !== 'ready') return
    try {
      await this.redis.set(this.probeKey, '1', 'PX', 60_000)
      this.lastError = undefined
      this.change('up', undefined)
    } catch (error) {
      this.report(error instanceof Error ? error : new Error(String(error)))
      if (this.condition.state === 'refusing') this.scheduleProbe()
    }
  }
}

/** The error a producer gets while the condition is not `up`. */
export function conditionError(condition: RedisCondition): MemsyncError {
  const code = condition.state === 'refusing' ? 'MEMSYNC_QUEUE_REFUSED' : 'MEMSYNC_QUEUE_UNAVAILABLE'
  return new MemsyncError(code, condition.reason ?? 'Redis does not answer')
}
