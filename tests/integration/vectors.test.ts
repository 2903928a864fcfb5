import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { DatabaseSync } from 'node:sqlite'
import fc from 'fast-check'
import { afterEach, describe, expect, it } from 'vitest'
import { VectorSearch } from '../../src/infrastructure/memory/vectorSearch.ts'
import {
  type EmbeddedMemory,
  openVectorStore,
  type VectorStore,
  type VectorStoreOptions,
} from '../../src/infrastructure/memory/vectors.ts'
import type { Version } from '../../src/jobs/version.ts'
import { clusteredVectors } from '../support/clusters.ts'
import { fakeVector } from '../support/fakeOpenai.ts'
import { tempDir } from '../support/tempDir.ts'

const SPACE = { model: 'text-embedding-3-large', dimensions: 8 }
const opened = new Set<VectorStore>()
const children = new Set<ChildProcess>()

afterEach(async () => {
  for (const child of children) child.kill('SIGKILL')
  children.clear()
  for (const store of opened) await store.close()
  opened.clear()
})

function open(path: string, changes: Partial<VectorStoreOptions> = {}): VectorStore {
  const store = openVectorStore({ path, space: SPACE, ...changes })
  if (!store) throw new Error('there is no such file')
  opened.add(store)
  return store
}

function newPath(): string {
  return join(tempDir(), 'data', 'vectors.db')
}

function version(sequence: number): Version {
  return { epoch: 1, sequence, index: 0 }
}

/** A memory whose chunks are these texts; a text stands for its own hash. */
function memory(key: string, sequence: number, texts: string[], namespace = 'default'): EmbeddedMemory {
  return {
    namespace,
    key,
    version: version(sequence),
    chunks: texts.map((text) => ({ contentHash: text, excerpt: `begins ${text}` })),
  }
}

async function saveTexts(store: VectorStore, texts: string[], length = 8): Promise<void> {
  await store.save(texts.map((text) => ({ contentHash: text, vector: fakeVector(text, length) })))
}

async function embed(store: VectorStore, ...memories: EmbeddedMemory[]) {
  await saveTexts(
    store,
    memories.flatMap((each) => each.chunks.map((chunk) => chunk.contentHash)),
  )
  return store.put(memories)
}

async function foundKeys(store: VectorStore, text: string, k = 1000): Promise<string[]> {
  return (await store.search(fakeVector(text, 8), { k })).map((hit) => hit.key)
}

describe('vectors: keeping', () => {
  it('keeps what was paid for, by its hash, before any memory has it', async () => {
    const path = newPath()
    await saveTexts(open(path), ['a', 'b'])
    const again = open(path)
    expect(await again.missing(['a', 'c', 'b', 'd'])).toEqual(new Set(['c', 'd']))
    expect(await again.put([memory('k', 1, ['a', 'c']), memory('l', 2, ['b'])])).toEqual([
      'incomplete',
      'stored',
    ])
    expect(await foundKeys(again, 'a')).toEqual(['l'])
  })

  it('needs no call for a text it had before, in another version or another memory', async () => {
    const store = open(newPath())
    await embed(store, memory('k', 1, ['first']))
    await embed(store, memory('k', 2, ['second']))
    expect(await store.missing(['first', 'second'])).toEqual(new Set())
    expect(await store.put([memory('k', 3, ['first']), memory('l', 4, ['first'])])).toEqual([
      'stored',
      'stored',
    ])
    await store.remove([memory('k', 5, []), memory('l', 6, [])])
    expect(await store.missing(['first'])).toEqual(new Set())
  })

  it('forgets the longest unused vectors above a limit, and never a used one', async () => {
    const store = open(newPath(), { maxUnused: 3 })
    await embed(store, memory('k', 1, ['used']))
    await saveTexts(store, ['a', 'b', 'c'])
    await saveTexts(store, ['d'])
    expect(await store.missing(['used', 'a', 'b', 'c', 'd'])).toEqual(new Set(['a']))
    await store.remove([memory('k', 2, [])])
    expect(await store.missing(['used', 'b', 'c', 'd'])).toEqual(new Set(['b']))
    expect(await store.totals()).toMatchObject({ memories: 0, vectors: 0, unused: 3 })
  })

  it('refuses vectors of another length, and then keeps none of them', async () => {
    const store = open(newPath(), { space: { model: 'm', dimensions: undefined } })
    await saveTexts(store, ['a'], 8)
    const save = store.save([
      { contentHash: 'b', vector: fakeVector('b', 8) },
      { contentHash: 'c', vector: fakeVector('c', 7) },
    ])
    await expect(save).rejects.toMatchObject({ code: 'MEMSYNC_EMBEDDER_BAD_ANSWER' })
    expect(await store.missing(['a', 'b', 'c'])).toEqual(new Set(['b', 'c']))
    await saveTexts(store, ['b'])
    expect(await store.missing(['b'])).toEqual(new Set())
  })

  it('counts what was spent, by day and model', async () => {
    const path = newPath()
    const large = open(path)
    const small = open(path, { space: { model: 'small', dimensions: undefined } })
    await large.save([{ contentHash: 'a', vector: fakeVector('a', 8) }], {
      day: '2026-01-01',
      calls: 1,
      tokens: 7,
    })
    await large.addSpending({ day: '2026-01-01', cacheHits: 3, calls: 1 })
    await small.addSpending({ day: '2026-01-02', tokens: 5 })
    expect(await large.spending('2026-01-01')).toEqual(
      new Map([['text-embedding-3-large', { calls: 2, tokens: 7, cacheHits: 3 }]]),
    )
    expect(await large.spending()).toEqual(
      new Map([
        ['small', { calls: 0, tokens: 5, cacheHits: 0 }],
        ['text-embedding-3-large', { calls: 2, tokens: 7, cacheHits: 3 }],
      ]),
    )
    expect(await large.spending('2026-01-03')).toEqual(new Map())
  })
})

