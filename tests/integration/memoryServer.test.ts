/** The server of the `http` remote: its answers, and the same behind a real listener. */
import { createServer, type Server } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { MemsyncError } from '../../src/errors.ts'
import { openStore } from '../../src/infrastructure/memory/index.ts'
import type { Store } from '../../src/infrastructure/memory/port.ts'
import { openRemote } from '../../src/infrastructure/remote/index.ts'
import { answerMemoryRequest, memoryListener } from '../../src/infrastructure/remote/memoryServer.ts'
import type { JsonValue } from '../../src/jobs/jsonValue.ts'
import { direct, failureOf, lane, memory, REMOTE_KEY } from '../contract/remoteCases.ts'
import { tempDir } from '../support/tempDir.ts'

let store: Store
let reported: MemsyncError[]

beforeEach(async () => {
  store = await openStore({ dataDir: tempDir(), historyVersions: 2 })
  reported = []
})
afterEach(() => store.close())

interface Asked {
  headers?: Record<string, string | undefined>
  body?: unknown
}

async function ask(method: string, target: string, { headers = {}, body }: Asked = {}) {
  const answer = await answerMemoryRequest(
    {
      method,
      target,
      headers: { authorization: `Bearer ${REMOTE_KEY}`, 'memory-version': '1-1-0', ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body ?? null),
    },
    { store, token: REMOTE_KEY, maxValueBytes: 1000, onError: (error) => reported.push(error) },
  )
  return { ...answer, json: JSON.parse(answer.body) as Record<string, JsonValue> }
}

const AT = '/v1/memory?namespace=n&key=k'

