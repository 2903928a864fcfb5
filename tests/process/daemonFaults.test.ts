/** Invariants 1, 2 and 8 under kill -9 of the daemon and of its private Redis, and how a daemon stops. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { afterEach, describe, expect, it } from 'vitest'
import { askDaemon, controlSocket } from '../../src/daemon/controlClient.ts'
import { privateRedisSocket } from '../../src/queue/privateRedis.ts'
import { classifyRedisError } from '../../src/queue/redisErrors.ts'
import { probeRedis } from '../../src/queue/redisProcess.ts'
import { privateRedisPid } from '../support/cli.ts'
import { spawnDaemon, startDaemon, type TestDaemon } from '../support/daemon.ts'
import { keysOf, type Producer, produceOn } from '../support/producer.ts'
import { expectPrompt } from '../support/promptness.ts'
import { signalProcess } from '../support/signalProcess.ts'
import { tempDir, tempDirInMemory } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

const MAX_WAITING = 200
const HANGING_HANDLER = pathToFileURL(join(import.meta.dirname, '..', 'support', 'hangingHandler.mjs')).href

const cleanUps: (() => unknown)[] = []
afterEach(async () => {
  for (let cleanUp = cleanUps.pop(); cleanUp; cleanUp = cleanUps.pop()) await cleanUp()
})

function dataFolder(dataDir = tempDir()): string {
  cleanUps.push(async () => {
    const pid = await privateRedisPid(dataDir)
    if (pid !== undefined) process.kill(pid, 'SIGKILL')
  })
  return dataDir
}

async function daemonIn(dataDir: string, settings: Record<string, string> = {}): Promise<TestDaemon> {
  const daemon = await startDaemon(dataDir, settings)
  cleanUps.push(() => killed(daemon))
  return daemon
}

async function killed(daemon: TestDaemon): Promise<void> {
  daemon.kill('SIGKILL')
  await daemon.ended
}

/** A process of its own that hands memories over at its own pace, whatever the daemon does. */
async function producerIn(dataDir: string): Promise<Producer> {
  const producer = await produceOn({ kind: 'socket', path: privateRedisSocket(dataDir) })
  cleanUps.push(() => producer.close())
  return producer
}

/**
 * Hands over batch after batch until told to stop, but no faster than they are done: how long a recovery takes must
 * not depend on a backlog. A batch that fails with the connection is not handed over again.
 */
function steadily(producer: Producer): { stop(): Promise<Handed> } {
  const handed: Handed = { accepted: 0, unanswered: 0 }
  let stopped = false
  const handOver = async (batch: number) => {
    const keys = keysOf(`b${batch}-`, 50)
    try {
      await producer.queue.addBulk(
        keys.map((key) => ({ name: 'MEMORY_SYNC', data: { key, value: key }, opts: { attempts: 1 } })),
      )
      handed.accepted += keys.length
    } catch (error) {
      if (!classifyRedisError(error)) throw error
      handed.unanswered += keys.length
    }
  }
  const done = (async () => {
    for (let batch = 0; !stopped; batch++) {
      await handOver(batch)
      do await sleep(10)
      while (!stopped && (await producer.queue.getWaitingCount()) > MAX_WAITING)
    }
    return handed
  })()
  // Whoever stops it is told; a test that fails before does not ask.
  done.catch(() => undefined)
  cleanUps.push(() => {
    stopped = true
  })
  return {
    stop: () => {
      stopped = true
      return done
    },
  }
}

function timesTold(daemon: TestDaemon, message: string): number {
  return daemon.log.filter(({ msg }) => msg === message).length
}

function enqueue(dataDir: string, key: string) {
  return askDaemon(dataDir, { op: 'enqueue', job: 'MEMORY_SYNC', data: { key, value: 1 } }, 5000)
}

async function nothingIsPending(producer: Producer, timeoutMs: number): Promise<void> {
  await waitFor('nothing is pending', async () => (await producer.pending()) === 0, { timeoutMs })
}

interface Handed {
  /** Acknowledged by Redis. */
  accepted: number
  /** Redis ended before it answered, so nobody knows. */
  unanswered: number
}

/** Nothing lost, nothing twice, nothing dead. */
async function eachIsCountedOnce(daemon: TestDaemon, { accepted, unanswered }: Handed): Promise<void> {
  const { totals, deadLetters, store } = await daemon.status()
  expect(totals.queued).toBeGreaterThanOrEqual(accepted)
  expect(totals.synced + totals.superseded).toBe(totals.queued)
  expect(store.keys).toBeGreaterThanOrEqual(accepted)
  expect(store.keys).toBeLessThanOrEqual(accepted + unanswered)
  expect(deadLetters).toBe(0)
}

