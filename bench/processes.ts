/** What whole processes cost: the idle daemon, its start, and one `memsync enqueue`. Linux only (it reads /proc). */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const DIST = join(import.meta.dirname, '..', 'dist')
/** Linux counts process time in ticks of 10 ms. */
const TICKS_PER_SECOND = 100

export interface Daemon {
  process: ChildProcess
  dataDir: string
  startMs: number
}

function environment(dataDir: string): NodeJS.ProcessEnv {
  return { PATH: process.env.PATH, HOME: dataDir, MEMSYNC_DATA_DIR: dataDir }
}

/** Starts the built daemon, with these settings, and waits until it takes jobs. */
export async function startDaemon(dataDir: string, settings: NodeJS.ProcessEnv = {}): Promise<Daemon> {
  const startedAt = performance.now()
  const child = spawn(process.execPath, [join(DIST, 'workers', 'memorySync-worker.js')], {
    env: { ...environment(dataDir), ...settings },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await new Promise<void>((resolve, reject) => {
    let output = ''
    child.stdout?.on('data', (chunk: Buffer) => {
      output += chunk
      if (output.includes('"ready"')) resolve()
    })
    child.once('exit', () => reject(new Error(`the daemon ended before it was ready: ${output}`)))
  })
  return { process: child, dataDir, startMs: performance.now() - startedAt }
}

export async function stopDaemon(daemon: Daemon): Promise<void> {
  const ended = new Promise((resolve) => daemon.process.once('exit', resolve))
  daemon.process.kill('SIGTERM')
  await ended
}

function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
}

function residentMegabytes(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024
}

/** Share of a core in percent, and resident memory in MB, of both processes idle over the same `seconds`. */
export async function idleCost(daemon: Daemon, socketPath: string, seconds: number) {
  const bare = spawn(process.execPath, [join(import.meta.dirname, 'bareWorker.mjs'), socketPath], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await new Promise((resolve) => bare.stdout?.once('data', resolve))
  const pids = { ours: daemon.process.pid ?? 0, bare: bare.pid ?? 0 }
  // Both let their start behind them first.
  await sleep(3000)
  const before = { ours: cpuSeconds(pids.ours), bare: cpuSeconds(pids.bare) }
  await sleep(seconds * 1000)
  const share = (kind: 'ours' | 'bare') => ((cpuSeconds(pids[kind]) - before[kind]) / seconds) * 100
  const cost = {
    ours: { cpuPercent: share('ours'), megabytes: residentMegabytes(pids.ours) },
    bare: { cpuPercent: share('bare'), megabytes: residentMegabytes(pids.bare) },
  }
  bare.kill('SIGKILL')
  return cost
}

function timed(run: () => void): number {
  const startedAt = performance.now()
  run()
  return performance.now() - startedAt
}

/** Milliseconds of one `memsync enqueue` to the running daemon. */
export function enqueueMs(daemon: Daemon, number: number): number {
  return timed(() =>
    execFileSync(process.execPath, [join(DIST, 'cli', 'main.js'), 'enqueue', `bench-${number}`, 'a value'], {
      env: environment(daemon.dataDir),
      stdio: 'ignore',
    }),
  )
}

/** Milliseconds of `node -e 0`. */
export function emptyNodeMs(): number {
  return timed(() => execFileSync(process.execPath, ['-e', '0'], { stdio: 'ignore' }))
}
