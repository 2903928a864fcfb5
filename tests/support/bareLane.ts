/** A lane alone on a machine's queue, over a connection of its own, whose jobs are done as soon as they are taken. */
import type { Redis } from 'ioredis'
import { silentLogger } from '../../src/logger.ts'
import { connectRedis, redisEndpoint, waitUntilReady } from '../../src/queue/connection.ts'
import { Lane, type LaneOptions } from '../../src/queue/lane.ts'
import type { Machine } from './machine.ts'

/** The end of the connection is the caller's. */
export async function connectionTo({ config }: Machine): Promise<Redis> {
  const redis = connectRedis(redisEndpoint(config), 'worker')
  redis.on('error', () => undefined)
  await waitUntilReady(redis, 5000)
  return redis
}

export async function bareLaneOn(
  machine: Machine,
  options: Partial<LaneOptions> = {},
): Promise<{ lane: Lane; close(): Promise<void> }> {
  const redis = await connectionTo(machine)
  const lane = new Lane({
    queueName: machine.queue.name,
    queuePrefix: machine.config.queuePrefix,
    redis,
    concurrency: 5,
    process: async () => undefined,
    stageOf: () => 'persist',
    logger: silentLogger,
    onDependencyFailure: () => undefined,
    onSuccess: () => undefined,
    onDead: () => undefined,
    onWorkerError: () => undefined,
    ...options,
  })
  return {
    lane,
    async close() {
      await lane.stop(500)
      redis.disconnect()
    },
  }
}
