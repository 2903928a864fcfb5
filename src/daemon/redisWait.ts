/** Waiting for Redis at boot: without a limit, with one log line when it is not there and one when it is. */
import type { Redis } from 'ioredis'
import { MemsyncError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { waitUntilReady } from '../queue/connection.ts'
import { classifyRedisError } from '../queue/redisErrors.ts'

const FIRST_LOOK_MS = 2_000

/**
 * Resolves once every connection takes commands.
 * @throws MEMSYNC_INTERRUPTED where `signal` aborts first
 */
export async function awaitRedis(connections: Redis[], logger: Logger, signal: AbortSignal): Promise<void> {
  const startedAt = performance.now()
  let told = false
  for (const redis of connections) {
    while (redis.status !== 'ready') {
      if (signal.aborted) throw new MemsyncError('MEMSYNC_INTERRUPTED', 'stopped while waiting for Redis')
      try {
        await untilReadyOrAborted(redis, signal)
      } catch (error) {
        if (!(error instanceof MemsyncError)) throw error
        if (!told && !signal.aborted) {
          const reason = classifyRedisError(error.cause)?.message ?? error.message
          logger.warn({ state: 'down', reason }, 'redis is away')
          told = true
        }
      }
    }
  }
  if (told) logger.info({ downForMs: Math.round(performance.now() - startedAt) }, 'redis is back')
}

/**
 * Resolves once the connection takes commands or `signal` aborts.
 * @throws MEMSYNC_QUEUE_UNAVAILABLE after 2 s; the connection goes on trying
 */
export async function untilReadyOrAborted(redis: Redis, signal: AbortSignal): Promise<void> {
  const aborted = Promise.withResolvers<void>()
  const onAbort = () => aborted.resolve()
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    await Promise.race([waitUntilReady(redis, FIRST_LOOK_MS), aborted.promise])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