describe('vectors: versions', () => {
  it('never lets a late vector land on a newer version, nor bring a deleted memory back', async () => {
    const store = open(newPath())
    await embed(store, memory('k', 5, ['new']))
    expect(await embed(store, memory('k', 4, ['late']))).toEqual(['superseded'])
    expect(await store.search(fakeVector('late', 8))).toMatchObject([
      { version: version(5), excerpt: 'begins new' },
    ])
    expect(await store.remove([memory('k', 4, [])])).toEqual([false])
    expect(await store.remove([memory('k', 6, [])])).toEqual([true])
    expect(await store.search(fakeVector('new', 8))).toEqual([])
    expect(await embed(store, memory('k', 5, ['late']))).toEqual(['superseded'])
    expect(await store.find('k', 'default')).toBeUndefined()
    const nextEpoch = { ...memory('k', 0, ['new']), version: { epoch: 2, sequence: 1, index: 0 } }
    expect(await store.put([nextEpoch])).toEqual(['stored'])
    expect(await store.find('k', 'default')).toEqual({ version: nextEpoch.version, current: true })
  })

  it('asks for no vector of a version that is superseded anyway', async () => {
    const store = open(newPath())
    await embed(store, memory('k', 5, ['new']))
    expect(await store.put([memory('k', 4, ['never embedded'])])).toEqual(['superseded'])
  })

  it('knows an empty text as embedded, without a vector', async () => {
    const store = open(newPath())
    expect(await store.put([memory('k', 1, [])])).toEqual(['stored'])
    expect(await store.find('k', 'default')).toEqual({ version: version(1), current: true })
    expect(await store.totals()).toMatchObject({ memories: 1, vectors: 0 })
  })

  it('finds nothing of another space, and says what is stale', async () => {
    const path = newPath()
    const before = open(path)
    await embed(before, memory('k', 1, ['text']), memory('l', 2, ['other']))
    const after = open(path, { space: { model: 'small', dimensions: undefined } })
    expect(await after.totals()).toMatchObject({ memories: 0, stale: 2, vectors: 0 })
    expect(await after.search(fakeVector('text', 4))).toEqual([])
    expect(await after.find('k', 'default')).toEqual({ version: version(1), current: false })
    await after.save([{ contentHash: 'small text', vector: fakeVector('text', 4) }])
    expect(await after.put([memory('k', 1, ['small text'])])).toEqual(['stored'])
    expect(await after.totals()).toMatchObject({ memories: 1, stale: 1, vectors: 1 })
    expect((await after.search(fakeVector('text', 4))).map((hit) => hit.key)).toEqual(['k'])
    expect(await foundKeys(before, 'text')).toEqual(['l'])
  })
})