describe('answers', () => {
  test('put, get, delete of a versioned memory', async () => {
    const body = { value: { a: [1] }, metadata: { topic: 'tea' } }
    expect(await ask('PUT', AT, { body })).toMatchObject({ status: 200, json: { outcome: 'stored' } })
    expect((await ask('GET', AT)).json).toEqual({ namespace: 'n', key: 'k', version: '1-1-0', ...body })
    const gone = await ask('DELETE', AT, { headers: { 'memory-version': '1-2-0' } })
    expect(gone).toMatchObject({ status: 200, json: { outcome: 'removed' } })
    expect((await ask('GET', AT)).status).toBe(404)
    expect((await ask('DELETE', AT, { headers: { 'memory-version': '1-2-0' } })).status).toBe(404)
  })

  test('an older version is refused with the newer one; the same again is not', async () => {
    await ask('PUT', AT, { body: { value: 'new' }, headers: { 'memory-version': '1-5-0' } })
    const older = { body: { value: 'old' }, headers: { 'memory-version': '1-4-9' } }
    expect(await ask('PUT', AT, older)).toMatchObject({ status: 412, json: { version: '1-5-0' } })
    expect(await ask('DELETE', AT, older)).toMatchObject({ status: 412, json: { version: '1-5-0' } })
    const again = { body: { value: 'new' }, headers: { 'memory-version': '1-5-0' } }
    expect((await ask('PUT', AT, again)).status).toBe(200)
    expect((await ask('GET', AT)).json.value).toBe('new')
  })

  test('the same version with another content is refused, and so is an older one that was held once', async () => {
    const first = { body: { value: 'first' }, headers: { 'memory-version': '1-5-0' } }
    await ask('PUT', AT, first)
    const other = { body: { value: 'first', metadata: { a: 1 } }, headers: first.headers }
    expect(await ask('PUT', AT, other)).toMatchObject({ status: 412, json: { version: '1-5-0' } })
    expect(await ask('DELETE', AT, { headers: first.headers })).toMatchObject({ status: 412 })
    await ask('PUT', AT, { body: { value: 'second' }, headers: { 'memory-version': '1-6-0' } })
    expect(await ask('PUT', AT, first)).toMatchObject({ status: 412, json: { version: '1-6-0' } })
    expect((await ask('GET', AT)).json.value).toBe('second')
  })

  test('a delete is remembered, also of a key that never was', async () => {
    expect((await ask('DELETE', AT, { headers: { 'memory-version': '2-1-0' } })).status).toBe(404)
    const late = { body: { value: 'late' }, headers: { 'memory-version': '1-9-0' } }
    expect((await ask('PUT', AT, late)).status).toBe(412)
    expect((await ask('GET', AT)).status).toBe(404)
  })

  test('lists live memories, page after page', async () => {
    for (let n = 0; n < 250; n++) {
      await ask('PUT', `/v1/memory?namespace=n&key=${encodeURIComponent(`ключ ${n}`)}`, {
        body: { value: n },
      })
    }
    await ask('PUT', '/v1/memory?namespace=m&key=k', { body: { value: 'elsewhere' } })
    await ask('DELETE', `/v1/memory?namespace=n&key=${encodeURIComponent('ключ 7')}`, {
      headers: { 'memory-version': '1-2-0' },
    })
    const values: JsonValue[] = []
    let pages = 0
    for (let after: string | null = ''; after !== null; pages++) {
      const cursor: string = after && `&after=${encodeURIComponent(after)}`
      const { json } = await ask('GET', `/v1/memories?namespace=n${cursor}`)
      values.push(...(json.memories as { value: number }[]).map(({ value }) => value))
      after = json.next as string | null
    }
    expect(pages).toBe(3)
    expect(values.toSorted((a, b) => Number(a) - Number(b))).toEqual(
      Array.from({ length: 250 }, (_, n) => n).filter((n) => n !== 7),
    )
  })

  test('a page of long values is shorter, and the next goes on where it ended', async () => {
    const value = 'x'.repeat(1024 * 1024)
    for (let n = 0; n < 20; n++) {
      const version = { epoch: 1, sequence: 1, index: 0 }
      const key = `key ${String(n).padStart(2, '0')}`
      await store.apply([
        { op: 'set', namespace: 'n', key, valueJson: JSON.stringify(value), version, acceptedAtMs: 0 },
      ])
    }
    const first = await ask('GET', '/v1/memories?namespace=n')
    expect(first.body.length).toBeLessThan(19 * 1024 * 1024)
    const rest = await ask('GET', `/v1/memories?namespace=n&after=${first.json.next}`)
    const keys = [first, rest].flatMap(({ json }) =>
      (json.memories as { key: string }[]).map(({ key }) => key),
    )
    expect(keys).toEqual(Array.from({ length: 20 }, (_, n) => `key ${String(n).padStart(2, '0')}`))
  })

  test.for([
    ['no token', { authorization: undefined }],
    ['another token', { authorization: `Bearer ${REMOTE_KEY}x` }],
    ['the token in another scheme', { authorization: `Token ${REMOTE_KEY}` }],
    ['an empty one', { authorization: '' }],
  ] as const)('%s: 401, whatever is asked for', async ([, headers]) => {
    for (const [method, target] of [
      ['PUT', AT],
      ['GET', '/nowhere'],
      ['GET', '/v1/health'],
    ] as const) {
      const answer = await ask(method, target, { headers, body: 'not JSON' })
      expect(answer.status).toBe(401)
      expect(answer.body).not.toContain(REMOTE_KEY)
    }
  })

  test.for([
    ['PUT', AT, { body: 'not JSON' }, 400],
    ['PUT', AT, { body: [] }, 400],
    ['PUT', AT, { body: {} }, 400],
    ['PUT', AT, { body: { value: 1, ttl: 5 } }, 400],
    ['PUT', AT, { body: { value: 1, metadata: { deep: {} } } }, 400],
    ['PUT', AT, { body: { value: 'x'.repeat(1000) } }, 413],
    ['PUT', AT, { body: { value: 1 }, headers: { 'memory-version': undefined } }, 428],
    ['PUT', AT, { body: { value: 1 }, headers: { 'memory-version': 'v7' } }, 400],
    ['PUT', '/v1/memory?namespace=n', { body: { value: 1 } }, 400],
    ['PUT', '/v1/memory?key=k', { body: { value: 1 } }, 400],
    ['PUT', '/v1/memory?namespace=n&key=', { body: { value: 1 } }, 400],
    ['PUT', `/v1/memory?namespace=n&key=${'k'.repeat(1025)}`, { body: { value: 1 } }, 400],
    ['POST', AT, {}, 405],
    ['constructor', AT, {}, 405],
    ['GET', '/v1/memories?namespace=n&limit=0', {}, 400],
    ['GET', '/v1/memories', {}, 400],
    ['GET', '/v1/memory/../x', {}, 404],
    ['GET', '//', {}, 404],
    ['GET', '__proto__', {}, 404],
  ] as const)('%s %s is refused with its reason', async ([method, target, asked, wanted]) => {
    const answer = await ask(method, target, asked)
    expect(answer.status).toBe(wanted)
    expect(answer.json.error).toMatchObject({ code: expect.any(String), message: expect.any(String) })
    expect((await store.list()).memories).toEqual([])
    expect(reported).toEqual([])
  })

  test('a store that cannot be written is 503 with a time to come back, and is reported here', async () => {
    await store.close()
    for (const answer of [await ask('PUT', AT, { body: { value: 1 } }), await ask('GET', '/v1/health')]) {
      expect(answer).toMatchObject({ status: 503, headers: { 'retry-after': '5' } })
      expect(answer.json.error).toMatchObject({ code: 'MEMSYNC_STORE_UNAVAILABLE' })
      // Where the store lies is none of the client's business.
      expect(answer.body).not.toContain('memory.db')
    }
    expect(reported.map(({ code }) => code)).toEqual([
      'MEMSYNC_STORE_UNAVAILABLE',
      'MEMSYNC_STORE_UNAVAILABLE',
    ])
  })

  test('a store that can be written is healthy', async () => {
    expect((await ask('GET', '/v1/health')).json).toEqual({ status: 'ok' })
  })

  test('the request id of the client is kept where it is one', async () => {
    expect((await ask('GET', AT, { headers: { 'x-request-id': 'abc-1' } })).headers['x-request-id']).toBe(
      'abc-1',
    )
    const odd = await ask('GET', AT, { headers: { 'x-request-id': 'a\r\nb' } })
    expect(odd.headers['x-request-id']).toMatch(/^[0-9a-f-]{36}$/)
  })
})

