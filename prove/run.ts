/**
 * One run of the proof: real producers, a real daemon that is killed with -9 while it works, and what is left of it.
 *
 * The producers live through the whole run and are fed in waves, one more than there are kills. In each wave but the
 * last the daemon is killed in the middle of its work, after a share of the wave that the seed decides, and started again
 * at once. When all is handed over and worked off, the evidence is read through the command and the public API, as a
 * user would read it.
 */
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { Queue } from 'bullmq'
import type { Redis } from 'ioredis'
import { openMemoryStore } from '../src/index.ts'
import { connectRedis, redisEndpoint, waitUntilReady } from '../src/queue/connection.ts'
import { isolatedEnvironment, startDaemon, type TestDaemon } from '../tests/support/daemon.ts'
import { waitFor } from '../tests/support/waitFor.ts'
import type { Evidence, StoredWrite } from './check.ts'
import { createRandom, type InputLine, makeInput, VALUE_MARK } from './memories.ts'
import { MEMSYNC, Producer, plantBrokenJobs } from './producers.ts'

const PRODUCERS = 4
/** A kill that hits fewer shows little. */
const LEAST_IN_FLIGHT = 10
/** The locks of the jobs in flight at a kill last 10 s, and a look for stalled ones comes every 5 s. */
const DRAIN_TIMEOUT_MS = 90_000
const QUEUE = 'memory-sync'
/** More than the busiest key is written: what is kept is then all that was applied. */
const SETTINGS = { MEMSYNC_HISTORY_VERSIONS: '1000' }

export interface RunOptions {
  memories: number
  kills: number
  seed: number
  /** An empty folder for everything the run writes. */
  folder: string
  /** Hears what happens, in words for a person. */
  tell: (line: string) => void
}

/** Runs it to its end. @throws where it cannot be run to the end; nothing is left running either way */
export async function runProof(options: RunOptions): Promise<Evidence> {
  const run = new ProofRun(options)
  try {
    return await run.run()
  } finally {
    await run.close()
  }
}

class ProofRun {
  private readonly options: RunOptions
  private readonly dataDir: string
  private readonly input: InputLine[][]
  private readonly producers: Producer[] = []
  private readonly killsInFlight: number[] = []
  private readonly planted: string[] = []
  private readonly logs: TestDaemon[] = []
  private readonly random: () => number
  private daemon: TestDaemon | undefined
  private redis: Redis | undefined
  /** Jobs that a killed daemon had in flight, until another takes them up. */
  private orphans = new Set<string>()

  constructor(options: RunOptions) {
    this.options = options
    this.dataDir = join(options.folder, 'data')
    this.random = createRandom(options.seed + 1)
    this.input = makeInput(options.memories, PRODUCERS, options.seed)
  }

  async run(): Promise<Evidence> {
    const { folder, kills, tell } = this.options
    await this.startDaemon()
    const redis = await this.connect()
    const queue = new Queue(QUEUE, { connection: redis, skipVersionCheck: true })
    const env = isolatedEnvironment(this.dataDir, SETTINGS)
    for (let number = 0; number < PRODUCERS; number++) this.producers.push(new Producer(number, folder, env))
    for (let wave = 0; wave <= kills; wave++) {
      const fed = this.producers.map((producer) => producer.feed(this.slice(producer.number, wave)))
      this.planted.push(...(await plantBrokenJobs(queue, wave)))
      if (wave < kills) await this.killDaemonAtWork(redis, wave)
      await Promise.all(fed)
    }
    const summaries = await Promise.all(this.producers.map((producer) => producer.finish()))
    tell('all is handed over; waiting for the daemon to work it off')
    await this.drained()
    return this.collect(summaries)
  }

  /** Ends whatever still runs. */
  async close(): Promise<void> {
    for (const producer of this.producers) producer.kill()
    this.redis?.disconnect()
    if (!this.daemon) return
    this.daemon.kill('SIGTERM')
    await this.daemon.ended
  }

