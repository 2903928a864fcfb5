/**
 * The embed lane as a part of the daemon. It sleeps until a memory is to be embedded, or was and is not to be any
 * more: until then there is no connection, no worker, no tokenizer and no file of vectors, and it costs nothing.
 *
 * Nothing here is awaited by persisting or pushing.
 */
import { existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Redis } from 'ioredis'
import { toMemsyncError } from '../errors.ts'
import { vectorsPath } from '../infrastructure/memory/index.ts'
import type { MemoryName } from '../infrastructure/memory/port.ts'
import type { Life } from '../queue/epoch.ts'
import { type EmbeddingFigures, noEmbedding } from './embeddingStatus.ts'
import type { EmbedLane, EmbedLaneOptions } from './embedLane.ts'
import { untilReadyOrAborted } from './redisWait.ts'
import type { GateState } from './status.ts'

/** Between tries to wake, where the file of vectors cannot be opened. */
const WAKE_RETRY_MS = 30_000

export interface EmbedServiceOptions extends Omit<EmbedLaneOptions, 'redis'> {
  /** Opens a connection of the lane's own. */
  connect: () => Redis
}

export class EmbedService {
  private readonly options: EmbedServiceOptions
  private readonly stopping = new AbortController()
  private redis: Redis | undefined
  private lane: EmbedLane | undefined
  private waking: Promise<void> | undefined
  /** Why the lane could not be started. */
  private reason: string | undefined
  private redisUsable = true
  private lifeToken: string | undefined

  constructor(options: EmbedServiceOptions) {
    this.options = options
  }

  /** Awake from the start where something was embedded before. */
  async start(): Promise<void> {
    if (existsSync(vectorsPath(this.options.config))) this.wake()
    else await this.sweep()
  }

  /** Looks for memories that are to be embedded; wakes the lane where there is one. */
  async sweep(): Promise<void> {
    if (this.lane) {
      this.lane.worker.requestSweep()
    } else {
      const { names } = await this.options.store.behind('embed', { limit: 1 })
      if (names.length > 0) this.wake()
    }
  }

  async stop(): Promise<void> {
    this.stopping.abort()
    await this.waking
    await this.lane?.stop()
    this.redis?.disconnect()
  }

  /** @param life as of `PushService.markApplied` */
  markApplied(names: MemoryName[], life: Life | undefined): void {
    this.options.store.behindAmong('embed', names).then(
      (behind) => {
        if (behind.length === 0) return
        if (this.lane) this.lane.worker.mark(behind)
        else this.wake()
      },
      // The sweep finds them when the store can be read again.
      (thrown: unknown) => this.logPutOff(thrown),
    )
    if (life === undefined || life.token === this.lifeToken) return
    if (this.lifeToken !== undefined) this.lane?.worker.requestSweep()
    this.lifeToken = life.token
  }

  setRedisUsable(usable: boolean): void {
    this.redisUsable = usable
    this.lane?.setRedisUsable(usable)
    if (usable) this.lane?.worker.requestSweep()
  }

  get stalled(): boolean {
    return this.lane?.stalled ?? false
  }

  get gate(): GateState {
    if (this.lane) return this.lane.position
    return this.waking === undefined ? 'off' : 'shut'
  }

  async figures(): Promise<EmbeddingFigures> {
    let { reason } = this
    try {
      if (this.lane) return await this.lane.figures()
    } catch (thrown) {
      // What is known of everything else is to be shown all the same.
      reason = toMemsyncError(thrown, 'MEMSYNC_STORE_UNAVAILABLE').message
    }
    const none = noEmbedding(this.options.config)
    return { ...none, embedding: { ...none.embedding, reason: reason ?? null } }
  }

  private wake(): void {
    this.waking ??= this.startLane()
  }

  private async startLane(): Promise<void> {
    const { connect, ...options } = this.options
    const { signal } = this.stopping
    while (!signal.aborted) {
      try {
        const { EmbedLane } = await import('./embedLane.ts')
        if (signal.aborted) return
        if (!this.redis) {
          this.redis = connect()
          // Told by the health of the daemon's own connection.
          this.redis.on('error', () => undefined)
        }
        await this.untilConnected(this.redis)
        if (signal.aborted) return
        const lane = new EmbedLane({ ...options, redis: this.redis })
        lane.setRedisUsable(this.redisUsable)
        // Its sweep marks whatever came while it slept.
        lane.start()
        this.lane = lane
        return
      } catch (thrown) {
        const { message, code } = toMemsyncError(thrown, 'MEMSYNC_HANDLER_FAILED')
        if (this.reason === undefined)
          options.logger.error({ code, reason: message }, 'embedding cannot start')
        this.reason = message
        // Ends by the abort, which the loop sees.
        await sleep(WAKE_RETRY_MS, undefined, { signal, ref: false }).catch(() => undefined)
      }
    }
  }

  /** BullMQ takes a first connect that fails for the last word, so it is given none that has yet to connect. */
  private async untilConnected(redis: Redis): Promise<void> {
    const { signal } = this.stopping
    while (redis.status !== 'ready' && !signal.aborted) {
      // That it is not there yet is told by the health of the daemon's own connection.
      await untilReadyOrAborted(redis, signal).catch(() => undefined)
    }
  }

  private logPutOff(thrown: unknown): void {
    const { code } = toMemsyncError(thrown, 'MEMSYNC_STORE_UNAVAILABLE')
    this.options.logger.debug({ code }, 'embedding put off')
  }
}
