/** The real `memsync dashboard` over HTTP: who gets in, what it says, and what it does to dead letters. */
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, get } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Config, loadConfig } from '../../src/config.ts'
import { askDaemon } from '../../src/daemon/controlClient.ts'
import { openStore } from '../../src/infrastructure/memory/index.ts'
import type { Write } from '../../src/infrastructure/memory/port.ts'
import { commandLine, MEMSYNC, privateRedisPid, runProgram } from '../support/cli.ts'
import { spawnDaemon } from '../support/daemon.ts'
import { deadLetter, fillQueues, type RunningDashboard, startDashboard } from '../support/dashboard.ts'
import { startFakeOpenai } from '../support/fakeOpenai.ts'
import { send } from '../support/httpDaemon.ts'
import { startTestRedis, type TestRedis } from '../support/redis.ts'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

const XSS = '<img src=x onerror=alert(1)>'

let server: TestRedis
let dataDir: string
let config: Config
let dashboard: RunningDashboard
let cookie: string

beforeAll(async () => {
  server = await startTestRedis({ persist: false })
  dataDir = tempDir()
  config = { ...loadConfig({}, {}).config, dataDir, redisUrl: server.url }
  const store = await openStore(config)
  await store.apply([
    write(1, 'user/preferences', { theme: 'light' }),
    write(2, 'user/preferences', { theme: 'dark' }),
    write(3, XSS, '<script>alert(1)</script>'),
    write(4, 'long', 'x'.repeat(150_000)),
    ...Array.from({ length: 60 }, (_, n) => write(10 + n, `note/${n}`, { text: `about ${n}` }, 'alice')),
  ])
  await store.close()
  await fillQueues(config, {
    waiting: 30,
    dead: [
      ...Array.from({ length: 6 }, (_, n) => deadLetter(n + 1)),
      ...Array.from({ length: 4 }, (_, n) => deadLetter(n + 101, { class: 'transient' })),
      deadLetter(300, { message: XSS, data: { key: XSS, value: XSS } }),
    ],
  })
  dashboard = await startDashboard(dataDir, { REDIS_URL: server.url })
  cookie = await enter(dashboard.link)
})

afterAll(async () => {
  expect(await dashboard?.stop()).toBe(0)
  await server?.stop()
})

function write(sequence: number, key: string, value: unknown, namespace = 'default'): Write {
  const version = { epoch: 1, sequence, index: 0 }
  return { op: 'set', namespace, key, valueJson: JSON.stringify(value), version, acceptedAtMs: sequence }
}

async function enter(link: string): Promise<string> {
  const response = await fetch(link)
  expect(response.status).toBe(200)
  const [given = ''] = response.headers.getSetCookie()
  return given.split(';')[0] ?? ''
}

interface Answer {
  status: number
  headers: Headers
  json: Record<string, unknown>
  text: string
}

async function ask(
  path: string,
  init: RequestInit = {},
  from: RunningDashboard = dashboard,
): Promise<Answer> {
  const response = await fetch(`${from.origin}${path}`, {
    ...init,
    headers: { cookie, ...(init.headers as Record<string, string>) },
  })
  const text = await response.text()
  const isJson = response.headers.get('content-type')?.startsWith('application/json')
  return { status: response.status, headers: response.headers, text, json: isJson ? JSON.parse(text) : {} }
}

