/**
 * Eight producer processes of every kind, while Redis is stopped four times and the daemon killed three: what was accepted
 * is applied or superseded, once, and the last of a key wins. MEMSYNC_TEST_MEMORIES is how many memories they hand over
 * together (2,400 unless set), MEMSYNC_TEST_SEED repeats where in the load the faults come.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { type CallToolResult, Client } from '@modelcontextprotocol/client'
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio'
import { expect, it, onTestFailed, onTestFinished } from 'vitest'
import { loadConfig } from '../../src/config.ts'
import { openStore } from '../../src/infrastructure/memory/index.ts'
import type { Store } from '../../src/infrastructure/memory/port.ts'
import { commandLine, MEMSYNC } from '../support/cli.ts'
import { isolatedEnvironment, startDaemon, type TestDaemon } from '../support/daemon.ts'
import { PRODUCER_PROCESS } from '../support/producerRole.ts'
import { startTestRedis, type TestRedis } from '../support/redis.ts'
import { printedSeed } from '../support/seed.ts'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

const MEMORIES = Number(process.env.MEMSYNC_TEST_MEMORIES ?? 2_400)
const PRODUCERS = 8
const ROUND_MEMORIES = 10
const ROUNDS = Math.ceil(MEMORIES / PRODUCERS / ROUND_MEMORIES)
const PER_PRODUCER = ROUNDS * ROUND_MEMORIES
const PACE_MS = 150
/** The machine may be busy: for what hangs. */
const LOAD_TIMEOUT_MS = 120_000 + 20 * MEMORIES
const SETTLE_TIMEOUT_MS = 40_000 + 10 * MEMORIES

const LEGACY_PRODUCER = join(import.meta.dirname, '..', 'support', 'legacyProducer.py')
const HAS_PYTHON = spawnSync('python3', ['--version']).status === 0

// The daemon first between two stops, as the jobs of one that was killed come back only after ten seconds.
const FAULTS = ['redis', 'daemon', 'redis', 'daemon', 'redis', 'daemon', 'redis'] as const

interface Accepted {
  key: string
  value: string
  namespace?: string
}

/** What the producers have handed over so far. */
class Load {
  readonly accepted: Accepted[] = []
  spooled = 0
  /** What has not ended yet. */
  readonly underway = new Set<string>()

  accept(memory: Accepted): void {
    this.accepted.push(memory)
  }

  async run(name: string, producer: Promise<void>): Promise<void> {
    this.underway.add(name)
    await producer
    this.underway.delete(name)
  }

  /** Resolves once so many are accepted, or nothing more is to come that a fault leaves alone. */
  async reached(count: number): Promise<void> {
    const timing = { timeoutMs: LOAD_TIMEOUT_MS, intervalMs: 5 }
    await waitFor(`${count} are accepted`, () => this.accepted.length >= count || !this.someGoesOn(), timing)
  }

  /** Whether a producer is left that tells each memory as it goes, and goes on while Redis or the daemon is away. */
  private someGoesOn(): boolean {
    return [...this.underway].some((name) => /^(client|hook|agent)/.test(name))
  }
}

it('every accepted memory is applied or superseded, once', {
  timeout: LOAD_TIMEOUT_MS + SETTLE_TIMEOUT_MS + 60_000,
}, async () => {
  const seed = printedSeed('mixed producers')
  const { dataDir } = commandLine()
  const legacyDir = tempDir()
  const redis = await startTestRedis()
  onTestFinished(() => redis.stop())
  const env = {
    REDIS_URL: redis.url,
    MEMSYNC_LEGACY_DIR: legacyDir,
    // As long as any key is given writes, so that each can be counted.
    MEMSYNC_HISTORY_VERSIONS: String(ROUNDS + 2),
  }
  const load = new Load()
  const machine = new Machine(dataDir, env, redis, await startDaemon(dataDir, env))
  onTestFinished(() => machine.stop())
  onTestFailed(() => {
    console.log(
      `${load.accepted.length} accepted, not ended: ${[...load.underway].join(', ')}; faults at ` +
        `${machine.faultsAt.join(', ')}; now ${machine.now}; the daemon's log:\n${machine.daemon.output().slice(-4_000)}`,
    )
  })
  const startedAtMs = performance.now()
  const producers = startProducers(load, dataDir, legacyDir, env)
  await Promise.all([...producers, machine.breakAll(load, seed)])
  const handedOverMs = performance.now() - startedAtMs
  expect(machine.faults).toEqual({ redis: 4, daemon: 3 })

  const store = await openStore({ ...loadConfig({}, {}).config, dataDir }, { readOnly: true })
  onTestFinished(() => store.close())
  await settled(store, machine.daemon, load.accepted)
  const settledMs = performance.now() - startedAtMs - handedOverMs
  expect(await wrongWrites(store, load.accepted)).toEqual([])
  const untold = await untoldWrites(store, load.accepted)
  // Only BullMQ by itself leaves open whether it took something; that is handed over again under another key.
  expect(untold.filter(({ key }) => !key.startsWith('plain'))).toEqual([])
  const { synced, superseded } = await store.totals()
  expect(synced + superseded).toBe(load.accepted.length + untold.length)
  expect((await machine.daemon.status()).deadLetters).toBe(0)
  expect(load.accepted.length).toBeGreaterThanOrEqual((HAS_PYTHON ? 8 : 7) * PER_PRODUCER)
  console.log(
    `${load.accepted.length} accepted (${load.spooled} of them spooled), ${synced} applied, ${superseded} ` +
      `superseded, ${untold.length} taken and not answered; faults at ${machine.faultsAt.join(', ')}; ` +
      `handed over in ${Math.round(handedOverMs)} ms, settled ${Math.round(settledMs)} ms later`,
  )
})

