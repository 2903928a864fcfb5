/**
 * Everything around the daemon that a fault run can break, and the daemon itself: real processes, real Redis, a Mem0 and
 * an OpenAI of the tests behind links that fail. Each fault ends what it began; faults of one part wait for one another.
 */
import { execFile } from 'node:child_process'
import { mkdirSync, realpathSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type RedisEndpoint, redisEndpoint } from '../../src/queue/connection.ts'
import { privateRedisSocket } from '../../src/queue/privateRedis.ts'
import { askRedis, findServerProcess } from '../../src/queue/redisProcess.ts'
import { isolatedEnvironment, spawnDaemon, type TestDaemon } from '../../tests/support/daemon.ts'
import type { FakeMem0 } from '../../tests/support/fakeMem0.ts'
import { mountSmallDisk, unmountSmallDisk } from '../../tests/support/smallDisk.ts'
import { waitFor } from '../../tests/support/waitFor.ts'
import { VALUE_MARK } from '../memories.ts'
import { fillDisk } from './fullDisk.ts'
import { Outside } from './outside.ts'
import type { Fault, LastOutage, Part, Plan } from './plan.ts'
import { cutPower } from './powerCut.ts'
import { Producers } from './producers.ts'

/** Below `oversized`, above all else. */
const MAX_VALUE_BYTES = 16_384
/** A stop may take its drain time, and some more on a busy machine. */
const MAX_STOP_MS = 20_000
/** What is away is probed every 300 ms, and a busy machine takes longer. */
const MAX_NOTICE_MS = 30_000

export interface WorldOptions {
  plan: Plan
  /** The folder of the program under test: its `dist` is what runs. */
  program: string
  /** An empty folder for all that the run writes. */
  folder: string
}

export interface Counts {
  kills: number
  redisKills: number
  faults: number
}

export class World {
  readonly dataDir: string
  readonly incidents: string[] = []
  readonly counts: Counts = { kills: 0, redisKills: 0, faults: 0 }
  readonly daemons: TestDaemon[] = []
  readonly producers: Producers
  readonly env: NodeJS.ProcessEnv
  private readonly options: WorldOptions
  private readonly outside: Outside
  private readonly chains = new Map<Part, Promise<void>>()
  private readonly journal: string
  private readonly kept: string
  private daemon: TestDaemon | undefined
  private settings: Record<string, string>
  private mounted: boolean
  /** When the disk last had no room, on the clock that never jumps. */
  private fullAtMs = Number.NEGATIVE_INFINITY

  static async start(options: WorldOptions): Promise<World> {
    const { plan, folder } = options
    const dataDir = join(folder, 'data')
    mkdirSync(dataDir, { mode: 0o700 })
    if (plan.smallDisk) mountSmallDisk(dataDir, '48m')
    return new World(options, dataDir, await Outside.start(plan))
  }

  private constructor(options: WorldOptions, dataDir: string, outside: Outside) {
    const { plan, folder, program } = options
    this.options = options
    this.dataDir = dataDir
    this.outside = outside
    this.mounted = plan.smallDisk
    this.journal = join(folder, 'journal')
    this.kept = join(dataDir, 'removed')
    mkdirSync(this.kept, { mode: 0o700 })
    writeFileSync(this.journal, '')
    const httpSocket = join(folder, 'http.sock')
    this.settings = {
      NODE_OPTIONS: `--import=${join(import.meta.dirname, 'recordFiles.mjs')}`,
      MEMSYNC_PROOF_SPOOL: join(this.dataDir, 'spool'),
      MEMSYNC_PROOF_JOURNAL: this.journal,
      MEMSYNC_PROOF_KEPT: this.kept,
      ...outside.settings,
      MEMSYNC_HEALTH_INTERVAL_MS: '300',
      MEMSYNC_HISTORY_VERSIONS: '1000',
      MEMSYNC_CONCURRENCY: String(plan.concurrency),
      MEMSYNC_HTTP: `unix:${httpSocket}`,
    }
    this.env = isolatedEnvironment(this.dataDir, this.settings)
    this.settings = { ...this.settings, MEMSYNC_MAX_VALUE_BYTES: String(MAX_VALUE_BYTES) }
    const now = () => performance.now() - startedAtMs
    const startedAtMs = performance.now()
    this.producers = new Producers({
      program,
      env: this.env,
      endpoint: this.endpoint,
      httpSocket,
      now,
      onIncident: (what) => this.incidents.push(what),
    })
    this.startDaemon()
  }

  get remote(): FakeMem0 {
    return this.outside.remote
  }

  get endpoint(): RedisEndpoint {
    return redisEndpoint({ redisUrl: this.settings.REDIS_URL, dataDir: this.dataDir })
  }

  /** The daemon that runs now. */
  get running(): TestDaemon {
    if (!this.daemon) throw new Error('no daemon runs')
    return this.daemon
  }

