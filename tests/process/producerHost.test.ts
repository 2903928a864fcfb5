/** A program that hands memories over: whatever Redis does, each call settles soon and the program ends by itself. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { afterEach, describe, expect, it } from 'vitest'
import { Spool } from '../../src/producers/spool.ts'
import { connectRedis } from '../../src/queue/connection.ts'
import { openBlackHole } from '../support/blackHole.ts'
import { isolatedEnvironment } from '../support/daemon.ts'
import { PRODUCER_PROCESS } from '../support/producerRole.ts'
import { expectPrompt } from '../support/promptness.ts'
import { startTestRedis } from '../support/redis.ts'
import { startTcpProxy } from '../support/tcpProxy.ts'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

const CALLS = 5

const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

interface Call {
  settled: string
  tookMs: number
}

/**
 * Runs the program to its end.
 * @param afterFirst done between the first call and the others
 */
async function runHost(env: Record<string, string>, afterFirst?: () => void) {
  const dataDir = tempDir()
  const waits: Record<string, string> = afterFirst ? { WAITS_FOR_A_WORD: '1' } : {}
  const child = spawn(process.execPath, [PRODUCER_PROCESS, 'host', dataDir, String(CALLS)], {
    env: isolatedEnvironment(dataDir, { ...env, ...waits }),
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  ends.push(() => child.kill('SIGKILL'))
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    if (output === '' && afterFirst) {
      afterFirst()
      child.stdin.end('go on')
    }
    output += chunk
  })
  const [code] = await once(child, 'close')
  const endedAtMs = Date.now()
  const lines = output.trim().split('\n')
  const { doneAtMs } = JSON.parse(lines.pop() ?? '') as { doneAtMs: number }
  const calls = lines.map((line) => JSON.parse(line) as Call)
  const held = (await new Spool(dataDir, 2 ** 30).depth(0)).records
  return {
    code,
    settled: calls.map(({ settled }) => settled),
    slowestMs: Math.max(...calls.map(({ tookMs }) => tookMs)),
    lingeredMs: endedAtMs - doneAtMs,
    held,
  }
}

const ALL_SPOOLED = { code: 0, settled: Array(CALLS).fill('spooled'), held: CALLS }
const ALL_QUEUED = { code: 0, settled: Array(CALLS).fill('queued'), held: 0 }

function expectHarmless(host: Awaited<ReturnType<typeof runHost>>): void {
  expectPrompt(host.slowestMs, 500)
  expectPrompt(host.lingeredMs, 500)
}

async function redisWith(options: Parameters<typeof startTestRedis>[0]) {
  const redis = await startTestRedis({ persist: false, ...options })
  ends.push(() => redis.stop())
  return redis
}

describe('a program whose Redis', () => {
  it('is up hands over to the queue, and ends by itself', async () => {
    for (const redis of [await redisWith({}), await redisWith({ tcp: true })]) {
      const host = await runHost({ REDIS_URL: redis.url })
      expect(host).toMatchObject(ALL_QUEUED)
      expectHarmless(host)
    }
  })

  it('is not there spools: the private one, a socket, a port', async () => {
    const gone = await redisWith({ tcp: true })
    await gone.kill()
    for (const env of [{}, { REDIS_URL: `unix://${gone.socketPath}` }, { REDIS_URL: gone.url }]) {
      const host = await runHost(env)
      expect(host).toMatchObject(ALL_SPOOLED)
      expectHarmless(host)
    }
  })

  it('is behind a black hole spools: one that takes connections, and one that does not', async () => {
    const redis = await redisWith({ tcp: true })
    const proxy = await startTcpProxy({ port: redis.port })
    ends.push(() => proxy.close())
    proxy.blackHole()
    const hole = await openBlackHole()
    ends.push(() => hole.close())
    for (const url of [`redis://127.0.0.1:${proxy.port}`, hole.url.replace('http', 'redis')]) {
      const host = await runHost({ REDIS_URL: url })
      expect(host).toMatchObject(ALL_SPOOLED)
      expectHarmless(host)
    }
  })

  it('is out of memory, read-only, or refuses the user spools', async () => {
    const refusing = [
      { maxmemory: '1mb' },
      { settings: { replicaof: '127.0.0.1 1' } },
      { settings: { requirepass: 'other' } },
    ]
    for (const options of refusing) {
      const redis = await redisWith(options)
      const host = await runHost({ REDIS_URL: redis.url })
      expect(host).toMatchObject(ALL_SPOOLED)
      expectHarmless(host)
    }
  })

  it('stops answering after the first call spools from then on', async () => {
    for (const options of [{}, { tcp: true }]) {
      const redis = await redisWith(options)
      const host = await runHost({ REDIS_URL: redis.url }, () => redis.freeze())
      expect(host.settled).toEqual(['queued', ...Array(CALLS - 1).fill('spooled')])
      expect(host.held).toBe(CALLS - 1)
      expectHarmless(host)
      // What was spooled does not arrive there as well, when it goes on: it would count from then on.
      redis.thaw()
      const client = connectRedis({ kind: 'socket', path: redis.socketPath }, 'producer')
      ends.push(() => client.disconnect())
      await client.connect()
      await waitFor('all else has hung up', async () => {
        return (
          String(await client.client('LIST'))
            .trim()
            .split('\n').length === 1
        )
      })
      expect(await client.get('bull:memory-sync:id')).toBe('1')
    }
  })

  it('is away, with a spool that takes nothing either, says so by a code', async () => {
    const host = await runHost({ MEMSYNC_SPOOL_MAX_BYTES: '4096' })
    expect(host).toMatchObject({
      settled: ['spooled', ...Array(CALLS - 1).fill('MEMSYNC_SPOOL_FULL')],
      held: 1,
    })
    expectHarmless(host)
  })
})
