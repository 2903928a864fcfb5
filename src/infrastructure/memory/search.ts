/**
 * Search by meaning over what is embedded: the text is embedded with the model of the settings, and compared by cosine
 * with the vectors beside the store. What was deleted, or is not to be embedded any more, is never found.
 */
import type { Config } from '../../config.ts'
import type { Embedder } from '../../embedding/embedder.ts'
import { MemsyncError } from '../../errors.ts'
import { openEmbedder, readVectors } from './embedding.ts'
import type { Store, StoredMemory } from './port.ts'
import type { VectorStore } from './vectors.ts'

const MAX_HITS = 1000

export interface SearchOptions {
  /** How many memories at most, 1 to 1,000. Default 10. */
  k?: number
  /** Only memories of this namespace; of all unless given. */
  namespace?: string
  /** Only memories it is true of; asked nearest first, until enough were taken. */
  filter?: (memory: StoredMemory) => boolean | Promise<boolean>
}

export interface FoundMemory {
  namespace: string
  key: string
  /** Cosine similarity of the nearest part of the memory's text, from -1 to 1. */
  score: number
  /** How that part begins; at most 200 characters. */
  excerpt: string
}

export interface SearchResult {
  /** Best first. */
  found: FoundMemory[]
  /** Memories that wait to be embedded, and so cannot be found yet. */
  notEmbedded: number
}

/** Holds the index of the vectors between searches. */
export class MemorySearch {
  readonly #config: Config
  readonly #store: Store
  readonly #embedder: Embedder
  #vectors: VectorStore | undefined

  /** @param store stays the caller's */
  constructor(config: Config, store: Store) {
    this.#config = config
    this.#store = store
    this.#embedder = openEmbedder(config)
  }

  /**
   * @param query a text, which makes one call, or a vector of the model, which makes none
   * @throws MEMSYNC_BAD_USAGE; MEMSYNC_EMBEDDER_CREDENTIALS without a key; what the embedder throws
   */
  async search(query: string | Float32Array, options: SearchOptions = {}): Promise<SearchResult> {
    const { k = 10, namespace, filter } = options
    if (!Number.isInteger(k) || k < 1 || k > MAX_HITS) {
      throw new MemsyncError('MEMSYNC_BAD_USAGE', `k: is not a whole number from 1 to ${MAX_HITS}`)
    }
    const vector = typeof query === 'string' ? await this.#embed(query) : query
    this.#vectors ??= readVectors(this.#config)
    const hits = await this.#vectors?.search(vector, {
      k,
      ...(namespace === undefined ? {} : { namespace }),
      filter: async (candidate) => {
        const memory = await this.#store.find(candidate.key, candidate.namespace)
        if (!memory?.embed || memory.deleted) return false
        return filter === undefined || filter(memory)
      },
    })
    return {
      found: (hits ?? []).map(({ namespace: of, key, score, excerpt }) => ({
        namespace: of,
        key,
        score,
        excerpt,
      })),
      notEmbedded: await this.#store.countUnembedded(namespace),
    }
  }

  async close(): Promise<void> {
    await this.#vectors?.close()
    this.#vectors = undefined
  }

  async #embed(text: string): Promise<Float32Array> {
    if (text.trim() === '') throw new MemsyncError('MEMSYNC_BAD_USAGE', 'the text to search for is empty')
    const { vectors } = await this.#embedder.embed([text.toWellFormed()], new AbortController().signal)
    return vectors[0] as Float32Array
  }
}
