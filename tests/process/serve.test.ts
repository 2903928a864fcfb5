/** `memsync serve`: one machine's store as the remote of another. */
import { request } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { contentOf } from '../../src/infrastructure/remote/content.ts'
import { openRemote } from '../../src/infrastructure/remote/index.ts'
import { at } from '../contract/writes.ts'
import { commandLine } from '../support/cli.ts'
import { startDaemon } from '../support/daemon.ts'
import { startMemoryServer } from '../support/memoryServerProcess.ts'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

const TOKEN = 'a-token-of-the-memory-server'
const signal = new AbortController().signal

describe('memsync serve', () => {
  it('refuses to start without a token, or with one that can be guessed, in one line', async () => {
    const cli = commandLine()
    const without = await cli.run(['serve'])
    expect(without).toMatchObject({ code: 2, stdout: '' })
    expect(without.stderr).toMatch(/^memsync: MEMSYNC_SERVE_TOKEN: missing.*\(MEMSYNC_BAD_SETTING\)\n/)
    const onSocket = await cli.run(['serve', '--listen', `unix:${join(cli.dataDir, 's.sock')}`])
    expect(onSocket.code).toBe(2)
    const short = await cli.run(['serve'], { env: { MEMSYNC_SERVE_TOKEN: 'guess me' } })
    expect(short.code).toBe(2)
    expect(short.stderr).toContain('MEMSYNC_SERVE_TOKEN (from environment): its value is not 16 or more')
    expect(short.stderr).not.toContain('guess me')
    const nowhere = await cli.run(['serve', '--listen', 'everywhere'], {
      env: { MEMSYNC_SERVE_TOKEN: TOKEN },
    })
    expect(nowhere.code).toBe(2)
    expect(nowhere.stderr).toContain(
      'MEMSYNC_SERVE_LISTEN (from flag): "everywhere" is not HOST:PORT or unix:PATH',
    )
  })

  it('takes what the daemon of another machine pushes, refuses what is older, and ends cleanly', async () => {
    const vps = commandLine()
    const laptop = commandLine()
    const server = await startMemoryServer(vps.dataDir, TOKEN)
    const url = `http://${server.listen}`
    const env = { MEMSYNC_REMOTE_KIND: 'http', MEMSYNC_REMOTE_URL: url, MEMSYNC_REMOTE_KEY: TOKEN }
    const daemon = await startDaemon(laptop.dataDir, env)
    await laptop.run(['enqueue', 'a-secret-key', '"a-secret-value"'], { env })
    await waitFor(
      'it is there',
      async () => (await vps.run(['get', 'a-secret-key'])).stdout === 'a-secret-value\n',
    )

    const remote = openRemote('http', { url, key: TOKEN })
    const held = await remote.find({ namespace: 'default', key: 'a-secret-key' }, signal)
    expect(held).toHaveLength(1)
    const older = {
      namespace: 'default',
      key: 'a-secret-key',
      content: contentOf('older', undefined),
      version: at(0),
    }
    expect(await remote.push(older, { signal })).toMatchObject({ outcome: 'superseded' })
    expect((await vps.run(['get', 'a-secret-key'])).stdout).toBe('a-secret-value\n')
    const stranger = openRemote('http', { url, key: 'another-token-of-that-length' })
    await expect(stranger.probe(signal)).rejects.toMatchObject({ code: 'MEMSYNC_REMOTE_CREDENTIALS' })
    expect(await laptop.json(['verify'], { env })).toMatchObject({
      code: 0,
      document: { checked: 1, waiting: 0 },
    })
    remote.close()
    stranger.close()

    // The daemon keeps its connection open; that holds nothing up.
    server.kill('SIGTERM')
    expect(await server.ended).toBe(0)
    expect(server.log.map(({ msg }) => msg).filter((msg) => msg !== 'request')).toEqual([
      'serving',
      'stopping',
      'stopped',
    ])
    const requests = server.log.filter(({ msg }) => msg === 'request')
    expect(requests).toContainEqual(
      expect.objectContaining({ method: 'PUT', route: '/v1/memory', status: 200 }),
    )
    for (const secret of ['a-secret', TOKEN, 'default'])
      expect(JSON.stringify(server.log)).not.toContain(secret)
    daemon.kill('SIGTERM')
    expect((await daemon.ended).code).toBe(0)
  })

  it('lets a request that is under way end, and cuts one that never does', async () => {
    const server = await startMemoryServer(tempDir(), TOKEN, { MEMSYNC_DRAIN_TIMEOUT_MS: '1500' })
    const [host, port] = server.listen.split(':')
    const options = { host, port, method: 'PUT', path: '/v1/memory?namespace=n&key=k' }
    const headers = { authorization: `Bearer ${TOKEN}`, 'memory-version': '1-1-0', 'content-length': '13' }
    const slow = request({ ...options, headers })
    const answered = new Promise<number | undefined>((resolve, reject) => {
      slow.on('response', (response) => resolve(response.statusCode))
      slow.on('error', reject)
    })
    await new Promise<void>((resolve) => slow.write('{"value"', () => resolve()))
    const never = connect({ host: host ?? '', port: Number(port) })
    never.on('error', () => undefined)
    never.write('PUT /v1/memory HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n')
    await waitFor('both are connected', () => never.readyState === 'open')
    server.kill('SIGTERM')
    await waitFor('it stops', () => server.log.some(({ msg }) => msg === 'stopping'))
    slow.end(':"v"}')
    expect(await answered).toBe(200)
    expect(await server.ended).toBe(0)
    never.destroy()
  })

  it('listens on a unix socket, also where a killed one left it, and not where one lives', async () => {
    const cli = commandLine()
    const path = join(cli.dataDir, 'serve.sock')
    const env = { MEMSYNC_SERVE_LISTEN: `unix:${path}` }
    const first = await startMemoryServer(cli.dataDir, TOKEN, env)
    const second = await cli.run(['serve'], { env: { ...env, MEMSYNC_SERVE_TOKEN: TOKEN } })
    expect(second.code).toBe(2)
    expect(second.stderr).toContain('MEMSYNC_SERVE_LISTEN: something listens there already')
    first.kill('SIGKILL')
    await first.ended
    const third = await startMemoryServer(cli.dataDir, TOKEN, env)
    expect(third.listen).toBe(`unix:${path}`)
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const asked = request({
        socketPath: path,
        path: '/v1/health',
        headers: { authorization: `Bearer ${TOKEN}` },
      })
      asked.on('response', (response) => resolve(response.statusCode)).on('error', reject)
      asked.end()
    })
    expect(status).toBe(200)
    third.kill('SIGINT')
    expect(await third.ended).toBe(0)
  })
})
