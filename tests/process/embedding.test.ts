/** Embedding from the outside: the built daemon and commands beside a server that speaks the embeddings API. */
import { request } from 'node:http'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openMemoryStore } from '../../src/infrastructure/memory/index.ts'
import { type CommandLine, commandLine, HAS_TERMINAL, runOnTerminal } from '../support/cli.ts'
import { startDaemon, type TestDaemon } from '../support/daemon.ts'
import { type FakeOpenai, fakeVector, startFakeOpenai } from '../support/fakeOpenai.ts'
import { startTestRedis, type TestRedis } from '../support/redis.ts'
import { waitFor } from '../support/waitFor.ts'

let server: FakeOpenai
let redis: TestRedis
let memsync: CommandLine
let daemon: TestDaemon
let env: Record<string, string>

beforeEach(async () => {
  server = await startFakeOpenai()
  redis = await startTestRedis()
  memsync = commandLine()
  env = { REDIS_URL: redis.url, OPENAI_BASE_URL: server.baseUrl, MEMSYNC_HEALTH_INTERVAL_MS: '100' }
})

afterEach(async () => {
  daemon.kill('SIGTERM')
  await daemon.ended
  await server.close()
  await redis.stop()
})

async function embedded(count: number): Promise<void> {
  await waitFor(`${count} are embedded`, async () => (await daemon.status()).totals.embedded === count)
}

async function enqueue(key: string, value: string, ...flags: string[]): Promise<void> {
  expect((await memsync.run(['enqueue', key, value, '--wait', ...flags], { env })).code).toBe(0)
}

function ask(socketPath: string, path: string): Promise<{ body: string }> {
  return new Promise((resolve, reject) => {
    request({ socketPath, path, headers: { host: 'localhost' } }, async (response) => {
      resolve({ body: await text(response) })
    })
      .on('error', reject)
      .end()
  })
}

