/** A real redis-server of a test's own, on a unix socket in a temporary folder. It cannot outlive the test process. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findRedisServer, probeRedis } from '../../src/queue/redisProcess.ts'
import { endWithThisProcess } from './lifeline.ts'
import { waitFor } from './waitFor.ts'

interface TestRedisOptions {
  /** Keep every write on disk before it is answered (default), or keep nothing at all. */
  persist?: boolean
  /** As Redis writes it, for example '2mb'; none by default. */
  maxmemory?: string
  /** Listen on a loopback port too. */
  tcp?: boolean
  /** Further settings, by name. */
  settings?: Record<string, string>
}

export interface TestRedis {
  socketPath: string
  /** As REDIS_URL: the socket, or the port where `tcp` was asked for. */
  url: string
  /** The loopback port; 0 without `tcp`. */
  port: number
  folder: string
  readonly pid: number
  /** kill -9; resolves when the process is gone. */
  kill(): Promise<void>
  /** Starts it again on the same data and endpoint, after `kill` if it still runs. */
  restart(): Promise<void>
  /** Stops it from answering (SIGSTOP) without ending it. */
  freeze(): void
  thaw(): void
  /** Ends it and removes its folder. */
  stop(): Promise<void>
}

export async function startTestRedis(options: TestRedisOptions = {}): Promise<TestRedis> {
  const folder = mkdtempSync(join(tmpdir(), 'r-'))
  const socketPath = join(folder, 'redis.sock')
  let port = 0
  let running: Running
  for (let tries = 1; ; tries++) {
    port = options.tcp ? await freePort() : 0
    try {
      running = await launch(folder, socketPath, port, options)
      break
    } catch (error) {
      // Another process may have taken the free port meanwhile.
      if (port !== 0 && tries < 5) continue
      rmSync(folder, { recursive: true, force: true })
      throw error
    }
  }

  const kill = async () => {
    if (running.child.exitCode !== null || running.child.signalCode !== null) return
    const exited = once(running.child, 'exit')
    running.child.kill('SIGKILL')
    await exited
    running.cutLifeline()
  }
  return {
    socketPath,
    url: port === 0 ? `unix://${socketPath}` : `redis://127.0.0.1:${port}`,
    port,
    folder,
    get pid() {
      return running.pid
    },
    kill,
    async restart() {
      await kill()
      running = await launch(folder, socketPath, port, options)
    },
    freeze: () => void running.child.kill('SIGSTOP'),
    thaw: () => void running.child.kill('SIGCONT'),
    async stop() {
      await kill()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

interface Running {
  child: ChildProcess
  pid: number
  cutLifeline: () => void
}

async function launch(
  folder: string,
  socketPath: string,
  port: number,
  { persist = true, maxmemory, settings }: TestRedisOptions,
): Promise<Running> {
  const binary = findRedisServer(process.env.PATH)
  if (binary === undefined) throw new Error('the tests need redis-server or valkey-server on the PATH')
  const all = {
    port: String(port),
    bind: '127.0.0.1',
    unixsocket: socketPath,
    dir: folder,
    save: '',
    appendonly: persist ? 'yes' : 'no',
    appendfsync: 'always',
    'maxmemory-policy': 'noeviction',
    loglevel: 'warning',
    ...(maxmemory && { maxmemory }),
    ...settings,
  }
  const args = Object.entries(all).flatMap(([name, value]) => [`--${name}`, value])
  const child = spawn(binary, args, { stdio: ['ignore', 'pipe', 'inherit'], detached: true })
  const pid = child.pid
  if (pid === undefined) throw (await once(child, 'error'))[0]
  const cutLifeline = endWithThisProcess(pid)
  let log = ''
  child.stdout.on('data', (chunk) => {
    log = (log + chunk).slice(-2000)
  })
  try {
    await waitFor('the test Redis answers', async () => {
      if (child.exitCode !== null) return 'exited'
      return (await probeRedis(socketPath)) === 'ready'
    })
    if (child.exitCode !== null) throw new Error(`the test Redis did not start:\n${log}`)
  } catch (error) {
    child.kill('SIGKILL')
    cutLifeline()
    throw error
  }
  return { child, pid, cutLifeline }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}
