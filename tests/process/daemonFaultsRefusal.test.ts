/** Invariant 4 for a Redis that answers and takes no writes: jobs wait, nothing spins, each change is told once. */
import { mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { askDaemon } from '../../src/daemon/controlClient.ts'
import { startDaemon, type TestDaemon } from '../support/daemon.ts'
import { keysOf, type Producer, produceOn } from '../support/producer.ts'
import { expectPrompt } from '../support/promptness.ts'
import { startTestRedis, type TestRedis } from '../support/redis.ts'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

const CLOCK_TICKS_PER_S = 100
/** Probes, stalled checks, sweeps and figures are some tens; a loop without a pause is thousands. */
const MAX_COMMANDS_PER_S = 150

let server: TestRedis
let daemon: TestDaemon
let producer: Producer
let dataDir: string
let handedOver = 0

beforeAll(async () => {
  server = await startTestRedis({
    persist: false,
    settings: { 'enable-protected-configs': 'yes' },
  })
  producer = await produceOn({ kind: 'socket', path: server.socketPath })
  dataDir = tempDir()
  daemon = await startDaemon(dataDir, { REDIS_URL: server.url })
})
afterAll(async () => {
  producer.close()
  daemon.kill('SIGKILL')
  await daemon.ended
  await server.stop()
})

/** One attempt each: a single one burnt would make a dead letter. */
async function handOver(count: number): Promise<void> {
  const keys = keysOf(`k${handedOver}-`, count)
  await producer.queue.addBulk(
    keys.map((key) => ({
      name: 'MEMORY_SYNC',
      data: { key, value: 'x'.repeat(200) },
      opts: { attempts: 1 },
    })),
  )
  handedOver += count
}

async function allIsSynced(timeoutMs = 20_000): Promise<void> {
  await waitFor(
    'all is synced',
    async () => (await daemon.status()).totals.synced === handedOver && (await producer.pending()) === 0,
    { timeoutMs },
  )
  expect(await daemon.status()).toMatchObject({ deadLetters: 0, totals: { superseded: 0 } })
}

function cpuSeconds(): number {
  const fields = readFileSync(`/proc/${daemon.pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS_PER_S
}

/** What the daemon costs Redis and itself over 3 s of an outage. */
async function costOfWaiting() {
  const figure = async (name: string) =>
    Number(new RegExp(`${name}:(\\d+)`).exec(await producer.redis.info('stats'))?.[1])
  const begin = {
    commands: await figure('total_commands_processed'),
    connections: await figure('total_connections_received'),
    cpu: cpuSeconds(),
  }
  await sleep(3000)
  return {
    commandsPerS: ((await figure('total_commands_processed')) - begin.commands) / 3,
    connectionsPerS: ((await figure('total_connections_received')) - begin.connections) / 3,
    cpuShare: (cpuSeconds() - begin.cpu) / 3,
  }
}

function toldSince(position: number): string[] {
  return daemon.log.slice(position).map(({ msg, state, was }) => [msg, state ?? was].join(' '))
}

describe.each([
  {
    fault: 'out of memory',
    reason: /out of memory/,
    begin: () => producer.redis.config('SET', 'maxmemory', '1mb'),
    end: () => producer.redis.config('SET', 'maxmemory', '0'),
  },
  {
    fault: 'a replica (READONLY)',
    reason: /replica/,
    begin: () => producer.redis.replicaof('127.0.0.1', 1),
    end: () => producer.redis.replicaof('NO', 'ONE'),
  },
  {
    fault: 'failing to persist (MISCONF)',
    reason: /persist/,
    begin: async () => {
      const folder = join(server.folder, 'gone')
      mkdirSync(folder, { recursive: true })
      await producer.redis.config('SET', 'dir', folder)
      await producer.redis.config('SET', 'save', '3600 1')
      rmSync(folder, { recursive: true })
      await producer.redis.bgsave()
      await waitFor('the snapshot failed', async () =>
        (await producer.redis.info('persistence')).includes('rdb_last_bgsave_status:err'),
      )
    },
    end: () => producer.redis.config('SET', 'save', ''),
  },
])('a Redis that is $fault', ({ reason, begin, end }) => {
  it('makes jobs wait: no hot loop, no attempt burnt, one log line per change, and work resumes by itself', async () => {
    await handOver(2000)
    const position = daemon.log.length
    await begin()
    await waitFor('the daemon notices', async () => (await daemon.status()).redis.state === 'refusing')
    expect((await daemon.status()).redis.reason).toMatch(reason)
    expect((await daemon.status()).daemon.progress.state).toBe('waiting')

    const cost = await costOfWaiting()
    expect(cost.commandsPerS).toBeLessThan(MAX_COMMANDS_PER_S)
    expect(cost.connectionsPerS).toBeLessThan(5)
    expect(cost.cpuShare).toBeLessThan(0.2)
    const refused = askDaemon(
      dataDir,
      { op: 'enqueue', job: 'MEMORY_SYNC', data: { key: 'k', value: 1 } },
      5000,
    )
    await expect(refused).rejects.toMatchObject({ code: 'MEMSYNC_QUEUE_REFUSED' })

    const before = (await daemon.status()).totals.synced
    expect(before).toBeLessThan(handedOver)
    await end()
    const endedAt = performance.now()
    await waitFor('work resumes', async () => (await daemon.status()).totals.synced > before)
    expectPrompt(performance.now() - endedAt, 3000)
    await allIsSynced()
    expect(toldSince(position)).toEqual(['redis is away refusing', 'redis is back refusing'])
  })
})