function post(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer> {
  return ask(path, {
    method: 'POST',
    body: JSON.stringify(body),
    headers: { 'content-type': 'application/json', ...headers },
  })
}

async function runEnded(): Promise<Record<string, unknown>> {
  return waitFor('the run has ended', async () => {
    const { run } = (await ask('/api/overview')).json
    return (run as { state?: string } | null)?.state === 'ended' && (run as Record<string, unknown>)
  })
}

describe('who gets in', () => {
  it('the link sets a cookie that scripts and other sites cannot use, and leaves the address bar', async () => {
    const response = await fetch(dashboard.link, { redirect: 'manual' })
    const [set = ''] = response.headers.getSetCookie()
    const port = new URL(dashboard.link).port
    expect(set).toMatch(
      new RegExp(`^memsync-dashboard-${port}=[\\w-]{43}; Path=/; HttpOnly; SameSite=Strict$`),
    )
    expect(set).not.toContain(new URL(dashboard.link).searchParams.get('token'))
    const page = await response.text()
    expect(page).toContain('<meta http-equiv="refresh" content="0;url=/">')
    expect(response.headers.get('referrer-policy')).toBe('no-referrer')
    expect(response.headers.get('cache-control')).toBe('no-store')
  })

  it('nothing is served without the cookie, and each refusal says how to get in', async () => {
    for (const path of ['/', '/queues', '/queues/memory-sync', '/?token=wrong', '/?token=']) {
      const answer = await ask(path, { headers: { cookie: '' } })
      expect(answer.status, path).toBe(401)
      expect(answer.text, path).toContain('memsync dashboard')
    }
    for (const path of [
      '/api/overview',
      '/assets/main.js',
      '/api/memory?namespace=default&key=long',
      '/queues/api/queues',
    ]) {
      const answer = await ask(path, { headers: { cookie: `${cookie}x` } })
      expect(answer.status, path).toBe(401)
      expect(answer.text, path).not.toContain('xxx')
    }
    const before = (await ask('/api/dead-letters')).json.matching
    const refused = await post('/api/dead-letters/drop', { ids: ['1-1-0-0'] }, { cookie: '' })
    expect(refused.status).toBe(401)
    expect((await ask('/api/dead-letters')).json.matching).toBe(before)
  })

  it('another Host, Origin or site gets nothing, whatever it presents', async () => {
    const { port } = new URL(dashboard.origin)
    const asked = (headers: Record<string, string>, path = '/api/overview') =>
      send({ host: '127.0.0.1', port: Number(port) }, 'GET', path, { headers: { cookie, ...headers } })
    expect((await asked({ host: `127.0.0.1:${port}` })).status).toBe(200)
    for (const headers of [
      { host: `evil.example:${port}` },
      { host: `127.0.0.1.evil.example:${port}` },
      { origin: 'http://evil.example' },
      { origin: 'http://127.0.0.1:1' },
      { origin: 'null' },
      { 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'same-site' },
      { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'iframe' },
    ]) {
      const answer = await asked({ host: `127.0.0.1:${port}`, ...headers })
      expect(answer.status, JSON.stringify(headers)).toBe(403)
      expect(answer.headers['access-control-allow-origin']).toBeUndefined()
    }
    const followed = {
      'sec-fetch-site': 'cross-site',
      'sec-fetch-mode': 'navigate',
      'sec-fetch-dest': 'document',
    }
    const status = await new Promise((resolve, reject) => {
      get(dashboard.link, { headers: followed }, (response) => {
        response.resume()
        resolve(response.statusCode)
      }).on('error', reject)
    })
    expect(status).toBe(200)
  })

  it('changes nothing by a form, a GET, another method or a body that is not JSON', async () => {
    const before = (await ask('/api/dead-letters')).json.matching
    const form = { 'content-type': 'application/x-www-form-urlencoded' }
    expect((await post('/api/dead-letters/drop', { ids: ['1-1-0-0'] }, form)).status).toBe(415)
    expect(
      (await post('/api/dead-letters/drop', { ids: ['1-1-0-0'] }, { 'content-type': 'text/plain' })).status,
    ).toBe(415)
    expect((await ask('/api/dead-letters/drop?ids=1-1-0-0')).status).toBe(404)
    expect((await post('/queues/api/queues/memory-sync/pause', {})).status).toBe(404)
    const json = { 'content-type': 'application/json' }
    expect((await ask('/api/dead-letters/drop', { method: 'POST', body: '{', headers: json })).status).toBe(
      400,
    )
    expect((await ask('/api/dead-letters')).json.matching).toBe(before)
  })

  it('every answer forbids the browser to load or be framed by anything from elsewhere', async () => {
    for (const path of [
      '/',
      '/api/overview',
      '/assets/main.js',
      '/queues',
      '/no/such',
      '/api/memory?namespace=x&key=y',
    ]) {
      const { headers } = await ask(path)
      expect(headers.get('content-security-policy'), path).toContain("default-src 'none'")
      expect(headers.get('content-security-policy'), path).toContain("frame-ancestors 'none'")
      expect(headers.get('content-security-policy'), path).not.toMatch(/https?:|\*/)
      expect(headers.get('x-content-type-options'), path).toBe('nosniff')
      expect(headers.get('cross-origin-resource-policy'), path).toBe('same-origin')
    }
    expect((await ask('/')).headers.get('content-security-policy')).toContain("script-src 'self';")
    expect((await ask('/')).headers.get('content-security-policy')).not.toContain('unsafe')
  })
})

describe('what it says', () => {
  it('its icon also where a browser looks for one by itself', async () => {
    const answer = await ask('/favicon.ico')
    expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'image/svg+xml'])
  })

  it('the status and the history since a moment', async () => {
    const { json } = await ask('/api/overview')
    expect(json).toMatchObject({ servedBy: 'command', canSearchByMeaning: false, run: null })
    expect(json.status).toMatchObject({
      daemon: { running: false },
      lanes: { sync: { waiting: 30 } },
      deadLetters: 11,
      store: { keys: 63 },
    })
    const { samples } = json.history as { samples: { atMs: number }[] }
    expect(samples.length).toBeGreaterThan(0)
    const later = await ask(`/api/overview?since=${samples.at(-1)?.atMs}`)
    const { samples: news } = later.json.history as { samples: { atMs: number }[] }
    expect(news.every(({ atMs }) => atMs > (samples.at(-1)?.atMs ?? 0))).toBe(true)
  })

  it('dead letters, newest first, by class and key and page, with what each class holds', async () => {
    const { json } = await ask('/api/dead-letters')
    const ids = (answer: Answer) => (answer.json.entries as { id: string }[]).map(({ id }) => id)
    expect(json).toMatchObject({
      matching: 11,
      complete: true,
      counts: { permanent: 7, transient: 4, outage: 0, credentials: 0 },
    })
    expect(ids(await ask('/api/dead-letters?limit=2'))).toEqual(['1-1-0-0', '1-2-0-0'])
    expect(ids(await ask('/api/dead-letters?limit=2&offset=2'))).toEqual(['1-3-0-0', '1-4-0-0'])
    expect((await ask('/api/dead-letters?class=transient')).json).toMatchObject({ matching: 4 })
    expect(ids(await ask('/api/dead-letters?prefix=note/3'))).toEqual(['1-3-0-0'])
    // A list holds no values.
    expect((await ask('/api/dead-letters')).text).not.toContain('the value of')
    const one = await ask('/api/dead-letter?id=1-3-0-0')
    expect(one.json).toMatchObject({ id: '1-3-0-0', lane: 'sync', data: { cutFrom: null } })
    expect((one.json.data as { text: string }).text).toContain('the value of 3')
    expect((await ask('/api/dead-letter?id=9-9-9-9')).status).toBe(404)
  })

  it('memories by prefix and by words, with excerpts in place of values, and one of them whole', async () => {
    const list = await ask('/api/memories?namespace=alice')
    expect((list.json.memories as unknown[]).length).toBe(50)
    expect(list.json.namespaces).toEqual(['alice', 'default'])
    const rest = await ask(`/api/memories?namespace=alice&after=${list.json.next}`)
    expect((rest.json.memories as unknown[]).length).toBe(10)
    expect(rest.json.next).toBeNull()
    const found = await ask('/api/search?q=about%2059')
    expect(found.json.memories).toMatchObject([{ namespace: 'alice', key: 'note/59' }])
    expect((await ask('/api/search?q=x&by=meaning')).json).toMatchObject({
      error: { code: 'MEMSYNC_NOT_FOUND' },
    })
    const one = await ask('/api/memory?namespace=default&key=user/preferences')
    const versions = one.json.versions as { value: { text: string } }[]
    expect(versions.map(({ value }) => JSON.parse(value.text))).toEqual([
      { theme: 'dark' },
      { theme: 'light' },
    ])
    const long = (await ask('/api/memory?namespace=default&key=long')).json.versions as { value: object }[]
    expect(long[0]?.value).toMatchObject({ cutFrom: 150_000 })
    const listed = await ask('/api/memories?prefix=long')
    expect(listed.text.length).toBeLessThan(1_000)
  })

  it.each([
    ['/api/overview?since=yesterday', 'since'],
    ['/api/overview?sinc=1', 'Unrecognized key: "sinc"'],
    ['/api/dead-letters?class=bad', 'class'],
    ['/api/dead-letters?limit=0', 'limit'],
    ['/api/dead-letters?limit=100000', 'limit'],
    ['/api/memories?after=nonsense', 'after'],
    ['/api/memory?key=a', 'namespace'],
    ['/api/memory?namespace=&key=a', 'namespace'],
    ['/api/search?q=', 'query'],
    ['/api/search?q=a&by=luck', 'by'],
  ])('%s is refused by name', async (path, name) => {
    const { status, json } = await ask(path)
    expect({ status, ...(json.error as object) }).toMatchObject({
      status: 400,
      code: 'MEMSYNC_BAD_REQUEST',
      message: expect.stringContaining(name),
    })
  })

  it('the queues, to look at only, with nothing of another server', async () => {
    const page = await ask('/queues')
    expect(page.status).toBe(200)
    expect(page.text).toContain('<base href="/queues/"')
    expect(page.text).not.toMatch(/(?:src|href)="?(?:https?:)?\/\//)
    const [script = ''] = /static\/js\/main\.\w+\.js/.exec(page.text) ?? []
    expect((await ask(`/queues/${script}`)).headers.get('content-type')).toMatch(/javascript/)
    const { json } = await ask('/queues/api/queues')
    const queues = json.queues as { name: string; readOnlyMode: boolean; counts: { waiting: number } }[]
    expect(queues.map(({ name }) => name).toSorted()).toEqual([
      ...['memory-dead-letter', 'memory-embed', 'memory-push', 'memory-sync'],
    ])
    expect(queues.every(({ readOnlyMode }) => readOnlyMode)).toBe(true)
    expect(queues.find(({ name }) => name === 'memory-sync')?.counts.waiting).toBe(30)
  })
})

