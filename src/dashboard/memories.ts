/** Memories for the page: lists with excerpts in place of values, search by words and by meaning, and one memory whole. */
import { existsSync } from 'node:fs'
import type { Config } from '../config.ts'
import { MemsyncError } from '../errors.ts'
import { vectorsPath } from '../infrastructure/memory/index.ts'
import type { Store, StoredMemory } from '../infrastructure/memory/port.ts'
import { findTextProblem, MAX_KEY_BYTES, MAX_NAMESPACE_BYTES } from '../jobs/key.ts'
import { formatVersion } from '../jobs/version.ts'
import { badRequest } from '../producers/httpErrors.ts'
import { readCursor, writeCursor } from '../producers/httpRoutes.ts'
import { searchByWords, textOf } from '../producers/search.ts'
import type { DashboardSources } from './sources.ts'
import { excerptOf, jsonText } from './text.ts'

const PAGE_SIZE = 50
const EXCERPT_CHARACTERS = 160

export interface MemorySummary {
  namespace: string
  key: string
  deleted: boolean
  excerpt: string
  persistedAtMs: number | null
  /** Cosine similarity, where it was found by meaning. */
  score?: number
}

function summaryOf(memory: StoredMemory, excerpt = memory.deleted ? '' : textOf(memory)): MemorySummary {
  const { namespace, key, deleted, persistedAtMs } = memory
  return { namespace, key, deleted, excerpt: excerptOf(excerpt, EXCERPT_CHARACTERS), persistedAtMs }
}

export interface ListQuery {
  namespace?: string | undefined
  prefix?: string | undefined
  after?: string | undefined
}

export function listMemories({ withStore }: DashboardSources, query: ListQuery) {
  const { namespace, prefix, after } = query
  return withStore(async (store) => {
    const { memories, next } = await store.list({
      limit: PAGE_SIZE,
      ...(namespace ? { namespace } : {}),
      ...(prefix ? { prefix } : {}),
      ...(after ? { after: readCursor(after) } : {}),
    })
    return {
      memories: memories.map((memory) => summaryOf(memory)),
      next: next ? writeCursor(next) : null,
      namespaces: (await store.namespaces()).map(({ namespace: name }) => name),
    }
  })
}

export interface SearchQuery {
  q: string
  by: 'words' | 'meaning'
  namespace?: string | undefined
}

export function searchMemories(sources: DashboardSources, query: SearchQuery, signal: AbortSignal) {
  return sources.withStore((store) =>
    query.by === 'words' ? byWords(store, query, signal) : byMeaning(sources.config, store, query),
  )
}

async function byWords(store: Store, { q, namespace }: SearchQuery, signal: AbortSignal) {
  const request = { query: q, limit: PAGE_SIZE, signal, ...(namespace ? { namespace } : {}) }
  const { hits, complete } = await searchByWords(store, request)
  return { memories: hits.map(({ memory, excerpt }) => summaryOf(memory, excerpt)), complete, notEmbedded: 0 }
}

/** Whether anything was ever embedded here. */
export function hasVectors(config: Config): boolean {
  return existsSync(vectorsPath(config))
}

/** One call to the embedding server of the settings, for the words looked for. */
async function byMeaning(config: Config, store: Store, { q, namespace }: SearchQuery) {
  if (!hasVectors(config)) {
    throw new MemsyncError('MEMSYNC_NOT_FOUND', 'nothing is embedded here, so nothing is found by meaning')
  }
  const { MemorySearch } = await import('../infrastructure/memory/search.ts')
  const search = new MemorySearch(config)
  try {
    const { found, notEmbedded } = await search.search(store, q, {
      k: 20,
      ...(namespace ? { namespace } : {}),
    })
    const memories = found.map(({ namespace: of, key, score, excerpt }): MemorySummary => {
      const shown = excerptOf(excerpt, EXCERPT_CHARACTERS)
      return { namespace: of, key, deleted: false, excerpt: shown, persistedAtMs: null, score }
    })
    return { memories, complete: true, notEmbedded }
  } finally {
    await search.close()
  }
}

/** @throws MEMSYNC_NOT_FOUND */
export function showMemory({ withStore }: DashboardSources, key: string, namespace: string) {
  const problem = findTextProblem(key, MAX_KEY_BYTES)
  if (problem) throw badRequest(`key: ${problem}`)
  const namespaceProblem = findTextProblem(namespace, MAX_NAMESPACE_BYTES)
  if (namespaceProblem) throw badRequest(`namespace: ${namespaceProblem}`)
  return withStore(async (store) => {
    const [versions, receipts] = await Promise.all([
      store.history(key, namespace),
      store.receipts(key, namespace),
    ])
    const [current] = versions
    if (!current) throw new MemsyncError('MEMSYNC_NOT_FOUND', 'there is no memory of this namespace and key')
    return {
      namespace,
      key,
      deleted: current.deleted,
      embed: current.embed,
      metadata: current.metadata ?? null,
      versions: versions.map((memory) => ({
        version: formatVersion(memory.version),
        deleted: memory.deleted,
        acceptedAtMs: memory.acceptedAtMs,
        persistedAtMs: memory.persistedAtMs,
        value: memory.deleted ? null : jsonText(memory.value),
      })),
      receipts: receipts.map(({ lane, version, atMs, remoteId }) => ({
        ...{ lane, version: formatVersion(version), atMs, remoteId: remoteId ?? null },
      })),
    }
  })
}
