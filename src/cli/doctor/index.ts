/**
 * The doctor: looks at everything a memory passes, in order, with or without a daemon, and says what is wrong and what
 * mends it. It starts nothing, and writes nothing but a probe key that Redis forgets within a minute. All checks run at
 * once, each within a deadline of its own, so that the whole ends in seconds whatever hangs.
 */
import type { Config, Texts } from '../../config.ts'
import { findStatus } from '../../daemon/findStatus.ts'
import { instanceLockPath, isLocked } from '../../daemon/processLock.ts'
import type { Status } from '../../daemon/status.ts'
import { checkClock } from './clock.ts'
import { checkDaemon, checkLanes, checkSpool } from './daemon.ts'
import { type Check, type Finding, runCheck } from './finding.ts'
import { checkDataFolder, checkNode } from './machine.ts'
import { checkEmbedding, checkRemote, embeds } from './outside.ts'
import {
  checkDurability,
  checkPause,
  checkRedis,
  checkRedisMemory,
  lookAtRedis,
  type RedisLook,
} from './redis.ts'
import { checkService, findService } from './service.ts'
import { checkSettings, type ReadSettings, readSettings } from './settings.ts'
import { checkStore, lookAtStore, type StoreLook } from './store.ts'

/** Above what a daemon and a Redis that hang take, and a server that hangs after them. */
const CHECK_TIMEOUT_MS = 15_000
/** A store of a few gigabytes is read within it. */
const STORE_TIMEOUT_MS = 20_000

/** What was read for the findings, for whoever wants more than them. */
export interface Diagnosis {
  settings: ReadSettings
  findings: Finding[]
  /** Undefined where not even that could be had. */
  status: Status | undefined
  redis: RedisLook | undefined
}

interface Looks {
  settings: ReadSettings
  redis: Promise<RedisLook>
  store: Promise<StoreLook>
  status: Promise<Status>
}

/**
 * Never rejects for what it finds.
 * @param tell hears the findings of each hop, in order, as soon as they and those before them are there
 */
export async function diagnose(
  flags: Texts,
  env: Texts,
  tell: (findings: Finding[]) => Promise<void> = async () => undefined,
): Promise<Diagnosis> {
  const settings = readSettings(flags, env)
  // What takes long to load is loaded before any deadline runs.
  await import('../../daemon/statusAlone.ts')
  if (embeds(settings.config)) await import('../../infrastructure/sdk/openaiModels.ts')
  const looks = lookAround(settings)
  const underway = checksOf(looks).map(runCheck)
  const findings: Finding[] = []
  for (const check of underway) {
    const found = await check
    findings.push(...found)
    await tell(found)
  }
  return {
    settings,
    findings,
    status: await ended(looks.status),
    redis: await ended(looks.redis),
  }
}

/** Each is looked at once, however many checks speak of it. */
function lookAround(settings: ReadSettings): Looks {
  const { config } = settings
  const looks = {
    settings,
    redis: lookAtRedisOf(config),
    store: lookAtStore(config, STORE_TIMEOUT_MS),
    status: findStatus(config),
  }
  // What fails is told by the checks that ask for it.
  for (const look of [looks.redis, looks.store, looks.status]) look.catch(() => undefined)
  return looks
}

async function lookAtRedisOf(config: Config): Promise<RedisLook> {
  return lookAtRedis(config, isLocked(instanceLockPath(config.dataDir)))
}

function checksOf({ settings, redis, store, status }: Looks): Check[] {
  const { config, path } = settings
  const check = (hop: Check['hop'], run: Check['run'], timeoutMs = CHECK_TIMEOUT_MS): Check => ({
    hop,
    run,
    timeoutMs,
  })
  const newest = async () => (await ended(store))?.memories.newestMs
  return [
    check('node', (say) => checkNode(say, process.versions.node, process.execPath)),
    check('settings', (say) => checkSettings(say, settings)),
    check('data folder', (say) => checkDataFolder(say, config)),
    check('redis', async (say) => checkRedis(say, config, await redis)),
    check('durability', async (say) => checkDurability(say, config, await redis)),
    check('redis memory', async (say) => checkRedisMemory(say, config, await redis)),
    check('store', async (say) => checkStore(say, config, await store), STORE_TIMEOUT_MS + 1_000),
    check('daemon', async (say) => checkDaemon(say, await status)),
    check('lanes', async (say) => {
      const look = await ended(redis)
      const pauses = look ? checkPause(say, config, look) : []
      return checkLanes(say, await status, pauses, look?.state === 'resting')
    }),
    check('spool', async (say) => checkSpool(say, config, await status)),
    check('embedding', async (say) => checkEmbedding(say, config, path, await ended(status))),
    check('remote', (say, signal) => checkRemote(say, config, path, signal)),
    check('service', (say) => checkService(say, findService(), settings)),
    check('clock', async (say) => checkClock(say, config, await newest()), STORE_TIMEOUT_MS + 6_000),
  ]
}

async function ended<T>(look: Promise<T>): Promise<T | undefined> {
  try {
    return await look
  } catch {
    // The check of its own hop tells why.
    return undefined
  }
}
