/** `TypedWorkerQueue`: who runs what is dispatched, who learns the result, and what a close leaves behind. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import type { Config } from '../../src/config.ts'
import { memorySyncHandler } from '../../src/handlers/memorySync.ts'
import { TypedWorkerQueue } from '../../src/queue/index.ts'
import { privateRedisPid } from '../support/cli.ts'
import { isolatedEnvironment, startDaemon } from '../support/daemon.ts'
import { startMachine } from '../support/machine.ts'
import { expectPrompt } from '../support/promptness.ts'
import { startTestRedis } from '../support/redis.ts'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

const SCRIPT = join(import.meta.dirname, '..', 'support', 'dispatchScript.mjs')

const cleanUps: (() => unknown)[] = []
afterEach(async () => {
  for (let cleanUp = cleanUps.pop(); cleanUp; cleanUp = cleanUps.pop()) await cleanUp()
})

async function machine() {
  const started = await startMachine()
  cleanUps.push(() => started.close())
  return started
}

function queueOn(config: Partial<Config>): TypedWorkerQueue {
  const queue = new TypedWorkerQueue({ config: { ...config, drainTimeoutMs: 300 } })
  cleanUps.push(() => queue.close())
  return queue
}

/** @returns its lines so far, and how it ended */
function runScript(mode: string, dataDir: string, env: Record<string, string> = {}) {
  const child = spawn(process.execPath, [SCRIPT, mode], {
    env: isolatedEnvironment(dataDir, { MEMSYNC_DRAIN_TIMEOUT_MS: '300', ...env }),
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  cleanUps.push(() => child.kill('SIGKILL'))
  const lines: unknown[] = []
  let partial = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    const parts = (partial + chunk).split('\n')
    partial = parts.pop() ?? ''
    lines.push(...parts.map((line) => JSON.parse(line) as unknown))
  })
  const ended = once(child, 'close').then(([code]) => code as number)
  return { lines, ended, say: (word: string) => child.stdin.write(word) }
}

describe('dispatch', () => {
  it('works without a daemon: the script starts a private Redis, and ends by itself with it', async () => {
    const dataDir = tempDir()
    const script = runScript('snippet', dataDir)
    expect(await script.ended).toBe(0)
    expect(script.lines).toEqual([{ result: { status: 'success', key: 'snippet' } }])
    expect(await privateRedisPid(dataDir)).toBeUndefined()
  })

  it('works beside a daemon, whose Redis it leaves alone', async () => {
    const dataDir = tempDir()
    const daemon = await startDaemon(dataDir)
    cleanUps.push(async () => {
      daemon.kill('SIGTERM')
      await daemon.ended
    })
    const pid = await privateRedisPid(dataDir)
    const script = runScript('snippet', dataDir)
    expect(await script.ended).toBe(0)
    expect(script.lines).toEqual([{ result: { status: 'success', key: 'snippet' } }])
    expect(await privateRedisPid(dataDir)).toBe(pid)
    expect((await daemon.status()).totals.synced).toBe(1)
  })

  it('resolves with the result of a job that another process ran, and rejects with its error', async () => {
    const { config, startWorker } = await machine()
    await startWorker({
      handlers: {
        MEMORY_SYNC: async (payload, context) => {
          if (payload.key === 'poison') throw new Error('of its own reason')
          return memorySyncHandler(payload, context)
        },
      },
    })
    const queue = queueOn(config)
    expect(await queue.dispatch('MEMORY_SYNC', { key: 'k', value: 1 })).toEqual({
      status: 'success',
      key: 'k',
    })
    const failing = queue.dispatch('MEMORY_SYNC', { key: 'poison', value: 1 }, { attempts: 2, backoffMs: 1 })
    await expect(failing).rejects.toMatchObject({
      code: 'MEMSYNC_HANDLER_FAILED',
      message: 'of its own reason',
    })
  })

  it('of a handler of the caller’s own never takes the memories of others, and they not its', async () => {
    const { config, queue: others, startWorker, store } = await machine()
    const seen: string[] = []
    const own = queueOn(config)
    own.register('MEMORY_SYNC', async ({ key }, context) => {
      seen.push(key)
      await context.commit({ op: 'set', namespace: 'default', key, valueJson: '"by its own handler"' })
      return { status: 'success', key }
    })
    await others.addBulk(
      Array.from({ length: 50 }, (_, index) => ({
        name: 'MEMORY_SYNC',
        data: { key: `other ${index}`, value: 1 },
      })),
    )
    for (let index = 0; index < 10; index++)
      await own.dispatch('MEMORY_SYNC', { key: `own ${index}`, value: 1 })
    expect(await others.getWaitingCount()).toBe(50)
    await startWorker()
    await Promise.all(
      Array.from({ length: 10 }, (_, index) =>
        own.dispatch('MEMORY_SYNC', { key: `own ${10 + index}`, value: 1 }),
      ),
    )
    await waitFor('the others are done', async () => (await store.find('other 49'))?.value === 1)
    expect(seen.every((key) => key.startsWith('own'))).toBe(true)
    expect(seen).toHaveLength(20)
    expect((await store.find('own 19'))?.value).toBe('by its own handler')
  })

  it('goes on waiting while Redis is away, and has the result when it is back', async () => {
    const { config, startWorker, server } = await machine()
    const taken = Promise.withResolvers<void>()
    const released = Promise.withResolvers<void>()
    const worker = await startWorker({
      handlers: {
        MEMORY_SYNC: async (payload, context) => {
          taken.resolve()
          await released.promise
          return memorySyncHandler(payload, context)
        },
      },
    })
    const pending = queueOn(config).dispatch('MEMORY_SYNC', { key: 'k', value: 1 })
    await taken.promise
    await server.kill()
    await waitFor('the loss is noticed', () => worker.redisHealth.current.state === 'down')
    released.resolve()
    await server.restart()
    expect(await pending).toEqual({ status: 'success', key: 'k' })
  })

  it('rejects with MEMSYNC_JOB_LOST where Redis lost the job, instead of waiting for ever', async () => {
    const { config, redis } = await machine()
    const queue = queueOn(config)
    const pending = queue.dispatch('MEMORY_SYNC', { key: 'k', value: 1 })
    const lost = expect(pending).rejects.toMatchObject({ code: 'MEMSYNC_JOB_LOST' })
    await waitFor('it waits', async () => (await redis.llen('bull:memory-sync:wait')) === 1)
    await redis.flushall()
    await lost
  })

  it('is refused by code while Redis takes no writes, and works once it does', async () => {
    const { config, redis } = await machine()
    const queue = queueOn(config)
    queue.register('MEMORY_SYNC', memorySyncHandler)
    await redis.config('SET', 'maxmemory', '1')
    await expect(queue.dispatch('MEMORY_SYNC', { key: 'k', value: 1 })).rejects.toMatchObject({
      code: 'MEMSYNC_QUEUE_REFUSED',
    })
    await redis.config('SET', 'maxmemory', '0')
    expect(await queue.dispatch('MEMORY_SYNC', { key: 'k', value: 1 })).toMatchObject({ status: 'success' })
  })
})