  private slice(producer: number, wave: number): InputLine[] {
    const lines = this.input[producer] ?? []
    const share = lines.length / (this.options.kills + 1)
    return lines.slice(Math.floor(wave * share), Math.floor((wave + 1) * share))
  }

  private async startDaemon(): Promise<void> {
    const daemon = await startDaemon(this.dataDir, SETTINGS)
    this.daemon = daemon
    this.logs.push(daemon)
  }

  private async connect(): Promise<Redis> {
    const endpoint = redisEndpoint({ redisUrl: undefined, dataDir: this.dataDir })
    const redis = connectRedis(endpoint, 'worker')
    // A command that cannot be carried out tells it.
    redis.on('error', () => undefined)
    this.redis = redis
    await waitUntilReady(redis, 5000)
    return redis
  }

  private async killDaemonAtWork(redis: Redis, wave: number): Promise<void> {
    const { memories, kills, tell } = this.options
    // Early enough in the wave that it cannot be over before the daemon is caught at work.
    const finishedAtKill = ((wave + 0.1 + 0.4 * this.random()) * memories) / (kills + 1)
    const isAtWork = async () => {
      const { finished, inFlight } = await this.look(redis)
      return finished >= finishedAtKill && inFlight.length >= LEAST_IN_FLIGHT
    }
    const isCaughtAtWork = async () => (await isAtWork()) && (await this.isStoppedAtWork(isAtWork))
    await waitFor('the daemon is in the middle of its work', isCaughtAtWork, {
      timeoutMs: 60_000,
      intervalMs: 1,
    })
    this.daemon?.kill('SIGKILL')
    await this.daemon?.ended
    const { finished, waiting, inFlight, active } = await this.look(redis)
    this.orphans = new Set(active)
    this.killsInFlight.push(inFlight.length)
    const startedAt = performance.now()
    await this.startDaemon()
    const readyMs = Math.round(performance.now() - startedAt)
    tell(
      `kill ${wave + 1}: ${finished} finished, ${inFlight.length} in flight, ${waiting} waiting; ` +
        `ready again after ${readyMs} ms`,
    )
  }

  /** Stops the daemon, so that it is still at work when the kill arrives; where it is not any more, it goes on. */
  private async isStoppedAtWork(isAtWork: () => Promise<boolean>): Promise<boolean> {
    this.daemon?.kill('SIGSTOP')
    // What it had sent to Redis before is carried out between the looks.
    const looks = [await isAtWork(), await isAtWork(), await isAtWork()]
    if (looks.at(-1)) return true
    this.daemon?.kill('SIGCONT')
    return false
  }

  /** How far the daemon is. */
  private async look(redis: Redis) {
    const [lastId, waiting, active] = await Promise.all([
      redis.get(`bull:${QUEUE}:id`),
      redis.llen(`bull:${QUEUE}:wait`),
      redis.lrange(`bull:${QUEUE}:active`, 0, -1),
    ])
    const inFlight = active.filter((id) => !this.orphans.has(id))
    return { finished: Number(lastId) - waiting - active.length, waiting, active, inFlight }
  }

  private async drained(): Promise<void> {
    const isDone = async () => {
      const { lanes, deadLetters } = await this.status()
      const { waiting, delayed, active } = lanes.sync
      return waiting === 0 && delayed === 0 && active === 0 && deadLetters === this.planted.length
    }
    try {
      await waitFor('everything is worked off', isDone, { timeoutMs: DRAIN_TIMEOUT_MS, intervalMs: 250 })
    } catch (error) {
      // What is left over is for the checks to name.
      this.options.tell((error as Error).message)
    }
  }

  private async status() {
    const [status] = (await this.memsync('status')) as [Awaited<ReturnType<TestDaemon['status']>>]
    return status
  }

