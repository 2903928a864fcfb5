/**
 * The status where no daemon answers: from the store, and from Redis if it runs and answers soon. It starts nothing
 * and writes nothing.
 */
import { existsSync } from 'node:fs'
import { Queue } from 'bullmq'
import type { Config } from '../config.ts'
import { toMemsyncError } from '../errors.ts'
import { openStore, vectorsPath } from '../infrastructure/memory/index.ts'
import type { StoreTotals } from '../infrastructure/memory/port.ts'
import { DEAD_LETTER_QUEUE, EMBED_QUEUE, PUSH_QUEUE, SYNC_QUEUE } from '../jobs/index.ts'
import { Spool } from '../producers/spool.ts'
import { describeEndpoint, openRedis, redisEndpoint } from '../queue/connection.ts'
import { withinDeadline } from '../queue/enqueue.ts'
import { probeRedis } from '../queue/redisProcess.ts'
import { latestSnapshotAtMs } from '../snapshot/folder.ts'
import { type EmbeddingFigures, noEmbedding, readEmbeddingFigures } from './embeddingStatus.ts'
import { readSpoolDepth } from './spoolService.ts'
import { composeStatus, type QueueFigures, readQueueFigures, type Status, unseenRemote } from './status.ts'

const REDIS_TIMEOUT_MS = 1_000

/** @param running whether some daemon holds the data folder, though it does not answer */
export async function composeStatusAlone(config: Config, running: boolean): Promise<Status> {
  const [redis, store, embedding, spool] = await Promise.all([
    lookAtRedis(config),
    lookAtStore(config),
    lookAtVectors(config),
    readSpoolDepth(new Spool(config.dataDir, config.spoolMaxBytes)),
  ])
  return composeStatus({
    daemon: {
      running,
      pid: null,
      since: null,
      progress: { state: running ? 'stalled' : 'stopped', lastSuccess: null },
    },
    redis: {
      state: redis.figures ? 'up' : 'down',
      endpoint: describeEndpoint(redisEndpoint(config)),
      reason: redis.reason,
      since: null,
    },
    figures: redis.figures,
    syncGate: 'unknown',
    pushGate: config.remoteKind === 'none' ? 'off' : 'unknown',
    embedGate: embedding ? 'unknown' : 'off',
    embedding: embedding ?? noEmbedding(config),
    spool,
    remote: unseenRemote(config),
    lastSnapshotAtMs: latestSnapshotAtMs(config),
    store: { totals: async () => store.totals },
    storeState:
      store.reason === null ? { state: 'up', reason: null } : { state: 'down', reason: store.reason },
  })
}

async function lookAtStore(config: Config): Promise<{ totals: StoreTotals; reason: string | null }> {
  try {
    const store = await openStore(config, { readOnly: true })
    try {
      return { totals: await store.totals(), reason: null }
    } finally {
      await store.close()
    }
  } catch (thrown) {
    const { message } = toMemsyncError(thrown, 'MEMSYNC_STORE_UNAVAILABLE')
    return { totals: { keys: 0, bytes: 0, synced: 0, superseded: 0, pushed: 0 }, reason: message }
  }
}

/** Undefined where nothing was ever embedded. */
async function lookAtVectors(config: Config): Promise<EmbeddingFigures | undefined> {
  if (!existsSync(vectorsPath(config))) return undefined
  const none = noEmbedding(config)
  try {
    const { readVectors } = await import('../infrastructure/memory/embedding.ts')
    const vectors = readVectors(config)
    if (!vectors) return undefined
    try {
      return await readEmbeddingFigures(config, vectors, undefined)
    } finally {
      await vectors.close()
    }
  } catch (thrown) {
    const { message } = toMemsyncError(thrown, 'MEMSYNC_STORE_UNAVAILABLE')
    return { ...none, embedding: { ...none.embedding, reason: message } }
  }
}

async function lookAtRedis(
  config: Config,
): Promise<{ figures: QueueFigures | undefined; reason: string | null }> {
  const endpoint = redisEndpoint(config)
  try {
    if (endpoint.kind === 'socket' && (await probeRedis(endpoint.path)) === 'absent') {
      return { figures: undefined, reason: 'it does not run' }
    }
    return { figures: await readFigures(config), reason: null }
  } catch (thrown) {
    return { figures: undefined, reason: toMemsyncError(thrown, 'MEMSYNC_QUEUE_UNAVAILABLE').message }
  }
}

async function readFigures(config: Config): Promise<QueueFigures> {
  const redis = await openRedis(redisEndpoint(config), 'producer', REDIS_TIMEOUT_MS)
  try {
    const look = (name: string) => {
      const options = {
        connection: redis,
        prefix: config.queuePrefix,
        skipVersionCheck: true,
        skipMetasUpdate: true,
      }
      const queue = new Queue(name, options)
      queue.on('error', () => undefined)
      return queue
    }
    const queues = {
      sync: look(SYNC_QUEUE),
      push: look(PUSH_QUEUE),
      embed: look(EMBED_QUEUE),
      deadLetters: look(DEAD_LETTER_QUEUE),
    }
    return await withinDeadline(readQueueFigures(queues), REDIS_TIMEOUT_MS)
  } finally {
    redis.disconnect()
  }
}
