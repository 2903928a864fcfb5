import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { type PrivateRedis, privateRedisSocket, startPrivateRedis } from '../../src/queue/privateRedis.ts'
import { findRedisServer, findServerProcess } from '../../src/queue/redisProcess.ts'
import { endWithThisProcess } from '../support/lifeline.ts'
import { signalProcess } from '../support/signalProcess.ts'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

const cleanups: (() => unknown)[] = []

afterEach(async () => {
  vi.unstubAllEnvs()
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

/** Whether a process runs; one that has ended and whose parent has not looked yet does not. */
function running(pid: number | undefined): boolean {
  const state = spawnSync('ps', ['-o', 'stat=', '-p', String(pid)], { encoding: 'utf8' }).stdout.trim()
  return state !== '' && !state.startsWith('Z')
}

/** Starts (or adopts) it, and makes sure that it does not outlive the test or a killed test process. */
async function start(dataDir: string, silenceTimeoutMs?: number): Promise<PrivateRedis> {
  const redis = await startPrivateRedis({ dataDir, ...(silenceTimeoutMs && { silenceTimeoutMs }) })
  if (redis.startedHere && redis.pid !== undefined) cleanups.push(endWithThisProcess(redis.pid))
  cleanups.push(() => redis.stop())
  return redis
}

function client(redis: PrivateRedis): Redis {
  const connection = new Redis(redis.socketPath, { retryStrategy: () => null })
  connection.on('error', () => undefined)
  cleanups.push(() => connection.disconnect())
  return connection
}

async function killServer(redis: PrivateRedis): Promise<void> {
  if (redis.pid === undefined) throw new Error('no pid')
  process.kill(redis.pid, 'SIGKILL')
  await waitFor('the server is gone', () => !running(redis.pid))
}

/** Starts it in another process, which prints the pid and whether it started it, and then waits. */
async function startInAnotherProcess(dataDir: string) {
  const module = new URL('../../src/queue/privateRedis.ts', import.meta.url).href
  const program = `
    import { startPrivateRedis } from ${JSON.stringify(module)}
    const { pid, startedHere } = await startPrivateRedis({ dataDir: ${JSON.stringify(dataDir)} })
    console.log(JSON.stringify({ pid, startedHere }))
    process.stdin.resume()`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  cleanups.push(() => child.kill('SIGKILL'))
  const [chunk] = await Promise.race([
    once(child.stdout, 'data'),
    once(child, 'exit').then(() => Promise.reject(new Error('the starter failed'))),
  ])
  return { child, ...(JSON.parse(String(chunk)) as { pid: number; startedHere: boolean }) }
}

/** A folder whose `redis-server` is this shell script, alone on the PATH with the system's own tools. */
function fakeServer(script: string): void {
  const folder = tempDir()
  writeFileSync(join(folder, 'redis-server'), script)
  chmodSync(join(folder, 'redis-server'), 0o755)
  vi.stubEnv('PATH', `${folder}:${process.env.PATH}`)
}

function incrementalFile(dataDir: string): string {
  const folder = join(dataDir, 'redis', 'appendonlydir')
  const name = readdirSync(folder).find((entry) => entry.endsWith('.incr.aof'))
  return join(folder, name ?? 'missing')
}

describe('a private Redis', () => {
  it('is for this user alone: a private folder, a private socket, no port', async () => {
    const dataDir = join(tempDir(), 'data')
    const redis = await start(dataDir)
    expect(redis).toMatchObject({ startedHere: true, socketPath: privateRedisSocket(dataDir) })
    for (const path of [dataDir, join(dataDir, 'redis'), redis.socketPath]) {
      expect(statSync(path).mode & 0o777).toBe(0o700)
    }
    const connection = client(redis)
    expect(await connection.config('GET', 'port')).toEqual(['port', '0'])
  })

  it('keeps every write on disk and evicts nothing', async () => {
    const connection = client(await start(tempDir()))
    const settings = Object.entries({
      appendonly: 'yes',
      appendfsync: 'always',
      save: '',
      'maxmemory-policy': 'noeviction',
      'aof-load-truncated': 'yes',
      maxmemory: '0',
    })
    for (const [name, value] of settings) {
      expect(await connection.config('GET', name)).toEqual([name, value])
    }
  })

  it('is told no secret of the environment it is started from', async () => {
    vi.stubEnv('OPENAI_API_KEY', 'sk-secret')
    const redis = await start(tempDir())
    if (!existsSync('/proc/self/environ')) return
    expect(readFileSync(`/proc/${redis.pid}/environ`, 'utf8')).not.toContain('sk-secret')
  })

  it('has what it acknowledged after kill -9', async () => {
    const dataDir = tempDir()
    const first = await start(dataDir)
    const writer = client(first)
    for (let index = 0; index < 100; index++) await writer.set(`key${index}`, 'v')
    await killServer(first)
    const second = await start(dataDir)
    expect(second.startedHere).toBe(true)
    expect(await client(second).dbsize()).toBe(100)
  })

  it('outlives a starter that is killed, and the next adopts it', async () => {
    const dataDir = tempDir()
    const starter = await startInAnotherProcess(dataDir)
    cleanups.push(endWithThisProcess(starter.pid))
    expect(starter.startedHere).toBe(true)
    const exited = once(starter.child, 'exit')
    starter.child.kill('SIGKILL')
    await exited
    const redis = await start(dataDir)
    expect(redis).toMatchObject({ startedHere: false, pid: starter.pid })
    await redis.stop()
    expect(running(starter.pid)).toBe(false)
  })

  it('is one, however many processes start it at once', async () => {
    const dataDir = tempDir()
    const starters = await Promise.all([1, 2, 3, 4].map(() => startInAnotherProcess(dataDir)))
    cleanups.push(() => start(dataDir).then((redis) => redis.stop()))
    expect(starters.filter((starter) => starter.startedHere)).toHaveLength(1)
    expect(new Set(starters.map((starter) => starter.pid)).size).toBe(1)
  })

  it('is not started a second time while one lives that does not answer', async () => {
    const dataDir = tempDir()
    const redis = await start(dataDir)
    signalProcess(redis.pid, 'SIGSTOP')
    await expect(startPrivateRedis({ dataDir, silenceTimeoutMs: 100 })).rejects.toMatchObject({
      code: 'MEMSYNC_QUEUE_UNAVAILABLE',
      message: expect.stringContaining(`process ${redis.pid} serves`),
    })
    signalProcess(redis.pid, 'SIGCONT')
    expect(await start(dataDir)).toMatchObject({ startedHere: false, pid: redis.pid })
  })

  it('is not started a second time while one lives whose socket was removed', async () => {
    const dataDir = tempDir()
    const redis = await start(dataDir)
    rmSync(redis.socketPath)
    await expect(startPrivateRedis({ dataDir, silenceTimeoutMs: 100 })).rejects.toMatchObject({
      code: 'MEMSYNC_QUEUE_UNAVAILABLE',
    })
    expect(running(redis.pid)).toBe(true)
  })

  it('starts over a stale socket', async () => {
    const dataDir = tempDir()
    await killServer(await start(dataDir))
    expect(existsSync(privateRedisSocket(dataDir))).toBe(true)
    expect((await start(dataDir)).startedHere).toBe(true)
  })

  it('starts after a power cut that left half a command', async () => {
    const dataDir = tempDir()
    const first = await start(dataDir)
    await client(first).set('whole', 'v')
    await client(first).set('half', 'v')
    await killServer(first)
    truncateSync(incrementalFile(dataDir), statSync(incrementalFile(dataDir)).size - 5)
    const connection = client(await start(dataDir))
    expect(await connection.get('whole')).toBe('v')
    expect(await connection.get('half')).toBeNull()
  })

  it('says what is wrong with its file when that is corrupt', async () => {
    const dataDir = tempDir()
    const first = await start(dataDir)
    await client(first).set('key', 'v')
    await first.stop()
    appendFileSync(incrementalFile(dataDir), 'no command at all\r\n')
    await expect(startPrivateRedis({ dataDir })).rejects.toMatchObject({
      code: 'MEMSYNC_QUEUE_UNAVAILABLE',
      message: expect.stringContaining('Bad file format reading the append only file'),
    })
  })

  it('says what the program printed when that is no server', async () => {
    fakeServer('#!/bin/sh\necho "cannot load a library" >&2\nexit 127\n')
    await expect(startPrivateRedis({ dataDir: tempDir() })).rejects.toMatchObject({
      code: 'MEMSYNC_QUEUE_UNAVAILABLE',
      message: expect.stringContaining('cannot load a library'),
    })
  })

  it('says how the program ended when that printed nothing', async () => {
    fakeServer('#!/bin/sh\nexit 3\n')
    await expect(startPrivateRedis({ dataDir: tempDir() })).rejects.toThrowError('exit code 3')
  })

  it('waits while a server loads, longer than it would wait for silence', async () => {
    // The only way to load for a known time without gigabytes of data is a server that says so.
    fakeServer(`#!${process.execPath}
      const socket = process.argv[process.argv.indexOf('--unixsocket') + 1]
      const readyAt = Date.now() + 600
      require('node:net').createServer((client) => {
        client.on('data', () => client.write(Date.now() < readyAt ? '-LOADING data\\r\\n' : '+PONG\\r\\n'))
        client.on('error', () => {})
      }).listen(socket)
    `)
    const redis = await startPrivateRedis({ dataDir: tempDir(), silenceTimeoutMs: 300 })
    signalProcess(redis.pid, 'SIGKILL')
  })

  it('gives up a start that is aborted, and leaves no process', async () => {
    const pidFile = join(tempDir(), 'pid')
    fakeServer(`#!/bin/sh\necho $$ > ${pidFile}\nexec sleep 60\n`)
    const controller = new AbortController()
    const starting = startPrivateRedis({ dataDir: tempDir(), signal: controller.signal })
    const expectation = expect(starting).rejects.toMatchObject({ code: 'MEMSYNC_INTERRUPTED' })
    const pid = await waitFor(
      'the server was started',
      () => existsSync(pidFile) && Number(readFileSync(pidFile, 'utf8')),
    )
    controller.abort()
    await expectation
    await waitFor('its process is gone', () => !running(pid))
  })

  it('needs a server on the PATH', async () => {
    vi.stubEnv('PATH', tempDir())
    await expect(startPrivateRedis({ dataDir: tempDir() })).rejects.toMatchObject({
      code: 'MEMSYNC_REDIS_MISSING',
    })
  })

  it('names the setting when the data folder cannot be used', async () => {
    const file = join(tempDir(), 'file')
    writeFileSync(file, '')
    await expect(startPrivateRedis({ dataDir: file })).rejects.toMatchObject({
      code: 'MEMSYNC_BAD_SETTING',
      message: expect.stringContaining('MEMSYNC_DATA_DIR'),
    })
  })

  it('sets a long log aside', async () => {
    const dataDir = tempDir()
    mkdirSync(join(dataDir, 'redis'))
    writeFileSync(join(dataDir, 'redis', 'redis.log'), 'x'.repeat(2 * 1024 * 1024))
    await start(dataDir)
    expect(statSync(join(dataDir, 'redis', 'redis.log')).size).toBeLessThan(10_000)
    expect(statSync(join(dataDir, 'redis', 'redis.log.1')).size).toBe(2 * 1024 * 1024)
  })
})

describe('stopping a private Redis', () => {
  it('waits until the process is gone, keeps the data, and can be asked again', async () => {
    const dataDir = tempDir()
    const redis = await start(dataDir)
    await client(redis).set('key', 'v')
    await Promise.all([redis.stop(), redis.stop()])
    expect(running(redis.pid)).toBe(false)
    await redis.stop()
    const again = await start(dataDir)
    expect(await client(again).get('key')).toBe('v')
  })

  it('kills one that does not answer', async () => {
    const redis = await start(tempDir())
    signalProcess(redis.pid, 'SIGSTOP')
    await redis.stop()
    await waitFor('the process is gone', () => !running(redis.pid))
  })

  it('is a no-op when it has died by itself', async () => {
    const redis = await start(tempDir())
    await killServer(redis)
    await redis.stop()
  })

  it('works when the data folder was removed', async () => {
    const dataDir = tempDir()
    const redis = await start(dataDir)
    rmSync(dataDir, { recursive: true, force: true })
    await redis.stop()
    expect(running(redis.pid)).toBe(false)
  })
})

describe('the socket of a data folder', () => {
  const long = `/data/${'long-name/'.repeat(12)}`

  it('stands in it, and in a short folder where the path is too long for a socket', () => {
    expect(privateRedisSocket('/data')).toBe('/data/redis/redis.sock')
    const short = privateRedisSocket(long)
    expect(short).toMatch(/^\/tmp\/memsyncd-[0-9a-f]{16}\/redis\.sock$/)
    expect(privateRedisSocket(long)).toBe(short)
    expect(privateRedisSocket(`${long}other`)).not.toBe(short)
  })

  it('counts bytes, not characters, up to the limit', () => {
    const folder = (bytes: number) => `/${'x'.repeat(bytes - '/redis/redis.sock'.length - 1)}`
    expect(privateRedisSocket(folder(103))).toHaveLength(103)
    expect(privateRedisSocket(folder(104))).toMatch(/^\/tmp\//)
    expect(privateRedisSocket(`/${'é'.repeat(45)}`)).toMatch(/^\/tmp\//)
  })

  it('works from there, in a folder of this user alone', async () => {
    const dataDir = join(tempDir(), 'long-name/'.repeat(12))
    const redis = await start(dataDir)
    const folder = redis.socketPath.replace('/redis.sock', '')
    cleanups.unshift(() => rmSync(folder, { recursive: true, force: true }))
    expect(statSync(folder).mode & 0o777).toBe(0o700)
    expect(await client(redis).ping()).toBe('PONG')
  })

  it('is refused where that folder is open to others, or a link', () => {
    const dataDir = join(tempDir(), 'long-name/'.repeat(12))
    const folder = privateRedisSocket(dataDir).replace('/redis.sock', '')
    cleanups.push(() => rmSync(folder, { recursive: true, force: true }))
    mkdirSync(folder, { mode: 0o755 })
    const refusal = expect.objectContaining({ code: 'MEMSYNC_BAD_SETTING' })
    expect(() => privateRedisSocket(dataDir)).toThrowError(refusal)
    rmSync(folder, { recursive: true })
    symlinkSync(tempDir(), folder)
    expect(() => privateRedisSocket(dataDir)).toThrowError(refusal)
  })
})

describe('finding a server', () => {
  function folderWith(...names: string[]): string {
    const folder = tempDir()
    for (const name of names) writeFileSync(join(folder, name), '', { mode: 0o755 })
    return folder
  }

  it('takes redis-server before valkey-server, and nothing that cannot be run', () => {
    const valkey = folderWith('valkey-server')
    const both = folderWith('redis-server', 'valkey-server')
    const broken = tempDir()
    writeFileSync(join(broken, 'redis-server'), '', { mode: 0o644 })
    mkdirSync(join(broken, 'valkey-server'))
    expect(findRedisServer(`${valkey}:${both}`)).toBe(join(both, 'redis-server'))
    expect(findRedisServer(`${broken}:${valkey}`)).toBe(join(valkey, 'valkey-server'))
    expect(findRedisServer(`${broken}::`)).toBeUndefined()
    expect(findRedisServer(undefined)).toBeUndefined()
  })

  it('finds no process in a folder without one', async () => {
    expect(await findServerProcess(tempDir(), '/nowhere/redis.sock')).toBeUndefined()
  })
})
