/**
 * A daemon that was started with another REDIS_URL than this shell has: what is put into the wrong Redis is taken by
 * nobody, and whoever waits for it waits for ever.
 */
import { askDaemon } from '../daemon/controlClient.ts'
import { MemsyncError } from '../errors.ts'
import { describeEndpoint, redisEndpoint } from '../queue/connection.ts'
import { isLoopback } from '../settingFormats.ts'
import type { CommandContext } from './context.ts'

const ANSWER_TIMEOUT_MS = 2_000

/**
 * Without effect where no daemon answers, and where the Redis was named on the command line.
 * @throws MEMSYNC_BAD_SETTING where the daemon of this data folder surely uses another Redis than this command would
 */
export async function checkSameRedis({ config, sources }: CommandContext): Promise<void> {
  if (sources.get('REDIS_URL')?.source === 'flag') return
  const own = describeEndpoint(redisEndpoint(config))
  const daemons = await daemonsEndpoint(config.dataDir)
  if (daemons === undefined || mayBeSame(own, daemons)) return
  throw new MemsyncError(
    'MEMSYNC_BAD_SETTING',
    `REDIS_URL: the daemon of ${config.dataDir} uses ${daemons}, and this command would use ${own}; ` +
      'set the same for both, best in the settings file',
  )
}

async function daemonsEndpoint(dataDir: string): Promise<string | undefined> {
  try {
    const answer = await askDaemon(dataDir, { op: 'status' }, ANSWER_TIMEOUT_MS)
    return (answer?.status as { redis?: { endpoint?: string } } | undefined)?.redis?.endpoint
  } catch (error) {
    // A daemon that starts, or hangs, says nothing of its Redis.
    if (error instanceof MemsyncError && error.class === 'outage') return undefined
    throw error
  }
}

/** Whether two endpoints, as `describeEndpoint` writes them, may lead to one Redis: names can stand for one machine. Pure. */
export function mayBeSame(one: string, other: string): boolean {
  if (one === other) return true
  const [a, b] = [new URL(one), new URL(other)]
  if (a.protocol === 'unix:' || b.protocol === 'unix:') return false
  const known = a.hostname === b.hostname || (isLoopback(a.hostname) && isLoopback(b.hostname))
  return !known || ((a.port || '6379') === (b.port || '6379') && a.pathname === b.pathname)
}