describe('what it does', () => {
  it('refuses a run that does not say what it is about', async () => {
    for (const body of [
      {},
      { ids: [] },
      { ids: ['a'], filter: { atMs: 1 } },
      { filter: {} },
      { all: true },
      [],
      null,
    ]) {
      const { status, json } = await post('/api/dead-letters/drop', body)
      expect({ status, ...(json.error as object) }, JSON.stringify(body)).toMatchObject({
        ...{ status: 400, code: 'MEMSYNC_BAD_REQUEST' },
      })
    }
  })

  it('drops by filter what was there at the time of the list, and nothing that died since', async () => {
    const { atMs } = (await ask('/api/dead-letters?class=transient')).json
    await fillQueues(config, {
      dead: [deadLetter(900, { class: 'transient', deadAtMs: Date.now() + 60_000 })],
    })
    const begun = await post('/api/dead-letters/drop', { filter: { class: 'transient', atMs } })
    expect(begun.status).toBe(202)
    expect(await runEnded()).toMatchObject({ kind: 'drop', total: 4, succeeded: 4, failed: 0 })
    expect((await ask('/api/dead-letters?class=transient')).json.entries).toMatchObject([{ id: '1-900-0-0' }])
  })

  it('redrives the chosen at the rate of the command, and tells which were not there', async () => {
    const waiting = async () => {
      const { status } = (await ask('/api/overview')).json as {
        status: { lanes: { sync: { waiting: number } } }
      }
      return status.lanes.sync.waiting
    }
    const startedMs = performance.now()
    const ids = ['1-1-0-0', '1-2-0-0', '1-3-0-0', '9-9-9-9']
    expect((await post('/api/dead-letters/redrive', { ids })).status).toBe(202)
    expect(await runEnded()).toMatchObject({
      ...{ kind: 'redrive', total: 4, done: 4, succeeded: 3, failed: 1 },
      failures: [{ id: '9-9-9-9', code: 'MEMSYNC_NOT_FOUND' }],
    })
    // Three pauses of 20 ms.
    expect(performance.now() - startedMs).toBeGreaterThan(55)
    await waitFor('they wait in the queue', async () => (await waiting()) === 33)
    expect((await ask('/api/dead-letter?id=1-1-0-0')).status).toBe(404)
  })

  it('does one run at a time', async () => {
    await fillQueues(config, {
      dead: Array.from({ length: 40 }, (_, n) => deadLetter(2_000 + n, { class: 'outage' })),
    })
    const { atMs } = (await ask('/api/dead-letters')).json
    expect((await post('/api/dead-letters/redrive', { filter: { class: 'outage', atMs } })).status).toBe(202)
    expect((await post('/api/dead-letters/drop', { filter: { atMs } })).status).toBe(409)
    expect(await runEnded()).toMatchObject({ kind: 'redrive', total: 40, succeeded: 40 })
  })
})

