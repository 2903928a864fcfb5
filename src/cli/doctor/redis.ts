/** Redis: whether it answers and takes writes, keeps what it took, and never throws a job out to make room. */
import type { Config } from '../../config.ts'
import type { MemsyncError } from '../../errors.ts'
import { describeEndpoint, type RedisEndpoint, redisEndpoint } from '../../queue/connection.ts'
import { inspectRedis, type RedisInspection } from '../../queue/redisInspection.ts'
import { findRedisServer, findServerProcess, probeRedis } from '../../queue/redisProcess.ts'
import { formatBytes } from '../bytes.ts'
import type { Finding, Say } from './finding.ts'
import { shellWord } from './shellWord.ts'

/** Long, as a busy machine is no fault of Redis; only one that hangs takes all of it. */
const TIMEOUT_MS = 6_000
/** Of its limit: above this, the next outage of the store fills it. */
const NEARLY_FULL = 0.9
const SLOW_MS = 250

/** What was seen of it, once for the three checks. */
export type RedisLook =
  | { state: 'answers'; inspection: RedisInspection }
  /** The private one that runs while a daemon does, and no daemon runs. */
  | { state: 'resting' }
  | { state: 'silent'; pid: number | undefined }
  | { state: 'away'; error: MemsyncError | undefined }

type RedisConfig = Pick<Config, 'redisUrl' | 'dataDir' | 'queuePrefix'>

/** @throws MEMSYNC_BAD_SETTING where the socket's folder is not private */
export async function lookAtRedis(config: RedisConfig, daemonRuns: boolean): Promise<RedisLook> {
  try {
    return { state: 'answers', inspection: await inspectRedis(config, TIMEOUT_MS) }
  } catch (thrown) {
    const error = thrown as MemsyncError
    const endpoint = redisEndpoint(config)
    if (endpoint.kind === 'url' || error.code === 'MEMSYNC_QUEUE_REFUSED') return { state: 'away', error }
    const answer = await probeRedis(endpoint.path)
    if (answer === 'silent') return { state: 'silent', pid: await findServer(config, endpoint.path) }
    const rests = answer === 'absent' && config.redisUrl === undefined && !daemonRuns
    return rests ? { state: 'resting' } : { state: 'away', error: answer === 'absent' ? undefined : error }
  }
}

async function findServer(
  { redisUrl, dataDir }: RedisConfig,
  socketPath: string,
): Promise<number | undefined> {
  if (redisUrl !== undefined) return undefined
  const { realpathSync } = await import('node:fs')
  const { join } = await import('node:path')
  return findServerProcess(realpathSync(join(dataDir, 'redis')), socketPath)
}

/** `redis-cli` on this endpoint; a password is left to whoever types it. */
function redisCli(config: RedisConfig): string {
  const endpoint = redisEndpoint(config)
  const where =
    endpoint.kind === 'socket' ? `-s ${shellWord(endpoint.path)}` : `-u ${describeEndpoint(endpoint)}`
  return `redis-cli ${where}`
}

export function checkRedis(say: Say, config: RedisConfig, look: RedisLook): Finding[] {
  const endpoint = redisEndpoint(config)
  const where = describeEndpoint(endpoint)
  switch (look.state) {
    case 'resting':
      return [checkProgram(say)]
    case 'silent': {
      const who = look.pid === undefined ? 'the server' : `the server (process ${look.pid})`
      const end = look.pid === undefined ? 'restart it' : `kill -9 ${look.pid}`
      // True of the private one, which answers no write before it is on disk.
      const why = config.redisUrl === undefined ? ' (loses nothing; the daemon starts it again)' : ''
      return [say.failure(`${who} at ${where} takes connections and does not answer`, `${end}${why}`)]
    }
    case 'away':
      return [
        say.failure(
          look.error?.message ?? `nothing listens at ${where}`,
          howToStart(config, endpoint, look.error),
        ),
      ]
    case 'answers':
      return checkAnswers(say, where, look.inspection)
  }
}

/** Where none runs, as no daemon does: whether the daemon will find one to start. */
function checkProgram(say: Say): Finding {
  const program = findRedisServer(process.env.PATH)
  if (program !== undefined) return say.ok(`private, and rests until a daemon starts ${program}`)
  const install = process.platform === 'darwin' ? 'brew install redis' : 'sudo apt-get install redis-server'
  return say.failure(
    'there is no redis-server or valkey-server on the PATH, and REDIS_URL is not set',
    `${install}, or set REDIS_URL`,
  )
}

