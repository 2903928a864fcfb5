/**
 * The embedded default: a private redis-server (or valkey-server) on a unix socket in the data folder, for this user
 * alone and on no port. It keeps every write on disk before it answers, outlives a daemon that crashed, is adopted by
 * the next, and is ended by a clean stop. Two servers never write the same append-only file: check and start happen
 * under one process lock, and a server that lives but does not answer is never started a second time.
 *
 * absent ──start──▶ loading ──▶ ready ──stop──▶ absent
 *                      ▲          ▲
 *                      └──adopt───┘
 */
import { type ChildProcess, spawn } from 'node:child_process'
import {
  chmodSync,
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  statSync,
} from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { isMainThread } from 'node:worker_threads'
import { socketPathIn } from '../daemon/socketPath.ts'
import { MemsyncError } from '../errors.ts'
import { askRedis, findRedisServer, findServerProcess, probeRedis } from './redisProcess.ts'

export interface PrivateRedis {
  socketPath: string
  /** False when a server that ran already was adopted. */
  startedHere: boolean
  pid: number | undefined
  /** Ends the server, adopted or not, and waits until it is gone (killed after 5 s); again is a no-op. */
  stop(): Promise<void>
}

interface StartOptions {
  dataDir: string
  /** Ends the wait. */
  signal?: AbortSignal
  /** How long a live server may give no answer at all, in milliseconds (10,000). */
  silenceTimeoutMs?: number
}

interface Site {
  folder: string
  socketPath: string
  logPath: string
}

const MAX_LOG_BYTES = 1024 * 1024
const DEFAULT_SILENCE_TIMEOUT_MS = 10_000
/** How long another process may take to start the same server. */
const LOCK_TIMEOUT_MS = 30_000
const STOP_TIMEOUT_MS = 5_000

/** The unix socket of a data folder's private Redis. @throws as `socketPathIn` */
export function privateRedisSocket(dataDir: string): string {
  return socketPathIn(dataDir, 'redis', 'redis.sock')
}

/**
 * The private Redis of a data folder, ready for commands: the one that runs already, or a new one.
 * Waits without a limit while a server loads its data; `signal` ends the wait.
 * @throws MEMSYNC_REDIS_MISSING when none runs and the PATH has no server
 * @throws MEMSYNC_QUEUE_UNAVAILABLE when one lives but does not answer, or a new one does not start (says why)
 * @throws MEMSYNC_BAD_SETTING when the data folder cannot be used
 * @throws MEMSYNC_INTERRUPTED when `signal` aborts first
 */
export async function startPrivateRedis(options: StartOptions): Promise<PrivateRedis> {
  const site = prepareSite(options.dataDir)
  if ((await probeRedis(site.socketPath)) === 'ready') return handle(site, await pidOf(site), false)
  const lock = await waitForStartLock(site, options.signal)
  try {
    return (await adopt(site, options)) ?? (await start(site, options))
  } finally {
    lock.release()
  }
}

function prepareSite(dataDir: string): Site {
  const socketPath = privateRedisSocket(dataDir)
  let folder = join(resolve(dataDir), 'redis')
  try {
    for (const path of new Set([folder, dirname(socketPath)])) {
      mkdirSync(path, { recursive: true, mode: 0o700 })
      chmodSync(path, 0o700)
    }
    // As the kernel names it: a server's process is found by its working folder.
    folder = realpathSync(folder)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new MemsyncError('MEMSYNC_BAD_SETTING', `MEMSYNC_DATA_DIR: it cannot be used: ${reason}`, { cause })
  }
  return { folder, socketPath, logPath: join(folder, 'redis.log') }
}

async function waitForStartLock(site: Site, signal: AbortSignal | undefined): Promise<{ release(): void }> {
  // Loaded only here: those who merely ask for the socket's path need no SQLite.
  const { acquireProcessLock } = await import('../daemon/processLock.ts')
  const deadline = performance.now() + LOCK_TIMEOUT_MS
  for (;;) {
    const lock = acquireProcessLock(join(site.folder, 'start.lock'), 0)
    if (lock) return lock
    // Whoever holds it may wait a long time for a server that loads, which is no reason to give up.
    const loading = (await probeRedis(site.socketPath)) === 'loading'
    if (!loading && performance.now() > deadline) {
      throw unavailable(`another process has been starting it for ${LOCK_TIMEOUT_MS} ms`)
    }
    await pause(50, signal)
  }
}

async function adopt(site: Site, options: StartOptions): Promise<PrivateRedis | undefined> {
  const end = await awaitAnswer(site, async () => (await pidOf(site)) === undefined, options)
  if (end === 'gone') return undefined
  const pid = await pidOf(site)
  if (end === 'silent') {
    throw unavailable(
      `process ${pid} serves ${site.folder} and does not answer; end it, and the next start brings up a new one`,
    )
  }
  return handle(site, pid, false)
}

