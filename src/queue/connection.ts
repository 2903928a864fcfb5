/**
 * Connections to Redis: where it is, and how each kind of user of it waits.
 *
 * ioredis and BullMQ are tuned here for a Redis that goes away: BullMQ's own retry delay grows to 20 s, and a
 * half-open link wedges a worker for ever without a socket timeout. What a caller waits at most is decided by
 * the caller; a connection only says how it reconnects.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis, type RedisOptions } from 'ioredis'
import type { Config } from '../config.ts'
import { instanceLockPath, isLocked } from '../daemon/processLock.ts'
import { MemsyncError } from '../errors.ts'
import { type PrivateRedis, privateRedisSocket, startPrivateRedis } from './privateRedis.ts'

/** Longer than the longest blocking read of a worker (10 s), so that only a dead link meets it. */
const SOCKET_TIMEOUT_MS = 15_000
const CONNECT_TIMEOUT_MS = 5_000
const MAX_RECONNECT_DELAY_MS = 1_000
const MIN_RELINK_MS = 1_500
/** ioredis keeps the process alive for this long where the server hung up before the client did. */
const DISCONNECT_TIMEOUT_MS = 100

/** Where Redis is: a URL, or the path of a unix socket. */
export type RedisEndpoint = { kind: 'url'; url: string } | { kind: 'socket'; path: string }

/** The endpoint the settings name; the private socket where they name none. */
export function redisEndpoint(config: Pick<Config, 'redisUrl' | 'dataDir'>): RedisEndpoint {
  if (config.redisUrl === undefined) return { kind: 'socket', path: privateRedisSocket(config.dataDir) }
  const url = new URL(config.redisUrl)
  return url.protocol === 'unix:'
    ? { kind: 'socket', path: decodeURIComponent(url.pathname) }
    : { kind: 'url', url: config.redisUrl }
}

/** The endpoint as a person may see it: without user, password or query. */
export function describeEndpoint(endpoint: RedisEndpoint): string {
  if (endpoint.kind === 'socket') return `unix:${endpoint.path}`
  const url = new URL(endpoint.url)
  return `${url.protocol}//${url.host}${url.pathname === '/' ? '' : url.pathname}`
}

/**
 * A connection that reconnects for ever, at most a second after Redis is back.
 *
 * `producer` fails a command at once while there is no link; `worker` waits, as BullMQ's blocking reads need.
 * The caller listens to `error` and ends it with `disconnect()`, which works with Redis down.
 */
export function connectRedis(endpoint: RedisEndpoint, role: 'producer' | 'worker'): Redis {
  const options = {
    lazyConnect: true,
    connectTimeout: CONNECT_TIMEOUT_MS,
    disconnectTimeout: DISCONNECT_TIMEOUT_MS,
    socketTimeout: SOCKET_TIMEOUT_MS,
    keepAlive: 10_000,
    enableOfflineQueue: role === 'worker',
    maxRetriesPerRequest: role === 'worker' ? null : 0,
    retryStrategy: (times: number) => Math.min(25 * 2 ** Math.min(times, 10), MAX_RECONNECT_DELAY_MS),
    reconnectOnError: reconnectOnceInAWhile(),
  } satisfies RedisOptions
  const redis = new Redis(endpoint.kind === 'socket' ? endpoint.path : endpoint.url, options)
  // For the duplicates that BullMQ makes: of one that it has to connect itself, it takes a first connect that fails
  // for the last word.
  redis.options.lazyConnect = false
  return redis
}

/**
 * A demoted primary answers READONLY for ever on the old link, so a new one is made, without a resend (1). Now and
 * then only: where the new link leads to a replica too, each command would cost a connection.
 */
function reconnectOnceInAWhile(): (error: Error) => 1 | false {
  let lastAt = Number.NEGATIVE_INFINITY
  return (error) => {
    if (!error.message.startsWith('READONLY') || performance.now() - lastAt < MIN_RELINK_MS) return false
    lastAt = performance.now()
    return 1
  }
}

/**
 * A connection for a process that must never be kept from ending: it does not reconnect by itself, so that no timer is
 * left behind, and its socket does not count once it stands. It is for one use after another; when it is lost, make a
 * new one. The caller listens to `error` and ends it with `disconnect()`.
 */