describe('embedding', () => {
  it('is asked for, done, paid once, found, and embedded anew for another model', async () => {
    daemon = await startDaemon(memsync.dataDir, env)
    expect((await daemon.status()).lanes.embed.gate).toBe('off')
    await enqueue('breakfast', 'she likes porridge', '--embed')
    await enqueue('lunch', 'soup, most days', '--embed', '--namespace', 'alice')
    await enqueue('silent', 'handed over without --embed')
    await embedded(2)
    const { embedding, lanes } = await daemon.status()
    expect(lanes.embed).toMatchObject({ waiting: 0, gate: 'open' })
    expect(embedding).toMatchObject({ tokens: server.tokens, reason: null })

    const { document } = await memsync.json(['search', 'she likes porridge'], { env })
    expect(document).toMatchObject({
      found: [
        { namespace: 'default', key: 'breakfast', excerpt: 'she likes porridge' },
        { namespace: 'alice', key: 'lunch' },
      ],
      notEmbedded: 0,
    })
    const [best] = (document as { found: { score: number }[] }).found
    expect(best?.score).toBeCloseTo(1)
    const store = openMemoryStore({ dataDir: memsync.dataDir })
    const nearest = await store.search(fakeVector('soup, most days', 8), {
      k: 1,
      filter: ({ key }) => key !== 'breakfast',
    })
    expect(nearest).toMatchObject({ found: [{ namespace: 'alice', key: 'lunch' }], notEmbedded: 0 })
    const one = await memsync.run(['search', 'she likes porridge', '--namespace', 'alice', '-k', '1'], {
      env,
    })
    expect(one.stdout).toMatch(/^-?0\.\d{4} {2}alice {2}lunch {2}soup, most days\n$/)

    const all = await memsync.json(['embed', '--all'], { env })
    expect(all.document).toMatchObject({ marked: 1 })
    await embedded(3)
    expect((await memsync.json(['embed', '--all'], { env })).document).toMatchObject({ marked: 0 })

    daemon.kill('SIGTERM')
    await daemon.ended
    await server.close()
    server = await startFakeOpenai({ model: 'another-model' })
    Object.assign(env, { OPENAI_BASE_URL: server.baseUrl, EMBEDDING_MODEL: 'another-model' })
    const stale = await memsync.run(['embed', '--stale'], { env })
    expect(stale).toMatchObject({ code: 0, stdout: 'marked 3\n' })
    expect(stale.stderr).toContain('no daemon runs')
    const before = await memsync.json(['search', 'soup'], { env })
    expect(before.document).toEqual({ found: [], notEmbedded: 3 })
    daemon = await startDaemon(memsync.dataDir, env)
    await embedded(3)
    const again = await memsync.json(['search', 'soup, most days', '-k', '1'], { env })
    expect(again.document).toMatchObject({ found: [{ key: 'lunch' }], notEmbedded: 0 })
  })

  it('is used by what HTTP and agents search with, which goes on by words alone while the server is away', async () => {
    const socket = join(memsync.dataDir, 'http.sock')
    daemon = await startDaemon(memsync.dataDir, { ...env, MEMSYNC_HTTP: `unix:${socket}` })
    await enqueue('breakfast', 'she likes porridge', '--embed')
    await enqueue('lunch', 'soup, most days', '--embed')
    await enqueue('silent', 'porridge without --embed')
    await embedded(2)
    const search = async (query: string) => {
      const { body } = await ask(socket, `/v1/search?q=${encodeURIComponent(query)}`)
      const { hits, byMeaning } = JSON.parse(body) as { hits: { key: string }[]; byMeaning: boolean }
      return { keys: hits.map(({ key }) => key), byMeaning }
    }
    expect(await search('porridge')).toEqual({
      keys: expect.arrayContaining(['breakfast', 'silent']),
      byMeaning: true,
    })
    // Its own text is the nearest, and holds its words too.
    expect((await search('she likes porridge')).keys[0]).toBe('breakfast')
    expect((await search('no such word')).keys).toHaveLength(2)
    await server.close()
    expect(await search('porridge')).toEqual({
      keys: expect.arrayContaining(['breakfast', 'silent']),
      byMeaning: false,
    })
    expect(await search('no such word')).toEqual({ keys: [], byMeaning: false })
    server = await startFakeOpenai()
  })

  it('without a key waits, says so, and refuses to search with one clear error', async () => {
    const { OPENAI_BASE_URL: _, ...keyless } = env
    env = keyless
    daemon = await startDaemon(memsync.dataDir, env)
    await enqueue('k', 'waits', '--embed')
    await waitFor('it is said', async () => (await daemon.status()).embedding.reason)
    const status = await memsync.run(['status'], { env })
    expect(status.stdout).toContain('embedding waits (OPENAI_API_KEY is not set)')
    expect((await daemon.status()).lanes.embed).toMatchObject({ waiting: 1, gate: 'shut' })
    expect((await daemon.status()).deadLetters).toBe(0)
    const doctor = await memsync.run(['doctor'], { env })
    expect(doctor.stdout).toContain('1 wait to be embedded, and there is no key')
    const search = await memsync.run(['search', 'anything'], { env })
    expect(search.code).toBe(1)
    expect(search.stderr).toContain('OPENAI_API_KEY is not set (MEMSYNC_EMBEDDER_CREDENTIALS)')
  })

  it.runIf(HAS_TERMINAL)('asks on a terminal, with an estimate, before it marks anything', async () => {
    daemon = await startDaemon(memsync.dataDir, env)
    await enqueue('k', 'four tokens or so')
    const { code, shown } = runOnTerminal(['embed', '--all'], memsync.dataDir, { env, typed: 'n\n' })
    expect(code).toBe(1)
    expect(shown).toMatch(/Embed 1 memory with text-embedding-3-large: at most \d+ tokens, about \$0\.00\?/)
    expect(server.calls).toBe(0)
    const unasked = runOnTerminal(['embed', '--all', '--yes'], memsync.dataDir, { env })
    expect(unasked.code).toBe(0)
    expect(unasked.shown).not.toContain('Embed 1 memory')
    expect(unasked.shown).toMatch(/\[[#-]{24}\].* to be embedded/)
    expect(unasked.shown).toMatch(/\[[#-]{24}\].* marked/)
    await embedded(1)
  })
})