async function start(site: Site, options: StartOptions): Promise<PrivateRedis> {
  const binary = findRedisServer(process.env.PATH)
  if (binary === undefined) {
    throw new MemsyncError(
      'MEMSYNC_REDIS_MISSING',
      'there is no redis-server or valkey-server on the PATH, and REDIS_URL is not set',
    )
  }
  const logStart = rotateLog(site.logPath)
  const child = spawnServer(binary, site)
  let failure: string | undefined
  let wasKilled = false
  child.on('error', (error) => {
    failure = error.message
  })
  child.on('exit', (code, killedBy) => {
    wasKilled = killedBy !== null
    failure ??= `it ended with ${killedBy ?? `exit code ${code}`}`
  })
  try {
    const end = await awaitAnswer(site, () => failure !== undefined, options)
    if (end === 'gone') {
      // One that ended by itself has said why; the last word of one that was killed is about something else.
      const reason = (wasKilled ? undefined : lastLogLine(site.logPath, logStart)) ?? failure
      throw unavailable(`${binary} did not start: ${reason} (log: ${site.logPath})`)
    }
    if (end === 'silent') throw unavailable(`${binary} did not answer in time`)
  } catch (error) {
    child.kill('SIGKILL')
    throw error
  }
  return handle(site, child.pid, true)
}

/** Polls until the server takes commands, is gone, or has been silent for too long while it lives. */
async function awaitAnswer(
  site: Site,
  isGone: () => boolean | Promise<boolean>,
  { signal, silenceTimeoutMs = DEFAULT_SILENCE_TIMEOUT_MS }: StartOptions,
): Promise<'ready' | 'gone' | 'silent'> {
  let heardAt = performance.now()
  for (let delayMs = 5; ; delayMs = Math.min(delayMs * 1.5, 100)) {
    const answer = await probeRedis(site.socketPath)
    if (answer === 'ready') return 'ready'
    if (answer === 'loading') heardAt = performance.now()
    else if (await isGone()) return 'gone'
    if (performance.now() - heardAt > silenceTimeoutMs) return 'silent'
    await pause(delayMs, signal)
  }
}

function spawnServer(binary: string, site: Site): ChildProcess {
  // What the server says before it opens its log (a bad setting, a broken library) must end in the log too.
  const log = openSync(site.logPath, 'a', 0o600)
  // The server makes its files as its umask lets it; a worker thread cannot set one, and has the private folder alone.
  const umask = isMainThread ? process.umask(0o077) : undefined
  try {
    const child = spawn(binary, serverArguments(site), {
      cwd: site.folder,
      // A session of its own, so that neither a terminal's signals nor the daemon's end reach it.
      detached: true,
      stdio: ['ignore', log, log],
      // The environment holds keys of other services: none of the server's business.
      env: { PATH: process.env.PATH, TZ: process.env.TZ },
    })
    child.unref()
    return child
  } finally {
    if (umask !== undefined) process.umask(umask)
    closeSync(log)
  }
}

/** Redis configuration: https://redis.io/docs/latest/operate/oss_and_stack/management/config/ */
function serverArguments(site: Site): string[] {
  const settings = {
    port: '0',
    unixsocket: site.socketPath,
    unixsocketperm: '700',
    dir: site.folder,
    daemonize: 'no',
    appendonly: 'yes',
    // Accepted means durable: no reply before the fsync.
    appendfsync: 'always',
    // A power cut leaves half a last command; it was never acknowledged, so the start may drop it.
    'aof-load-truncated': 'yes',
    'auto-aof-rewrite-percentage': '100',
    'auto-aof-rewrite-min-size': '32mb',
    save: '',
    'maxmemory-policy': 'noeviction',
    loglevel: 'warning',
    logfile: site.logPath,
  }
  return Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value])
}

function handle(site: Site, pid: number | undefined, startedHere: boolean): PrivateRedis {
  let stopping: Promise<void> | undefined
  return {
    socketPath: site.socketPath,
    startedHere,
    pid,
    stop() {
      stopping ??= shutDown(site)
      return stopping
    },
  }
}

async function shutDown(site: Site): Promise<void> {
  const deadline = performance.now() + STOP_TIMEOUT_MS
  try {
    // The append-only file is complete, so nothing is left to save.
    await askRedis(site.socketPath, 'SHUTDOWN NOSAVE', STOP_TIMEOUT_MS / 2)
  } catch {
    // It hung up while it ended, has ended, or lost its socket, where the signal still asks the same of it.
    const pid = await pidOf(site)
    if (pid !== undefined) signalIfThere(pid, 'SIGTERM')
  }
  for (;;) {
    const pid = await pidOf(site)
    if (pid === undefined) return
    if (performance.now() > deadline) {
      signalIfThere(pid, 'SIGKILL')
      if (performance.now() > deadline + STOP_TIMEOUT_MS) throw unavailable(`process ${pid} cannot be ended`)
    }
    await pause(10, undefined)
  }
}

function signalIfThere(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

function pidOf(site: Site): Promise<number | undefined> {
  return findServerProcess(site.folder, site.socketPath)
}

/** Sets a log aside that has grown too long; where the next line will stand. */
function rotateLog(path: string): number {
  const bytes = statSync(path, { throwIfNoEntry: false })?.size ?? 0
  if (bytes <= MAX_LOG_BYTES) return bytes
  renameSync(path, `${path}.1`)
  return 0
}

/** The last line written since `start`, without the server's own prefix (`pid:role date time level`). */
function lastLogLine(path: string, start: number): string | undefined {
  const line = readFileSync(path).subarray(start).toString('utf8').trim().split('\n').at(-1)
  return line?.replace(/^\d+:[A-Z] .{20,30}? [.\-*#] /, '') || undefined
}

async function pause(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await sleep(delayMs, undefined, { ...(signal && { signal }) })
  } catch (cause) {
    throw new MemsyncError('MEMSYNC_INTERRUPTED', 'stopped while the private Redis was starting', { cause })
  }
}

function unavailable(problem: string): MemsyncError {
  return new MemsyncError('MEMSYNC_QUEUE_UNAVAILABLE', `the private Redis is not available: ${problem}`)
}
