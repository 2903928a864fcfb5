/** What each Mem0 server has of its own, beside the contract of a remote. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { contentOf } from '../../src/infrastructure/remote/content.ts'
import { openRemote } from '../../src/infrastructure/remote/index.ts'
import type { Remote } from '../../src/infrastructure/remote/port.ts'
import { runIdOf } from '../../src/infrastructure/remote/stamp.ts'
import { collect, direct, failureOf, lane, looking, memory, REMOTE_KEY } from '../contract/remoteCases.ts'
import { type FakeMem0, startFakeMem0 } from '../support/fakeMem0.ts'
import { type FakeMem0Platform, startFakeMem0Platform } from '../support/fakeMem0Platform.ts'

describe('self-hosted Mem0', () => {
  let server: FakeMem0
  let remote: Remote

  beforeEach(async () => {
    server = await startFakeMem0({ apiKey: REMOTE_KEY })
    remote = openRemote('mem0', { url: server.url, key: REMOTE_KEY })
  })
  afterEach(async () => {
    remote.close()
    await server.close()
  })

  test('a memory goes as one message, verbatim, with the key header alone', async () => {
    await remote.push(memory('a b', 'Likes\ntea.', 3, { namespace: 'my team' }), direct)
    const [request] = server.requests
    expect(request?.headers).toMatchObject({ 'x-api-key': REMOTE_KEY, 'content-type': 'application/json' })
    expect(request?.headers.authorization).toBeUndefined()
    expect(JSON.parse(request?.body ?? '')).toMatchObject({
      messages: [{ role: 'user', content: 'Likes\ntea.' }],
      user_id: 'my%20team',
      run_id: runIdOf('a b'),
      infer: false,
      metadata: { sync_key: 'a%20b', sync_rev: '1-3-0', sync_source: 'memsyncd' },
    })
  })

  test('an update sends text and metadata together', async () => {
    const { remoteId } = await remote.push(memory('k', 'v'), direct)
    await remote.push(memory('k', 'w', 2), { signal: lane, remoteId })
    const update = server.requests.at(-1)
    expect(update).toMatchObject({ method: 'PUT', path: `/memories/${remoteId}` })
    expect(JSON.parse(update?.body ?? '')).toMatchObject({ text: 'w', metadata: { sync_rev: '1-2-0' } })
  })

  test('a lookup asks for the key alone, expired memories too', async () => {
    await remote.find({ namespace: 'my team', key: 'k' }, lane)
    const query = Object.fromEntries(server.requests.at(-1)?.query ?? [])
    expect(query).toEqual({ user_id: 'my%20team', run_id: runIdOf('k'), top_k: '1000', show_expired: 'true' })
  })

  test.for([
    ['provider_auth_failed', 'MEMSYNC_REMOTE_CREDENTIALS', 'credentials'],
    ['provider_bad_request', 'MEMSYNC_REMOTE_REFUSED', 'permanent'],
    ['provider_rate_limited', 'MEMSYNC_REMOTE_RATE_LIMITED', 'outage'],
    ['provider_timeout', 'MEMSYNC_REMOTE_UNAVAILABLE', 'outage'],
    ['provider_unavailable', 'MEMSYNC_REMOTE_UNAVAILABLE', 'outage'],
    ['datastore_unavailable', 'MEMSYNC_REMOTE_UNAVAILABLE', 'outage'],
    ['vector_store_unavailable', 'MEMSYNC_REMOTE_UNAVAILABLE', 'outage'],
    ['unknown', 'MEMSYNC_REMOTE_UNCLEAR', 'transient'],
  ])('502 %s, by the request id of the server', async ([code = '', wanted, errorClass]) => {
    server.inject({ kind: 'upstream', code })
    const error = await failureOf(remote.push(memory('k', 'v'), direct))
    expect([error.code, error.class]).toEqual([wanted, errorClass])
    expect(error.message).toContain(`502 ${code}`)
    expect(error.message).toContain('request deadbeef')
  })

  test('a probe stays green while only the embedder is down: a write alone shows that', async () => {
    server.embedderFault = 'provider_unavailable'
    await remote.probe(lane)
    expect((await failureOf(remote.push(memory('k', 'v'), direct))).code).toBe('MEMSYNC_REMOTE_UNAVAILABLE')
    server.embedderFault = undefined
    expect((await remote.push(memory('k', 'v'), looking)).outcome).toBe('stored')
  })

  test('200 with empty results is not stored', async () => {
    server.inject({ kind: 'status', status: 200, body: { results: [] } }, { times: 1 })
    const error = await failureOf(remote.push(memory('k', 'v'), direct))
    expect([error.code, error.class]).toEqual(['MEMSYNC_REMOTE_UNCLEAR', 'transient'])
    expect(error.message).toContain('stored nothing')
  })

  test('what its database cannot hold fails for as long as attempts last, and stops nothing', async () => {
    expect((await failureOf(remote.push(memory('k', 'a\0b'), direct))).class).toBe('transient')
    expect((await failureOf(remote.push(memory('k', ''), direct))).class).toBe('permanent')
    expect((await remote.push(memory('k\0', 'fine'), direct)).outcome).toBe('stored')
  })

  test('a namespace of 1,000 or more says that its list is cut short; find still knows every key', async () => {
    for (let n = 0; n < 1001; n++) {
      const id = `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`
      const metadata = {
        sync_key: `key ${n}`,
        sync_rev: `1-${n}-0`,
        sync_format: 'text',
        sync_metadata: '{}',
      }
      server.records.set(id, { id, memory: `v${n}`, user_id: 'big', run_id: runIdOf(`key ${n}`), metadata })
    }
    const pages = []
    for await (const page of remote.readAll(['big', 'small'], lane)) pages.push(page)
    expect(pages.map(({ namespace, memories, complete }) => [namespace, memories.length, complete])).toEqual([
      ['big', 1000, false],
      ['small', 0, true],
    ])
    expect(await remote.find({ namespace: 'big', key: 'key 1000' }, lane)).toMatchObject([
      {
        contentHash: contentOf('v1000', undefined).contentHash,
        version: { epoch: 1, sequence: 1000, index: 0 },
      },
    ])
  })

  test('a memory that someone else put there is read as one without a key', async () => {
    const id = '00000000-0000-4000-8000-000000000000'
    server.records.set(id, { id, memory: 'theirs', user_id: 'default', run_id: undefined, metadata: {} })
    await remote.push(memory('k', 'ours'), direct)
    expect((await collect(remote, ['default'])).map(({ key }) => key)).toEqual([undefined, 'k'])
  })

  test('metadata that an update left out is gone, though the server only merges', async () => {
    const tagged = memory('k', 'v', 1, { content: contentOf('v', { old: 1 }) })
    const { remoteId } = await remote.push(tagged, direct)
    const plain = memory('k', 'v', 2)
    await remote.push(plain, { signal: lane, remoteId })
    expect([...server.records.values()][0]?.metadata.old).toBe(1)
    expect(await remote.find(plain, lane)).toMatchObject([{ contentHash: plain.content.contentHash }])
  })

  test('an older server that answers 502 for an id it no longer has is asked by key on the retry', async () => {
    const { remoteId } = await remote.push(memory('k', 'v'), direct)
    server.records.clear()
    server.inject({ kind: 'upstream', code: 'unknown' }, { route: 'PUT /memories/:id' })
    const again = memory('k', 'w', 2)
    expect((await failureOf(remote.push(again, { signal: lane, remoteId }))).class).toBe('transient')
    const retried = await remote.push(again, { signal: lane, remoteId, lookupFirst: true })
    expect(retried.outcome).toBe('stored')
    expect(server.records.size).toBe(1)
  })

  test('a lookup that fails creates nothing', async () => {
    server.inject({ kind: 'status', status: 500 }, { route: 'GET /memories' })
    await failureOf(remote.push(memory('k', 'v'), looking))
    expect(server.calls.get('POST /memories')).toBeUndefined()
  })

  describe('probe', () => {
    const asked = () => [...server.calls.keys()]

    test('asks for health, then the set-up status, then reads with the key; later only what was there', async () => {
      await remote.probe(lane)
      expect(asked()).toEqual(['other', 'GET /auth/setup-status', 'GET /memories'])
      server.resetCalls()
      await remote.probe(lane)
      expect(asked()).toEqual(['GET /auth/setup-status', 'GET /memories'])
    })

    test('uses the health route of a newer server', async () => {
      const newer = await startFakeMem0({ apiKey: REMOTE_KEY, healthRoute: true })
      const probing = openRemote('mem0', { url: newer.url, key: REMOTE_KEY })
      await probing.probe(lane)
      expect([...newer.calls.keys()]).toEqual(['GET /health', 'GET /memories'])
      newer.inject({ kind: 'status', status: 503 }, { route: 'GET /health' })
      expect((await failureOf(probing.probe(lane))).message).toContain('GET /health')
      probing.close()
      await newer.close()
    })

    test('tells a dead database by the route that failed', async () => {
      await remote.probe(lane)
      server.inject({ kind: 'upstream', code: 'datastore_unavailable' }, { route: 'GET /memories' })
      const error = await failureOf(remote.probe(lane))
      expect(error.message).toContain('GET /memories')
      expect(error.code).toBe('MEMSYNC_REMOTE_UNAVAILABLE')
    })

    test('has one deadline for all its steps', async () => {
      const probing = openRemote('mem0', { url: server.url, key: REMOTE_KEY, probeTimeoutMs: 200 })
      server.inject({ kind: 'slow', delayMs: 120 })
      // The first step leaves the second less than it takes.
      expect((await failureOf(probing.probe(lane))).message).toContain('GET /auth/setup-status')
      probing.close()
    })
  })

  test('an idle connection is let go before a server would close it, one in use is not', async () => {
    const other = openRemote('mem0', { url: server.url, key: REMOTE_KEY })
    await remote.push(memory('quick', 'v'), direct)
    server.inject({ kind: 'slow', delayMs: 4500 })
    const slow = other.push(memory('slow', 'v'), direct)
    await expect.poll(() => server.openSockets).toBe(2)
    await expect.poll(() => server.openSockets, { timeout: 4400 }).toBe(1)
    expect((await slow).outcome).toBe('stored')
    other.close()
  })

  test('a server without authentication needs no key', async () => {
    const open = await startFakeMem0()
    const keyless = openRemote('mem0', { url: `${open.url}/`, key: undefined })
    await keyless.probe(lane)
    expect((await keyless.push(memory('k', 'v'), direct)).outcome).toBe('stored')
    expect(open.requests.every(({ headers }) => headers['x-api-key'] === undefined)).toBe(true)
    keyless.close()
    await open.close()
  })
})

describe('Mem0 platform', () => {
  let server: FakeMem0Platform
  let remote: Remote

  beforeEach(async () => {
    server = await startFakeMem0Platform({ apiKey: REMOTE_KEY })
    remote = openRemote('mem0-platform', { url: server.url, key: REMOTE_KEY })
  })
  afterEach(async () => {
    remote.close()
    await server.close()
  })

  test('every path ends in a slash, every call has the token', async () => {
    const { remoteId } = await remote.push(memory('k', 'v'), looking)
    await remote.push(memory('k', 'w', 2), { signal: lane, remoteId })
    await collect(remote, ['default'])
    await remote.remove(memory('k', null, 3), { signal: lane, remoteId })
    await remote.probe(lane)
    expect([...server.calls.keys()].sort()).toEqual([
      'DELETE /v1/memories/:id/',
      'GET /v1/ping/',
      'POST /v3/memories/',
      'POST /v3/memories/add/',
      'PUT /v1/memories/:id/',
    ])
    for (const { path, headers } of server.requests) {
      expect(path.endsWith('/')).toBe(true)
      expect(headers.authorization).toBe(`Token ${REMOTE_KEY}`)
    }
  })

  test('a memory goes as one message, verbatim and synchronously', async () => {
    await remote.push(memory('k', 'v'), direct)
    expect(JSON.parse(server.requests[0]?.body ?? '')).toMatchObject({
      messages: [{ role: 'user', content: 'v' }],
      user_id: 'default',
      run_id: runIdOf('k'),
      infer: false,
    })
  })

  test('a lookup names its entities in the filters, and the list is read to its last page', async () => {
    for (let n = 0; n < 401; n++) {
      const id = `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`
      const metadata = {
        sync_key: `key ${n}`,
        sync_rev: `1-${n}-0`,
        sync_format: 'text',
        sync_metadata: '{}',
      }
      server.records.set(id, {
        id,
        memory: `v${n}`,
        user_id: 'big',
        session_id: runIdOf(`key ${n}`),
        metadata,
      })
    }
    await remote.find({ namespace: 'big', key: 'key 7' }, lane)
    expect(JSON.parse(server.requests.at(-1)?.body ?? '').filters).toEqual({
      AND: [{ user_id: 'big' }, { run_id: runIdOf('key 7') }],
    })
    expect(await collect(remote, ['big'])).toHaveLength(401)
    expect(server.requests.slice(-3).map(({ query }) => query.get('page'))).toEqual(['1', '2', '3'])
  })

  test('a repeat that the platform drops is not stored, and the lookup finds the first', async () => {
    await remote.push(memory('k', 'v'), direct)
    expect((await failureOf(remote.push(memory('k', 'v'), direct))).message).toContain('stored nothing')
    expect((await remote.push(memory('k', 'v'), looking)).outcome).toBe('unchanged')
    expect(server.records.size).toBe(1)
  })

  test('an add that is only queued is not stored', async () => {
    const queued = { message: 'queued', status: 'PENDING', event_id: 'e' }
    server.inject({ kind: 'status', status: 200, body: queued }, { times: 1 })
    expect((await failureOf(remote.push(memory('k', 'v'), direct))).code).toBe('MEMSYNC_REMOTE_UNCLEAR')
  })
})