describe('when Redis goes away', () => {
  it('says so at once, shows what can be seen without it, and goes on when it is back', async () => {
    const own = await startTestRedis()
    const folder = tempDir()
    const away = await startDashboard(folder, { REDIS_URL: own.url })
    try {
      cookie = [cookie, await enter(away.link)].join('; ')
      expect((await ask('/api/dead-letters', {}, away)).status).toBe(200)
      await own.kill()
      await waitFor('the status says it', async () => {
        const { status } = (await ask('/api/overview', {}, away)).json as {
          status: { redis: { state: string } }
        }
        return status.redis.state === 'down'
      })
      const refused = await ask('/api/dead-letters', {}, away)
      expect(refused.status).toBe(503)
      expect(refused.json).toMatchObject({ error: { code: 'MEMSYNC_QUEUE_UNAVAILABLE' } })
      expect((await ask('/queues', {}, away)).status).toBe(503)
      expect((await ask('/api/memories', {}, away)).json.memories).toEqual([])
      await own.restart()
      await waitFor('it goes on', async () => (await ask('/api/dead-letters', {}, away)).status === 200)
      await waitFor('the queues too', async () => (await ask('/queues/api/queues', {}, away)).status === 200)
    } finally {
      await away.stop()
      await own.stop()
    }
  })
})

