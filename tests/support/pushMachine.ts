/** A machine with a push lane: the whole way from the queue over the store to a remote. */
import type { Config } from '../../src/config.ts'
import { Notifier } from '../../src/daemon/notifier.ts'
import { PushService } from '../../src/daemon/pushService.ts'
import type { StoredMemory } from '../../src/infrastructure/memory/port.ts'
import type { Remote } from '../../src/infrastructure/remote/port.ts'
import type { Logger } from '../../src/logger.ts'
import { Measurements } from '../../src/metrics/measurements.ts'
import { connectRedis, redisEndpoint, waitUntilReady } from '../../src/queue/connection.ts'
import type { SyncWorker } from '../../src/queue/syncWorker.ts'
import { type Machine, startMachine } from './machine.ts'
import { recordingLogger } from './recordingLogger.ts'
import type { TestRedis } from './redis.ts'
import { waitFor } from './waitFor.ts'

export interface PushMachine extends Machine {
  push: PushService
  sync: SyncWorker
  log: { level: string; message: string; fields: Record<string, unknown> }[]
  /** Resolves once every memory has a push receipt of its newest version. */
  pushed(timeoutMs?: number): Promise<void>
  /** Every memory of the store, tombstones left out. */
  memories(): Promise<StoredMemory[]>
  /** Hands `values` over as writes of the keys they stand under. */
  write(writes: Iterable<[key: string, value: unknown]>): Promise<void>
}

export async function startPushMachine(
  remote: Remote,
  settings: Partial<Config> = {},
  options: { onStalled?: () => void } = {},
  server?: TestRedis,
): Promise<PushMachine> {
  const machine = await startMachine({ healthIntervalMs: 100, ...settings }, server)
  const { config, store, queue } = machine
  const redis = connectRedis(redisEndpoint(config), 'worker')
  redis.on('error', () => undefined)
  await waitUntilReady(redis, 5000)
  const { logger, log } = recordingLogger()
  let push: PushService | undefined
  const sync = await machine.startWorker({
    logger: logger as Logger,
    onApplied: (names) => push?.markApplied(names, sync?.epochs.life),
  })
  push = new PushService({
    config,
    remote,
    store,
    redis,
    logger,
    notifier: new Notifier(config, logger),
    onDeadLetter: () => undefined,
    onWorkerError: sync.redisHealth.report,
    measurements: new Measurements(),
    onStalled: options.onStalled ?? (() => undefined),
  })
  await push.start()
  const service = push
  return {
    ...machine,
    push,
    sync,
    log,
    pushed: async (timeoutMs = 60_000) => {
      await waitFor(
        'every memory is pushed',
        async () => {
          const counts = await service.worker.lane.queue.getJobCounts('waiting', 'delayed', 'active')
          const left = await store.behind('push', { limit: 1 })
          return Object.values(counts).every((count) => count === 0) && left.names.length === 0
        },
        { timeoutMs },
      )
    },
    memories: async () => (await store.list({ limit: 10_000 })).memories,
    write: async (writes) => {
      const jobs = Array.from(writes, ([key, value]) => ({ name: 'MEMORY_SYNC', data: { key, value } }))
      for (let start = 0; start < jobs.length; start += 500)
        await queue.addBulk(jobs.slice(start, start + 500))
      await machine.drained()
    },
    close: async () => {
      await service.stop()
      redis.disconnect()
      await machine.close()
    },
  }
}
