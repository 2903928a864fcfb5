/** The HTTP interface of the real daemon, over real connections. */
import { chmodSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createConnection, createServer as createNetServer } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { tokenPath } from '../../src/producers/httpToken.ts'
import { spawnDaemon, startDaemon } from '../support/daemon.ts'
import {
  expectRefusal,
  type HttpDaemon,
  JSON_TYPE,
  NDJSON_TYPE,
  send,
  startHttpDaemon,
} from '../support/httpDaemon.ts'
import { startTestRedis } from '../support/redis.ts'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

describe('over HTTP', () => {
  let http: HttpDaemon
  beforeAll(async () => {
    http = await startHttpDaemon({ MEMSYNC_MAX_VALUE_BYTES: '20000' })
    await http.daemon.logged('ready')
  })
  afterAll(() => http.stop())

  const pathOf = (namespace: string, key: string) =>
    `/v1/memories/${encodeURIComponent(namespace)}/${encodeURIComponent(key)}`
  const stored = (namespace: string, key: string, value: unknown, timeoutMs?: number) =>
    waitFor(
      `${key} is stored`,
      async () => {
        const { json } = await http.ask('GET', pathOf(namespace, key))
        return JSON.stringify(json.value) === JSON.stringify(value)
      },
      timeoutMs === undefined ? {} : { timeoutMs },
    )

  describe('memories', () => {
    it('one is accepted with its job, stored, read and deleted', async () => {
      const memory = {
        key: 'one',
        value: { a: [1, null, 'é'] },
        namespace: 'n',
        metadata: { tag: 'x' },
        embed: true,
      }
      const accepted = await http.post(memory)
      expect(accepted).toMatchObject({
        status: 202,
        json: { accepted: 'queued', jobId: expect.stringMatching(/^\d+$/), key: 'one', namespace: 'n' },
      })
      await stored('n', 'one', memory.value)
      const { status, headers, json } = await http.ask('GET', '/v1/memories/n/one')
      expect({ status, json }).toMatchObject({
        status: 200,
        json: { ...memory, deleted: false, version: `1-${accepted.json.jobId}-0` },
      })
      expect(headers).toMatchObject({ 'cache-control': 'no-store', 'content-type': 'application/json' })

      expect(await http.ask('DELETE', '/v1/memories/n/one')).toMatchObject({
        status: 202,
        json: { accepted: 'queued', key: 'one', namespace: 'n' },
      })
      await waitFor('it is gone', async () => (await http.ask('GET', '/v1/memories/n/one')).status === 404)
      expectRefusal(await http.ask('GET', '/v1/memories/n/one'), 404, 'MEMSYNC_NOT_FOUND')
    })

    it('an array is accepted in its order, with a receipt for each', async () => {
      const { status, json } = await http.post([
        { key: 'same', value: 'old' },
        { key: 'other', value: 1 },
        { key: 'same', value: 'new' },
      ])
      const results = json.results as { jobId: string; key: string }[]
      expect({ status, accepted: json.accepted, keys: results.map(({ key }) => key) }).toEqual({
        status: 202,
        accepted: 3,
        keys: ['same', 'other', 'same'],
      })
      const ids = results.map(({ jobId }) => Number(jobId))
      expect(ids).toEqual([...ids].sort((a, b) => a - b))
      await stored('default', 'same', 'new')
    })

    it('of an array with one bad memory none is taken', async () => {
      const before = (await http.daemon.status()).totals.queued
      const answer = await http.post([
        { key: 'ok', value: 1 },
        { key: 'ok', value: 2, ttl: 3 },
      ])
      expectRefusal(answer, 400, 'MEMSYNC_INVALID_MEMORY', 'memory 1: unknown field "ttl" (none was taken)')
      expect((await http.daemon.status()).totals.queued).toBe(before)
      expectRefusal(await http.post([]), 400, 'MEMSYNC_BAD_REQUEST', 'no memory')
      const many = Array.from({ length: 10_001 }, () => 0)
      expectRefusal(await http.post(many), 413, 'MEMSYNC_BAD_REQUEST', 'NDJSON')
    })

    it.each([
      '.',
      '..',
      'a/b',
      '%',
      '%2F',
      '%zz',
      'a b+c',
      '?#&=',
      '\u0000\n',
      '💾',
      '../../etc',
      '{key}',
      '*',
      ':key',
    ])('the key %j is a key like any other', async (key) => {
      const encoded = encodeURIComponent(key).replaceAll('.', '%2E')
      await http.post({ key, value: key, namespace: 'a/../b' })
      const path = `/v1/memories/${encodeURIComponent('a/../b')}/${encoded}`
      await waitFor('it is stored', async () => (await http.ask('GET', path)).status === 200)
      expect((await http.ask('GET', path)).json).toMatchObject({ key, value: key, namespace: 'a/../b' })
      const plain = `/v1/memories/${encodeURIComponent('a/../b')}/${encodeURIComponent(key)}`
      expect((await http.ask('GET', plain)).json).toMatchObject({ key })
      expect((await http.ask('DELETE', path)).json).toMatchObject({ key })
    })

    it.each([
      ['/v1/memories/n/%', 'key: is not percent-encoded UTF-8'],
      ['/v1/memories/%ff/k', 'namespace: is not percent-encoded UTF-8'],
      ['/v1/memories/n/%ED%A0%80', 'key: is not percent-encoded UTF-8'],
      [`/v1/memories/n/${'k'.repeat(1025)}`, 'key: is longer than 1024 bytes'],
      [`/v1/memories/${'n'.repeat(257)}/k`, 'namespace: is longer than 256 bytes'],
      ['/v1/memories?limit=0', 'limit: is not a whole number from 1 to 1000'],
      ['/v1/memories?limit=1e2', 'limit: '],
      ['/v1/memories?limit=1&limit=2', 'limit: stands twice'],
      ['/v1/memories?order=asc', '"order": is no parameter of this route'],
      ['/v1/memories?deleted=yes', 'deleted: is neither true nor false'],
      ['/v1/memories?after=nonsense', 'after: is not the `next`'],
      [`/v1/memories?after=${Buffer.from('[1,2]').toString('base64url')}`, 'after: is not the `next`'],
      ['/v1/memories?prefix=%f', 'prefix: is not percent-encoded UTF-8'],
      ['/v1/memories/n/k?x=1', '"x": is no parameter of this route'],
      ['/v1/search', 'q: missing'],
      ['/v1/search?q=%20', 'the query has no word in it'],
      [`/v1/search?q=${'x'.repeat(1001)}`, 'the query is longer than 1000 characters'],
      ['/v1/search?q=a&limit=101', 'limit: is not a whole number from 1 to 100'],
    ])('GET %s is refused by what is wrong', async (path, message) => {
      expectRefusal(await http.ask('GET', path), 400, 'MEMSYNC_BAD_REQUEST', message)
    })

    it.each([
      ['no JSON', '{"key":', 400, 'MEMSYNC_INVALID_MEMORY', 'the body is not JSON'],
      ['no object', '"text"', 400, 'MEMSYNC_INVALID_MEMORY', 'the memory: '],
      ['a missing key', '{"value":1}', 400, 'MEMSYNC_INVALID_MEMORY', 'key: '],
      ['a missing value', '{"key":"k"}', 400, 'MEMSYNC_INVALID_MEMORY', 'value: missing'],
      [
        'an unknown field',
        '{"key":"k","value":1,"id":7}',
        400,
        'MEMSYNC_INVALID_MEMORY',
        'unknown field "id"',
      ],
      ['a lone surrogate', '{"key":"\\ud800","value":1}', 400, 'MEMSYNC_INVALID_MEMORY', 'lone surrogate'],
      ['too many digits', '{"key":"k","value":12345678901234567890}', 400, 'MEMSYNC_INVALID_VALUE', '2^53'],
      ['too much', `{"key":"k","value":"${'x'.repeat(20_001)}"}`, 413, 'MEMSYNC_VALUE_TOO_LARGE', '20000'],
      [
        'too deep',
        `{"key":"k","value":${'['.repeat(600)}${']'.repeat(600)}}`,
        413,
        'MEMSYNC_VALUE_TOO_LARGE',
        'deep',
      ],
    ])('a body with %s is refused by name', async (_what, body, status, code, message) => {
      expectRefusal(await http.post(undefined, { body }), status, code, message)
    })

    it('bytes that are not UTF-8 are refused, and nothing is repeated of what was sent', async () => {
      const body = Buffer.concat([
        Buffer.from('{"key":"k","value":"SECRET'),
        Buffer.from([0xff]),
        Buffer.from('"}'),
      ])
      const answer = await http.post(undefined, { body })
      expectRefusal(answer, 400, 'MEMSYNC_INVALID_VALUE', 'the body is not UTF-8')
      const broken = await http.post(undefined, { body: '{"key":"k","value":"SECRET",' })
      expect(broken.text + answer.text).not.toContain('SECRET')
    })

    it('a body longer than any memory is refused while it still comes, and the connection ends', async () => {
      const answer = await http.post(undefined, { body: 'x'.repeat(600_000) })
      expectRefusal(answer, 413, 'MEMSYNC_VALUE_TOO_LARGE', 'the body is longer than')
      expect(answer.headers.connection).toBe('close')
    })

    it.each([
      [{ 'content-type': 'text/plain' }, 'content-type: is neither'],
      [{ 'content-type': 'application/x-www-form-urlencoded' }, 'content-type: is neither'],
      [{ 'content-type': 'application/json; charset=latin1' }, 'charset'],
      [{ ...JSON_TYPE, 'content-encoding': 'gzip' }, 'content-encoding'],
    ])('a body with %j is of a type that is not taken', async (headers, message) => {
      const answer = await http.ask('POST', '/v1/memories', { headers, body: '{"key":"k","value":1}' })
      expectRefusal(answer, 415, 'MEMSYNC_BAD_REQUEST', message)
    })

    it('are listed by pages, within a namespace, by prefix, with the deleted or without', async () => {
      const memories = ['b', 'a', 'c', 'x/1'].map((key) => ({ key, value: key, namespace: 'list' }))
      await http.post([...memories, { key: 'gone', op: 'delete', namespace: 'list' }])
      await stored('list', 'x/1', 'x/1')
      const list = async (query: string) => {
        const { json } = await http.ask('GET', `/v1/memories?namespace=list&${query}`)
        return { keys: (json.memories as { key: string }[]).map(({ key }) => key), next: json.next }
      }
      expect(await list('')).toEqual({ keys: ['a', 'b', 'c', 'x/1'], next: null })
      const first = await list('limit=3')
      expect(first).toEqual({ keys: ['a', 'b', 'c'], next: expect.stringMatching(/^[\w-]+$/) })
      expect(await list(`after=${first.next}`)).toEqual({ keys: ['x/1'], next: null })
      expect((await list('prefix=x%2F')).keys).toEqual(['x/1'])
      await waitFor('the delete is applied', async () => (await list('deleted=true')).keys.includes('gone'))
      const all = (await http.ask('GET', '/v1/memories')).json.memories as { namespace: string }[]
      expect(new Set(all.map(({ namespace }) => namespace)).size).toBeGreaterThan(1)
    })

    it('are found by words in the key or the value, in any case, the best first', async () => {
      const namespace = 'search'
      await http.post([
        { namespace, key: 'note/1', value: `${'-'.repeat(500)} the Blue whale sings ${'-'.repeat(500)}` },
        { namespace, key: 'blue', value: { size: 'whale' } },
        { namespace, key: 'whale blue', value: 0 },
        { namespace, key: 'unrelated', value: 'red herring' },
      ])
      await stored(namespace, 'unrelated', 'red herring')
      const search = async (query: string) => {
        const { status, json } = await http.ask('GET', `/v1/search?namespace=${namespace}&${query}`)
        const hits = json.hits as { key: string; excerpt: string }[]
        return {
          status,
          keys: hits.map(({ key }) => key),
          excerpts: hits.map(({ excerpt }) => excerpt),
          json,
        }
      }
      const found = await search('q=BLUE+whale')
      expect(found).toMatchObject({
        status: 200,
        keys: ['whale blue', 'blue', 'note/1'],
        json: { complete: true },
      })
      expect(found.excerpts[2]).toMatch(/^….*the Blue whale sings.*…$/)
      expect(found.excerpts[2]?.length).toBeLessThan(250)
      expect((await search('q=blue')).keys[0]).toBe('blue')
      expect((await search('q=blue&limit=1')).keys).toEqual(['blue'])
      expect((await search('q=nothing%20such')).keys).toEqual([])
    })
  })

  describe('NDJSON', () => {
    it('is taken line by line in order; what is refused is named by its line', async () => {
      const lines = [
        '{"key":"s","value":1}',
        '',
        '\r',
        'nonsense',
        '{"key":"s","value":2}\r',
        '{"key":"","value":1}',
      ]
      const answer = await http.postLines(lines.join('\n'))
      expect(answer).toMatchObject({
        status: 207,
        json: { accepted: 2, refused: 2, moreRefusals: 0 },
      })
      expect(answer.json.refusals).toEqual([
        { line: 4, code: 'MEMSYNC_INVALID_MEMORY', message: 'the line is not JSON' },
        { line: 6, code: 'MEMSYNC_INVALID_MEMORY', message: 'key: is empty' },
      ])
      await stored('default', 's', 2)
    })

    it('with no good line in it is a bad request that names the first', async () => {
      const answer = await http.postLines('nonsense\n'.repeat(150))
      expectRefusal(answer, 400, 'MEMSYNC_INVALID_MEMORY', 'line 1: the line is not JSON (no line was taken)')
      expect(answer.json).toMatchObject({ accepted: 0, refused: 150, moreRefusals: 50 })
      expect(answer.json.refusals).toHaveLength(100)
      expect(await http.postLines('')).toMatchObject({ status: 202, json: { accepted: 0, refused: 0 } })
    })

    it('of any length passes, in order, each line once', async () => {
      const before = Number((await http.daemon.status()).totals.queued)
      const lines = Array.from({ length: 5_000 }, (_, at) => `{"key":"bulk-${at % 500}","value":${at}}\n`)
      const answer = await http.postLines(lines.join(''))
      expect(answer).toMatchObject({ status: 202, json: { accepted: 5_000, refused: 0 } })
      await waitFor('each is worked off', async () => {
        const { lanes, spool } = await http.daemon.status()
        const { waiting, delayed, active } = lanes.sync
        return (waiting ?? 1) + (delayed ?? 1) + (active ?? 1) + (spool.records ?? 1) === 0
      })
      // On a machine that is slow enough, some come through the spool, and may be in the queue as well.
      const drained = http.daemon.log.filter(({ msg }) => msg === 'the spool is drained')
      const spooled = drained.reduce((sum, { memories }) => sum + Number(memories), 0)
      const queued = Number((await http.daemon.status()).totals.queued) - before
      expect(queued).toBeGreaterThanOrEqual(5_000)
      expect(queued).toBeLessThanOrEqual(5_000 + spooled)
      await stored('default', 'bulk-499', 4_999, 30_000)
      await stored('default', 'bulk-0', 4_500)
    })

    it('that breaks off keeps the whole lines before', async () => {
      const socket = createConnection(http.port, '127.0.0.1')
      const head = `POST /v1/memories HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${http.token}\r\n`
      const body = '{"key":"before","value":"whole"}\n{"key":"half'
      socket.write(`${head}content-type: application/x-ndjson\r\ncontent-length: 1000\r\n\r\n${body}`)
      await stored('default', 'before', 'whole')
      socket.destroy()
      expect((await http.ask('GET', '/healthz')).status).toBe(200)
      expect((await http.ask('GET', '/v1/memories?prefix=half')).json.memories).toEqual([])
    })
  })

  describe('who may ask', () => {
    it('only who has the token, except for the probes and the document', async () => {
      const open = ['/healthz', '/readyz', '/openapi.json']
      for (const path of [
        '/v1/status',
        '/v1/memories',
        '/v1/search?q=a',
        '/v1/memories/n/k',
        '/nope',
        ...open,
      ]) {
        for (const authorization of [
          '',
          'Bearer',
          'Bearer wrong',
          `Basic ${http.token}`,
          `Bearer ${http.token}x`,
        ]) {
          const answer = await http.ask('GET', path, { headers: { authorization } })
          if (open.includes(path)) expect(answer.status).toBe(200)
          else {
            expectRefusal(answer, 401, 'MEMSYNC_UNAUTHORIZED')
            expect(answer.headers['www-authenticate']).toBe('Bearer')
          }
        }
      }
      expectRefusal(
        await send({ host: '127.0.0.1', port: http.port }, 'POST', '/v1/memories'),
        401,
        'MEMSYNC_UNAUTHORIZED',
      )
      const lowerCase = await http.ask('GET', '/v1/status', {
        headers: { authorization: `bearer ${http.token}` },
      })
      expect(lowerCase.status).toBe(200)
    })

    it('no page of another site, by its Host or by its Origin', async () => {
      for (const host of [
        'evil.example',
        `evil.example:${http.port}`,
        '127.0.0.1.evil.example',
        'localhost.evil',
      ]) {
        for (const path of ['/healthz', '/v1/status']) {
          const answer = await http.ask('GET', path, { headers: { host } })
          expectRefusal(answer, 403, 'MEMSYNC_FORBIDDEN', 'Host')
        }
      }
      const host = `localhost:${http.port}`
      for (const origin of [
        'https://evil.example',
        'null',
        `https://${host}`,
        `http://${host}.evil`,
        'http://localhost',
      ]) {
        const answer = await http.ask('GET', '/v1/status', { headers: { host, origin } })
        expectRefusal(answer, 403, 'MEMSYNC_FORBIDDEN', 'Origin')
      }
      for (const own of [host, `127.0.0.1:${http.port}`, `[::1]:${http.port}`, 'LOCALHOST']) {
        const answer = await http.ask('GET', '/v1/status', {
          headers: { host: own, origin: `http://${own}` },
        })
        expect(answer.status).toBe(200)
      }
    })

    it('the token is a file of the owner alone, made once and kept', async () => {
      expect(statSync(tokenPath(http.dataDir)).mode & 0o777).toBe(0o600)
      expect(http.token).toMatch(/^[\w-]{43}$/)
      expect(http.daemon.output()).not.toContain(http.token)
    })
  })

  describe('what is no request of ours', () => {
    it('another method names those that are', async () => {
      const answer = await http.ask('PUT', '/v1/memories/n/k', { body: '{}' })
      expectRefusal(
        answer,
        405,
        'MEMSYNC_BAD_REQUEST',
        'PUT: is not a method of this route, GET or DELETE is',
      )
      expect(answer.headers.allow).toBe('GET, DELETE')
      expect((await http.ask('HEAD', '/healthz')).status).toBe(200)
    })

    it.each([
      '/',
      '/v1',
      '/v1/memories/',
      '/v1/memories/n',
      '/v1/memories/n/k/x',
      '//v1/status',
      '/v1/../v1/status',
    ])('there is no route %s', async (path) => {
      expectRefusal(await http.ask('GET', path), 404, 'MEMSYNC_BAD_REQUEST', 'no such route')
    })

    it('a malformed request gets an answer, never a 500', async () => {
      const raw = (text: string) =>
        new Promise<string>((resolve, reject) => {
          const socket = createConnection(http.port, '127.0.0.1', () => socket.end(text, 'latin1'))
          let answer = ''
          socket.setEncoding('utf8').on('data', (chunk: string) => {
            answer += chunk
          })
          socket.on('error', reject).on('close', () => resolve(answer))
        })
      const rest = `host: localhost\r\nauthorization: Bearer ${http.token}\r\nconnection: close\r\n\r\n`
      const cases: [string, number][] = [
        ['nonsense\r\n\r\n', 400],
        [`GET /v1/memories/n/k\u00e9 HTTP/1.1\r\n${rest}`, 400],
        [`GET /v1/memories\\n HTTP/1.1\r\n${rest}`, 400],
        [`GET http://evil.example/v1/status HTTP/1.1\r\n${rest}`, 404],
        [`GET * HTTP/1.1\r\n${rest}`, 400],
        [`GET /v1/status HTTP/1.1\r\nhost: a b\r\n\r\n`, 400],
        [`GET /${'x'.repeat(20_000)} HTTP/1.1\r\n${rest}`, 431],
        [`POST /v1/memories HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n${rest}`, 400],
      ]
      for (const [text, status] of cases) {
        const answer = await raw(text)
        expect({ text: text.slice(0, 40), head: answer.slice(0, 13) }).toEqual({
          text: text.slice(0, 40),
          head: `HTTP/1.1 ${status} `,
        })
        expect(JSON.parse(answer.slice(answer.indexOf('\r\n\r\n')))).toMatchObject({
          error: { code: expect.stringMatching(/^MEMSYNC_/) },
        })
      }
    })
  })
})