describe('close', () => {
  it('rejects a pending dispatch with MEMSYNC_INTERRUPTED, and whatever is called after it with MEMSYNC_BAD_USAGE', async () => {
    const { config, redis } = await machine()
    const queue = queueOn(config)
    // Nobody runs it. One is closed while it waits, one while it is still being handed over.
    const waiting = queue.dispatch('MEMORY_SYNC', { key: 'k', value: 1 })
    const interrupted = expect(waiting).rejects.toMatchObject({ code: 'MEMSYNC_INTERRUPTED' })
    await waitFor('it waits', async () => (await redis.llen('bull:memory-sync:wait')) === 1)
    const late = expect(queue.dispatch('MEMORY_SYNC', { key: 'k', value: 2 })).rejects.toMatchObject({
      code: 'MEMSYNC_INTERRUPTED',
    })
    await queue.close()
    await interrupted
    await late
    await expect(queue.dispatch('MEMORY_SYNC', { key: 'k', value: 3 })).rejects.toMatchObject({
      code: 'MEMSYNC_BAD_USAGE',
    })
  })

  it('right after a dispatch, before anything is connected, rejects that too and leaves nothing open', async () => {
    const { config, redis } = await machine()
    const connections = async () =>
      String(await redis.client('LIST'))
        .trim()
        .split('\n').length
    const before = await connections()
    for (const pause of [0, 1, 5, 20]) {
      const queue = queueOn(config)
      queue.register('MEMORY_SYNC', memorySyncHandler)
      const end = queue.dispatch('MEMORY_SYNC', { key: 'k', value: 1 }).then(
        ({ status }) => status,
        ({ code }) => code,
      )
      if (pause > 0) await sleep(pause)
      await queue.close()
      expect(['success', 'MEMSYNC_INTERRUPTED']).toContain(await end)
    }
    await waitFor('every connection is closed', async () => (await connections()) === before)
  })

  it('finishes what is in flight: its dispatch has the result', async () => {
    const { config } = await machine()
    const queue = queueOn(config)
    const taken = Promise.withResolvers<void>()
    const released = Promise.withResolvers<void>()
    queue.register('MEMORY_SYNC', async ({ key }) => {
      taken.resolve()
      await released.promise
      return { status: 'success', key }
    })
    const pending = queue.dispatch('MEMORY_SYNC', { key: 'k', value: 1 })
    await taken.promise
    const closing = queue.close()
    released.resolve()
    await closing
    expect(await pending).toEqual({ status: 'success', key: 'k' })
  })

  it.each(['there', 'gone'])(
    'with a handler that hangs lets the process end by itself; Redis is %s',
    async (redis) => {
      const server = await startTestRedis()
      cleanUps.push(() => server.stop())
      const script = runScript('closeWhilePending', tempDir(), { REDIS_URL: server.url })
      await waitFor('the job is in hand', () => script.lines.includes('in hand'))
      if (redis === 'gone') await server.kill()
      const askedAt = performance.now()
      script.say('close')
      expect(await script.ended).toBe(0)
      expectPrompt(performance.now() - askedAt, 7000)
      expect(script.lines).toEqual(['in hand', { code: 'MEMSYNC_INTERRUPTED' }, 'closed'])
    },
  )

  it('lets the process end by itself where the store could not be opened', async () => {
    const server = await startTestRedis()
    cleanUps.push(() => server.stop())
    const dataDir = tempDir()
    mkdirSync(dataDir, { recursive: true })
    writeFileSync(join(dataDir, 'memory.db'), Buffer.alloc(8192, 'no database'))
    const script = runScript('storeFails', dataDir, { REDIS_URL: server.url })
    expect(await script.ended).toBe(0)
    expect(script.lines).toEqual([{ code: 'MEMSYNC_STORE_CORRUPT' }])
  })
})