export function connectOnce(endpoint: RedisEndpoint, timeoutMs: number): Redis {
  const redis = new Redis(endpoint.kind === 'socket' ? endpoint.path : endpoint.url, {
    lazyConnect: true,
    connectTimeout: timeoutMs,
    disconnectTimeout: DISCONNECT_TIMEOUT_MS,
    keepAlive: 10_000,
    enableOfflineQueue: false,
    // It waits by a timer where Redis is loading, which a refused command says as well.
    enableReadyCheck: false,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
  } satisfies RedisOptions)
  redis.on('connect', () => redis.stream.unref())
  return redis
}

/**
 * The Redis the settings ask for, running: the one at REDIS_URL (not probed here), or the private one, which is
 * adopted where it answers and started where it does not.
 */
export async function ensureRedis(
  config: Pick<Config, 'redisUrl' | 'dataDir'>,
): Promise<{ endpoint: RedisEndpoint; privateRedis: PrivateRedis | undefined }> {
  if (config.redisUrl !== undefined) return { endpoint: redisEndpoint(config), privateRedis: undefined }
  const privateRedis = await startPrivateRedis({ dataDir: config.dataDir })
  return { endpoint: { kind: 'socket', path: privateRedis.socketPath }, privateRedis }
}

/**
 * A connection that takes commands.
 * @param onError hears its errors from then on; without it only the exchange that meets one tells it
 * @throws MEMSYNC_QUEUE_UNAVAILABLE after `timeoutMs`; nothing is left open then
 */
export async function openRedis(
  endpoint: RedisEndpoint,
  role: 'producer' | 'worker',
  timeoutMs: number,
  onError: (error: Error) => void = () => undefined,
): Promise<Redis> {
  const redis = connectRedis(endpoint, role)
  // Unheard it would end the process.
  redis.on('error', onError)
  try {
    await waitUntilReady(redis, timeoutMs)
    return redis
  } catch (error) {
    redis.disconnect()
    throw error
  }
}

/**
 * Waits until the connection takes commands.
 * @throws MEMSYNC_QUEUE_UNAVAILABLE after `timeoutMs`; the connection goes on trying.
 */
export async function waitUntilReady(redis: Redis, timeoutMs: number): Promise<void> {
  if (redis.status === 'ready') return
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  let lastError: Error | undefined
  const onError = (error: Error) => {
    lastError = error
  }
  const timer = setTimeout(() => {
    reject(
      new MemsyncError('MEMSYNC_QUEUE_UNAVAILABLE', `Redis did not answer within ${timeoutMs} ms`, {
        cause: lastError,
      }),
    )
  }, timeoutMs)
  redis.once('ready', resolve)
  redis.on('error', onError)
  // Its rejection says less than the 'error' events do, and the connection goes on trying by itself.
  if (redis.status === 'wait') redis.connect().catch(onError)
  try {
    await promise
  } finally {
    clearTimeout(timer)
    redis.off('ready', resolve)
    redis.off('error', onError)
  }
}

/**
 * Ends the private Redis where this process started it and nobody else uses it: no daemon holds the data folder,
 * and no other client is connected. What is left running is adopted by the next start.
 */
export async function releasePrivateRedis(
  privateRedis: PrivateRedis,
  dataDir: string,
  redis: Redis,
): Promise<void> {
  if (!privateRedis.startedHere || isLocked(instanceLockPath(dataDir))) return
  if (await hasOtherClients(redis)) return
  await privateRedis.stop()
}

async function hasOtherClients(redis: Redis): Promise<boolean> {
  const name = `memsync-${process.pid}`
  try {
    await redis.client('SETNAME', name)
    // Connections closed a moment ago may still be listed.
    for (let look = 0; look < 10; look++) {
      const clients = String(await redis.client('LIST'))
        .trim()
        .split('\n')
      if (clients.every((client) => client.includes(` name=${name} `))) return false
      await sleep(20)
    }
    return true
  } catch {
    // It does not answer, so it serves nobody.
    return false
  }
}