describe('a unix socket', () => {
  it('needs no token and lets in its owner alone; what a killed daemon left is replaced', async () => {
    const dataDir = tempDir()
    const path = join(tempDir(), 'http.sock')
    const env = { MEMSYNC_HTTP: `unix:${path}` }
    const first = await startDaemon(dataDir, env)
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(
      await send({ socketPath: path }, 'GET', '/v1/status', { headers: { host: 'anything' } }),
    ).toMatchObject({
      status: 200,
      json: { daemon: { pid: first.pid } },
    })
    expect(existsSync(tokenPath(dataDir))).toBe(false)
    first.kill('SIGKILL')
    await first.ended
    const second = await startDaemon(dataDir, env)
    const accepted = await send({ socketPath: path }, 'POST', '/v1/memories', {
      headers: JSON_TYPE,
      body: '{"key":"k","value":1}',
    })
    expect(accepted.status).toBe(202)
    second.kill('SIGTERM')
    expect(await second.ended).toEqual({ code: 0, signal: null })
    expect(existsSync(path)).toBe(false)
  })

  it('a file that is no socket is left alone', async () => {
    const path = join(tempDir(), 'precious')
    writeFileSync(path, 'kept')
    const daemon = await startDaemon(tempDir(), { MEMSYNC_HTTP: `unix:${path}` })
    expect(
      await daemon.logged('HTTP cannot listen yet; it is tried again, and the syncing goes on'),
    ).toMatchObject({
      reason: `${path} is there and is no socket`,
    })
    daemon.kill('SIGTERM')
    await daemon.ended
    expect(readFileSync(path, 'utf8')).toBe('kept')
  })
})

