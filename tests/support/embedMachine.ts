/** A machine with an embed lane: the whole way from the queue over the store to an embeddings server. */

import { Queue } from 'bullmq'
import type { Redis } from 'ioredis'
import type { Config } from '../../src/config.ts'
import { EmbedService } from '../../src/daemon/embedService.ts'
import { Notifier } from '../../src/daemon/notifier.ts'
import { readVectors } from '../../src/infrastructure/memory/embedding.ts'
import { EMBED_QUEUE } from '../../src/jobs/index.ts'
import { Measurements } from '../../src/metrics/measurements.ts'
import { connectRedis, redisEndpoint } from '../../src/queue/connection.ts'
import { DeadLetters } from '../../src/queue/deadLetters.ts'
import type { SyncWorker } from '../../src/queue/syncWorker.ts'
import type { FakeOpenai } from './fakeOpenai.ts'
import { type Machine, startMachine } from './machine.ts'
import { type LoggedLine, recordingLogger } from './recordingLogger.ts'
import { waitFor } from './waitFor.ts'

export interface EmbedMachine extends Machine {
  embed: EmbedService
  sync: SyncWorker
  log: LoggedLine[]
  /** The queue of the lane, as anybody sees it. */
  embedQueue: Queue
  deadLetters: DeadLetters
  /** The lane's own connection, as soon as it is made. */
  laneRedis(): Redis | undefined
  /** Hands texts over as memories to be embedded. */
  write(writes: Iterable<[key: string, value: unknown]>, embed?: boolean): Promise<void>
  /** Resolves once no memory waits to be embedded and the lane is at rest. */
  embedded(timeoutMs?: number): Promise<void>
  /** Keys that a search by this vector finds. */
  find(vector: Float32Array, k?: number): Promise<string[]>
}

export async function startEmbedMachine(
  server: Pick<FakeOpenai, 'baseUrl'> | undefined,
  settings: Partial<Config> = {},
): Promise<EmbedMachine> {
  const machine = await startMachine({
    healthIntervalMs: 100,
    drainTimeoutMs: 500,
    openaiApiKey: 'a-key-of-the-embedder',
    openaiBaseUrl: server?.baseUrl,
    ...settings,
  })
  const { config, store, queue, redis } = machine
  const { logger, log } = recordingLogger()
  const embedQueue = new Queue(EMBED_QUEUE, { connection: redis, prefix: config.queuePrefix })
  const deadLetters = new DeadLetters(embedQueue, redis, config.queuePrefix, () => undefined)
  let embed: EmbedService | undefined
  let laneRedis: Redis | undefined
  const sync = await machine.startWorker({
    logger,
    onApplied: (names) => embed?.markApplied(names, sync?.epochs.life),
  })
  embed = new EmbedService({
    config,
    store,
    connect: () => {
      laneRedis = connectRedis(redisEndpoint(config), 'worker')
      return laneRedis
    },
    logger,
    notifier: new Notifier(config, logger),
    onDeadLetter: () => undefined,
    onWorkerError: sync.redisHealth.report,
    onStalled: () => undefined,
    measurements: new Measurements(),
  })
  await embed.start()
  const service = embed
  return {
    ...machine,
    embed,
    sync,
    log,
    embedQueue,
    deadLetters,
    laneRedis: () => laneRedis,
    write: async (writes, withEmbed = true) => {
      const jobs = Array.from(writes, ([key, value]) => ({
        name: 'MEMORY_SYNC',
        data: { key, value, embed: withEmbed },
      }))
      for (let start = 0; start < jobs.length; start += 500)
        await queue.addBulk(jobs.slice(start, start + 500))
      await machine.drained(20_000 + 20 * jobs.length)
    },
    embedded: (timeoutMs = 60_000) =>
      waitFor(
        'every memory is embedded',
        async () => {
          const counts = await embedQueue.getJobCounts('waiting', 'delayed', 'active')
          const left = await store.behind('embed', { limit: 1 })
          return Object.values(counts).every((count) => count === 0) && left.names.length === 0
        },
        { timeoutMs },
      ).then(() => undefined),
    find: async (vector, k = 10) => {
      const vectors = readVectors(config)
      const hits = (await vectors?.search(vector, { k })) ?? []
      await vectors?.close()
      return hits.map(({ key }) => key)
    },
    close: async () => {
      await service.stop()
      await machine.close()
    },
  }
}
