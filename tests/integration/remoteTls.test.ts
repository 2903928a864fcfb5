/** A remote over TLS: who is trusted, and how long a handshake may take. */
import { createServer } from 'node:https'
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { afterEach, expect, test } from 'vitest'
import { openRemote } from '../../src/infrastructure/remote/index.ts'
import { direct, failureOf, memory, REMOTE_KEY } from '../contract/remoteCases.ts'
import { expectPrompt } from '../support/promptness.ts'
import { SELF_SIGNED } from '../support/selfSigned.ts'

const closing: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

async function listen(server: Server): Promise<string> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closing.push(() => {
    for (const socket of sockets) socket.destroy()
    return new Promise((resolve) => server.close(resolve))
  })
  return `https://127.0.0.1:${(server.address() as AddressInfo).port}`
}

function legacyServer(requests: string[]): Server {
  return createServer(SELF_SIGNED, (request, response) => {
    requests.push(`${request.method} ${request.url}`)
    request.resume()
    response.end('{"success":true}')
  })
}

test('a certificate that nobody signed is an outage, and nothing is sent', async () => {
  const requests: string[] = []
  const remote = openRemote('legacy', { url: await listen(legacyServer(requests)), key: REMOTE_KEY })
  const error = await failureOf(remote.push(memory('k', 'v'), direct))
  expect([error.code, error.class]).toEqual(['MEMSYNC_REMOTE_UNAVAILABLE', 'outage'])
  expect(error.message).toContain('DEPTH_ZERO_SELF_SIGNED_CERT')
  expect(requests).toEqual([])
  remote.close()
})

test('one that is trusted serves, on the same connection for the next call', async () => {
  const trusted = getCACertificates('default')
  setDefaultCACertificates([...trusted, SELF_SIGNED.cert])
  closing.push(async () => setDefaultCACertificates(trusted))
  const requests: string[] = []
  const server = legacyServer(requests)
  let connections = 0
  server.on('secureConnection', () => connections++)
  const remote = openRemote('legacy', { url: `${await listen(server)}/prefix/`, key: REMOTE_KEY })
  for (let at = 0; at < 3; at++) expect((await remote.push(memory('k', 'v'), direct)).outcome).toBe('stored')
  expect(requests).toEqual(Array(3).fill('POST /prefix/memory'))
  expect(connections).toBe(1)
  remote.close()
})

test('a handshake that never comes ends at the connect deadline', async () => {
  const url = await listen(createTcpServer((socket) => socket.resume().on('error', () => socket.destroy())))
  const remote = openRemote('legacy', { url, connectTimeoutMs: 150, callTimeoutMs: 20_000 })
  const startMs = performance.now()
  const error = await failureOf(remote.push(memory('k', 'v'), direct))
  expect([error.code, error.message]).toEqual([
    'MEMSYNC_REMOTE_UNAVAILABLE',
    expect.stringContaining('150 ms'),
  ])
  expectPrompt(performance.now() - startMs, 2000)
  remote.close()
})