describe('a port that is taken', () => {
  it('is told once and tried again, and never stops the syncing', async () => {
    const squatter = createNetServer()
    await new Promise<void>((resolve) => {
      squatter.listen(0, '127.0.0.1', resolve)
    })
    const { port } = squatter.address() as AddressInfo
    const dataDir = tempDir()
    const daemon = await startDaemon(dataDir, { MEMSYNC_HTTP: `127.0.0.1:${port}` })
    const told = 'HTTP cannot listen yet; it is tried again, and the syncing goes on'
    expect(await daemon.logged(told)).toMatchObject({
      level: 'warn',
      reason: expect.stringContaining('EADDRINUSE'),
    })
    expect(await daemon.status()).toMatchObject({ daemon: { progress: { state: 'idle' } } })
    squatter.close()
    await daemon.logged('HTTP listens')
    expect((await send({ host: '127.0.0.1', port }, 'GET', '/healthz')).status).toBe(200)
    expect(daemon.log.filter(({ msg }) => msg === told)).toHaveLength(1)
    daemon.kill('SIGTERM')
    expect(await daemon.ended).toEqual({ code: 0, signal: null })
  })

  it('an unusable token keeps it shut until it is mended, and one that others may read is closed to them', async () => {
    const dataDir = tempDir()
    writeFileSync(tokenPath(dataDir), 'short\n')
    const daemon = spawnDaemon(dataDir, { MEMSYNC_HTTP: '127.0.0.1:0' })
    const { reason } = await daemon.logged(
      'HTTP cannot listen yet; it is tried again, and the syncing goes on',
    )
    expect(reason).toContain('holds no token')
    const token = 'a-token-of-my-own-that-is-long-enough'
    writeFileSync(tokenPath(dataDir), token)
    chmodSync(tokenPath(dataDir), 0o644)
    const { address } = await daemon.logged('HTTP listens')
    const where = { host: '127.0.0.1', port: Number(new URL(String(address)).port) }
    const headers = { authorization: `Bearer ${token}` }
    expect((await send(where, 'GET', '/v1/status', { headers })).status).toBe(200)
    expect(statSync(tokenPath(dataDir)).mode & 0o777).toBe(0o600)
    daemon.kill('SIGTERM')
    await daemon.ended
  })
})