describe('served by the daemon', () => {
  it('where it is set: for browsers that got a link of one use, also after a restart; the past comes with it', async () => {
    const folder = tempDir()
    const env = { REDIS_URL: server.url, MEMSYNC_QUEUE_PREFIX: 'served' }
    const first = spawnDaemon(folder, { ...env, MEMSYNC_DASHBOARD: '127.0.0.1:0' })
    const { address } = await first.logged('the dashboard listens')
    await first.logged('ready')
    const ended = await runProgram(MEMSYNC, ['dashboard', '--no-open'], folder)
    expect(ended).toMatchObject({ code: 0, stderr: expect.stringContaining('once') })
    const link = ended.stdout.trim()
    expect(link.startsWith(`${address}/?token=`)).toBe(true)
    const own = await enter(link)
    expect((await fetch(link)).status).toBe(401)
    const overview = () => fetch(`${address}/api/overview`, { headers: { cookie: own } })
    expect(await (await overview()).json()).toMatchObject({
      ...{ servedBy: 'daemon', status: { daemon: { running: true, pid: first.pid } } },
    })
    const past = await askDaemon(folder, { op: 'dashboard' }, 5_000)
    expect(past).toMatchObject({ history: { samples: [{ daemon: 'idle' }] } })
    first.kill('SIGTERM')
    await first.ended

    const { port } = new URL(String(address))
    const second = spawnDaemon(folder, { ...env, MEMSYNC_DASHBOARD: `127.0.0.1:${port}` })
    await second.logged('the dashboard listens')
    expect((await overview()).status).toBe(200)
    second.kill('SIGTERM')
    expect((await second.ended).code).toBe(0)
  })

  it('a port that is taken is told once and tried again, and the daemon syncs meanwhile', async () => {
    const squatter = createServer()
    await new Promise<void>((resolve) => squatter.listen(0, '127.0.0.1', resolve))
    const { port } = squatter.address() as AddressInfo
    const folder = tempDir()
    const daemon = spawnDaemon(folder, {
      ...{ REDIS_URL: server.url, MEMSYNC_QUEUE_PREFIX: 'squat', MEMSYNC_DASHBOARD: `127.0.0.1:${port}` },
    })
    const told = await daemon.logged(
      'the dashboard cannot listen yet; it is tried again, and the syncing goes on',
    )
    expect(told).toMatchObject({ level: 'warn', reason: expect.stringContaining('EADDRINUSE') })
    await daemon.logged('ready')
    await new Promise((resolve) => squatter.close(resolve))
    await daemon.logged('the dashboard listens')
    daemon.kill('SIGTERM')
    expect((await daemon.ended).code).toBe(0)
  })

  it('where it is not set, the command serves it beside the daemon, with what is found by meaning', async () => {
    const openai = await startFakeOpenai()
    const folder = tempDir()
    const env = {
      ...{ REDIS_URL: server.url, MEMSYNC_QUEUE_PREFIX: 'unset', OPENAI_BASE_URL: openai.baseUrl },
      MEMSYNC_HEALTH_INTERVAL_MS: '100',
    }
    const daemon = spawnDaemon(folder, env)
    await daemon.logged('ready')
    expect(await askDaemon(folder, { op: 'dashboard' }, 5_000)).toMatchObject({ link: null })
    expect(daemon.log.some(({ msg }) => msg.includes('dashboard'))).toBe(false)
    for (const [key, value] of [
      ['breakfast', 'she likes porridge'],
      ['lunch', 'soup, most days'],
    ]) {
      const request = {
        op: 'enqueue',
        job: 'MEMORY_SYNC',
        data: { key, value, embed: true },
        acceptedAtMs: Date.now(),
      }
      await askDaemon(folder, request, 5_000)
    }
    await waitFor('both are embedded', async () => (await daemon.status()).totals.embedded === 2)
    const own = await startDashboard(folder, env)
    cookie = [cookie, await enter(own.link)].join('; ')
    expect((await ask('/api/overview', {}, own)).json).toMatchObject({
      ...{ servedBy: 'command', canSearchByMeaning: true, status: { daemon: { pid: daemon.pid } } },
    })
    const { json } = await ask('/api/search?by=meaning&q=she%20likes%20porridge', {}, own)
    expect(json).toMatchObject({ memories: [{ key: 'breakfast' }, { key: 'lunch' }], notEmbedded: 0 })
    expect((json.memories as { score: number }[])[0]?.score).toBeCloseTo(1)
    await own.stop()
    daemon.kill('SIGTERM')
    await daemon.ended
    await openai.close()
  })
})

