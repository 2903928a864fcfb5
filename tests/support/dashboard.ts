/** The real `memsync dashboard` as a process, on a Redis and a data folder that a test has filled. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Queue } from 'bullmq'
import type { Config } from '../../src/config.ts'
import { ERROR_CODES, type ErrorClass, type ErrorCode } from '../../src/errors.ts'
import { DEAD_LETTER_QUEUE, SYNC_QUEUE } from '../../src/jobs/index.ts'
import { connectRedis, redisEndpoint, waitUntilReady } from '../../src/queue/connection.ts'
import type { DeadLetter } from '../../src/queue/deadLetters.ts'
import { isolatedEnvironment } from './daemon.ts'
import { endWithThisProcess } from './lifeline.ts'

const MEMSYNC = join(import.meta.dirname, '..', '..', 'dist', 'cli', 'main.js')

export interface RunningDashboard {
  /** With the token. */
  link: string
  /** Scheme, host and port. */
  origin: string
  stop(): Promise<number | null>
}

export async function startDashboard(
  dataDir: string,
  env: Record<string, string> = {},
  args: string[] = ['--no-open'],
): Promise<RunningDashboard> {
  const child = spawn(process.execPath, [MEMSYNC, 'dashboard', '--json', ...args], {
    env: isolatedEnvironment(dataDir, env),
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const cutLifeline = child.pid === undefined ? () => undefined : endWithThisProcess(child.pid)
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    stderr += chunk
  })
  const exited = once(child, 'exit').then(([code]) => {
    cutLifeline()
    return code as number | null
  })
  const line = await Promise.race([
    once(createInterface(child.stdout), 'line').then(([text]) => String(text)),
    exited.then((code) => {
      throw new Error(`memsync dashboard ended with ${code}: ${stderr}`)
    }),
  ])
  const { link } = JSON.parse(line) as { link: string }
  return {
    link,
    origin: new URL(link).origin,
    stop: () => {
      child.kill('SIGTERM')
      return exited
    },
  }
}

const CODE_OF: Record<ErrorClass, ErrorCode> = {
  permanent: 'MEMSYNC_INVALID_MEMORY',
  transient: 'MEMSYNC_HANDLER_FAILED',
  outage: 'MEMSYNC_QUEUE_UNAVAILABLE',
  credentials: 'MEMSYNC_REMOTE_CREDENTIALS',
}

/** A dead letter as the daemon keeps it, with what a test cares about. */
export function deadLetter(sequence: number, facts: Partial<DeadLetter> = {}): DeadLetter {
  const errorClass = facts.class ?? 'permanent'
  const code = CODE_OF[errorClass]
  const atMs = Date.now() - sequence * 1_000
  return {
    id: `1-${sequence}-0-0`,
    schema: 1,
    sourceQueue: SYNC_QUEUE,
    jobId: String(sequence),
    name: 'MEMORY_SYNC',
    data: { key: `note/${sequence}`, value: { text: `the value of ${sequence}` } },
    version: `1-${sequence}-0`,
    redrives: 0,
    attempts: 3,
    stalls: 0,
    acceptedAtMs: atMs - 60_000,
    firstFailedAtMs: atMs - 30_000,
    lastFailedAtMs: atMs,
    deadAtMs: atMs,
    class: errorClass,
    code,
    message: ERROR_CODES[code].meaning,
    stack: 'Error: as thrown\n    at somewhere (file.ts:1:1)',
    stage: 'validate',
    host: hostname(),
    daemonVersion: '0.1.0',
    ...facts,
  }
}

const BATCH = 1_000

/** Puts dead letters and waiting jobs where the daemon keeps them. */
export async function fillQueues(
  config: Config,
  { dead = [], waiting = 0 }: { dead?: DeadLetter[]; waiting?: number },
): Promise<void> {
  const redis = connectRedis(redisEndpoint(config), 'worker')
  redis.on('error', () => undefined)
  await waitUntilReady(redis, 5_000)
  const options = { connection: redis, prefix: config.queuePrefix }
  const deadLetters = new Queue(DEAD_LETTER_QUEUE, options)
  const sync = new Queue(SYNC_QUEUE, options)
  for (let at = 0; at < dead.length; at += BATCH) {
    const jobs = dead.slice(at, at + BATCH)
    await deadLetters.addBulk(
      jobs.map((entry) => ({ name: entry.name, data: entry, opts: { jobId: `dead-${entry.id}` } })),
    )
  }
  for (let at = 0; at < waiting; at += BATCH) {
    const size = Math.min(BATCH, waiting - at)
    await sync.addBulk(
      Array.from({ length: size }, (_, index) => ({
        name: 'MEMORY_SYNC',
        data: { key: `waiting/${at + index}`, value: { n: at + index, text: 'something to remember' } },
      })),
    )
  }
  await Promise.all([deadLetters.close(), sync.close()])
  redis.disconnect()
}
