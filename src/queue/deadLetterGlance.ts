/** The newest dead letters for a bug report: what failed and why, from a Redis that runs; nothing is started for it. */
import { Queue } from 'bullmq'
import type { Config } from '../config.ts'
import { DEAD_LETTER_QUEUE } from '../jobs/index.ts'
import { connectOnce, redisEndpoint } from './connection.ts'
import type { DeadLetter } from './deadLetters.ts'
import { withinDeadline } from './enqueue.ts'

/** @throws MEMSYNC_QUEUE_UNAVAILABLE, MEMSYNC_QUEUE_REFUSED, also after `timeoutMs` */
export async function newestDeadLetters(
  config: Pick<Config, 'redisUrl' | 'dataDir' | 'queuePrefix'>,
  limit: number,
  timeoutMs: number,
): Promise<DeadLetter[]> {
  const redis = connectOnce(redisEndpoint(config), timeoutMs)
  // Told by whichever exchange fails.
  redis.on('error', () => undefined)
  try {
    await withinDeadline(redis.connect(), timeoutMs)
    const options = {
      connection: redis,
      prefix: config.queuePrefix,
      skipVersionCheck: true,
      skipMetasUpdate: true,
    }
    const queue = new Queue(DEAD_LETTER_QUEUE, options)
    queue.on('error', () => undefined)
    const jobs = (await withinDeadline(queue.getJobs(['waiting'], 0, limit - 1, false), timeoutMs)) as (
      | { data: DeadLetter }
      | undefined
    )[]
    return jobs.flatMap((job) => (job ? [job.data] : []))
  } finally {
    redis.disconnect()
  }
}
