/** The daemon and the spool: what producers put there arrives once and in order, through kills and outages. */
import { Queue } from 'bullmq'
import { afterEach, describe, expect, it, onTestFinished } from 'vitest'
import { loadConfig } from '../../src/config.ts'
import { openStore } from '../../src/infrastructure/memory/index.ts'
import { SYNC_QUEUE } from '../../src/jobs/index.ts'
import { createProducer, type HandedIn } from '../../src/producers/client.ts'
import { Spool } from '../../src/producers/spool.ts'
import { connectRedis } from '../../src/queue/connection.ts'
import { commandLine } from '../support/cli.ts'
import { startDaemon, type TestDaemon } from '../support/daemon.ts'
import { startTestRedis, type TestRedis } from '../support/redis.ts'
import { printedSeed } from '../support/seed.ts'
import { waitFor } from '../support/waitFor.ts'

const LIMIT = 2 ** 30

const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

async function daemonOn(dataDir: string, env: Record<string, string> = {}): Promise<TestDaemon> {
  const daemon = await startDaemon(dataDir, env)
  ends.push(async () => {
    daemon.kill('SIGTERM')
    await daemon.ended
  })
  return daemon
}

async function redisOf(): Promise<TestRedis> {
  const redis = await startTestRedis()
  ends.push(() => redis.stop())
  return redis
}

/** A producer that is not closed, as most are not. */
function producerOn(dataDir: string, redis?: TestRedis) {
  return createProducer({ config: { dataDir, ...(redis && { redisUrl: redis.url }) } })
}

async function readStore(dataDir: string) {
  const store = await openStore({ ...loadConfig({}, {}).config, dataDir }, { readOnly: true })
  ends.push(() => store.close())
  return store
}

async function settled(daemon: TestDaemon, memories: number) {
  return waitFor(
    `${memories} memories are settled`,
    async () => {
      const { spool, totals } = await daemon.status()
      return spool.records === 0 && totals.synced + totals.superseded >= memories ? totals : undefined
    },
    { timeoutMs: 20_000 },
  )
}

const places = (receipts: HandedIn[]) => receipts.map(({ accepted }) => accepted)

