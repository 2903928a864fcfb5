/** MEMSYNC_REDACT=mask: a key in a memory, by every way in. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, it } from 'vitest'
import { loadConfig } from '../../src/config.ts'
import { openMemoryStore } from '../../src/infrastructure/memory/index.ts'
import { createProducer } from '../../src/producers/client.ts'
import { TypedWorkerQueue } from '../../src/queue/index.ts'
import { privateRedisSocket } from '../../src/queue/privateRedis.ts'
import { commandLine, runProgram, WORKER } from '../support/cli.ts'
import { filesBelow } from '../support/fullSession.ts'
import { type HttpDaemon, startHttpDaemon } from '../support/httpDaemon.ts'
import { produceOn } from '../support/producer.ts'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

// Put together here, so that nobody who scans this file for keys finds one.
const SECRET = `ghp_${'aB3dE5gH7jK9'.repeat(3)}`
const TEXT = `the token is ${SECRET}, keep it`
const MASKED = 'the token is [redacted], keep it'
const MASK = { MEMSYNC_REDACT: 'mask' }

let http: HttpDaemon | undefined
afterEach(() => http?.stop())

function holdsSecret(folder: string): string[] {
  return filesBelow(folder).filter((file) => existsSync(file) && readFileSync(file).includes(SECRET))
}

it('a key reaches neither the disk nor the store by any of our producers', async () => {
  const cli = commandLine()
  const { dataDir } = cli
  const legacyDir = tempDir()
  const legacy = (id: string) => ({
    id,
    project_id: 'p',
    content: TEXT,
    timestamp: 1_764_000_000,
    retries: 0,
  })
  const legacyFile = (id: string) =>
    JSON.stringify({ queue: [legacy(id)], last_100: [], failed: [], stats: {} })
  writeFileSync(join(legacyDir, 'mem0_queue.json'), legacyFile('watched'))
  mkdirSync(join(legacyDir, 'old'))
  const imported = join(legacyDir, 'old', 'mem0_queue.json')
  writeFileSync(imported, legacyFile('imported'))
  const hook = (session: string) =>
    JSON.stringify({ hook_event_name: 'UserPromptSubmit', session_id: session, prompt: TEXT })
  const patient = { ...MASK, MEMSYNC_HOOK_TIMEOUT_MS: '20000' }

  // Into the spool, with nothing running.
  await cli.run(['enqueue', 'spooled', JSON.stringify({ deep: [TEXT] })], { env: MASK })
  await cli.run(['hook'], { input: hook('s1'), env: patient })
  await cli.run(['import', imported], { env: MASK })
  const config = { ...loadConfig({}, { ...MASK, MEMSYNC_CONFIG: '/dev/null' }).config, dataDir }
  const producer = createProducer({ config })
  expect(await producer.enqueue({ key: 'client-spooled', value: TEXT })).toMatchObject({
    accepted: 'spooled',
  })
  expect(filesBelow(join(dataDir, 'spool')).length).toBeGreaterThanOrEqual(4)
  expect(holdsSecret(dataDir)).toEqual([])

  // Into Redis, beside a daemon.
  http = await startHttpDaemon({ ...MASK, MEMSYNC_LEGACY_DIR: legacyDir }, dataDir)
  await http.daemon.logged('ready')
  await cli.run(['enqueue', 'command', JSON.stringify(TEXT), '--metadata', `from=${SECRET}`], { env: MASK })
  await cli.run(['enqueue', '--ndjson', '-'], { input: `{"key":"ndjson","value":"${TEXT}"}\n`, env: MASK })
  await cli.run(['hook'], { input: hook('s2'), env: patient })
  expect((await http.post({ key: 'http', value: TEXT })).status).toBe(202)
  await runProgram(WORKER, [], dataDir, {
    env: { ...MASK, WORKER_JOB: 'MEMORY_SYNC', WORKER_PAYLOAD: `{"key":"one-shot","value":"${TEXT}"}` },
  })
  expect(await producer.enqueue({ key: 'client', value: TEXT })).toMatchObject({ accepted: 'queued' })
  await producer.close()
  const queue = new TypedWorkerQueue({ config })
  expect(await queue.dispatch('MEMORY_SYNC', { key: 'queue', value: TEXT })).toMatchObject({
    status: 'success',
  })
  await queue.close()
  // Of the command line's own settings, which a store opened here does not read.
  process.env.MEMSYNC_REDACT = 'mask'
  const store = openMemoryStore({ dataDir })
  try {
    await store.set('direct', { a: TEXT }, { metadata: { from: SECRET } })
  } finally {
    delete process.env.MEMSYNC_REDACT
  }
  await waitFor('all are stored', async () => (await store.list({ limit: 100 })).memories.length >= 9)
  await waitFor(
    'the legacy entries are taken in',
    async () => (await store.list({ namespace: 'p' })).memories.length === 2,
  )
  const { memories } = await store.list({ limit: 100 })
  for (const { key, value, metadata } of [...memories, ...(await store.list({ namespace: 'p' })).memories]) {
    expect(JSON.stringify(value), key).toContain(MASKED)
    expect(JSON.stringify(metadata ?? {}), key).not.toContain(SECRET)
  }
  expect(holdsSecret(dataDir)).toEqual([])

  // A client of somebody else: Redis has what it sent, the store has the mask.
  const stranger = await produceOn({ kind: 'socket', path: privateRedisSocket(dataDir) })
  await stranger.queue.add('MEMORY_SYNC', { key: 'stranger', value: TEXT, metadata: { from: SECRET } })
  stranger.close()
  await waitFor('it is stored', async () => (await store.get('stranger')) === MASKED)
  await store.close()
  expect(holdsSecret(dataDir).filter((file) => !file.includes('/redis/'))).toEqual([])
})