  /** Carries the fault out, behind those of the same part; resolves when it is over. */
  inflict(fault: Fault): Promise<void> {
    this.counts.faults++
    const before = this.chains.get(fault.part) ?? Promise.resolve()
    const done = before.then(() => this.carryOut(fault))
    this.chains.set(fault.part, done)
    return done
  }

  /** Everything works again, and the daemon runs. */
  async heal(): Promise<void> {
    await Promise.all(this.chains.values())
    await this.outside.heal()
  }

  /** The last act: stops the daemon in order, and starts it with a limit that takes every value. */
  async raiseLimit(): Promise<void> {
    await this.stopDaemon()
    const { MEMSYNC_MAX_VALUE_BYTES: _, ...settings } = this.settings
    this.settings = settings
    this.startDaemon()
    await this.running.logged('ready')
  }

  /**
   * Takes remote and embedder away until the daemon has said so of both, so that their gates are shut, and `forMs`
   * longer; then all works again. The daemon is not restarted.
   */
  async sufferLastOutage({ during, remote, forMs }: LastOutage): Promise<void> {
    this.counts.faults += 2
    await this.outside.takeAway(remote)
    const handed = this.producers.hand(during)
    const told = ['the remote is away', 'the embedding server is away'].map((line) =>
      this.running.logged(line),
    )
    const late = sleep(MAX_NOTICE_MS, 'late' as const, { ref: false })
    try {
      if ((await Promise.race([Promise.all(told), late])) === 'late')
        this.incidents.push(
          `the daemon did not say within ${MAX_NOTICE_MS} ms that remote and embedder are away`,
        )
    } catch {
      // It ended, which is an incident already.
    }
    await sleep(forMs)
    await this.outside.heal()
    await Promise.race([handed, late])
  }

  /** Runs `memsync` to its end. */
  command(args: string[]): Promise<string> {
    const { promise, resolve, reject } = Promise.withResolvers<string>()
    const entry = join(this.options.program, 'dist', 'cli', 'main.js')
    execFile(process.execPath, [entry, ...args], { env: this.env, maxBuffer: 2 ** 26 }, (error, output) =>
      error ? reject(error) : resolve(output),
    )
    return promise
  }

  async stopDaemon(): Promise<void> {
    const { daemon } = this
    this.daemon = undefined
    if (!daemon) return
    const startedAtMs = performance.now()
    daemon.kill('SIGTERM')
    const timer = setTimeout(() => {
      this.incidents.push(`the daemon took more than ${MAX_STOP_MS} ms to stop`)
      daemon.kill('SIGKILL')
    }, MAX_STOP_MS)
    const { code, signal } = await daemon.ended
    clearTimeout(timer)
    // Before it said a word it held nothing that a stop would have to put down.
    if (code !== 0 && !(signal === 'SIGTERM' && daemon.log.length === 0)) {
      const tookMs = Math.round(performance.now() - startedAtMs)
      this.incidents.push(`the daemon ended with ${signal ?? `exit code ${code}`} ${tookMs} ms after SIGTERM`)
    }
  }

  /** Ends whatever runs, in whatever state it is. */
  async close(): Promise<void> {
    await this.producers.close()
    const { daemon } = this
    this.daemon = undefined
    if (daemon) {
      daemon.kill('SIGKILL')
      await daemon.ended
    }
    const pid = await this.privateRedisPid()
    if (pid !== undefined) await this.killRedis(pid)
    await this.outside.close()
    if (this.mounted) unmountSmallDisk(this.dataDir)
    this.mounted = false
  }

  /** Outputs that show a value. */
  findLeaks(): string[] {
    return this.daemons.some((daemon) => daemon.output().includes(VALUE_MARK))
      ? ['the log of the daemon shows a value']
      : []
  }

  private startDaemon(): void {
    const entry = join(this.options.program, 'dist', 'workers', 'memorySync-worker.js')
    const startedAtMs = performance.now()
    const daemon = spawnDaemon(this.dataDir, this.settings, entry)
    this.daemon = daemon
    this.daemons.push(daemon)
    void daemon.ended.then(({ code, signal }) => {
      if (this.daemon !== daemon) return
      const last = daemon.log.at(-1)
      // With no room it cannot begin, says so, and is started again, as a service is.
      const hadNoRoom =
        this.fullAtMs > startedAtMs && daemon.log.some(({ code }) => code === 'MEMSYNC_STORE_UNAVAILABLE')
      const how = `${signal ?? `exit code ${code}`}: ${last?.msg ?? daemon.output().slice(-300)}`
      if (!hadNoRoom) this.incidents.push(`the daemon ended by itself with ${how}`)
      this.startDaemon()
    })
  }

  private async killDaemon(downMs: number): Promise<void> {
    const { daemon } = this
    this.daemon = undefined
    daemon?.kill('SIGKILL')
    await daemon?.ended
    this.counts.kills++
    await sleep(downMs)
    this.startDaemon()
  }

