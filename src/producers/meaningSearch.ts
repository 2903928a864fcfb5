/**
 * The search of agents and of HTTP: by words, and by meaning too where memories are embedded. The two lists are joined
 * by reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009), so that what both find comes first.
 *
 * An embedding server that is away, slow or not set up takes nothing from the search by words: the answer says by
 * `byMeaning` which it was.
 */
import type { Config } from '../config.ts'
import { MemsyncError } from '../errors.ts'
import type { Store } from '../infrastructure/memory/port.ts'
import type { MemorySearch } from '../infrastructure/memory/search.ts'
import { type Search, type SearchHit, searchByWords } from './search.ts'

/** An agent waits for the answer. */
const EMBEDDING_TIME_LIMIT_MS = 2_000
/** The constant of the paper: how little the first places of one list outweigh the rest. */
const RANK_CONSTANT = 60

/** @returns the search, and what releases its index; the index is read at the first search that needs it */
export function createSearch(config: Config): { search: Search; close(): Promise<void> } {
  let memories: Promise<MemorySearch> | undefined
  const open = async () => {
    const { MemorySearch } = await import('../infrastructure/memory/search.ts')
    return new MemorySearch(config)
  }
  const findByMeaning = async (store: Store, { query, namespace, limit, signal }: Parameters<Search>[1]) => {
    memories ??= open()
    const byMeaning = await memories
    if (!(await byMeaning.canFind())) return undefined
    const deadline = AbortSignal.timeout(EMBEDDING_TIME_LIMIT_MS)
    const { found } = await byMeaning.search(store, query, {
      k: limit,
      signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
      ...(namespace === undefined ? {} : { namespace }),
    })
    const hits: SearchHit[] = []
    for (const { key, namespace: of, excerpt } of found) {
      const memory = await store.find(key, of)
      if (memory && !memory.deleted) hits.push({ memory, excerpt })
    }
    return hits
  }
  return {
    async search(store, request) {
      const byWords = await searchByWords(store, request)
      const byMeaning = await findByMeaning(store, request).catch(unlessEmbedderFails)
      if (!byMeaning) return { ...byWords, byMeaning: false }
      const hits = fuse([byWords.hits, byMeaning]).slice(0, request.limit)
      return { hits, complete: byWords.complete, byMeaning: true }
    },
    async close() {
      await (await memories)?.close()
      memories = undefined
    },
  }
}

function unlessEmbedderFails(error: unknown): undefined {
  const isOfEmbedder = error instanceof MemsyncError && /^MEMSYNC_(EMBEDDER_|INTERRUPTED$)/.test(error.code)
  if (!isOfEmbedder) throw error
}

/** The lists as one, each hit once, with the excerpt of the first list that has it. Pure. */
export function fuse(lists: readonly (readonly SearchHit[])[]): SearchHit[] {
  const scored = new Map<string, { hit: SearchHit; score: number }>()
  for (const list of lists) {
    for (const [rank, hit] of list.entries()) {
      const name = JSON.stringify([hit.memory.namespace, hit.memory.key])
      const score = 1 / (RANK_CONSTANT + rank + 1)
      const before = scored.get(name)
      scored.set(name, { hit: before?.hit ?? hit, score: (before?.score ?? 0) + score })
    }
  }
  return [...scored.values()].sort((a, b) => b.score - a.score).map(({ hit }) => hit)
}
