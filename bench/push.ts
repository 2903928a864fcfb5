/**
 * The rate at which waiting pushes drain to a server that answers in 20 ms, beside a bare loop that makes the same
 * calls at the same concurrency over a keep-alive agent of the same settings.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { loadConfig } from '../src/config.ts'
import { Notifier } from '../src/daemon/notifier.ts'
import { PushService } from '../src/daemon/pushService.ts'
import { openStore } from '../src/infrastructure/memory/index.ts'
import { memoryTarget, VERSION_HEADER } from '../src/infrastructure/remote/httpWire.ts'
import { openRemote } from '../src/infrastructure/remote/index.ts'
import { silentLogger } from '../src/logger.ts'
import { Measurements } from '../src/metrics/measurements.ts'
import { connectRedis, waitUntilReady } from '../src/queue/connection.ts'
import { type Bench, memories } from './rates.ts'

const TOKEN = 'a-token-of-the-benchmark'
const APPLY_BATCH = 1_000

export interface SlowServer {
  url: string
  /** Resolves once so many writes have come since the last time this was asked. */
  written(count: number): Promise<void>
  stop(): Promise<void>
}

/** @param answerMs how long it takes to answer */
export async function startSlowServer(answerMs = 20): Promise<SlowServer> {
  const child = fork(join(import.meta.dirname, 'slowServer.mjs'), [String(answerMs)])
  const [port] = (await once(child, 'message')) as [number]
  return {
    url: `http://127.0.0.1:${port}`,
    async written(count) {
      const told = once(child, 'message')
      child.send(count)
      await told
    },
    async stop() {
      const ended = once(child, 'exit')
      child.kill()
      await ended
    },
  }
}

/** Pushes per second of a drain of `count` waiting pointers. */
export async function pushRate(bench: Bench, server: SlowServer, count: number): Promise<number> {
  await bench.redis.flushall()
  const folder = mkdtempSync(join(tmpdir(), 'memsync-bench-'))
  const config = {
    ...{ ...loadConfig({}, {}).config, dataDir: folder },
    ...{ queuePrefix: bench.prefix, pushConcurrency: bench.concurrency },
  }
  const store = await openStore(config)
  const writes = memories(count).map(({ key, value }, index) => ({
    ...{ op: 'set' as const, namespace: 'default', key, valueJson: JSON.stringify(value) },
    ...{ version: { epoch: 1, sequence: index + 1, index: 0 }, acceptedAtMs: Date.now() },
  }))
  for (let start = 0; start < count; start += APPLY_BATCH)
    await store.apply(writes.slice(start, start + APPLY_BATCH))
  const redis = connectRedis(bench.endpoint, 'worker')
  await waitUntilReady(redis, 5000)
  const remote = openRemote('http', { url: server.url, key: TOKEN })
  const fail = (error: Error) => {
    throw error
  }
  const push = new PushService({
    ...{ config, redis, store, remote, logger: silentLogger, notifier: new Notifier(config, silentLogger) },
    ...{
      measurements: new Measurements(),
      onDeadLetter: () => undefined,
      onStalled: () => undefined,
      onWorkerError: fail,
    },
  })
  const { lane } = push.worker
  // As in an outage: all of them wait, and nothing is fetched.
  push.setRedisUsable(false)
  await push.start()
  while ((await lane.queue.getWaitingCount()) < count || push.remoteStatus.state !== 'up')
    await new Promise((resolve) => setTimeout(resolve, 50))
  const startedAt = performance.now()
  push.setRedisUsable(true)
  while (lane.finishedCount < count) await new Promise((resolve) => setTimeout(resolve, 5))
  const seconds = (performance.now() - startedAt) / 1000
  await push.stop()
  redis.disconnect()
  await store.close()
  rmSync(folder, { recursive: true })
  return count / seconds
}

/** The same calls from a bare loop. */
export async function barePushRate(bench: Bench, server: SlowServer, count: number): Promise<number> {
  const agent = new Agent({ keepAlive: true, scheduling: 'lifo' })
  const left = memories(count).entries()
  const call = async (index: number, key: string, value: unknown) => {
    const body = JSON.stringify({ value })
    const asked = request(`${server.url}${memoryTarget('default', key)}`, {
      ...{ agent, method: 'PUT' },
      headers: {
        ...{ authorization: `Bearer ${TOKEN}`, [VERSION_HEADER]: `1-${index + 1}-0` },
        ...{ 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
      },
    })
    asked.end(body)
    const [answer] = (await once(asked, 'response')) as [import('node:http').IncomingMessage]
    JSON.parse(await text(answer))
  }
  const loop = async () => {
    for (const [index, { key, value }] of left) await call(index, key, value)
  }
  const startedAt = performance.now()
  await Promise.all(Array.from({ length: bench.concurrency }, loop))
  const seconds = (performance.now() - startedAt) / 1000
  agent.destroy()
  return count / seconds
}