  private async carryOut(fault: Fault): Promise<void> {
    switch (fault.part) {
      case 'process':
        return this.breakProcess(fault)
      case 'queue':
        return fault.kind === 'link'
          ? this.outside.breakLink('queue', fault.link, fault.forMs)
          : this.breakRedis(fault)
      case 'remote':
        return fault.kind === 'link'
          ? this.outside.breakLink('remote', fault.link, fault.forMs)
          : this.outside.answerBadly(fault.how, fault.forMs)
      case 'embedder':
        return fault.kind === 'link'
          ? this.outside.breakLink('embedder', fault.link, fault.forMs)
          : this.outside.embedBadly(fault.how, fault.forMs)
      case 'disk':
        this.fullAtMs = performance.now() + fault.forMs
        return fillDisk(this.dataDir, fault.forMs)
    }
  }

  private async breakProcess(fault: Extract<Fault, { part: 'process' }>): Promise<void> {
    switch (fault.kind) {
      case 'kill daemon':
        return this.killDaemon(fault.downMs)
      case 'kill daemon at a dead letter':
        await this.awaitFailedJob()
        return this.killDaemon(fault.downMs)
      case 'stop daemon':
        await this.stopDaemon()
        await sleep(fault.downMs)
        this.startDaemon()
        return
      case 'freeze daemon':
        this.daemon?.kill('SIGSTOP')
        await sleep(fault.forMs)
        this.daemon?.kill('SIGCONT')
        return
      case 'kill producer':
        return this.producers.kill()
      case 'power cut':
        return this.cutPower(fault.downMs)
    }
  }

  /** Until a job stands in the failed set, from where it becomes a dead letter; not for long. */
  private async awaitFailedJob(): Promise<void> {
    const deadline = performance.now() + 500
    while (performance.now() < deadline) {
      const failed = await askRedis(this.redisSocket, 'ZCARD bull:memory-sync:failed', 100).catch(() => '')
      if (/^:[1-9]/.test(failed)) return
      await sleep(1)
    }
  }

  private async cutPower(downMs: number): Promise<void> {
    const { daemon } = this
    this.daemon = undefined
    daemon?.kill('SIGKILL')
    const ended = this.producers.kill(false)
    await Promise.all([daemon?.ended, ended])
    // The private one outlives its daemon, and not a machine.
    const pid = await this.privateRedisPid()
    if (pid !== undefined) await this.killRedis(pid)
    this.counts.kills++
    cutPower(join(this.dataDir, 'spool'), this.journal, this.kept, this.counts.kills % 3 === 0 ? 0.5 : 1)
    await sleep(downMs)
    await this.producers.kill()
    this.startDaemon()
  }

  private async breakRedis(fault: Extract<Fault, { part: 'queue' }>): Promise<void> {
    switch (fault.kind) {
      case 'kill redis':
      case 'stop redis': {
        const pid = this.outside.redis?.pid ?? (await this.privateRedisPid())
        if (pid === undefined) return
        this.counts.redisKills++
        if (fault.kind === 'kill redis') await this.killRedis(pid)
        else signal(pid, 'SIGTERM')
        if (!this.outside.redis) return
        await sleep(fault.downMs)
        await this.outside.redis.restart()
        return
      }
      case 'freeze redis': {
        const pid = this.outside.redis?.pid ?? (await this.privateRedisPid())
        if (pid === undefined) return
        signal(pid, 'SIGSTOP')
        await sleep(fault.forMs)
        signal(pid, 'SIGCONT')
        return
      }
      case 'full redis':
        return this.configureRedis('CONFIG SET maxmemory 1', 'CONFIG SET maxmemory 0', fault.forMs)
      case 'read-only redis':
        return this.configureRedis('REPLICAOF 127.0.0.1 1', 'REPLICAOF NO ONE', fault.forMs)
    }
  }

  private async configureRedis(on: string, off: string, forMs: number): Promise<void> {
    const ask = (command: string) => askRedis(this.redisSocket, command, 2_000).catch(() => 'not there')
    await ask(on)
    await sleep(forMs)
    // One that was killed meanwhile has forgotten it.
    await ask(off)
  }

  private get redisSocket(): string {
    return this.outside.redis?.socketPath ?? privateRedisSocket(this.dataDir)
  }

  private async privateRedisPid(): Promise<number | undefined> {
    if (this.outside.redis) return undefined
    return findServerProcess(join(realpathSync(this.dataDir), 'redis'), this.redisSocket)
  }

  private async killRedis(pid: number): Promise<void> {
    if (this.outside.redis) return this.outside.redis.kill()
    signal(pid, 'SIGKILL')
    await waitFor('the private Redis is gone', async () => (await this.privateRedisPid()) !== pid)
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    // It has ended meanwhile.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
