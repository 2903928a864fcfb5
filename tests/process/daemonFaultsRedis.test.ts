/** Invariant 4 for the Redis of REDIS_URL: away at boot, under load, for ever, or at the end of a dead link. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { askDaemon } from '../../src/daemon/controlClient.ts'
import { spawnDaemon, type TestDaemon } from '../support/daemon.ts'
import { keysOf, type Producer, produceOn } from '../support/producer.ts'
import { expectPrompt } from '../support/promptness.ts'
import { startTestRedis, type TestRedis } from '../support/redis.ts'
import { startTcpProxy } from '../support/tcpProxy.ts'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

const DRAIN_TIMEOUT_MS = 1000
const QUICK_DRAIN = { MEMSYNC_DRAIN_TIMEOUT_MS: String(DRAIN_TIMEOUT_MS) }
/** Beyond the drain: what a stop takes to let go. */
const RELEASE_MS = 2000
const PORT_NOBODY_HAS = 'redis://127.0.0.1:1'

const cleanUps: (() => unknown)[] = []
afterEach(async () => {
  for (let cleanUp = cleanUps.pop(); cleanUp; cleanUp = cleanUps.pop()) await cleanUp()
})

async function redis(options?: Parameters<typeof startTestRedis>[0]): Promise<TestRedis> {
  const server = await startTestRedis(options)
  cleanUps.push(() => server.stop())
  return server
}

async function producerOn(server: TestRedis): Promise<Producer> {
  const producer = await produceOn({ kind: 'socket', path: server.socketPath })
  cleanUps.push(() => producer.close())
  return producer
}

function daemonOn(url: string, settings: Record<string, string> = {}): TestDaemon & { dataDir: string } {
  const dataDir = tempDir()
  const daemon = spawnDaemon(dataDir, { REDIS_URL: url, ...settings })
  cleanUps.push(async () => {
    daemon.kill('SIGKILL')
    await daemon.ended
  })
  return { ...daemon, dataDir }
}

async function endedInTime(daemon: TestDaemon): Promise<void> {
  const askedAt = performance.now()
  daemon.kill('SIGTERM')
  expect(await daemon.ended).toEqual({ code: 0, signal: null })
  expectPrompt(performance.now() - askedAt, DRAIN_TIMEOUT_MS + RELEASE_MS)
}

function told(daemon: TestDaemon): string[] {
  return daemon.log.map((line) => line.msg).filter((message) => message.startsWith('redis is'))
}

async function synced(daemon: TestDaemon, count: number): Promise<void> {
  await waitFor(`${count} are synced`, async () => (await daemon.status()).totals.synced === count)
}

describe('a Redis that is away at boot', () => {
  it('is waited for: status answers meanwhile, and jobs are taken within 3 s once it is there', async () => {
    const server = await redis()
    await (await producerOn(server)).add(keysOf('k', 10))
    await server.kill()
    const daemon = daemonOn(server.url)
    await daemon.logged('redis is away')
    expect(await daemon.status()).toMatchObject({
      daemon: { running: true, progress: { state: 'waiting' } },
      redis: { state: 'down', reason: expect.stringContaining('ECONNREFUSED') },
      lanes: { sync: { waiting: null } },
    })
    await server.restart()
    const backAt = performance.now()
    await synced(daemon, 10)
    expectPrompt(performance.now() - backAt, 3000)
    const memory = { op: 'enqueue', job: 'MEMORY_SYNC', data: { key: 'later', value: 1 } }
    expect(await askDaemon(daemon.dataDir, memory, 5000)).toMatchObject({ ok: true })
    await synced(daemon, 11)
    expect(await daemon.status()).toMatchObject({ totals: { queued: 11 }, lanes: { sync: { waiting: 0 } } })
    expect(told(daemon)).toEqual(['redis is away', 'redis is back'])
  })

  it('for ever: SIGTERM ends the daemon all the same, with exit code 0', async () => {
    const daemon = daemonOn(PORT_NOBODY_HAS, QUICK_DRAIN)
    await daemon.logged('redis is away')
    await endedInTime(daemon)
    expect(told(daemon)).toEqual(['redis is away'])
  })

  it('in that it refuses the password: says so once, shows no password, and goes on once it is right', async () => {
    const server = await redis({ tcp: true, settings: { requirepass: 'another-password' } })
    const daemon = daemonOn(`redis://:marker-secret@127.0.0.1:${server.port}`)
    await daemon.logged('redis is away')
    const { reason } = (await daemon.status()).redis
    expect(reason).toMatch(/refuses this user/)
    const admin = await produceOn({ kind: 'url', url: `redis://:another-password@127.0.0.1:${server.port}` })
    cleanUps.push(() => admin.close())
    await admin.redis.config('SET', 'requirepass', 'marker-secret')
    await daemon.logged('ready')
    expect(told(daemon)).toEqual(['redis is away', 'redis is back'])
    expect(daemon.output()).not.toContain('marker-secret')
  })

  it.each([
    {
      fault: 'over maxmemory',
      begin: (producer: Producer) => producer.redis.config('SET', 'maxmemory', '1mb'),
      end: (producer: Producer) => producer.redis.config('SET', 'maxmemory', '0'),
    },
    {
      fault: 'a replica',
      begin: (producer: Producer) => producer.redis.replicaof('127.0.0.1', 1),
      end: (producer: Producer) => producer.redis.replicaof('NO', 'ONE'),
    },
  ])(
    'in that it is $fault: the daemon starts, waits, and takes jobs once that is over',
    async ({ begin, end }) => {
      const server = await redis()
      const producer = await producerOn(server)
      await producer.add(keysOf('k', 500))
      await begin(producer)
      const impatient = daemonOn(server.url, QUICK_DRAIN)
      const daemon = daemonOn(server.url)
      await Promise.all([impatient.logged('redis is away'), daemon.logged('redis is away')])
      await waitFor('it is known why', async () => (await daemon.status()).redis.state === 'refusing')
      await endedInTime(impatient)
      await end(producer)
      const overAt = performance.now()
      await waitFor('work goes on', async () => (await daemon.status()).totals.synced > 0)
      expectPrompt(performance.now() - overAt, 3000)
      await synced(daemon, 500)
      expect(told(daemon)).toEqual(['redis is away', 'redis is back'])
    },
  )
})