/** The daemon and the Redis that the producers hand over to, and what is done to them. */
class Machine {
  readonly faults = { redis: 0, daemon: 0 }
  /** How many memories were accepted when each fault came. */
  readonly faultsAt: number[] = []
  /** What is away, for a test that hangs. */
  now = 'whole'
  daemon: TestDaemon
  private readonly dataDir: string
  private readonly env: Record<string, string>
  private readonly redis: TestRedis

  constructor(dataDir: string, env: Record<string, string>, redis: TestRedis, daemon: TestDaemon) {
    this.dataDir = dataDir
    this.env = env
    this.redis = redis
    this.daemon = daemon
  }

  /** Each fault somewhere in its own seventh of the load; what it takes away stays so while some more is handed over. */
  async breakAll(load: Load, seed: number): Promise<void> {
    for (const [index, victim] of FAULTS.entries()) {
      const chance = ((seed >> (index * 4)) & 15) / 15
      const share = MEMORIES / FAULTS.length
      await load.reached(Math.round((index + 0.1 + 0.5 * chance) * share))
      this.faultsAt.push(load.accepted.length)
      this.faults[victim]++
      this.now = `without the ${victim}`
      await this.take(victim)
      await load.reached(load.accepted.length + Math.round((0.05 + 0.2 * chance) * share))
      this.now = `with the ${victim} beginning again`
      await this.giveBack(victim)
      this.now = 'whole'
    }
  }

  async stop(): Promise<void> {
    this.daemon.kill('SIGKILL')
    await this.daemon.ended
  }

  private async take(victim: (typeof FAULTS)[number]): Promise<void> {
    if (victim === 'redis') return this.redis.kill()
    this.daemon.kill('SIGKILL')
    expect(await this.daemon.ended).toMatchObject({ signal: 'SIGKILL' })
  }

  private async giveBack(victim: (typeof FAULTS)[number]): Promise<void> {
    if (victim === 'redis') await this.redis.restart()
    else this.daemon = await startDaemon(this.dataDir, this.env)
  }
}

/** Eight processes, and a cron script beside them; each resolves once all that its producer handed over is accepted. */
function startProducers(
  load: Load,
  dataDir: string,
  legacyDir: string,
  env: Record<string, string>,
): Promise<void>[] {
  const producers: Record<string, Promise<void>> = {
    agent: runAgent(load, dataDir, env),
    commands: runCommands(load, dataDir, env),
  }
  for (const name of ['client1', 'client2', 'client3', 'hook1', 'plain1', 'plain2']) {
    const args = [name.slice(0, -1), dataDir, name, String(ROUNDS)]
    producers[name] = runRole(load, args, isolatedEnvironment(dataDir, env))
  }
  if (HAS_PYTHON) producers.legacy = runLegacy(load, legacyDir)
  return Object.entries(producers).map(([name, producer]) => load.run(name, producer))
}

/** Ends with the test, also where that does not wait for it. */
function ending<C extends ChildProcess>(child: C): C {
  onTestFinished(() => void child.kill('SIGKILL'))
  return child
}

async function runRole(load: Load, args: string[], env: NodeJS.ProcessEnv): Promise<void> {
  const child = ending(
    spawn(process.execPath, [PRODUCER_PROCESS, ...args], { env, stdio: ['ignore', 'pipe', 'inherit'] }),
  )
  let said = 0
  createInterface(child.stdout).on('line', (text) => {
    const line = JSON.parse(text) as Accepted | { spooled: number }
    if ('spooled' in line) load.spooled += line.spooled
    else {
      load.accept(line)
      said++
    }
  })
  const [code] = await once(child, 'close')
  expect({ code, said }).toEqual({ code: 0, said: PER_PRODUCER })
}

