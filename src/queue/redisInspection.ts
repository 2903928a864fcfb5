/**
 * What a Redis says of itself, for a person who looks for a fault: does it take a write, does it keep what it took, how
 * much room is left. One connection, every wait bounded, and nothing started.
 */
import type { Redis } from 'ioredis'
import type { Config } from '../config.ts'
import { MemsyncError, toMemsyncError } from '../errors.ts'
import { EMBED_QUEUE, PUSH_QUEUE, SYNC_QUEUE } from '../jobs/index.ts'
import { connectOnce, redisEndpoint } from './connection.ts'
import { withinDeadline } from './enqueue.ts'
import { classifyRedisError } from './redisErrors.ts'

export interface RedisInspection {
  version: string
  /** Why it did not take a write. */
  refusal: MemsyncError | undefined
  /** From the question to the answer of a PING, the best of a few. */
  latencyMs: number
  appendOnly: boolean
  /** Undefined where this user may not see it, as on many hosted ones. */
  appendFsync: string | undefined
  /** Whether the last write of the append-only file, and the last snapshot, succeeded. */
  persists: boolean
  evictionPolicy: string
  usedBytes: number
  /** 0 where there is no limit. */
  maxBytes: number
  /** The queues that were paused from outside, by name. */
  pausedQueues: string[]
}

const PROBE_TTL_MS = 60_000
const PINGS = 5

/**
 * @param timeoutMs for all of it
 * @throws MEMSYNC_QUEUE_UNAVAILABLE, MEMSYNC_QUEUE_REFUSED where it does not even take a PING
 */
export async function inspectRedis(
  config: Pick<Config, 'redisUrl' | 'dataDir' | 'queuePrefix'>,
  timeoutMs: number,
): Promise<RedisInspection> {
  const redis = connectOnce(redisEndpoint(config), timeoutMs)
  let reason: Error | undefined
  redis.on('error', (error: Error) => {
    reason ??= error
  })
  try {
    return await withinDeadline(
      redis.connect().then(() => look(redis, config.queuePrefix)),
      timeoutMs,
    )
  } catch (thrown) {
    if (thrown instanceof MemsyncError && thrown.code === 'MEMSYNC_QUEUE_REFUSED') throw thrown
    throw classifyRedisError(reason) ?? toMemsyncError(thrown, 'MEMSYNC_QUEUE_UNAVAILABLE')
  } finally {
    redis.disconnect()
  }
}

async function look(redis: Redis, prefix: string): Promise<RedisInspection> {
  const latencyMs = await measurePing(redis)
  const [refusal, info, appendFsync, pausedQueues] = await Promise.all([
    probeWrite(redis, prefix),
    redis.info(),
    readFsync(redis),
    findPaused(redis, prefix),
  ])
  const facts = new Map(info.split('\r\n').map((line) => line.split(/:(.*)/s, 2) as [string, string]))
  const figure = (name: string) => Number(facts.get(name) ?? 0)
  const isOk = (name: string) => (facts.get(name) ?? 'ok') === 'ok'
  return {
    version: facts.get('redis_version') ?? 'unknown',
    refusal,
    latencyMs,
    appendOnly: facts.get('aof_enabled') === '1',
    appendFsync,
    persists:
      isOk('aof_last_write_status') && isOk('rdb_last_bgsave_status') && isOk('aof_last_bgrewrite_status'),
    evictionPolicy: facts.get('maxmemory_policy') ?? 'unknown',
    usedBytes: figure('used_memory'),
    maxBytes: figure('maxmemory'),
    pausedQueues,
  }
}

/** The best of a few, as this process may be busy with itself meanwhile. */
async function measurePing(redis: Redis): Promise<number> {
  let best = Number.POSITIVE_INFINITY
  for (let ping = 0; ping < PINGS; ping++) {
    const startedAt = performance.now()
    await redis.ping()
    best = Math.min(best, performance.now() - startedAt)
  }
  return best
}

/** As the daemon probes: a replica, a full server and one without a disk answer everything else. */
async function probeWrite(redis: Redis, prefix: string): Promise<MemsyncError | undefined> {
  try {
    await redis.set(`${prefix}:memsync:probe`, '1', 'PX', PROBE_TTL_MS)
    return undefined
  } catch (thrown) {
    return classifyRedisError(thrown) ?? toMemsyncError(thrown, 'MEMSYNC_QUEUE_REFUSED')
  }
}

async function readFsync(redis: Redis): Promise<string | undefined> {
  try {
    const answer = (await redis.config('GET', 'appendfsync')) as string[]
    return answer[1]
  } catch (thrown) {
    // CONFIG is closed to this user, or renamed. A connection that is lost fails the other calls too.
    if (thrown instanceof Error) return undefined
    throw thrown
  }
}

async function findPaused(redis: Redis, prefix: string): Promise<string[]> {
  const paused: string[] = []
  for (const queue of [SYNC_QUEUE, PUSH_QUEUE, EMBED_QUEUE]) {
    if ((await redis.hexists(`${prefix}:${queue}:meta`, 'paused')) === 1) paused.push(queue)
  }
  return paused
}