describe('vectors: two writers', () => {
  it('end with the newest version of every key, and both find exactly that, in any order of events', async () => {
    const event = fc.record({
      writer: fc.nat(1),
      key: fc.constantFrom('a', 'b', 'c'),
      namespace: fc.constantFrom('default', 'other'),
      sequence: fc.nat(6),
      texts: fc.option(fc.array(fc.constantFrom('t1', 't2', 't3', 't4'), { maxLength: 3 })),
      searches: fc.boolean(),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(event, { maxLength: 40 }), async (events) => {
        const path = newPath()
        const stores = [open(path, { maxUnused: 4 }), open(path, { maxUnused: 4 })]
        const model = new Map<string, { sequence: number; texts: string[] | null }>()
        const check = async (store: VectorStore) => {
          const hits = await store.search(fakeVector('t1', 8), { k: 100 })
          const found = hits.map(
            (hit) => `${hit.namespace}/${hit.key}@${hit.version.sequence} ${hit.excerpt}`,
          )
          const expected = Array.from(model).flatMap(([name, { sequence, texts }]) =>
            texts?.length ? [`${name}@${sequence} begins ${nearestText(texts)}`] : [],
          )
          expect(found.sort()).toEqual(expected.sort())
        }
        for (const { writer, key, namespace, sequence, texts, searches } of events) {
          const store = stores[writer] as VectorStore
          const name = `${namespace}/${key}`
          const wins = sequence >= (model.get(name)?.sequence ?? 0)
          if (texts) {
            const outcome = await embed(store, memory(key, sequence, texts, namespace))
            expect(outcome).toEqual([wins ? 'stored' : 'superseded'])
          } else {
            expect(await store.remove([memory(key, sequence, [], namespace)])).toEqual([wins])
          }
          if (wins) model.set(name, { sequence, texts })
          if (searches) await check(store)
        }
        for (const store of stores) await check(store)
        for (const store of stores) await store.close()
      }),
      { numRuns: 40 },
    )
  })

  it('hold in memory what is there and no more, even where removals were forgotten meanwhile', async () => {
    const path = newPath()
    const store = open(path)
    const raw = new DatabaseSync(path)
    const search = new VectorSearch(raw, SPACE)
    const memories = ['a', 'b', 'c'].map((name) => memory(name, 1, [name]))
    await embed(store, ...memories)
    await search.search(fakeVector('a', 8), {})
    expect(search.size).toBe(3)
    for (let sequence = 2; sequence < 10; sequence++)
      await embed(store, memory('a', sequence, [`a${sequence}`]))
    await search.search(fakeVector('a', 8), {})
    expect(search.size).toBe(3)
    await store.remove([memory('a', 10, [])])
    await store.remove([memory('b', 11, [])])
    raw.exec('DELETE FROM removals WHERE id < (SELECT max(id) FROM removals)')
    expect((await search.search(fakeVector('a', 8), {})).map((hit) => hit.key)).toEqual(['c'])
    expect(search.size).toBe(1)
    raw.close()
  })

  it('see at once what another process wrote, and lose nothing it reported when it is killed', async () => {
    const path = newPath()
    const mine = open(path)
    await embed(mine, memory('mine', 1, ['mine']))
    expect(await foundKeys(mine, 'mine')).toEqual(['mine'])
    const module = (name: string) => JSON.stringify(new URL(name, import.meta.url).href)
    const program = `
      import { openVectorStore } from ${module('../../src/infrastructure/memory/vectors.ts')}
      import { fakeVector } from ${module('../support/fakeOpenai.ts')}
      const store = openVectorStore({ path: ${JSON.stringify(path)}, space: ${JSON.stringify(SPACE)} })
      for (let i = 0; ; i++) {
        const text = 'theirs ' + i
        await store.save([{ contentHash: text, vector: fakeVector(text, 8) }])
        const version = { epoch: 1, sequence: 10 + i, index: 0 }
        const chunks = [{ contentHash: text, excerpt: text }]
        await store.put([{ namespace: 'default', key: text, version, chunks }])
        process.stdout.write(i + '\\n')
      }`
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    children.add(child)
    let reported = -1
    for await (const line of createInterface({ input: child.stdout })) {
      reported = Number(line)
      const text = `theirs ${reported}`
      expect((await mine.search(fakeVector(text, 8), { k: 1 }))[0]).toMatchObject({
        key: text,
        excerpt: text,
      })
      if (reported >= 30) break
    }
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
    const raw = new DatabaseSync(path)
    expect(raw.prepare('PRAGMA integrity_check').get()?.integrity_check).toBe('ok')
    raw.close()
    const keys = await foundKeys(mine, 'mine')
    for (let i = 0; i <= reported; i++) expect(keys).toContain(`theirs ${i}`)
  })
})

function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number)
  return sum
}

