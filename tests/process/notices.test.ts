/** What the operator is told by a daemon in trouble: each thing once, and nothing of a short outage. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, expect, it } from 'vitest'
import { commandLine } from '../support/cli.ts'
import { startDaemon, type TestDaemon } from '../support/daemon.ts'
import { type FakeMem0, startFakeMem0 } from '../support/fakeMem0.ts'
import { type FaultyHttp, startFaultyHttp } from '../support/faultyHttp.ts'
import { waitFor } from '../support/waitFor.ts'

const KEY = 'a-key-of-the-remote'
const AFTER_MS = 1500
const DEAF_REQUESTS = fileURLToPath(new URL('../support/deafRequests.mjs', import.meta.url))

let remote: FakeMem0
let receiver: FaultyHttp | undefined
let daemon: TestDaemon

afterEach(async () => {
  daemon.kill('SIGTERM')
  await daemon.ended
  await remote.close()
  await receiver?.close()
})

it('each change worth knowing is told once, through the command and the URL', async () => {
  const cli = commandLine()
  const file = join(cli.dataDir, 'told')
  remote = await startFakeMem0({ apiKey: KEY })
  const listener = await startFaultyHttp({
    routes: [{ method: 'POST', path: '/', answer: () => ({ status: 204 }) }],
  })
  receiver = listener
  daemon = await startDaemon(cli.dataDir, {
    MEMSYNC_REMOTE_KIND: 'mem0',
    MEMSYNC_REMOTE_URL: remote.url,
    MEMSYNC_REMOTE_KEY: KEY,
    MEMSYNC_HEALTH_INTERVAL_MS: '50',
    MEMSYNC_NOTIFY_AFTER_MS: String(AFTER_MS),
    MEMSYNC_NOTIFY_COMMAND: `{ cat; echo; } >> '${file}'`,
    MEMSYNC_NOTIFY_URL: `${listener.url}/`,
  })
  const state = async (wanted: string) =>
    waitFor(`the remote is ${wanted}`, async () => (await daemon.status()).remote.state === wanted)
  const told = () => {
    const lines = existsSync(file) ? readFileSync(file, 'utf8').trimEnd().split('\n') : []
    return lines.map((line) => JSON.parse(line) as Record<string, unknown>)
  }
  const toldOf = (count: number) =>
    waitFor(`${count} are told`, () =>
      told().length >= count && listener.requests.length >= count ? told() : undefined,
    )
  const enqueue = (...keys: string[]) =>
    cli.run(['enqueue', '--ndjson', '-'], {
      input: keys.map((key) => JSON.stringify({ key, value: 'a-secret-value' })).join('\n'),
    })

  await state('up')
  await remote.refuse()
  await state('down')
  await remote.comeBack()
  await state('up')

  await remote.refuse()
  await enqueue('a-secret-1', 'a-secret-2', 'a-secret-3')
  const [down] = await toldOf(1)
  expect(down).toMatchObject({
    event: 'remote-down',
    downForMs: AFTER_MS,
    reason: expect.stringContaining('cannot be reached'),
  })
  await remote.comeBack()
  const back = (await toldOf(2))[1]
  expect(back).toMatchObject({ event: 'remote-back', waiting: 3 })
  expect(back?.downForMs).toBeGreaterThanOrEqual(AFTER_MS)

  remote.inject({ kind: 'status', status: 401 })
  expect((await toldOf(3))[2]).toMatchObject({ event: 'credentials-refused' })
  await state('credentials')
  remote.heal()
  expect((await toldOf(4))[3]).toMatchObject({ event: 'remote-back' })

  await waitFor('all is pushed', async () => (await daemon.status()).totals.pushed === 3)
  remote.inject({ kind: 'status', status: 413 }, { times: 2, route: 'POST /memories' })
  await enqueue('a-secret-4', 'a-secret-5')
  expect((await toldOf(5))[4]).toMatchObject({
    ...{ event: 'first-dead-letter', lane: 'memory-push', code: 'MEMSYNC_REMOTE_REFUSED' },
    deadLetter: expect.any(String),
  })
  await waitFor('both are dead letters', async () => (await daemon.status()).deadLetters === 2)
  expect(told()).toHaveLength(5)
  expect(listener.requests.map(({ body }) => JSON.parse(body) as unknown)).toEqual(told())
  expect(JSON.stringify(told())).not.toContain('a-secret')
  expect(JSON.stringify(told())).not.toContain(KEY)
})

it('a push lane in which nothing ends is rebuilt, then the daemon exits with 70 and says so', async () => {
  const cli = commandLine()
  const file = join(cli.dataDir, 'told')
  remote = await startFakeMem0({ apiKey: KEY })
  daemon = await startDaemon(cli.dataDir, {
    NODE_OPTIONS: `--import=${DEAF_REQUESTS}`,
    MEMSYNC_REMOTE_KIND: 'mem0',
    MEMSYNC_REMOTE_URL: remote.url,
    MEMSYNC_REMOTE_KEY: KEY,
    MEMSYNC_PUSH_TIMEOUT_MS: '200',
    MEMSYNC_STALL_TIMEOUT_MS: '1000',
    MEMSYNC_DRAIN_TIMEOUT_MS: '500',
    MEMSYNC_NOTIFY_COMMAND: `cat > '${file}'`,
  })
  await waitFor('the remote is up', async () => (await daemon.status()).remote.state === 'up')
  remote.inject({ kind: 'hang' }, { route: 'POST /memories' })
  await cli.run(['enqueue', 'k', 'v'])
  await daemon.logged('no progress: the worker is rebuilt')
  expect((await daemon.status()).daemon.progress.state).toBe('stalled')
  // The new worker takes this one now, and the others when the old one's locks expire.
  await cli.run(['enqueue', 'l', 'v'])
  expect(await daemon.ended).toEqual({ code: 70, signal: null })
  expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({ event: 'lane-stalled', lane: 'push' })
})