describe('a Redis that goes away under load', () => {
  it('for ever: SIGTERM ends the daemon within its deadline, with exit code 0', async () => {
    const server = await redis()
    const daemon = daemonOn(server.url, QUICK_DRAIN)
    await daemon.logged('ready')
    await (await producerOn(server)).add(keysOf('k', 5000))
    await waitFor('work goes on', async () => (await daemon.status()).totals.synced > 0)
    await server.kill()
    await daemon.logged('redis is away')
    await endedInTime(daemon)
  })

  /** Hands over jobs with a single attempt each, of which one burnt would make a dead letter. */
  async function loaded(url: string, server: TestRedis) {
    const daemon = daemonOn(url)
    await daemon.logged('ready')
    const producer = await producerOn(server)
    const hand = (prefix: string, count: number) =>
      producer.queue.addBulk(
        keysOf(prefix, count).map((key) => ({
          name: 'MEMORY_SYNC',
          data: { key, value: 1 },
          opts: { attempts: 1 },
        })),
      )
    await hand('before', 5000)
    await waitFor('work goes on', async () => (await daemon.status()).totals.synced > 0)
    return { daemon, producer, hand }
  }

  async function resumedWithoutLoss(daemon: TestDaemon, producer: Producer, total: number): Promise<void> {
    const backAt = performance.now()
    const before = (await daemon.status()).totals.synced
    await waitFor('work resumes', async () => (await daemon.status()).totals.synced > before)
    expectPrompt(performance.now() - backAt, 3000)
    // What was fetched and never arrived comes back when its lock expires.
    await waitFor('nothing is pending', async () => (await producer.pending()) === 0, { timeoutMs: 20_000 })
    expect(await daemon.status()).toMatchObject({
      deadLetters: 0,
      totals: { queued: total, synced: total, superseded: 0 },
      store: { keys: total },
    })
    expect(told(daemon)).toEqual(['redis is away', 'redis is back'])
  }

  async function survives(
    { server, url }: { server: TestRedis; url: string },
    outage: { begin(): unknown; end(): unknown; noticedWithinMs: number; lastsMs: number },
  ): Promise<void> {
    const { daemon, producer, hand } = await loaded(url, server)
    await outage.begin()
    const goneAt = performance.now()
    await daemon.logged('redis is away')
    expectPrompt(performance.now() - goneAt, outage.noticedWithinMs)
    expect((await daemon.status()).redis.state).toBe('down')
    await sleep(Math.max(0, outage.lastsMs - (performance.now() - goneAt)))
    await outage.end()
    await hand('after', 100)
    await resumedWithoutLoss(daemon, producer, 5100)
  }

  // Two outages at the same time, as waiting is most of them.
  it('for 20 s, or behind a half-open link: work resumes within 3 s, no attempt burnt, each job counted once', async () => {
    const [killed, behindProxy] = await Promise.all([redis(), redis({ tcp: true })])
    const proxy = await startTcpProxy({ port: behindProxy.port })
    cleanUps.push(() => proxy.close())
    await Promise.all([
      survives(
        { server: killed, url: killed.url },
        {
          begin: () => killed.kill(),
          end: () => killed.restart(),
          noticedWithinMs: 1000,
          lastsMs: 20_000,
        },
      ),
      survives(
        { server: behindProxy, url: `redis://127.0.0.1:${proxy.port}` },
        { begin: () => proxy.blackHole(), end: () => proxy.pass(), noticedWithinMs: 21_000, lastsMs: 0 },
      ),
    ])
  })
})
