/** The real `memsync serve` as a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { MEMSYNC } from './cli.ts'
import { isolatedEnvironment, type LogLine } from './daemon.ts'
import { waitFor } from './waitFor.ts'

const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

export interface ServerProcess {
  /** Where it listens, as its log says. */
  listen: string
  log: LogLine[]
  kill(signal: NodeJS.Signals): void
  ended: Promise<number | null>
}

/** Serves the store of `dataDir` on a free port of the loopback unless `env` says otherwise. */
export async function startMemoryServer(
  dataDir: string,
  token: string,
  env: Record<string, string> = {},
): Promise<ServerProcess> {
  const settings = {
    MEMSYNC_SERVE_TOKEN: token,
    MEMSYNC_SERVE_LISTEN: '127.0.0.1:0',
    MEMSYNC_LOG_LEVEL: 'debug',
  }
  const child = spawn(process.execPath, [MEMSYNC, 'serve'], {
    env: isolatedEnvironment(dataDir, { ...settings, ...env }),
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  running.add(child)
  const log: LogLine[] = []
  createInterface({ input: child.stdout }).on('line', (line) => log.push(JSON.parse(line) as LogLine))
  const ended = once(child, 'close').then(([code]) => {
    running.delete(child)
    return code as number | null
  })
  const serving = await waitFor('it serves', () => log.find(({ msg }) => msg === 'serving'))
  return { listen: String(serving.listen), log, ended, kill: (signal) => void child.kill(signal) }
}
