/** The instruments of the other tests: a fault they do not make would pass unnoticed. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createServer, type Socket, connect as tcpConnect } from 'node:net'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { afterEach, describe, expect, it } from 'vitest'
import { startTestRedis } from '../support/redis.ts'
import { startTcpProxy, type TcpProxy } from '../support/tcpProxy.ts'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

const cleanups: (() => unknown)[] = []

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

describe('the test Redis', () => {
  it('keeps its data through kill and restart, on the same endpoint', async () => {
    const redis = await startTestRedis({ tcp: true })
    cleanups.push(redis.stop)
    const bySocket = new Redis(redis.socketPath)
    cleanups.push(() => bySocket.disconnect())
    await bySocket.set('key', 'v')
    bySocket.disconnect()
    const { pid, url } = redis
    await redis.kill()
    await redis.restart()
    expect(redis.pid).not.toBe(pid)
    const byPort = new Redis(url)
    cleanups.push(() => byPort.disconnect())
    expect(await byPort.get('key')).toBe('v')
  })

  it('forgets everything when asked to, and is gone with its folder after a stop', async () => {
    const redis = await startTestRedis({ persist: false, maxmemory: '2mb', settings: { databases: '1' } })
    cleanups.push(redis.stop)
    const connection = new Redis(redis.socketPath)
    cleanups.push(() => connection.disconnect())
    connection.on('error', () => undefined)
    await connection.set('key', 'v')
    expect(await connection.config('GET', 'maxmemory')).toEqual(['maxmemory', String(2 * 1024 * 1024)])
    await redis.restart()
    expect(await connection.get('key')).toBeNull()
    await redis.stop()
    expect(existsSync(redis.folder)).toBe(false)
  })

  it('ends with the process that started it, even by kill -9', async () => {
    const module = new URL('../support/redis.ts', import.meta.url).href
    const program = `
      import { startTestRedis } from ${JSON.stringify(module)}
      console.log((await startTestRedis()).pid)`
    const owner = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    cleanups.push(() => owner.kill('SIGKILL'))
    const pid = Number((await once(owner.stdout, 'data'))[0])
    owner.kill('SIGKILL')
    await waitFor('its Redis is gone', () => {
      const state = spawnSync('ps', ['-o', 'stat=', '-p', String(pid)], { encoding: 'utf8' }).stdout.trim()
      return state === '' || state.startsWith('Z')
    })
  })
})

describe('the proxy', () => {
  /** A server that answers each chunk with itself, behind a proxy. */
  async function start(listen?: string): Promise<TcpProxy> {
    const server = createServer((socket) => {
      socket.on('error', () => socket.destroy())
      socket.pipe(socket)
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    cleanups.push(() => server.close())
    const address = server.address()
    if (address === null || typeof address === 'string') throw new Error('no port')
    const proxy = await startTcpProxy({ port: address.port, host: '127.0.0.1' }, listen)
    cleanups.push(proxy.close)
    return proxy
  }

  async function client(proxy: TcpProxy): Promise<{ socket: Socket; received: () => string }> {
    const socket = tcpConnect(proxy.port, '127.0.0.1')
    cleanups.push(() => socket.destroy())
    let received = ''
    socket.on('data', (chunk) => {
      received += chunk
    })
    await once(socket, 'connect')
    return { socket, received: () => received }
  }

  it('passes bytes, over a port or a socket', async () => {
    const { socket, received } = await client(await start())
    socket.write('one')
    await waitFor('the echo', () => received() === 'one')
    const path = join(tempDir(), 'proxy.sock')
    await start(path)
    const local = tcpConnect(path)
    local.end('two')
    expect(String((await once(local, 'data'))[0])).toBe('two')
  })

  it('delays bytes and the end, in order', async () => {
    const proxy = await start()
    const { socket, received } = await client(proxy)
    proxy.delay(60)
    const startedAt = performance.now()
    socket.write('one')
    socket.end('two')
    await once(socket, 'end')
    expect(performance.now() - startedAt).toBeGreaterThan(115)
    expect(received()).toBe('onetwo')
  })

  it('holds a link half-open, and delivers when it works again', async () => {
    const proxy = await start()
    const { socket, received } = await client(proxy)
    proxy.blackHole()
    socket.write('one')
    const second = await client(proxy)
    second.socket.write('two')
    await waitFor('both links are there', () => proxy.connections === 2)
    expect(received() + second.received()).toBe('')
    expect(socket.destroyed).toBe(false)
    proxy.pass()
    await waitFor('the echoes', () => received() === 'one' && second.received() === 'two')
  })

  it('cuts by reset or in order', async () => {
    const proxy = await start()
    const first = await client(proxy)
    first.socket.write('one')
    await waitFor('the echo', () => first.received() === 'one')
    const reset = once(first.socket, 'error')
    proxy.cut()
    expect((await reset)[0]).toMatchObject({ code: 'ECONNRESET' })
    const second = await client(proxy)
    await waitFor('the link is there', () => proxy.connections === 1)
    const ended = once(second.socket, 'end')
    proxy.cut('close')
    await ended
    await waitFor('no link is left', () => proxy.connections === 0)
  })

  it('refuses while it is down, and is up again on the same port', async () => {
    const proxy = await start()
    const { port } = proxy
    const { socket } = await client(proxy)
    socket.on('error', () => undefined)
    await proxy.down()
    await waitFor('the link is gone', () => socket.destroyed)
    const refused = tcpConnect(port, '127.0.0.1')
    expect((await once(refused, 'error'))[0]).toMatchObject({ code: 'ECONNREFUSED' })
    await proxy.up()
    expect(proxy.port).toBe(port)
    const { socket: again, received } = await client(proxy)
    again.write('back')
    await waitFor('the echo', () => received() === 'back')
  })
})

describe('waiting', () => {
  it('says what never came true, and what was seen last', async () => {
    await expect(waitFor('it rains', () => 0, { timeoutMs: 30 })).rejects.toThrowError(
      'waited 30 ms in vain until it rains; last seen: 0',
    )
    const failing = () => Promise.reject(new Error('no sky'))
    await expect(waitFor('it rains', failing, { timeoutMs: 30 })).rejects.toThrowError(
      'last error: Error: no sky',
    )
  })

  it('fails where what it asks never answers', async () => {
    const asked = waitFor('it rains', () => new Promise<boolean>(() => undefined), {
      timeoutMs: 20,
      graceMs: 20,
    })
    await expect(asked).rejects.toThrowError('last error: Error: the last look did not come back')
  })
})
