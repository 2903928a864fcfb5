/**
 * One side of the search bench, in a process of its own so that its memory is its own: the store's search, or the
 * exact scan of all vectors held in memory. Takes a message, answers it.
 */
import { openVectorStore } from '../src/infrastructure/memory/vectors.ts'
import { clusteredVectors } from '../tests/support/clusters.ts'
import { CLUSTERS, DIMENSIONS, K, SPACE, vectorKey } from './searchData.ts'

export type Request = { fill: number } | { query: number[] }

export interface Answer {
  /** The keys found, best first. */
  keys: string[]
  milliseconds: number
}

interface Side {
  /** Makes ready for so many vectors. */
  fill(count: number): void
  search(query: Float32Array): Promise<string[]> | string[]
}

function exactScan(): Side {
  const next = clusteredVectors(CLUSTERS)
  const vectors: Float32Array[] = []
  return {
    fill(count) {
      while (vectors.length < count) vectors.push(next())
    },
    search(query) {
      const best: { key: string; score: number }[] = []
      for (let i = 0; i < vectors.length; i++) {
        const vector = vectors[i] as Float32Array
        let score = 0
        for (let d = 0; d < DIMENSIONS; d++) score += (vector[d] as number) * (query[d] as number)
        if (best.length === K && score <= (best[K - 1]?.score as number)) continue
        best.push({ key: vectorKey(i), score })
        best.sort((a, b) => b.score - a.score)
        best.length = Math.min(best.length, K)
      }
      return best.map((hit) => hit.key)
    },
  }
}

function storeSearch(path: string): Side {
  const store = openVectorStore({ path, space: SPACE, readOnly: true })
  if (!store) throw new Error(`${path} is not there`)
  return {
    // Filled by another process, as a daemon would.
    fill() {},
    async search(query) {
      return (await store.search(query, { k: K })).map((hit) => hit.key)
    },
  }
}

const [path] = process.argv.slice(2)
const side = path === undefined ? exactScan() : storeSearch(path)

process.on('message', async (request: Request) => {
  const startedAt = performance.now()
  let keys: string[] = []
  if ('fill' in request) side.fill(request.fill)
  else keys = await side.search(Float32Array.from(request.query))
  process.send?.({ keys, milliseconds: performance.now() - startedAt } satisfies Answer)
})