/** An agent that saves through the MCP server. */
async function runAgent(load: Load, dataDir: string, env: Record<string, string>): Promise<void> {
  const client = new Client({ name: 'test', version: '1' })
  await client.connect(
    new StdioClientTransport({
      command: process.execPath,
      args: [MEMSYNC, 'mcp'],
      env: isolatedEnvironment(dataDir, env) as Record<string, string>,
      stderr: 'ignore',
    }),
  )
  for (let round = 0; round < ROUNDS; round++) {
    for (let index = 0; index < ROUND_MEMORIES; index++) {
      const memory = { key: index === 9 ? 'agent-last' : `agent-${round}-${index}`, value: `agent-${round}` }
      const answer = (await client.callTool({ name: 'memory_save', arguments: memory })) as CallToolResult
      expect(answer.isError, JSON.stringify(answer.content)).toBeFalsy()
      if ((answer.structuredContent as { accepted?: string }).accepted === 'spooled') load.spooled++
      load.accept(memory)
    }
    await sleep(PACE_MS)
  }
  await client.close()
}

async function runLegacy(load: Load, legacyDir: string): Promise<void> {
  const args = [PER_PRODUCER, 'legacy', ROUND_MEMORIES, PACE_MS / 1000].map(String)
  const child = ending(
    spawn('python3', [LEGACY_PRODUCER, legacyDir, ...args], { stdio: ['ignore', 'pipe', 'inherit'] }),
  )
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    output += chunk
  })
  await once(child, 'close')
  const { ids, timeouts } = JSON.parse(output) as { ids: string[]; timeouts: number }
  expect(timeouts).toBe(0)
  for (const [index, id] of ids.entries())
    load.accept({ key: `legacy/${id}`, value: `legacy ${index} é`, namespace: 'legacy' })
}

/** The command, again and again, as a cron script calls it. */
async function runCommands(load: Load, dataDir: string, env: Record<string, string>): Promise<void> {
  for (let call = 0; call < 8; call++) {
    const key = `command-${call}`
    const child = spawn(process.execPath, [MEMSYNC, 'enqueue', key, key], {
      env: isolatedEnvironment(dataDir, env),
      stdio: 'ignore',
    })
    const [code] = await once(child, 'close')
    expect(code).toBe(0)
    load.accept({ key, value: key })
  }
}

/** Nothing waits anywhere, and every key is there. */
async function settled(store: Store, daemon: TestDaemon, accepted: readonly Accepted[]): Promise<void> {
  let missing = [...accepted]
  await waitFor(
    'everything is settled',
    async () => {
      const { spool, lanes } = await daemon.status()
      const { waiting, active, delayed } = lanes.sync
      if ([spool.records, waiting, active, delayed].some((count) => count !== 0)) return false
      const found = await Promise.all(missing.map(({ key, namespace }) => store.find(key, namespace)))
      missing = missing.filter((_, index) => found[index] === undefined)
      return missing.length === 0
    },
    { timeoutMs: SETTLE_TIMEOUT_MS, intervalMs: 200 },
  )
}

/** The keys that hold another value than the last that was accepted, or one of their writes twice. */
async function wrongWrites(store: Store, accepted: readonly Accepted[]): Promise<unknown[]> {
  const last = new Map(accepted.map((memory) => [memory.key, memory]))
  const wrong: unknown[] = []
  for (const { key, value, namespace } of last.values()) {
    const values = (await store.history(key, namespace)).map((write) => write.value)
    const isShared = key.endsWith('-last')
    const ok = values[0] === value && new Set(values).size === values.length
    if (!ok || (!isShared && values.length !== 1)) wrong.push({ key, expected: value, values })
  }
  return wrong
}

/** What the store holds and nobody was told that it was taken. */
async function untoldWrites(
  store: Store,
  accepted: readonly Accepted[],
): Promise<{ key: string; value: unknown }[]> {
  const told = new Set(accepted.map(({ key }) => key))
  const untold: { key: string; value: unknown }[] = []
  let after: { namespace: string; key: string } | undefined
  do {
    const page = await store.list({ limit: 10_000, includeDeleted: true, ...(after && { after }) })
    for (const { key, value } of page.memories) if (!told.has(key)) untold.push({ key, value })
    after = page.next
  } while (after)
  return untold
}