describe('kill -9 of the daemon', () => {
  it('20 times in a row under load: all is done within 12 s of the last start, each once, none a dead letter', async () => {
    const dataDir = dataFolder()
    let daemon = await daemonIn(dataDir)
    const redisPid = await privateRedisPid(dataDir)
    const producer = await producerIn(dataDir)
    const load = steadily(producer)
    for (let kill = 1; kill <= 20; kill++) {
      const before = (await daemon.status()).totals.synced
      await waitFor('work goes on', async () => (await daemon.status()).totals.synced > before, {
        intervalMs: 1,
      })
      await waitFor('jobs are in flight', async () => (await producer.queue.getActiveCount()) > 0, {
        intervalMs: 1,
      })
      await killed(daemon)
      daemon = await daemonIn(dataDir)
    }
    const startedAt = performance.now()
    expect(daemon.log.find((line) => line.msg === 'the private redis runs')).toMatchObject({
      redisPid,
      adopted: true,
    })
    const handed = await load.stop()
    await nothingIsPending(producer, 60_000)
    expectPrompt(performance.now() - startedAt, 12_000)
    await eachIsCountedOnce(daemon, handed)
  })
})

describe('kill -9 of the private Redis under load', () => {
  it('the daemon brings it back and goes on within 3 s; nothing accepted is lost, and it is told once', async () => {
    const dataDir = dataFolder()
    const daemon = await daemonIn(dataDir)
    const producer = await producerIn(dataDir)
    const load = steadily(producer)
    await waitFor('work goes on', async () => (await daemon.status()).totals.synced > 500)
    for (let kill = 1; kill <= 3; kill++) {
      const pid = await privateRedisPid(dataDir)
      signalProcess(pid, 'SIGKILL')
      await waitFor('another one answers', async () => {
        const isAnother = ![undefined, pid].includes(await privateRedisPid(dataDir))
        return isAnother && (await probeRedis(privateRedisSocket(dataDir))) === 'ready'
      })
      const backAt = performance.now()
      // What was in hand may be committed without Redis: only what is synced after this was fetched from the new one.
      await waitFor('the daemon has it', async () => timesTold(daemon, 'redis is back') === kill)
      const before = (await daemon.status()).totals.synced
      await waitFor('work resumes', async () => (await daemon.status()).totals.synced > before)
      expectPrompt(performance.now() - backAt, 3000)
    }
    const handed = await load.stop()
    await nothingIsPending(producer, 20_000)
    await eachIsCountedOnce(daemon, handed)
    const told = daemon.log.map((line) => line.msg).filter((message) => message !== 'ready')
    const once = ['redis is away', 'redis is back']
    expect(told).toEqual(['the private redis runs', ...once, ...once, ...once])
  })

  it('also one that is killed again before the daemon has reached it', async () => {
    const dataDir = dataFolder()
    const daemon = await daemonIn(dataDir)
    for (let kill = 1; kill <= 4; kill++) {
      const isReady = async () => (await probeRedis(privateRedisSocket(dataDir))) === 'ready'
      await waitFor('one is ready', isReady, { intervalMs: 1 })
      signalProcess(await privateRedisPid(dataDir), 'SIGKILL')
    }
    await waitFor('a memory is accepted', () => enqueue(dataDir, 'k'))
    await waitFor('it is synced', async () => (await daemon.status()).totals.synced === 1)
  })
})

describe('a stop by SIGTERM', () => {
  it('finishes what is in flight and leaves no Redis, no socket and no lock; the next start has it all', async () => {
    const dataDir = dataFolder()
    const daemon = await daemonIn(dataDir)
    const producer = await producerIn(dataDir)
    await producer.add(keysOf('k', 1000))
    await waitFor('jobs are in flight', async () => (await producer.queue.getActiveCount()) > 0, {
      intervalMs: 1,
    })
    producer.close()
    const askedAt = performance.now()
    daemon.kill('SIGTERM')
    expect(await daemon.ended).toEqual({ code: 0, signal: null })
    expectPrompt(performance.now() - askedAt, 3000)
    expect(daemon.log.at(-1)).toMatchObject({ msg: 'stopped', inTime: true })
    expect(await privateRedisPid(dataDir)).toBeUndefined()
    expect(existsSync(privateRedisSocket(dataDir))).toBe(false)
    expect(existsSync(controlSocket(dataDir))).toBe(false)

    const next = await daemonIn(dataDir)
    const readyAt = performance.now()
    await waitFor('the rest is synced', async () => (await next.status()).totals.synced === 1000)
    // Sooner than a lock expires, which takes 10 s: the stop left nothing in flight.
    expectPrompt(performance.now() - readyAt, 8000)
    expect(next.log.find((line) => line.msg === 'the private redis runs')).toMatchObject({ adopted: false })
  })

  it('with a handler that hangs ends at its deadline, and leaves no Redis', async () => {
    const dataDir = dataFolder()
    const daemon = await daemonIn(dataDir, {
      NODE_OPTIONS: `--import ${HANGING_HANDLER}`,
      MEMSYNC_DRAIN_TIMEOUT_MS: '500',
    })
    const producer = await producerIn(dataDir)
    await producer.add(['k'])
    await waitFor('it is in flight', async () => (await producer.queue.getActiveCount()) === 1)
    producer.close()
    const askedAt = performance.now()
    daemon.kill('SIGTERM')
    expect(await daemon.ended).toEqual({ code: 0, signal: null })
    expectPrompt(performance.now() - askedAt, 2000)
    expect(daemon.log.at(-1)).toMatchObject({ msg: 'stopped', inTime: true })
    expect(await privateRedisPid(dataDir)).toBeUndefined()
    expect(existsSync(controlSocket(dataDir))).toBe(false)
  })

  it('followed by a second one is at once: exit code 143', async () => {
    const dataDir = dataFolder()
    const daemon = await daemonIn(dataDir, { NODE_OPTIONS: `--import ${HANGING_HANDLER}` })
    const producer = await producerIn(dataDir)
    await producer.add(['k'])
    await waitFor('it is in flight', async () => (await producer.queue.getActiveCount()) === 1)
    daemon.kill('SIGTERM')
    await daemon.logged('stopping')
    // A second signal within 300 ms counts as the echo of the first.
    await sleep(350)
    const askedAt = performance.now()
    daemon.kill('SIGTERM')
    expect(await daemon.ended).toEqual({ code: 143, signal: null })
    expectPrompt(performance.now() - askedAt, 500)
  })
})