/** Of these texts, the one whose vector is nearest to that of t1. */
function nearestText(texts: string[]): string {
  const query = fakeVector('t1', 8)
  const score = (text: string) => dot(fakeVector(text, 8), query)
  return texts.toSorted((a, b) => score(b) - score(a))[0] as string
}

describe('vectors: search', () => {
  it('gives each memory once, by its nearest chunk, with its exact cosine', async () => {
    const store = open(newPath())
    const texts = Array.from({ length: 40 }, (_, i) => `chunk ${i}`)
    await embed(store, memory('long', 1, texts), memory('short', 2, ['alone'], 'other'))
    const hits = await store.search(fakeVector('chunk 7', 8), { k: 2 })
    expect(hits).toHaveLength(2)
    expect(hits[0]).toEqual({
      namespace: 'default',
      key: 'long',
      version: version(1),
      score: expect.closeTo(1, 6),
      chunk: 7,
      excerpt: 'begins chunk 7',
    })
    expect(hits[1]).toMatchObject({ namespace: 'other', key: 'short', chunk: 0 })
  })

  it('does not mind the length of a vector, only its direction', async () => {
    const store = open(newPath())
    const vector = fakeVector('a', 8).map((component) => component * 1000)
    await store.save([{ contentHash: 'a', vector }])
    await store.put([memory('k', 1, ['a'])])
    const query = fakeVector('b', 8).map((component) => component / -7)
    const [hit] = await store.search(query)
    expect(hit?.score).toBeCloseTo(-dot(fakeVector('a', 8), fakeVector('b', 8)), 6)
  })

  it('looks past a memory of thousands of chunks for the others', async () => {
    const store = open(newPath(), { space: { model: 'm', dimensions: 512 } })
    const next = clusteredVectors({ dimensions: 512, centres: 1, seed: 5 })
    const other = clusteredVectors({ dimensions: 512, centres: 1, seed: 6 })
    const hashes = Array.from({ length: 2500 }, (_, i) => `chunk ${i}`)
    await store.save(hashes.map((contentHash) => ({ contentHash, vector: next() })))
    await store.save([{ contentHash: 'other', vector: other() }])
    await store.put([memory('long', 1, hashes), memory('short', 2, ['other'])])
    expect((await store.search(next(), { k: 2 })).map((hit) => hit.key)).toEqual(['long', 'short'])
  })

  it('keeps to a namespace and a filter, however few they leave and however far those are', async () => {
    const store = open(newPath())
    const memories = Array.from({ length: 6000 }, (_, i) =>
      memory(`k${i}`, i, [`text ${i}`], i % 1000 === 0 ? 'small' : 'large'),
    )
    await embed(store, ...memories)
    const query = fakeVector('text 1', 8)
    expect(await foundKeys(store, 'text 1', 1)).toEqual(['k1'])
    const small = await store.search(query, { k: 100, namespace: 'small' })
    expect(small.map((hit) => hit.key).sort()).toEqual(['k0', 'k1000', 'k2000', 'k3000', 'k4000', 'k5000'])
    const asked = new Set<string>()
    const filtered = await store.search(query, {
      namespace: 'large',
      filter: async ({ key, namespace, version: { sequence } }) => {
        expect([namespace, asked.has(key), key]).toEqual(['large', false, `k${sequence}`])
        asked.add(key)
        return sequence === 4321
      },
    })
    expect(filtered.map((hit) => hit.key)).toEqual(['k4321'])
    expect(await store.search(query, { namespace: 'nobody' })).toEqual([])
    expect(await store.search(query, { filter: () => false })).toEqual([])
    expect(await store.search(query, { k: 0 })).toEqual([])
  })

  it('goes on while the memories it looks through are replaced and removed', async () => {
    const path = newPath()
    const [store, other] = [open(path), open(path)]
    const memories = Array.from({ length: 11_000 }, (_, i) => memory(`k${i}`, 1, [`text ${i}`]))
    await embed(other, ...memories)
    const query = fakeVector('text 1', 8)
    let disturbing: Promise<unknown> | undefined
    const searches = Array.from({ length: 3 }, () =>
      store.search(query, {
        k: 3,
        filter: async ({ key }) => {
          // In the middle of the first search half of all goes, and another search takes note of it.
          disturbing ??= other
            .remove(memories.slice(0, 5500).map((each) => ({ ...each, version: version(2) })))
            .then(() => store.search(query))
          await disturbing
          return Number(key.slice(1)) % 500 === 499
        },
      }),
    )
    for (const hits of await Promise.all(searches)) {
      expect(hits).toHaveLength(3)
      for (const { key } of hits) expect(Number(key.slice(1))).toBeGreaterThanOrEqual(5500)
    }
    expect((await store.search(query, { k: 20_000 })).length).toBe(5500)
  })

  it('says so where the vector to search by is of another length', async () => {
    const store = open(newPath())
    await embed(store, memory('k', 1, ['a']))
    await expect(store.search(fakeVector('a', 9))).rejects.toMatchObject({ code: 'MEMSYNC_BAD_USAGE' })
  })

  it.each([
    { dimensions: 3072, count: 1500, centres: 15 },
    { dimensions: 384, count: 5000, centres: 50 },
  ])(
    'ranks as an exact search does: $count vectors of $dimensions',
    async ({ dimensions, count, centres }) => {
      const next = clusteredVectors({ dimensions, centres, seed: 42 })
      const vectors = Array.from({ length: count }, next)
      const store = open(newPath(), { space: { model: 'm', dimensions } })
      for (let start = 0; start < count; start += 1000) {
        const some = vectors.slice(start, start + 1000)
        await store.save(some.map((vector, i) => ({ contentHash: `${start + i}`, vector })))
        await store.put(some.map((_, i) => memory(`${start + i}`, 1, [`${start + i}`])))
      }
      let right = 0
      const queries = Array.from({ length: 20 }, next)
      for (const query of queries) {
        const exact = vectors
          .map((vector, i) => ({
            key: `${i}`,
            score: dot(vector, query),
          }))
          .sort((a, b) => b.score - a.score)
        const found = await store.search(query)
        expect(found).toHaveLength(10)
        for (const { key, score } of found) {
          expect(score).toBeCloseTo(exact.find((entry) => entry.key === key)?.score as number, 5)
        }
        const best = new Set(exact.slice(0, 10).map((entry) => entry.key))
        right += found.filter((hit) => best.has(hit.key)).length
      }
      expect(right / (queries.length * 10)).toBeGreaterThanOrEqual(0.99)
    },
  )
})