  private async collect(summaries: Awaited<ReturnType<Producer['finish']>>[]): Promise<Evidence> {
    const { lanes, deadLetters, totals } = await this.status()
    const letters = (await this.memsync('dlq', 'list')) as { jobId: string }[]
    this.redis?.disconnect()
    await this.stopDaemon()
    // Read with nothing running: what counts is what is on the disk.
    const rows = await this.memsync('list', '--all', '--all-namespaces', '--deleted')
    const stored = (rows as ListedMemory[]).map(toStoredWrite)
    const lines = this.input.flatMap((own, producer) => own.map((line) => ({ producer, ...line })))
    return {
      sent: lines.flatMap(({ producer, number, memory }) =>
        memory ? [{ producer, line: number, ...memory }] : [],
      ),
      broken: lines.flatMap(({ producer, number, memory }) => (memory ? [] : [{ producer, line: number }])),
      receipts: summaries.flatMap(({ receipts }) => receipts),
      refused: summaries.flatMap(({ refusedLines }, producer) =>
        refusedLines.map((line) => ({ producer, line })),
      ),
      planted: this.planted,
      deadLetterJobs: letters.map(({ jobId }) => jobId),
      stored,
      histories: await this.readHistories(stored),
      status: { ...lanes.sync, deadLetters, ...totals },
      killsInFlight: this.killsInFlight,
      logErrors: this.logs.flatMap(({ log }) => log.filter(isError).map(({ msg }) => `log: ${msg}`)),
      leaks: this.findLeaks(),
    }
  }

  private async stopDaemon(): Promise<void> {
    const { daemon } = this
    if (!daemon) return
    daemon.kill('SIGTERM')
    const { code } = await daemon.ended
    this.daemon = undefined
    if (code !== 0) throw new Error(`the daemon stopped with exit code ${code}`)
  }

  private async readHistories(stored: StoredWrite[]): Promise<StoredWrite[][]> {
    const store = openMemoryStore({ dataDir: this.dataDir })
    const histories: StoredWrite[][] = []
    for (const { key, namespace } of stored) {
      const writes = await store.history(key, { namespace })
      histories.push(
        writes.map(({ deleted, value, version }) => ({
          key,
          namespace,
          deleted,
          valueText: deleted ? undefined : JSON.stringify(value),
          version: `${version.epoch}-${version.sequence}-${version.index}`,
        })),
      )
    }
    await store.close()
    return histories
  }

  private findLeaks(): string[] {
    return [
      ...this.logs.map((daemon) => ({ name: 'the log of the daemon', output: daemon.output() })),
      ...this.producers.map(({ number, output }) => ({ name: `the output of producer ${number}`, output })),
    ].flatMap(({ name, output }) => (output.includes(VALUE_MARK) ? [`${name} shows a value`] : []))
  }

  /** The documents that a real `memsync ... --json` prints. */
  private memsync(...args: string[]): Promise<unknown[]> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown[]>()
    const child = spawn(process.execPath, [MEMSYNC, ...args, '--json'], {
      env: isolatedEnvironment(this.dataDir),
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const chunks: Buffer[] = []
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk))
    child.on('error', reject)
    child.on('close', (code) => {
      const lines = Buffer.concat(chunks).toString('utf8').split('\n')
      if (code === 0) resolve(lines.filter((line) => line !== '').map((line) => JSON.parse(line)))
      else reject(new Error(`memsync ${args.join(' ')} ended with exit code ${code}`))
    })
    return promise
  }
}

interface ListedMemory {
  namespace: string
  key: string
  value?: unknown
  deleted: boolean
  version: string
}

function toStoredWrite({ namespace, key, value, deleted, version }: ListedMemory): StoredWrite {
  return { namespace, key, deleted, valueText: deleted ? undefined : JSON.stringify(value), version }
}

/** The memories ask to be embedded, and there is no key to do it with: that it is said is right. */
function isError({ level, msg }: { level?: unknown; msg?: unknown }): boolean {
  return (level === 'error' || level === 'fatal') && msg !== 'embedding waits until this is mended'
}
