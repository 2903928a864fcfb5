/**
 * The queue as a guest in another program uses it: it asks Redis once, within a time, and leaves nothing behind.
 *
 * It starts no Redis, waits for none, and keeps no process alive: the connection stands between calls but does not
 * count, and a call's own deadline is what the process stays for. Where Redis did not answer in time the connection is
 * given up, and what was sent on it and not yet received is taken back as far as TCP allows. A memory that was given up
 * and arrives all the same would count from then on, and could land on a newer one: so it is only sent to a Redis that
 * has just answered.
 */
import { Socket } from 'node:net'
import { Queue } from 'bullmq'
import type { Redis } from 'ioredis'
import type { Config } from '../config.ts'
import { MemsyncError, toMemsyncError } from '../errors.ts'
import { type MemoryInput, SYNC_QUEUE } from '../jobs/index.ts'
import { redactMemory } from '../jobs/redact.ts'
import { queueTelemetry } from '../tracing/current.ts'
import { connectOnce, redisEndpoint } from './connection.ts'
import { withinDeadline } from './enqueue.ts'
import { classifyRedisError } from './redisErrors.ts'

/** A memory, and when it was handed over, in Unix milliseconds. */
interface TimedMemory {
  memory: MemoryInput
  acceptedAtMs: number
}

export type HandedOver =
  /** All of them are in the queue, in this order. */
  | { jobIds: string[] }
  /** They are not; or, where `mayBeTaken`, nobody knows. */
  | { error: MemsyncError; mayBeTaken: boolean }

interface Link {
  redis: Redis
  queue: Queue
}

export class GuestQueue {
  private readonly config: Pick<Config, 'redisUrl' | 'dataDir' | 'queuePrefix' | 'redact'>
  private link: Link | undefined

  constructor(config: Pick<Config, 'redisUrl' | 'dataDir' | 'queuePrefix' | 'redact'>) {
    this.config = config
  }

  /** Hands them over, all or none; settles within `timeoutMs`. Not to be called while a call is under way. */
  async add(memories: readonly TimedMemory[], timeoutMs: number): Promise<HandedOver> {
    const startedAt = performance.now()
    let sent = false
    try {
      const { redis, queue } = await this.connect(timeoutMs)
      const leftMs = () => Math.max(1, timeoutMs - (performance.now() - startedAt))
      await withinDeadline(redis.ping(), leftMs())
      const jobs = memories.map(({ memory, acceptedAtMs }) => ({
        name: 'MEMORY_SYNC',
        data: redactMemory(memory, this.config.redact),
        opts: { timestamp: acceptedAtMs },
      }))
      sent = true
      const added = await withinDeadline(queue.addBulk(jobs), leftMs())
      return { jobIds: added.map((job) => String(job.id)) }
    } catch (thrown) {
      const error = toMemsyncError(thrown, 'MEMSYNC_QUEUE_UNAVAILABLE')
      this.close()
      return { error, mayBeTaken: sent && error.code !== 'MEMSYNC_QUEUE_REFUSED' }
    }
  }

  /** Gives the connection up; the next call makes a new one. Needs no Redis. */
  close(): void {
    const { link } = this
    this.link = undefined
    if (!link) return
    const { stream } = link.redis
    // A reset discards what the other side has not received; neither TLS nor a unix socket knows one.
    if (this.config.redisUrl?.startsWith('redis:') && stream instanceof Socket && !stream.destroyed) {
      stream.resetAndDestroy()
    }
    link.redis.disconnect()
  }

  private async connect(timeoutMs: number): Promise<Link> {
    if (this.link?.redis.status === 'ready') return this.link
    this.close()
    const redis = connectOnce(redisEndpoint(this.config), timeoutMs)
    let reason: Error | undefined
    redis.on('error', (error: Error) => {
      reason ??= error
    })
    try {
      await withinDeadline(redis.connect(), timeoutMs)
    } catch (thrown) {
      redis.disconnect()
      if (thrown instanceof MemsyncError && thrown.code === 'MEMSYNC_QUEUE_REFUSED') throw thrown
      throw classifyRedisError(reason) ?? classifyRedisError(thrown) ?? thrown
    }
    const queue = new Queue(SYNC_QUEUE, {
      connection: redis,
      prefix: this.config.queuePrefix,
      skipVersionCheck: true,
      skipMetasUpdate: true,
      ...queueTelemetry(),
    })
    // Whatever it is, the next command meets it too.
    queue.on('error', () => undefined)
    this.link = { redis, queue }
    return this.link
  }
}