describe('the command', () => {
  it('opens the browser with a link of one use, and prints one that stays', async () => {
    const folder = tempDir()
    const bin = join(folder, 'bin')
    mkdirSync(bin)
    const opened = join(folder, 'opened')
    for (const name of ['xdg-open', 'open']) {
      writeFileSync(join(bin, name), `#!/bin/sh\nprintf %s "$1" > '${opened}'\n`)
      chmodSync(join(bin, name), 0o755)
    }
    const env = { REDIS_URL: server.url, DISPLAY: ':99', PATH: `${bin}:${process.env.PATH}` }
    const own = await startDashboard(folder, env, [])
    try {
      const link = await waitFor('the browser is opened', () => readFileSync(opened, 'utf8'))
      expect(link).not.toBe(own.link)
      expect((await fetch(link)).status).toBe(200)
      expect((await fetch(link)).status).toBe(401)
      expect((await fetch(own.link)).status).toBe(200)
      expect((await fetch(own.link)).status).toBe(200)
    } finally {
      expect(await own.stop()).toBe(0)
    }
  })

  it('says which port is wrong or taken', async () => {
    const { run } = commandLine()
    const wrong = await run(['dashboard', '--port', '99999'])
    expect(wrong).toMatchObject({ code: 2, stderr: expect.stringContaining('--port') })
    const { port } = new URL(dashboard.origin)
    const taken = await run(['dashboard', '--no-open', '--port', port])
    expect(taken).toMatchObject({ code: 2, stderr: expect.stringContaining(`EADDRINUSE`) })
    const setting = await run(['status'], { env: { MEMSYNC_DASHBOARD: '0.0.0.0:80' } })
    expect(setting).toMatchObject({ code: 2, stderr: expect.stringContaining('MEMSYNC_DASHBOARD') })
  })

  it('shows what there is where nothing runs and nothing was ever stored, and leaves nothing running', async () => {
    const { dataDir: folder } = commandLine()
    const own = await startDashboard(folder)
    try {
      const jar = await enter(own.link)
      const json = async (path: string) =>
        (await fetch(`${own.origin}${path}`, { headers: { cookie: jar } })).json() as Promise<
          Record<string, unknown>
        >
      expect(await json('/api/dead-letters')).toMatchObject({ entries: [], matching: 0 })
      expect(await json('/api/memories')).toEqual({ memories: [], next: null, namespaces: [] })
      expect(await privateRedisPid(folder)).toBeGreaterThan(0)
    } finally {
      expect(await own.stop()).toBe(0)
    }
    await waitFor('its Redis is gone too', async () => (await privateRedisPid(folder)) === undefined)
  })
})