it('with Redis away: alive, not ready, and a write goes to the spool until that is full', async () => {
  const redis = await startTestRedis()
  // Room for one file, so for one request.
  const http = await startHttpDaemon({ REDIS_URL: redis.url, MEMSYNC_SPOOL_MAX_BYTES: '4096' })
  try {
    await http.daemon.logged('ready')
    await waitFor('it is ready', async () => (await http.ask('GET', '/readyz')).status === 200)
    await redis.kill()
    await waitFor('it notices', async () => (await http.ask('GET', '/readyz')).status === 503)
    expect((await http.ask('GET', '/healthz')).status).toBe(200)
    expect((await http.ask('GET', '/readyz')).json).toEqual({ status: 'waiting', reasons: ['redis is down'] })
    expect((await http.ask('GET', '/v1/memories')).status).toBe(200)

    const spooled = await http.post({ key: 'k', value: 'spooled' })
    expect(spooled).toMatchObject({
      status: 202,
      json: { accepted: 'spooled', uid: expect.any(String), key: 'k', namespace: 'default' },
    })
    const one = await http.post({ key: 'k', value: 1 })
    expectRefusal(one, 503, 'MEMSYNC_SPOOL_FULL')
    expect(one.headers['retry-after']).toBe('5')
    const stream = await http.ask('POST', '/v1/memories', {
      headers: NDJSON_TYPE,
      body: '\n{"key":"k","value":1}\n',
    })
    expectRefusal(stream, 503, 'MEMSYNC_SPOOL_FULL')
    expect(stream.json).toMatchObject({ accepted: 0, goOnFromLine: 2 })
    const array = await http.post([{ key: 'k', value: 1 }])
    expect(array).toMatchObject({ status: 503, json: { accepted: 0, results: [{ error: {} }] } })

    await redis.restart()
    await waitFor('the spool is drained', async () => {
      const { json } = await http.ask('GET', '/v1/memories/default/k')
      return json.value === 'spooled'
    })
    await waitFor('it is queued again', async () => {
      return (await http.post({ key: 'k', value: 1 })).json.accepted === 'queued'
    })
  } finally {
    await http.stop()
    await redis.stop()
  }
})

it('is off unless it is set', async () => {
  const dataDir = tempDir()
  const daemon = await startDaemon(dataDir)
  expect(existsSync(tokenPath(dataDir))).toBe(false)
  expect(daemon.log.some(({ msg }) => msg.includes('HTTP'))).toBe(false)
  daemon.kill('SIGTERM')
  await daemon.ended
})

it.each([
  '0.0.0.0:80',
  '192.168.0.1:80',
  '127.0.0.1',
  '127.0.0.1:70000',
  'unix:',
  `unix:/${'x'.repeat(103)}`,
])('MEMSYNC_HTTP=%s is refused by name', async (value) => {
  const daemon = spawnDaemon(tempDir(), { MEMSYNC_HTTP: value })
  expect(await daemon.ended).toMatchObject({ code: 2 })
  expect(daemon.output()).toContain('MEMSYNC_HTTP (from environment)')
})
