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
  /** Ends the wait for the embedding server. */
  signal?: AbortSignal
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
  readonly #embedder: Embedder
  #vectors: VectorStore | undefined

  constructor(config: Config) {
    this.#config = config
    this.#embedder = openEmbedder(config)
  }

  /**
   * @param store holds the memories, and stays the caller's
   * @param query a text, which makes one call, or a vector of the model, which makes none
   * @throws MEMSYNC_BAD_USAGE; MEMSYNC_EMBEDDER_CREDENTIALS without a key; MEMSYNC_INTERRUPTED on `signal`;
   *   what the embedder throws
   */
  async search(
    store: Pick<Store, 'find' | 'countUnembedded'>,
    query: string | Float32Array,
    options: SearchOptions = {},
  ): Promise<SearchResult> {
    const { k = 10, namespace, filter, signal } = options
    if (!Number.isInteger(k) || k < 1 || k > MAX_HITS) {
      throw new MemsyncError('MEMSYNC_BAD_USAGE', `k: is not a whole number from 1 to ${MAX_HITS}`)
    }
    const vector = typeof query === 'string' ? await this.#embed(query, signal) : query
    this.#vectors ??= readVectors(this.#config)
    const hits = await this.#vectors?.search(vector, {
      k,
      ...(namespace === undefined ? {} : { namespace }),
      filter: async (candidate) => {
        const memory = await store.find(candidate.key, candidate.namespace)
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
      notEmbedded: await store.countUnembedded(namespace),
    }
  }

  /** Whether there is anything to find, and a server to embed a text with. */
  async canFind(): Promise<boolean> {
    if (this.#config.openaiApiKey === undefined && this.#config.openaiBaseUrl === undefined) return false
    this.#vectors ??= readVectors(this.#config)
    return this.#vectors !== undefined && (await this.#vectors.totals()).memories > 0
  }

  async close(): Promise<void> {
    await this.#vectors?.close()
    this.#vectors = undefined
  }

  async #embed(text: string, signal = new AbortController().signal): Promise<Float32Array> {
    if (text.trim() === '') throw new MemsyncError('MEMSYNC_BAD_USAGE', 'the text to search for is empty')
    const { vectors } = await this.#embedder.embed([text.toWellFormed()], signal)
    return vectors[0] as Float32Array
  }
}
