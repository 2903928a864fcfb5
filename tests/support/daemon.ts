/** The real built daemon as a process of its own, for tests that send it real signals. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { askDaemon } from '../../src/daemon/controlClient.ts'
import type { Status } from '../../src/daemon/status.ts'

const ENTRY = join(import.meta.dirname, '..', '..', 'dist', 'workers', 'memorySync-worker.js')
const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

export type LogLine = Record<string, unknown> & { msg: string; level: string }

export interface TestDaemon {
  pid: number
  /** Every log line so far. */
  log: LogLine[]
  /** Everything printed, as it came. */
  output(): string
  /** Resolves with the first line of this message, past or future; rejects where the daemon ends without it. */
  logged(message: string): Promise<LogLine>
  status(): Promise<Status>
  kill(signal: NodeJS.Signals): void
  ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
}

/** Environment for any process of this program that works on `dataDir` alone. */
export function isolatedEnvironment(dataDir: string, extra: Record<string, string> = {}): NodeJS.ProcessEnv {
  return { PATH: process.env.PATH, HOME: dataDir, MEMSYNC_DATA_DIR: dataDir, ...extra }
}

/** @param entry the daemon of another build than this checkout's */
export function spawnDaemon(
  dataDir: string,
  extra: Record<string, string> = {},
  entry: string = ENTRY,
): TestDaemon {
  const child = spawn(process.execPath, [entry], {
    env: isolatedEnvironment(dataDir, extra),
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  running.add(child)
  const log: LogLine[] = []
  const listeners = new Set<() => void>()
  let text = ''
  let partial = ''
  let over = false
  const notify = () => {
    for (const listener of [...listeners]) listener()
  }
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
    const lines = (partial + chunk).split('\n')
    partial = lines.pop() ?? ''
    for (const line of lines) log.push(JSON.parse(line) as LogLine)
    notify()
  })
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
  })
  const ended = once(child, 'close').then(([code, signal]) => {
    running.delete(child)
    over = true
    notify()
    return { code: code as number | null, signal: signal as NodeJS.Signals | null }
  })
  return {
    pid: child.pid ?? 0,
    log,
    output: () => text,
    logged: (message) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const line = log.find((candidate) => candidate.msg === message)
          if (!line && !over) return
          listeners.delete(look)
          if (line) resolve(line)
          else reject(new Error(`the daemon ended without "${message}":\n${text}`))
        }
        listeners.add(look)
        look()
      }),
    status: async () => {
      const answer = await askDaemon(dataDir, { op: 'status' }, 5000)
      if (!answer) throw new Error('no daemon answers')
      return answer.status as Status
    },
    kill: (signal) => {
      child.kill(signal)
    },
    ended,
  }
}

/** A daemon that takes jobs. */
export async function startDaemon(dataDir: string, extra: Record<string, string> = {}): Promise<TestDaemon> {
  const daemon = spawnDaemon(dataDir, extra)
  await daemon.logged('ready')
  return daemon
}