describe('the daemon', () => {
  it('that is killed again and again drains each memory once', async () => {
    const seed = printedSeed('kills during a drain')
    const cli = commandLine()
    const spool = new Spool(cli.dataDir, LIMIT)
    const files = 400
    const perFile = 5
    for (let file = 0; file < files; file++) {
      const at = Date.now()
      await spool.write(
        Array.from({ length: perFile }, (_, index) => ({
          uid: 'u',
          acceptedAtMs: at,
          memory: { key: index === 0 ? 'shared' : `k${file}-${index}`, value: file },
        })),
      )
    }
    for (let kill = 0; kill < 4; kill++) {
      const daemon = await startDaemonUntilDraining(cli.dataDir, (seed + kill * 37) % 120)
      daemon.kill('SIGKILL')
      await daemon.ended
    }
    const daemon = await daemonOn(cli.dataDir)
    const { synced, superseded } = await settled(daemon, files * perFile)
    const store = await readStore(cli.dataDir)
    expect(synced + superseded).toBe(files * perFile)
    expect((await store.find('shared'))?.value).toBe(files - 1)
    expect((await store.totals()).keys).toBe(files * (perFile - 1) + 1)
    for (const key of ['k0-1', `k${files - 1}-4`]) expect(await store.history(key)).toHaveLength(1)
  })

  /** Killed some time after it has begun to work, which is when it drains. */
  async function startDaemonUntilDraining(dataDir: string, afterMs: number): Promise<TestDaemon> {
    const { spawnDaemon } = await import('../support/daemon.ts')
    const daemon = spawnDaemon(dataDir)
    await daemon.logged('the private redis runs')
    await new Promise((resolve) => setTimeout(resolve, afterMs))
    return daemon
  }

  it('drains before it takes what the queue holds, and what was accepted later wins', async () => {
    const cli = commandLine()
    const redis = await redisOf()
    const spool = new Spool(cli.dataDir, LIMIT)
    const now = Date.now()
    const record = (key: string, acceptedAtMs: number) => ({
      uid: 'u',
      acceptedAtMs,
      memory: { key, value: 'spooled' },
    })
    await spool.write([record('older', now - 1000), record('newer', now + 60_000)])
    const connection = connectRedis({ kind: 'socket', path: redis.socketPath }, 'worker')
    ends.push(() => connection.disconnect())
    const queue = new Queue(SYNC_QUEUE, { connection })
    // No producer of ours: it does not look at the spool.
    await queue.addBulk(
      ['older', 'newer'].map((key) => ({ name: 'MEMORY_SYNC', data: { key, value: 'queued' } })),
    )
    const daemon = await daemonOn(cli.dataDir, { REDIS_URL: redis.url })
    expect(daemon.log.map(({ msg }) => msg)).toContain('the spool is drained')
    expect(await settled(daemon, 4)).toMatchObject({ synced: 3, superseded: 1 })
    const store = await readStore(cli.dataDir)
    expect((await store.find('older'))?.value).toBe('queued')
    expect((await store.find('newer'))?.value).toBe('spooled')
  })

  it('takes over from the spool within a moment, and producers go back to the queue', async () => {
    const cli = commandLine()
    const redis = await redisOf()
    const producer = producerOn(cli.dataDir, redis)
    const enqueue = (value: number) => producer.enqueue({ key: 'k', value })
    const early = [await enqueue(1)]
    await redis.kill()
    early.push(await enqueue(2))
    await redis.restart()
    // Redis is back, but what is in the spool comes first.
    early.push(await enqueue(3))
    expect(places(early)).toEqual(['queued', 'spooled', 'spooled'])
    expect((await cli.json(['status'])).document.spool).toMatchObject({ records: 2, bytes: 8192 })
    const daemon = await daemonOn(cli.dataDir, { REDIS_URL: redis.url })
    expect(places([await enqueue(4)])).toEqual(['queued'])
    expect(await settled(daemon, 4)).toMatchObject({ synced: 4, superseded: 0 })
    const store = await readStore(cli.dataDir)
    expect((await store.history('k')).map(({ value }) => value)).toEqual([4, 3, 2, 1])
  })

  it('takes a memory once that Redis took without saying so', async () => {
    const cli = commandLine()
    const redis = await redisOf()
    const daemon = await daemonOn(cli.dataDir, { REDIS_URL: redis.url })
    const producer = producerOn(cli.dataDir, redis)
    await producer.enqueue({ key: 'first', value: 0 })
    const client = connectRedis({ kind: 'socket', path: redis.socketPath }, 'producer')
    onTestFinished(() => client.disconnect())
    await client.connect()
    // Room for the first of a batch, so that it is refused in its midst.
    const usedBytes = Number(/used_memory:(\d+)/.exec(await client.info('memory'))?.[1])
    await client.config('SET', 'maxmemory', String(usedBytes + 600_000))
    const keys = Array.from({ length: 50 }, (_, index) => `k${index}`)
    const value = 'x'.repeat(20_000)
    const receipts = await Promise.all(keys.map((key) => producer.enqueue({ key, value })))
    expect(new Set(places(receipts))).toEqual(new Set(['spooled']))
    await client.config('SET', 'maxmemory', '0')
    expect(await settled(daemon, 51)).toMatchObject({ synced: 51, superseded: 0 })
    const { totals } = await daemon.status()
    // Some of them were in the queue twice.
    expect(totals.queued).toBeGreaterThan(51)
    const store = await readStore(cli.dataDir)
    for (const key of keys) expect(await store.history(key)).toHaveLength(1)
  })

  it('whose Redis is away shows what waits, and takes what the command puts into the spool', async () => {
    const cli = commandLine()
    const redis = await redisOf()
    const env = { REDIS_URL: redis.url }
    const daemon = await daemonOn(cli.dataDir, env)
    await cli.run(['enqueue', 'first', '1'], { env })
    await settled(daemon, 1)
    await redis.kill()
    await daemon.logged('redis is away')
    const { code, stdout, stderr } = await cli.run(['enqueue', 'k', '1'], { env })
    expect({ code, stdout }).toEqual({
      code: 0,
      stdout: expect.stringMatching(/^accepted k into the spool as /),
    })
    expect(stderr).toMatch(/^memsync: accepted into the spool; the daemon or its Redis does not answer/)
    expect((await daemon.status()).spool).toMatchObject({ records: 1, bytes: 4096 })
    expect((await cli.run(['status'], { env })).stdout).toMatch(/^spool +1 memory waits for Redis, 4\.0 KiB/m)
    const { document } = await cli.json(['delete', 'k'], { env })
    expect(document).toEqual({
      accepted: true,
      key: 'k',
      namespace: 'default',
      spooled: true,
      uid: expect.stringMatching(/^[0-9a-f-]{36}$/),
    })
    await redis.restart()
    expect(await settled(daemon, 3)).toMatchObject({ synced: 3, superseded: 0 })
    expect((await cli.json(['has', 'k'])).document).toMatchObject({ exists: false })
  })
})