describe('the listener', () => {
  let server: Server
  let url: string

  beforeEach(async () => {
    server = createServer(memoryListener({ store, token: REMOTE_KEY, maxValueBytes: 1024 * 1024 }))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  })
  afterEach(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })

  test('serves the adapter', async () => {
    const remote = openRemote('http', { url, key: REMOTE_KEY })
    await remote.probe(lane)
    const sent = memory('..', 'Ä'.repeat(500_000))
    expect((await remote.push(sent, direct)).outcome).toBe('stored')
    expect(await remote.find(sent, lane)).toMatchObject([{ contentHash: sent.content.contentHash }])
    remote.close()
  })

  test('a body above the limit is refused with an answer, not a reset', async () => {
    const remote = openRemote('http', { url, key: REMOTE_KEY })
    const error = await failureOf(remote.push(memory('k', 'x'.repeat(8 * 1024 * 1024)), direct))
    expect([error.code, error.message]).toEqual(['MEMSYNC_REMOTE_REFUSED', expect.stringContaining('413')])
    remote.close()
    const stranger = openRemote('http', { url, key: 'some-other-key' })
    const refused = await failureOf(stranger.push(memory('k', 'x'.repeat(8 * 1024 * 1024)), direct))
    expect(refused.code).toBe('MEMSYNC_REMOTE_CREDENTIALS')
    stranger.close()
  })

  test('a client that goes away mid-request harms nobody', async () => {
    const port = Number(new URL(url).port)
    const head = `PUT ${AT} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\nauthorization: Bearer ${REMOTE_KEY}\r\n\r\n{"val`
    await new Promise<void>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => socket.write(head, () => socket.resetAndDestroy()))
      socket.on('close', () => resolve())
    })
    const remote = openRemote('http', { url, key: REMOTE_KEY })
    await remote.probe(lane)
    remote.close()
    expect((await store.list()).memories).toEqual([])
  })

  test('a token that can be guessed is refused', () => {
    expect(() => memoryListener({ store, token: 'short' })).toThrow(/16 characters/)
  })
})
