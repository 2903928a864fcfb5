/**
 * The daemon's connections to Redis: one for each worker, which waits for a Redis that is away, and one for commands
 * and status, which fails at once.
 */
import { Queue } from 'bullmq'
import type { Redis } from 'ioredis'
import type { Config } from '../config.ts'
import { DEAD_LETTER_QUEUE, EMBED_QUEUE, PUSH_QUEUE, SYNC_QUEUE } from '../jobs/index.ts'
import type { Logger } from '../logger.ts'
import { connectRedis, type RedisEndpoint } from '../queue/connection.ts'
import { classifyRedisError } from '../queue/redisErrors.ts'
import { queueTelemetry } from '../tracing/current.ts'
import { awaitRedis } from './redisWait.ts'
import type { ObservedQueues } from './status.ts'

export interface RedisConnectionsOptions {
  config: Pick<Config, 'queuePrefix' | 'remoteKind'>
  endpoint: RedisEndpoint
  logger: Logger
  /** Why there is no connection yet. */
  onError: (reason: string) => void
  /** A connection ended or was not made. */
  onClose: () => void
}

export class RedisConnections {
  private readonly options: RedisConnectionsOptions
  private readonly all: Redis[] = []
  worker: Redis | undefined
  /** Undefined where no remote is configured. */
  push: Redis | undefined
  producer: { redis: Redis; queues: ObservedQueues } | undefined

  constructor(options: RedisConnectionsOptions) {
    this.options = options
  }

  /**
   * Resolves once each takes commands, however long that lasts.
   * @throws MEMSYNC_INTERRUPTED where `signal` aborts first; nothing is left open then
   */
  async open(signal: AbortSignal): Promise<void> {
    const { config, logger, onError, onClose } = this.options
    const worker = this.connect('worker')
    // Told by the health of the connection, once per change.
    worker.on('error', (error) => {
      const reason = classifyRedisError(error)?.message
      if (reason !== undefined) onError(reason)
    })
    // Each time: a server that was brought back may die again before the connection is.
    worker.on('close', onClose)
    const producer = this.connect('producer')
    const push = config.remoteKind === 'none' ? undefined : this.connect('worker')
    try {
      await awaitRedis(this.all, logger, signal)
    } catch (error) {
      this.close()
      throw error
    }
    this.worker = worker
    this.push = push
    // Only now: BullMQ takes a first connect that fails for the last word.
    this.producer = { redis: producer, queues: this.observedQueues(producer) }
  }

  close(): void {
    for (const redis of this.all) redis.disconnect()
  }

  private connect(role: 'worker' | 'producer'): Redis {
    const redis = connectRedis(this.options.endpoint, role)
    // Each is told of by what uses it.
    redis.on('error', () => undefined)
    this.all.push(redis)
    return redis
  }

  private observedQueues(connection: Redis): ObservedQueues {
    const open = (name: string) => {
      const { queuePrefix } = this.options.config
      const options = { connection, prefix: queuePrefix, skipVersionCheck: true, ...queueTelemetry() }
      const queue = new Queue(name, options)
      queue.on('error', () => undefined)
      return queue
    }
    return {
      sync: open(SYNC_QUEUE),
      push: open(PUSH_QUEUE),
      embed: open(EMBED_QUEUE),
      deadLetters: open(DEAD_LETTER_QUEUE),
    }
  }
}