describe('a daemon that makes no progress', () => {
  it('says so, rebuilds its worker, and then exits with 70', async () => {
    const dataDir = dataFolder()
    const daemon = await daemonIn(dataDir, {
      NODE_OPTIONS: `--import ${HANGING_HANDLER}`,
      MEMSYNC_DRAIN_TIMEOUT_MS: '200',
      MEMSYNC_STALL_TIMEOUT_MS: '1000',
    })
    const producer = await producerIn(dataDir)
    await producer.add(keysOf('k', 3))
    await daemon.logged('no progress: the worker is rebuilt')
    expect((await daemon.status()).daemon.progress.state).toBe('stalled')
    // What the old worker took comes back when its locks expire; this one the new worker takes now.
    await producer.add(['l'])
    expect(await daemon.ended).toEqual({ code: 70, signal: null })
    expect(daemon.log.map((line) => line.msg)).toContain('no progress even so: exiting')
  })

  it('is not one whose Redis is frozen: that is an outage, waited out', async () => {
    // On a disk that stands still for longer than the timeout it would be a stall, and rightly so.
    const dataDir = dataFolder(tempDirInMemory())
    const daemon = await daemonIn(dataDir, { MEMSYNC_STALL_TIMEOUT_MS: '1000' })
    const producer = await producerIn(dataDir)
    const pid = await privateRedisPid(dataDir)
    await producer.add(keysOf('k', 300))
    signalProcess(pid, 'SIGSTOP')
    // More than the two stall timeouts after which a daemon that hangs would end.
    await sleep(3500)
    expect((await daemon.status()).totals.synced).toBeLessThan(300)
    signalProcess(pid, 'SIGCONT')
    await nothingIsPending(producer, 20_000)
    expect(await daemon.status()).toMatchObject({ totals: { synced: 300 } })
    expect(daemon.log.map((line) => line.msg)).toEqual(['the private redis runs', 'ready'])
  })
})

describe('a queue that was paused in Redis', () => {
  it('is told and shown, is no stall, and goes on when it is resumed', async () => {
    const dataDir = dataFolder(tempDirInMemory())
    const daemon = await daemonIn(dataDir, { MEMSYNC_STALL_TIMEOUT_MS: '1000' })
    const producer = await producerIn(dataDir)
    await producer.queue.pause()
    await producer.add(['k'])
    await daemon.logged('the queue was paused from outside')
    expect(await daemon.status()).toMatchObject({
      daemon: { progress: { state: 'waiting' } },
      lanes: { sync: { gate: 'shut', waiting: 1 } },
    })
    // Twice the stall timeout would end it.
    await sleep(2500)
    await producer.queue.resume()
    await waitFor('it is synced', async () => (await daemon.status()).totals.synced === 1)
    await daemon.logged('the queue was resumed')
  })
})

describe('a second daemon on the same data folder', () => {
  it('exits with 1 and MEMSYNC_ALREADY_RUNNING, and the first is unharmed', async () => {
    const dataDir = dataFolder()
    const first = await daemonIn(dataDir)
    const second = spawnDaemon(dataDir)
    expect(await second.ended).toEqual({ code: 1, signal: null })
    expect(second.log.find((line) => line.level === 'fatal')).toMatchObject({
      code: 'MEMSYNC_ALREADY_RUNNING',
    })
    expect(await enqueue(dataDir, 'k')).toMatchObject({ ok: true })
    await waitFor('it is synced', async () => (await first.status()).totals.synced === 1)
  })
})

describe('a store that is corrupt', () => {
  it('ends the start with MEMSYNC_STORE_CORRUPT, and is left as it is', async () => {
    const dataDir = dataFolder()
    const path = join(dataDir, 'memory.db')
    const garbage = Buffer.alloc(16_384, 'not a database')
    writeFileSync(path, garbage)
    const daemon = spawnDaemon(dataDir)
    expect(await daemon.ended).toEqual({ code: 1, signal: null })
    expect(daemon.log.find((line) => line.level === 'fatal')).toMatchObject({ code: 'MEMSYNC_STORE_CORRUPT' })
    expect(readFileSync(path).equals(garbage)).toBe(true)
    expect(await privateRedisPid(dataDir)).toBeUndefined()
  })
})
