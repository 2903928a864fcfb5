import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { DatabaseSync } from 'node:sqlite'
import fc from 'fast-check'
import { afterEach, describe, expect, it } from 'vitest'
import { VectorSearch } from '../../src/infrastructure/memory/vectorSearch.ts'
import { openVectorStore, type VectorStore } from '../../src/infrastructure/memory/vectors.ts'
import { fakeVector } from '../support/fakeOpenai.ts'
import { tempDir } from '../support/tempDir.ts'
import {
  dot,
  embed,
  foundKeys,
  memory,
  newPath,
  openStore,
  SPACE,
  saveTexts,
  version,
} from '../support/vectorStores.ts'

const children = new Set<ChildProcess>()

afterEach(() => {
  for (const child of children) child.kill('SIGKILL')
  children.clear()
})

describe('vectors: keeping', () => {
  it('keeps what was paid for, by its hash, before any memory has it', async () => {
    const path = newPath()
    await saveTexts(openStore(path), ['a', 'b'])
    const again = openStore(path)
    expect(await again.missing(['a', 'c', 'b', 'd'])).toEqual(new Set(['c', 'd']))
    expect(await again.put([memory('k', 1, ['a', 'c']), memory('l', 2, ['b'])])).toEqual([
      'incomplete',
      'stored',
    ])
    expect(await foundKeys(again, 'a')).toEqual(['l'])
  })

  it('needs no call for a text it had before, in another version or another memory', async () => {
    const store = openStore(newPath())
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
    const store = openStore(newPath(), { maxUnused: 3 })
    await embed(store, memory('k', 1, ['used']))
    await saveTexts(store, ['a', 'b', 'c'])
    await saveTexts(store, ['d'])
    expect(await store.missing(['used', 'a', 'b', 'c', 'd'])).toEqual(new Set(['a']))
    await store.remove([memory('k', 2, [])])
    expect(await store.missing(['used', 'b', 'c', 'd'])).toEqual(new Set(['b']))
    expect(await store.totals()).toMatchObject({ memories: 0, vectors: 0, unused: 3 })
  })

  it('refuses vectors of another length, and then keeps none of them', async () => {
    const store = openStore(newPath(), { space: { model: 'm', dimensions: undefined } })
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
    const large = openStore(path)
    const small = openStore(path, { space: { model: 'small', dimensions: undefined } })
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
    const store = openStore(newPath())
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
    const store = openStore(newPath())
    await embed(store, memory('k', 5, ['new']))
    expect(await store.put([memory('k', 4, ['never embedded'])])).toEqual(['superseded'])
  })

  it('knows an empty text as embedded, without a vector', async () => {
    const store = openStore(newPath())
    expect(await store.put([memory('k', 1, [])])).toEqual(['stored'])
    expect(await store.find('k', 'default')).toEqual({ version: version(1), current: true })
    expect(await store.totals()).toMatchObject({ memories: 1, vectors: 0 })
  })

  it('finds nothing of another space, and says what is stale', async () => {
    const path = newPath()
    const before = openStore(path)
    await embed(before, memory('k', 1, ['text']), memory('l', 2, ['other']))
    const after = openStore(path, { space: { model: 'small', dimensions: undefined } })
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
        const stores = [openStore(path, { maxUnused: 4 }), openStore(path, { maxUnused: 4 })]
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
    const store = openStore(path)
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
    const mine = openStore(path)
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

/** Of these texts, the one whose vector is nearest to that of t1. */
function nearestText(texts: string[]): string {
  const query = fakeVector('t1', 8)
  const score = (text: string) => dot(fakeVector(text, 8), query)
  return texts.toSorted((a, b) => score(b) - score(a))[0] as string
}

describe('vectors: the file', () => {
  it('is its owner’s alone, and is not made by reading', async () => {
    const path = newPath()
    expect(openVectorStore({ path, space: SPACE, readOnly: true })).toBeUndefined()
    const store = openStore(path)
    const reader = openStore(path, { readOnly: true })
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
    const opening = (path: string) => () => openVectorStore({ path, space: SPACE })
    const text = join(folder, 'text.db')
    writeFileSync(text, 'no database at all, but long enough to be taken for one. '.repeat(50))
    expect(opening(text)).toThrow(expect.objectContaining({ code: 'MEMSYNC_STORE_CORRUPT' }))
    const foreign = join(folder, 'foreign.db')
    const raw = new DatabaseSync(foreign)
    raw.exec('CREATE TABLE things (id INTEGER)')
    expect(opening(foreign)).toThrow(expect.objectContaining({ code: 'MEMSYNC_STORE_CORRUPT' }))
    expect(raw.prepare('SELECT name FROM sqlite_schema').all()).toEqual([{ name: 'things' }])
    expect(raw.prepare('PRAGMA journal_mode').get()).toEqual({ journal_mode: 'delete' })
    raw.close()
    const newer = newPath()
    await openVectorStore({ path: newer, space: SPACE })?.close()
    const change = new DatabaseSync(newer)
    change.exec('PRAGMA user_version = 2')
    change.close()
    expect(opening(newer)).toThrow(expect.objectContaining({ code: 'MEMSYNC_STORE_NEWER' }))
  })

  it('can be closed twice, and then says that it is', async () => {
    const store = openStore(newPath())
    await store.close()
    await store.close()
    await expect(store.missing(['a'])).rejects.toMatchObject({ code: 'MEMSYNC_STORE_UNAVAILABLE' })
    await expect(store.search(fakeVector('a', 8))).rejects.toMatchObject({
      code: 'MEMSYNC_STORE_UNAVAILABLE',
    })
  })
})
