/**
 * The embed lane: few calls, nothing paid twice, outages waited out, and a dead API that stops nothing else.
 * MEMSYNC_TEST_MEMORIES is how many wait for the first test.
 */
import { existsSync } from 'node:fs'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { openMemoryStore, vectorsPath } from '../../src/infrastructure/memory/index.ts'
import { MemorySearch } from '../../src/infrastructure/memory/search.ts'
import { at, setOf } from '../contract/writes.ts'
import { type EmbedMachine, startEmbedMachine } from '../support/embedMachine.ts'
import { type FakeOpenai, fakeVector, startFakeOpenai } from '../support/fakeOpenai.ts'
import { expectPrompt } from '../support/promptness.ts'
import { waitFor } from '../support/waitFor.ts'

const MODEL = 'text-embedding-3-large'
const DIMENSIONS = 8
/** Enough to use up a day's budget; the test waits it out. */
const BEFORE_MIDNIGHT_MS = 4_000
const WAITING = Number(process.env.MEMSYNC_TEST_MEMORIES ?? 1_000)
/** For what hangs. */
const WAITING_TIMEOUT_MS = 60_000 + 20 * WAITING

let machine: EmbedMachine
let server: FakeOpenai

afterEach(async () => {
  await machine.close()
  await server.close()
  vi.restoreAllMocks()
})

async function start(settings: Parameters<typeof startEmbedMachine>[1] = {}): Promise<void> {
  server = await startFakeOpenai({ apiKey: 'a-key-of-the-embedder' })
  machine = await startEmbedMachine(server, settings)
}

function texts(count: number, words = 1): [string, string][] {
  return Array.from({ length: count }, (_, n) => [`k${n}`, `memory ${n}${' of some words'.repeat(words)}`])
}

async function expectNoAttemptBurnt(): Promise<void> {
  const jobs = await machine.embedQueue.getCompleted(0, -1)
  expect(new Set(jobs.map((job) => job.attemptsMade))).toEqual(new Set([1]))
  expect(await machine.deadLetters.count()).toBe(0)
}

async function searchText(text: string, k = 1): Promise<string[]> {
  return machine.find(fakeVector(text, DIMENSIONS), k)
}

