import { describe, expect, it } from 'vitest'
import { clusteredVectors } from '../support/clusters.ts'
import { fakeVector } from '../support/fakeOpenai.ts'
import { dot, embed, foundKeys, memory, newPath, openStore, version } from '../support/vectorStores.ts'

describe('vectors: search', () => {
  it('gives each memory once, by its nearest chunk, with its exact cosine', async () => {
    const store = openStore(newPath())
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
    const store = openStore(newPath())
    const vector = fakeVector('a', 8).map((component) => component * 1000)
    await store.save([{ contentHash: 'a', vector }])
    await store.put([memory('k', 1, ['a'])])
    const query = fakeVector('b', 8).map((component) => component / -7)
    const [hit] = await store.search(query)
    expect(hit?.score).toBeCloseTo(-dot(fakeVector('a', 8), fakeVector('b', 8)), 6)
  })

  it('looks past a memory of thousands of chunks for the others', async () => {
    const store = openStore(newPath(), { space: { model: 'm', dimensions: 512 } })
    const next = clusteredVectors({ dimensions: 512, centres: 1, seed: 5 })
    const other = clusteredVectors({ dimensions: 512, centres: 1, seed: 6 })
    const hashes = Array.from({ length: 2500 }, (_, i) => `chunk ${i}`)
    await store.save(hashes.map((contentHash) => ({ contentHash, vector: next() })))
    await store.save([{ contentHash: 'other', vector: other() }])
    await store.put([memory('long', 1, hashes), memory('short', 2, ['other'])])
    expect((await store.search(next(), { k: 2 })).map((hit) => hit.key)).toEqual(['long', 'short'])
  })

  it('keeps to a namespace and a filter, however few they leave and however far those are', async () => {
    const store = openStore(newPath())
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
    const [store, other] = [openStore(path), openStore(path)]
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
    const store = openStore(newPath())
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
      const store = openStore(newPath(), { space: { model: 'm', dimensions } })
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
