/** The real built command, run as a process of its own on a data folder of its own. */
import { spawn, spawnSync } from 'node:child_process'
import { realpathSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import { privateRedisSocket } from '../../src/queue/privateRedis.ts'
import { findServerProcess } from '../../src/queue/redisProcess.ts'
import { isolatedEnvironment } from './daemon.ts'
import { tempDir } from './tempDir.ts'

const DIST = join(import.meta.dirname, '..', '..', 'dist')
export const MEMSYNC = join(DIST, 'cli', 'main.js')
export const WORKER = join(DIST, 'workers', 'memorySync-worker.js')

export interface Ended {
  code: number | null
  stdout: string
  stderr: string
}

interface RunOptions {
  /** What is piped in; nothing unless given. */
  input?: string | Uint8Array
  env?: Record<string, string>
}

/** Runs a program of this package to its end. */
export function runProgram(
  entry: string,
  args: string[],
  dataDir: string,
  options: RunOptions = {},
): Promise<Ended> {
  const { promise, resolve, reject } = Promise.withResolvers<Ended>()
  const child = spawn(process.execPath, [entry, ...args], { env: isolatedEnvironment(dataDir, options.env) })
  const ended: Ended = { code: null, stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    ended.stdout += chunk
  })
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    ended.stderr += chunk
  })
  child.on('error', reject)
  child.on('close', (code) => resolve({ ...ended, code }))
  // A command that refuses its input closes it early.
  child.stdin.on('error', () => undefined)
  child.stdin.end(options.input ?? '')
  return promise
}

// Of util-linux: it runs a command on a terminal of its own. Elsewhere it takes other arguments.
const TERMINAL_MAKER = 'script'

/** Whether `runOnTerminal` works here. */
export const HAS_TERMINAL =
  process.platform === 'linux' && spawnSync(TERMINAL_MAKER, ['--version']).status === 0

/** Runs the command on a terminal, both streams in one, with what a person types. */
export function runOnTerminal(
  args: string[],
  dataDir: string,
  { env = {}, typed = '' }: { env?: Record<string, string>; typed?: string } = {},
): { code: number | null; shown: string } {
  const command = [process.execPath, MEMSYNC, ...args].map((word) => `'${word}'`).join(' ')
  const ended = spawnSync(TERMINAL_MAKER, ['-qec', command, '/dev/null'], {
    env: isolatedEnvironment(dataDir, { TERM: 'xterm-256color', ...env }),
    encoding: 'utf8',
    input: typed,
  })
  return { code: ended.status, shown: ended.stdout }
}

/** A data folder and the command on it. */
export interface CommandLine {
  dataDir: string
  run(args: string[], options?: RunOptions): Promise<Ended>
  /** With `--json`: the one document it printed. */
  json(
    args: string[],
    options?: RunOptions,
  ): Promise<{ code: number | null; document: Record<string, unknown> }>
}

const folders = new Set<string>()

afterAll(async () => {
  for (const folder of folders) await endPrivateRedis(folder)
})

/** Its private Redis, should a test leave one, ends with the test file. */
export function commandLine(): CommandLine {
  const dataDir = tempDir()
  folders.add(dataDir)
  const run = (args: string[], options?: RunOptions) => runProgram(MEMSYNC, args, dataDir, options)
  return {
    dataDir,
    run,
    async json(args, options) {
      const { code, stdout, stderr } = await run([...args, '--json'], options)
      const lines = stdout.trimEnd().split('\n')
      if (lines.length !== 1) throw new Error(`not one document: ${stdout}\n${stderr}`)
      return { code, document: JSON.parse(stdout) as Record<string, unknown> }
    },
  }
}

/** kill -9, where one runs. */
async function endPrivateRedis(dataDir: string): Promise<void> {
  const pid = await privateRedisPid(dataDir)
  if (pid !== undefined) process.kill(pid, 'SIGKILL')
}

/** Undefined where none runs. */
export async function privateRedisPid(dataDir: string): Promise<number | undefined> {
  return findServerProcess(join(realpathSync(dataDir), 'redis'), privateRedisSocket(dataDir))
}