describe('the embed lane', () => {
  it(
    `${WAITING} waiting memories make at most a call per hundred, and the same contents again none`,
    async () => {
      const count = WAITING
      await start({ openaiApiKey: undefined, openaiBaseUrl: undefined })
      const writes = texts(count, 65)
      await machine.write(writes)
      await machine.close()
      machine = await startEmbedMachine(server, { dataDir: machine.config.dataDir })
      await machine.embedded(WAITING_TIMEOUT_MS)
      expect(server.calls).toBeLessThanOrEqual(count / 100)
      expect(server.tokens).toBeGreaterThan(count * 195)
      expect(await searchText(writes[234]?.[1] ?? '')).toEqual(['k234'])
      const { calls } = server
      await machine.write(writes)
      await machine.embedded(WAITING_TIMEOUT_MS)
      expect(server.calls).toBe(calls)
      await expectNoAttemptBurnt()
      const { embedded, embedding } = await machine.embed.figures()
      expect(embedded).toBe(count)
      expect(embedding).toMatchObject({ model: MODEL, calls, tokens: server.tokens, reason: null })
      expect(embedding.cacheHits).toBeGreaterThanOrEqual(count)
      expect(embedding.estimatedCost).toBeCloseTo((server.tokens / 1e6) * 0.13)
    },
    4 * WAITING_TIMEOUT_MS,
  )

  it('sleeps until there is something to embed', async () => {
    await start()
    await machine.write(texts(50), false)
    expect(machine.embed.gate).toBe('off')
    expect(existsSync(vectorsPath(machine.config))).toBe(false)
    expect(server.modelCalls).toBe(0)
    await machine.write([['k', 'now']])
    await machine.embedded()
    expect(await searchText('now')).toEqual(['k'])
  })

  it('wakes also where Redis goes away in that moment', async () => {
    await start()
    await machine.server.kill()
    await machine.store.apply([setOf('k', 'now', at(1), { embed: true })])
    await machine.embed.sweep()
    await waitFor('its first connect fails', () => machine.laneRedis()?.status === 'reconnecting')
    await machine.server.restart()
    await machine.embedded()
    expect(await searchText('now')).toEqual(['k'])
  })

  it('without a key memories wait, which is said, and no dead letter comes of it', async () => {
    server = await startFakeOpenai()
    machine = await startEmbedMachine(undefined, { openaiApiKey: undefined })
    await machine.write(texts(20))
    await waitFor('it is said', async () => (await machine.embed.figures()).embedding.reason)
    expect((await machine.embed.figures()).embedding.reason).toBe('OPENAI_API_KEY is not set')
    expect(machine.embed.gate).toBe('shut')
    expect(await machine.deadLetters.count()).toBe(0)
    expect(await machine.store.countUnembedded()).toBe(20)
    const told = machine.log.filter(({ level }) => level === 'error')
    expect(told.map(({ fields }) => fields.reason)).toEqual(['OPENAI_API_KEY is not set'])
  })

  it('a server of its own needs no key', async () => {
    server = await startFakeOpenai()
    machine = await startEmbedMachine(server, { openaiApiKey: undefined })
    await machine.write(texts(3))
    await machine.embedded()
    expect(server.requests[0]?.headers.authorization).toBeUndefined()
  })

  it.each(['dead', 'hang', { status: 500 }] as const)(
    'with an API that is %j persisting goes on, and all is embedded once it is back',
    async (fault) => {
      await start()
      // Awake and open, so that the fault meets calls and not the first probe alone.
      await machine.write([['before', 'the fault']])
      await machine.embedded()
      if (fault === 'dead') {
        await server.close()
      } else {
        server.fail(fault, 1000)
        server.failModels(fault, 1000)
      }
      const { calls } = server
      const writes = texts(500)
      await machine.write(writes)
      await waitFor('a call met the fault', () =>
        fault === 'dead' ? machine.log.some(({ level }) => level === 'warn') : server.calls > calls,
      )
      expect((await machine.store.totals()).synced).toBe(501)
      expect(await machine.store.countUnembedded()).toBe(500)
      if (fault === 'dead') await server.listen()
      server.heal()
      await machine.embedded(30_000)
      expect(await searchText(writes[77]?.[1] ?? '')).toEqual(['k77'])
      await expectNoAttemptBurnt()
    },
  )

  it('one refused text among many is the only dead letter', async () => {
    await start()
    server.refuseTexts((text) => text.includes('memory 17 '))
    await machine.write(texts(200))
    const [entry] = await waitFor('it is a dead letter', async () => {
      const entries = await Array.fromAsync(machine.deadLetters.list())
      return entries.length > 0 ? entries : undefined
    })
    expect(entry).toMatchObject({
      sourceQueue: 'memory-embed',
      data: { namespace: 'default', key: 'k17' },
      code: 'MEMSYNC_EMBEDDER_REFUSED',
      stage: 'embed',
    })
    await machine.embedded()
    expect(await machine.deadLetters.count()).toBe(1)
    expect((await machine.embed.figures()).embedded).toBe(199)
    server.refuseTexts(() => false)
    await machine.deadLetters.redrive(entry?.id ?? '')
    await waitFor('it is embedded', async () => (await machine.embed.figures()).embedded === 200)
  })

  it('a redrive pays only for the chunk that was refused', async () => {
    await start()
    server.refuseTexts((text) => text.includes('the end'))
    await machine.write([['long', `${'alpha '.repeat(9_000)}the end`]])
    const [entry] = await waitFor('it is a dead letter', async () => {
      const entries = await Array.fromAsync(machine.deadLetters.list())
      return entries.length > 0 ? entries : undefined
    })
    const { length } = server.requests
    server.refuseTexts(() => false)
    await machine.deadLetters.redrive(entry?.id ?? '')
    await waitFor('it is embedded', async () => (await machine.embed.figures()).embedded === 1)
    const [text, ...others] = server.requests.slice(length).flatMap(({ body }) => body.input)
    expect(text).toContain('the end')
    expect(others).toEqual([])
  })

  it('the newest version is embedded, whatever was on its way', async () => {
    await start()
    await machine.write([['k', 'first']])
    await machine.write([['k', 'second']])
    await machine.write([['k', 'third']])
    await machine.embedded()
    const [hit] = await searchText('third')
    expect(hit).toBe('k')
    const receipts = await machine.store.receipts('k')
    expect(receipts.find(({ lane }) => lane === 'embed')?.version).toEqual(
      (await machine.store.find('k'))?.version,
    )
  })

  it('a rollback makes no call, nor does a key that is written anew with a text of before', async () => {
    await start()
    for (const text of ['first', 'second']) {
      await machine.write([['k', text]])
      await machine.embedded()
    }
    const { calls, tokens } = server
    expect(await openMemoryStore({ dataDir: machine.config.dataDir }).rollback('k')).toBe('first')
    await machine.embed.sweep()
    await machine.write([['another', 'second']])
    await machine.embedded()
    expect(await searchText('first')).toEqual(['k'])
    expect(await searchText('second')).toEqual(['another'])
    expect(server).toMatchObject({ calls, tokens })
  })

  it('a delete, or a write that asks for none, takes the vectors away', async () => {
    await start()
    await machine.write(texts(3))
    await machine.embedded()
    await machine.queue.add('MEMORY_SYNC', { key: 'k0', op: 'delete' })
    await machine.write([['k1', 'not to be embedded']], false)
    await machine.drained()
    await machine.embedded()
    expect(await searchText('memory 0', 10)).toEqual(['k2'])
  })

  it('so does one that comes while the vectors are on their way, before any receipt says that there are some', async () => {
    await start()
    const release = server.hold()
    await machine.write(texts(3))
    await waitFor('they are asked for', () => server.calls > 0)
    await machine.queue.add('MEMORY_SYNC', { key: 'k0', op: 'delete' })
    await machine.write([['k1', 'not to be embedded']], false)
    release()
    await machine.embedded()
    expect(await searchText('memory 0', 10)).toEqual(['k2'])
  })

  it('a quota that is used up shuts the gate, is told once, and burns no attempt', async () => {
    await start()
    server.fail({ status: 429, code: 'insufficient_quota' }, 3)
    await machine.write(texts(5))
    await waitFor('it is noticed', () => machine.log.some(({ level }) => level === 'error'))
    await machine.embedded(30_000)
    const told = machine.log.filter(({ level }) => level === 'error' || level === 'warn')
    expect(told.map(({ message }) => message)).toEqual(['embedding waits until this is mended'])
    expect(told[0]?.fields.reason).toMatch(/has no quota left/)
    await expectNoAttemptBurnt()
  })

  it('a slower pace is kept without burning attempts', async () => {
    await start()
    server.fail({ status: 429, headers: { 'retry-after': '1' } })
    const startedAt = performance.now()
    await machine.write(texts(5))
    await machine.embedded()
    expect(performance.now() - startedAt).toBeGreaterThan(950)
    await expectNoAttemptBurnt()
  })

  it('a day whose budget is used up waits for midnight', async () => {
    await start({ embedDailyTokens: 40 })
    await machine.write(texts(50))
    await waitFor('it pauses', async () => machine.embed.gate === 'shut' && server.calls > 0)
    const { embedding } = await machine.embed.figures()
    expect(embedding.reason).toBe("the day's budget of 40 tokens is used up")
    expect(embedding.tokensToday).toBeLessThanOrEqual(40)
    expect(await machine.deadLetters.count()).toBe(0)
    const { calls } = server
    // A day with a budget of its own: what waited goes.
    await machine.close()
    machine = await startEmbedMachine(server, { dataDir: machine.config.dataDir })
    await machine.embedded()
    expect(server.calls).toBeGreaterThan(calls)
  })

  it('midnight of the configured zone gives the next budget to what waited', async () => {
    // 12:00 UTC is midnight there.
    const midnightMs = Date.UTC(2035, 4, 7, 12)
    const now = Date.now
    let aheadMs = midnightMs - 3_600_000 - now()
    vi.spyOn(Date, 'now').mockImplementation(() => now() + aheadMs)
    await start({ embedDailyTokens: 40, timeZone: 'Pacific/Auckland' })
    aheadMs = midnightMs - BEFORE_MIDNIGHT_MS - now()
    await machine.write(texts(12))
    await waitFor('it pauses', () => machine.embed.gate === 'shut' && server.calls > 0)
    const { tokens } = server
    expectPrompt(Date.now() - (midnightMs - BEFORE_MIDNIGHT_MS), BEFORE_MIDNIGHT_MS)
    expect(tokens).toBeLessThanOrEqual(40)
    await waitFor('it goes on', () => server.tokens > tokens)
    expect(Date.now()).toBeGreaterThanOrEqual(midnightMs)
    expect(server.tokens).toBeLessThanOrEqual(80)
  })

  it('what waited in a Redis that was wiped is embedded', async () => {
    await start()
    server.fail({ status: 500 }, 1000)
    server.failModels({ status: 500 }, 1000)
    await machine.write(texts(100))
    await waitFor('the outage is noticed', () => machine.log.some(({ level }) => level === 'warn'))
    await machine.redis.flushall()
    server.heal()
    // The first write of the new life of the queue tells that the old one is lost.
    await machine.write([['one more', 'one more']])
    await machine.embedded(30_000)
    expect((await machine.embed.figures()).embedded).toBe(101)
  })

  it('a search takes a vector or a text, a filter sees the memory, and what is not embedded is counted', async () => {
    await start()
    await machine.write([...texts(5), ['other', { nested: 'value' }]])
    await machine.embedded()
    await machine.embed.stop()
    await machine.queue.add('MEMORY_SYNC', { key: 'k1', op: 'delete' })
    await machine.write([['late', 'not embedded yet']])
    const search = new MemorySearch(machine.config)
    const { found, notEmbedded } = await search.search(machine.store, 'memory 3 of some words')
    expect(found.map(({ key }) => key).toSorted()).toEqual(['k0', 'k2', 'k3', 'k4', 'other'])
    expect(found[0]).toMatchObject({ key: 'k3', excerpt: 'memory 3 of some words' })
    expect(found[0]?.score).toBeCloseTo(1)
    expect(notEmbedded).toBe(1)
    const calls = server.calls
    const filtered = await search.search(machine.store, fakeVector('{"nested":"value"}', DIMENSIONS), {
      k: 1,
      filter: ({ value }) => typeof value === 'object',
    })
    expect(filtered.found.map(({ key }) => key)).toEqual(['other'])
    expect(
      (await search.search(machine.store, fakeVector('x', DIMENSIONS), { namespace: 'alice' })).found,
    ).toEqual([])
    expect(server.calls).toBe(calls)
    await expect(search.search(machine.store, fakeVector('x', 4))).rejects.toMatchObject({
      code: 'MEMSYNC_BAD_USAGE',
    })
    await expect(search.search(machine.store, ' ')).rejects.toMatchObject({ code: 'MEMSYNC_BAD_USAGE' })
    await expect(search.search(machine.store, 'x', { k: 0 })).rejects.toMatchObject({
      code: 'MEMSYNC_BAD_USAGE',
    })
    await search.close()
  })

  it('a vector that comes late never lands on a newer version', async () => {
    await start()
    await machine.write([['wake', 'the lane']])
    await machine.embedded()
    const release = server.hold()
    await machine.write([['k', 'first']])
    await waitFor('it is on its way', () => server.calls > 1)
    await machine.write([['k', 'second']])
    release()
    await machine.embedded()
    expect(await machine.find(fakeVector('second', DIMENSIONS), 1)).toEqual(['k'])
    const search = new MemorySearch(machine.config)
    const { found } = await search.search(machine.store, fakeVector('second', DIMENSIONS))
    expect(found[0]).toMatchObject({ key: 'k', excerpt: 'second' })
    await search.close()
  })
})