function howToStart(config: RedisConfig, endpoint: RedisEndpoint, error: MemsyncError | undefined): string {
  if (config.redisUrl === undefined) return 'memsync service restart, or end the daemon and start it again'
  if (error?.class === 'credentials') return 'correct user and password in REDIS_URL'
  if (error?.code === 'MEMSYNC_QUEUE_REFUSED') return error.hint
  const isHere = endpoint.kind === 'socket' || /^(localhost|127\.|\[::1\])/.test(new URL(endpoint.url).host)
  if (!isHere) return 'start it there, or correct REDIS_URL'
  const start =
    process.platform === 'darwin' ? 'brew services start redis' : 'sudo systemctl start redis-server'
  return `${start}, or correct REDIS_URL`
}

function checkAnswers(say: Say, where: string, inspection: RedisInspection): Finding[] {
  const { version, latencyMs, refusal } = inspection
  // A full one is told by the check of its memory, with what is to be done.
  if (refusal && !refusal.message.includes('(OOM)')) return [say.failure(refusal.message, refusal.hint)]
  const answers = `${where}, version ${version}, answers in ${latencyMs.toFixed(1)} ms`
  if (latencyMs > SLOW_MS) return [say.warning(answers, 'use a Redis on this machine: unset REDIS_URL')]
  return [say.ok(answers)]
}

const NOT_SEEN = 'cannot be seen while Redis does not answer'

export function checkDurability(say: Say, config: RedisConfig, look: RedisLook): Finding[] {
  if (look.state === 'resting') return [say.ok('every write is on disk before it is answered')]
  if (look.state !== 'answers') return [say.warning(NOT_SEEN)]
  const { appendOnly, appendFsync, persists } = look.inspection
  const cli = redisCli(config)
  const set = (setting: string) => `${cli} CONFIG SET ${setting} && ${cli} CONFIG REWRITE`
  const findings: Finding[] = []
  if (!appendOnly) {
    findings.push(
      say.failure('keeps no append-only file, so its end loses what waits in it', set('appendonly yes')),
    )
  } else if (appendFsync === 'no') {
    findings.push(
      say.failure('leaves it to the system when writes reach the disk', set('appendfsync always')),
    )
  } else if (appendFsync === 'everysec') {
    findings.push(
      say.warning('a power cut loses up to the last second of what it accepted', set('appendfsync always')),
    )
  } else if (appendFsync === undefined) {
    findings.push(
      say.warning('does not let this user see how it syncs', 'ask who runs it for appendfsync always'),
    )
  }
  if (!persists) {
    findings.push(
      say.failure(
        'its last write to its own disk failed',
        `free space or mend the disk there; ${cli} INFO persistence`,
      ),
    )
  }
  return findings.length > 0 ? findings : [say.ok('every write is on disk before it is answered')]
}

export function checkRedisMemory(say: Say, config: RedisConfig, look: RedisLook): Finding[] {
  if (look.state === 'resting') return [say.ok('nothing is evicted')]
  if (look.state !== 'answers') return [say.warning(NOT_SEEN)]
  const { evictionPolicy, usedBytes, maxBytes, refusal } = look.inspection
  const cli = redisCli(config)
  const findings: Finding[] = []
  if (evictionPolicy !== 'noeviction') {
    findings.push(
      say.failure(
        `throws jobs out when it is full (maxmemory-policy ${evictionPolicy})`,
        `${cli} CONFIG SET maxmemory-policy noeviction && ${cli} CONFIG REWRITE`,
      ),
    )
  }
  const used =
    maxBytes === 0 ? formatBytes(usedBytes) : `${formatBytes(usedBytes)} of ${formatBytes(maxBytes)}`
  const raise = `${cli} CONFIG SET maxmemory ${Math.max(maxBytes * 2, 1024 ** 3)} && ${cli} CONFIG REWRITE`
  if (refusal?.message.includes('(OOM)')) {
    findings.push(say.failure(`is full and takes no writes (${used})`, raise))
  } else if (maxBytes > 0 && usedBytes > maxBytes * NEARLY_FULL) {
    findings.push(say.warning(`is nearly full (${used})`, raise))
  }
  if (findings.length > 0) return findings
  return [say.ok(`nothing is evicted; ${used} used${maxBytes === 0 ? ', no limit' : ''}`)]
}

/** BullMQ keeps this in Redis, so it outlives every process, and no command of ours sets it. */
export function checkPause(say: Say, config: RedisConfig, look: RedisLook): Finding[] {
  if (look.state !== 'answers') return []
  return look.inspection.pausedQueues.map((queue) =>
    say.failure(
      `the queue ${queue} was paused from outside, so nothing in it moves`,
      `${redisCli(config)} HDEL ${config.queuePrefix}:${queue}:meta paused`,
    ),
  )
}