describe('vectors: the file', () => {
  it('is its owner’s alone, and is not made by reading', async () => {
    const path = newPath()
    expect(openVectorStore({ path, space: SPACE, readOnly: true })).toBeUndefined()
    const store = open(path)
    const reader = open(path, { readOnly: true })
    expect(await reader.search(fakeVector('a', 8))).toEqual([])
    expect(await reader.totals()).toMatchObject({ memories: 0, stale: 0, vectors: 0 })
    await embed(store, memory('k', 1, ['a']))
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(statSync(`${path}-wal`).mode & 0o777).toBe(0o600)
    expect(await foundKeys(reader, 'a')).toEqual(['k'])
    await expect(reader.remove([memory('k', 2, [])])).rejects.toMatchObject({
      code: 'MEMSYNC_STORE_UNAVAILABLE',
    })
  })

  it('is left as it is where it is no file of vectors, or a newer one', async () => {
    const folder = tempDir()
    const open = (path: string) => () => openVectorStore({ path, space: SPACE })
    const text = join(folder, 'text.db')
    writeFileSync(text, 'no database at all, but long enough to be taken for one. '.repeat(50))
    expect(open(text)).toThrow(expect.objectContaining({ code: 'MEMSYNC_STORE_CORRUPT' }))
    const foreign = join(folder, 'foreign.db')
    const raw = new DatabaseSync(foreign)
    raw.exec('CREATE TABLE things (id INTEGER)')
    expect(open(foreign)).toThrow(expect.objectContaining({ code: 'MEMSYNC_STORE_CORRUPT' }))
    expect(raw.prepare('SELECT name FROM sqlite_schema').all()).toEqual([{ name: 'things' }])
    expect(raw.prepare('PRAGMA journal_mode').get()).toEqual({ journal_mode: 'delete' })
    raw.close()
    const newer = newPath()
    await openVectorStore({ path: newer, space: SPACE })?.close()
    const change = new DatabaseSync(newer)
    change.exec('PRAGMA user_version = 2')
    change.close()
    expect(open(newer)).toThrow(expect.objectContaining({ code: 'MEMSYNC_STORE_NEWER' }))
  })

  it('can be closed twice, and then says that it is', async () => {
    const store = open(newPath())
    await store.close()
    await store.close()
    await expect(store.missing(['a'])).rejects.toMatchObject({ code: 'MEMSYNC_STORE_UNAVAILABLE' })
    await expect(store.search(fakeVector('a', 8))).rejects.toMatchObject({
      code: 'MEMSYNC_STORE_UNAVAILABLE',
    })
  })
})
