/** Invariant 10, and that work does not depend on the log: nothing of a memory is ever in it, and it may be lost. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, openSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { pathToFileURL } from 'node:url'
import { afterEach, describe, expect, it } from 'vitest'
import { askDaemon, controlSocket } from '../../src/daemon/controlClient.ts'
import type { Status } from '../../src/daemon/status.ts'
import { privateRedisPid, WORKER } from '../support/cli.ts'
import { isolatedEnvironment, spawnDaemon } from '../support/daemon.ts'
import { produceOn } from '../support/producer.ts'
import { startTestRedis } from '../support/redis.ts'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

/** Stands in every value, piece of metadata and secret here. */
const MARKER = 'marker-a8f3'
const BUG = pathToFileURL(join(import.meta.dirname, '..', 'support', 'throwOnSignal.mjs')).href

/** Linux has a file that stands for one. */
const FULL_DISK = '/dev/full'

const cleanUps: (() => unknown)[] = []
afterEach(async () => {
  for (let cleanUp = cleanUps.pop(); cleanUp; cleanUp = cleanUps.pop()) await cleanUp()
})

describe('the log of a whole life at level trace', () => {
  it('holds no value, no metadata and no secret, through faults of every kind and a bug', async () => {
    const server = await startTestRedis({ tcp: true, settings: { requirepass: MARKER } })
    cleanUps.push(() => server.stop())
    const url = `redis://:${MARKER}@127.0.0.1:${server.port}`
    const dataDir = tempDir()
    const daemon = spawnDaemon(dataDir, {
      REDIS_URL: url,
      MEMSYNC_LOG_LEVEL: 'trace',
      NODE_OPTIONS: `--import ${BUG}`,
      TEST_VALUE: MARKER,
    })
    cleanUps.push(async () => {
      daemon.kill('SIGKILL')
      await daemon.ended
    })
    await daemon.logged('ready')
    const producer = await produceOn({ kind: 'url', url })
    cleanUps.push(() => producer.close())
    const memory = { key: 'k', value: { deep: [MARKER] }, metadata: { source: MARKER } }
    const jobs = [
      memory,
      { ...memory, key: '' },
      { ...memory, metadata: [MARKER] },
      { ...memory, value: MARKER.repeat(200_000) },
      MARKER,
    ].map((data) => ({ name: 'MEMORY_SYNC', data, opts: { attempts: 1 } }))
    await producer.queue.addBulk([...jobs, { name: 'NO_SUCH_JOB', data: memory, opts: { attempts: 1 } }])
    await waitFor('the bad ones are dead letters', async () => (await daemon.status()).deadLetters === 5)

    // Requests of every kind that are refused.
    const socket = connect(controlSocket(dataDir))
    socket.write(`{"broken": "${MARKER}\n${JSON.stringify({ op: MARKER })}\n[1]\n`)
    await once(socket, 'data')
    socket.destroy()
    const ask = (data: unknown) => askDaemon(dataDir, { op: 'enqueue', job: 'MEMORY_SYNC', data }, 5000)
    await expect(ask({ ...memory, extra: MARKER })).rejects.toMatchObject({ code: 'MEMSYNC_INVALID_MEMORY' })

    // Jobs in flight meet a Redis and then a store that are away.
    await server.kill()
    await daemon.logged('redis is away')
    await expect(ask(memory)).rejects.toMatchObject({ code: 'MEMSYNC_QUEUE_UNAVAILABLE' })
    await server.restart()
    await waitFor('Redis is back', async () => (await daemon.status()).redis.state === 'up')
    const rival = new DatabaseSync(join(dataDir, 'memory.db'))
    rival.exec('BEGIN EXCLUSIVE')
    await producer.queue.addBulk(jobs.slice(0, 1))
    await daemon.logged('the store is away')
    rival.close()
    await daemon.logged('the store is back')

    daemon.kill('SIGUSR2')
    expect(await daemon.ended).toEqual({ code: 1, signal: null })
    const bug = daemon.log.find((line) => line.msg === 'unexpected error: stopping')
    expect(bug).toMatchObject({ level: 'fatal', error: 'Error', place: expect.stringMatching(/^ +at /) })
    expect(daemon.log.length).toBeGreaterThan(10)
    expect(daemon.output()).not.toContain(MARKER)
  })
})

describe('a log that cannot be written', () => {
  it.each([
    ...(existsSync(FULL_DISK)
      ? [{ fault: 'as its disk is full', stdout: () => openSync(FULL_DISK, 'w'), endReader: false }]
      : []),
    { fault: 'as its reader is gone', stdout: () => 'pipe' as const, endReader: true },
  ])('$fault: work goes on, and SIGTERM ends the daemon with exit code 0', async ({ stdout, endReader }) => {
    const dataDir = tempDir()
    const child = spawn(process.execPath, [WORKER], {
      env: isolatedEnvironment(dataDir, { MEMSYNC_LOG_LEVEL: 'trace' }),
      stdio: ['ignore', stdout(), 'inherit'],
    })
    cleanUps.push(async () => {
      child.kill('SIGKILL')
      const pid = await privateRedisPid(dataDir)
      if (pid !== undefined) process.kill(pid, 'SIGKILL')
    })
    if (endReader) child.stdout?.destroy()
    const ended = once(child, 'exit')
    const ask = (request: Record<string, unknown>) => askDaemon(dataDir, request, 5000)
    await waitFor('a memory is accepted', () =>
      ask({ op: 'enqueue', job: 'MEMORY_SYNC', data: { key: 'k', value: 1 } }),
    )
    await waitFor('it is synced', async () => {
      const status = (await ask({ op: 'status' }))?.status as Status
      return status.totals.synced === 1
    })
    child.kill('SIGTERM')
    expect(await ended).toEqual([0, null])
    expect(await privateRedisPid(dataDir)).toBeUndefined()
  })
})
