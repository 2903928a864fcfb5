/** Invariant 4 for the store and its disk: locked by another, or full, jobs wait and work resumes by itself. */
import { rmSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { privateRedisSocket } from '../../src/queue/privateRedis.ts'
import { privateRedisPid } from '../support/cli.ts'
import { startDaemon, type TestDaemon } from '../support/daemon.ts'
import { keysOf, type Producer, produceOn } from '../support/producer.ts'
import { expectPrompt } from '../support/promptness.ts'
import { startTestRedis } from '../support/redis.ts'
import { canMountDisk, mountSmallDisk, unmountSmallDisk } from '../support/smallDisk.ts'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

/** A lock of BullMQ's runs out after this: a daemon that is blocked for longer loses its jobs. */
const LOCK_DURATION_MS = 10_000

/** Of which much is waiting for what the daemon does by itself. */
vi.setConfig({ testTimeout: 60_000 })

const cleanUps: (() => unknown)[] = []
afterEach(async () => {
  for (let cleanUp = cleanUps.pop(); cleanUp; cleanUp = cleanUps.pop()) await cleanUp()
})

async function daemonIn(dataDir: string, settings: Record<string, string> = {}): Promise<TestDaemon> {
  const daemon = await startDaemon(dataDir, settings)
  cleanUps.push(async () => {
    daemon.kill('SIGKILL')
    await daemon.ended
    const pid = await privateRedisPid(dataDir)
    if (pid !== undefined) process.kill(pid, 'SIGKILL')
  })
  return daemon
}

async function producerOn(socketPath: string): Promise<Producer> {
  const producer = await produceOn({ kind: 'socket', path: socketPath })
  cleanUps.push(() => producer.close())
  return producer
}

/** A daemon on `dataDir` whose Redis is elsewhere, so that only the store meets what happens there. */
async function withRedisElsewhere(dataDir: string): Promise<{ daemon: TestDaemon; producer: Producer }> {
  const server = await startTestRedis()
  cleanUps.push(() => server.stop())
  const daemon = await daemonIn(dataDir, { REDIS_URL: server.url })
  return { daemon, producer: await producerOn(server.socketPath) }
}

/** One attempt each: a single one burnt would make a dead letter. */
async function handOver(producer: Producer, keys: string[]): Promise<void> {
  await producer.queue.addBulk(
    keys.map((key) => ({
      name: 'MEMORY_SYNC',
      data: { key, value: 'x'.repeat(500) },
      opts: { attempts: 1 },
    })),
  )
}

async function synced(daemon: TestDaemon, count: number): Promise<void> {
  await waitFor(`${count} are synced`, async () => (await daemon.status()).totals.synced === count, {
    timeoutMs: 20_000,
  })
}

async function allIsDoneOnce(daemon: TestDaemon, producer: Producer, count: number): Promise<void> {
  await synced(daemon, count)
  await waitFor('nothing is pending', async () => (await producer.pending()) === 0, { timeoutMs: 20_000 })
  expect(await daemon.status()).toMatchObject({
    deadLetters: 0,
    totals: { superseded: 0 },
    store: { state: 'up', reason: null },
    lanes: { sync: { gate: 'open' } },
  })
}

function told(daemon: TestDaemon, about: string): string[] {
  return daemon.log.map((line) => line.msg).filter((message) => message.startsWith(about))
}

describe('a store that another process has locked', () => {
  it('is an outage: the gate shuts, status says why, no attempt is burnt, and the daemon stays responsive', async () => {
    const dataDir = tempDir()
    const { daemon, producer } = await withRedisElsewhere(dataDir)
    const rival = new DatabaseSync(join(dataDir, 'memory.db'), { timeout: 5000 })
    cleanUps.push(() => rival.isOpen && rival.close())
    rival.exec('BEGIN EXCLUSIVE')
    const lockedAt = performance.now()
    await handOver(producer, keysOf('k', 1000))
    let longestMs = 0
    while (performance.now() - lockedAt < 6000) {
      const askedAt = performance.now()
      await daemon.status()
      longestMs = Math.max(longestMs, performance.now() - askedAt)
      await sleep(50)
    }
    expectPrompt(longestMs, LOCK_DURATION_MS / 2)
    const { lanes, store, daemon: process, totals } = await daemon.status()
    expect(lanes.sync.gate).toBe('shut')
    expect(store).toMatchObject({ state: 'down', reason: expect.stringContaining('locked') })
    expect(process.progress.state).toBe('waiting')
    expect(totals.synced).toBe(0)
    rival.close()
    await allIsDoneOnce(daemon, producer, 1000)
    expect(told(daemon, 'the store')).toEqual(['the store is away', 'the store is back'])
  })
})

/** A folder on a disk of 20 MB of its own. */
function smallDisk(): string {
  const folder = tempDir()
  mountSmallDisk(folder, '20m')
  cleanUps.push(() => unmountSmallDisk(folder))
  return folder
}

/** @returns makes room again */
function fill(folder: string, leaveBytes: number): () => void {
  const ballast = join(folder, 'ballast')
  const { bavail, bsize } = statfsSync(folder)
  writeFileSync(ballast, Buffer.alloc(bavail * bsize - leaveBytes))
  return () => rmSync(ballast)
}

describe.skipIf(!canMountDisk(tempDir()))('a disk that is full', () => {
  it('shuts the gate, told once; jobs stay queued, and work resumes by itself when there is room', async () => {
    const dataDir = smallDisk()
    const { daemon, producer } = await withRedisElsewhere(dataDir)
    const makeRoom = fill(dataDir, 0)
    await handOver(producer, keysOf('k', 2000))
    await daemon.logged('the store is away')
    // Some probes fail meanwhile.
    await sleep(1500)
    const { lanes, store, totals, deadLetters } = await daemon.status()
    expect(lanes.sync.gate).toBe('shut')
    expect(store).toMatchObject({ state: 'down', reason: expect.stringContaining('full') })
    expect((lanes.sync.waiting ?? 0) + (lanes.sync.delayed ?? 0) + totals.synced).toBe(2000)
    expect(deadLetters).toBe(0)
    makeRoom()
    await allIsDoneOnce(daemon, producer, 2000)
    expect(told(daemon, 'the store')).toEqual(['the store is away', 'the store is back'])
  })

  it('under the private Redis, too: that ends at each write, which is no reason to spin, to flood the log or to lose', async () => {
    const dataDir = smallDisk()
    const daemon = await daemonIn(dataDir)
    const producer = await producerOn(privateRedisSocket(dataDir))
    await handOver(producer, keysOf('before', 100))
    await synced(daemon, 100)
    const makeRoom = fill(dataDir, 128 * 1024)
    const refused = handOver(producer, keysOf('refused', 500)).catch((error: Error) => error)
    await daemon.logged('redis is away')
    const pids = new Set<number | undefined>()
    for (const begunAt = performance.now(); performance.now() - begunAt < 4000; await sleep(20)) {
      pids.add(await privateRedisPid(dataDir))
    }
    pids.delete(undefined)
    expect(pids.size).toBeLessThanOrEqual(6)
    expect(daemon.log.length).toBeLessThan(15)
    makeRoom()
    await refused
    const after = await producerOn(privateRedisSocket(dataDir))
    await handOver(after, keysOf('after', 100))
    await waitFor('nothing is pending', async () => (await after.pending()) === 0, { timeoutMs: 20_000 })
    // Its own connection may still be on the way back.
    const { totals, deadLetters } = await waitFor('the daemon sees the queue', async () => {
      const status = await daemon.status()
      return status.totals.queued !== null && status
    })
    expect(totals.queued).toBeGreaterThanOrEqual(200)
    expect(totals.synced + totals.superseded).toBe(totals.queued)
    expect(deadLetters).toBe(0)
  })
})
