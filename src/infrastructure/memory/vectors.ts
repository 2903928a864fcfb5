/**
 * Where vectors are kept and searched: SQLite, one file beside the memory store; why, see `vectorSchema.ts`.
 *
 * - A vector is kept by the hash of what decides it (`contentHash`), whoever uses it and for how long: what was
 *   paid for is saved first, and given to memories after. Unused ones stay as a cache, the newest 10,000.
 * - A memory's vectors are replaced together, and never by those of an older version; `remove` leaves a tombstone.
 * - Every change is durable when its promise resolves. Any number of processes may read and write: each search
 *   takes in what others changed since the last.
 * - Vectors of another space (model or dimensions) stay until they are replaced, and no search finds them.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { toSignature } from '../../embedding/signIndex.ts'
import type { VectorSpace } from '../../embedding/text.ts'
import { toBytes, toFloats, toUnit } from '../../embedding/vectorBytes.ts'
import { MemsyncError } from '../../errors.ts'
import { compareVersions, type Version } from '../../jobs/version.ts'
import { toStoreError } from './sqliteErrors.ts'
import { openVectorFile } from './vectorSchema.ts'
import { type SearchHit, type SearchOptions, VectorSearch } from './vectorSearch.ts'

/** Vectors that no memory uses and that are kept, so that a rollback or a redrive makes no call. */
const MAX_UNUSED = 10_000
/** Removed chunks remembered, for other processes that hold them; one that missed more reads all again. */
const MAX_REMOVALS = 100_000

export interface VectorStoreOptions {
  path: string
  space: VectorSpace
  /** Only read, beside a daemon that writes; makes nothing. */
  readOnly?: boolean
  /** Unused vectors kept; at least as many as one request may bring. Default 10,000. */
  maxUnused?: number
}

export interface MemoryVersion {
  namespace: string
  key: string
  version: Version
}

/** A memory and what it was embedded as: the hashes of its chunks, in their order; none for an empty text. */
export interface EmbeddedMemory extends MemoryVersion {
  chunks: readonly { contentHash: string; excerpt: string }[]
}

/**
 * - `stored`: a search finds the memory by these vectors
 * - `superseded`: a newer version was embedded or removed before; nothing was changed
 * - `incomplete`: a vector is not kept (any more), so its text must be embedded again; nothing was changed
 */
export type PutOutcome = 'stored' | 'superseded' | 'incomplete'

export interface Spending {
  calls: number
  tokens: number
  /** Texts that needed no call. */
  cacheHits: number
}

export interface VectorTotals {
  /** Memories embedded in this space, and those that have vectors of another one only. */
  memories: number
  stale: number
  /** Vectors a search looks through, and those that are only kept. */
  vectors: number
  unused: number
  /** Bytes the file takes. */
  bytes: number
}

/**
 * The store, made where there was none; undefined where it is only to be read and is not there.
 * @throws MEMSYNC_STORE_UNAVAILABLE, MEMSYNC_STORE_CORRUPT, MEMSYNC_STORE_NEWER
 */
export function openVectorStore(options: VectorStoreOptions): VectorStore | undefined {
  try {
    const db = openVectorFile(options.path, options.readOnly ?? false)
    return db && new VectorStore(db, options)
  } catch (thrown) {
    throw toStoreError(thrown, options.path)
  }
}

/** Every method may throw MEMSYNC_STORE_UNAVAILABLE; then nothing was changed. */
export class VectorStore {
  readonly space: VectorSpace
  readonly #db: DatabaseSync
  readonly #path: string
  readonly #maxUnused: number
  readonly #search: VectorSearch
  readonly #statements = new Map<string, StatementSync>()

  constructor(db: DatabaseSync, options: VectorStoreOptions) {
    this.space = options.space
    this.#db = db
    this.#path = options.path
    this.#maxUnused = options.maxUnused ?? MAX_UNUSED
    this.#search = new VectorSearch(db, options.space)
    // Before any transaction, so that none takes the id away again.
    if (!options.readOnly && this.#search.spaceId() === undefined) {
      db.prepare('INSERT INTO spaces (model, dimensions) VALUES (?, ?) ON CONFLICT DO NOTHING').run(
        options.space.model,
        options.space.dimensions ?? 0,
      )
    }
  }

  /** Which of these hashes have no vector, and so need a call. */
  async missing(contentHashes: readonly string[]): Promise<Set<string>> {
    return this.#guard(() => {
      const known = this.#prepare('SELECT 1 FROM vectors WHERE content_hash = ?')
      return new Set(contentHashes.filter((hash) => known.get(hash) === undefined))
    })
  }

  /**
   * Keeps vectors, of any length but 0, as unit vectors; with what they cost. A known hash keeps its vector.
   * @param day of the spending, `YYYY-MM-DD`
   * @throws MEMSYNC_EMBEDDER_BAD_ANSWER where a vector is not as long as the others of this space
   */
  async save(
    vectors: readonly { contentHash: string; vector: Float32Array }[],
    spending?: { day: string } & Partial<Spending>,
  ): Promise<void> {
    this.#transaction(() => {
      if (vectors.length > 0) this.#checkLength(vectors)
      const insert = this.#prepare(
        'INSERT INTO vectors (content_hash, vector) VALUES (?, ?) ON CONFLICT DO NOTHING',
      )
      const addUnused = this.#prepare('INSERT INTO unused (vector_id) VALUES (?)')
      for (const { contentHash, vector } of vectors) {
        const { changes, lastInsertRowid } = insert.run(contentHash, toBytes(toUnit(vector)))
        if (changes === 1) addUnused.run(lastInsertRowid)
      }
      if (spending) this.#addSpending(spending)
      this.#prune()
    })
  }

  /** Gives memories their vectors, which must have been saved. Each memory has its own outcome. */
  async put(memories: readonly EmbeddedMemory[]): Promise<PutOutcome[]> {
    return this.#transaction(() => {
      const outcomes = memories.map((memory) => this.#put(memory))
      this.#prune()
      return outcomes
    })
  }

  /**
   * Takes away the vectors of memories that were deleted, or are not to be embedded any more.
   * @returns for each whether it was taken; false where a newer version was embedded or removed before
   */
  async remove(memories: readonly MemoryVersion[]): Promise<boolean[]> {
    return this.#transaction(() => {
      const taken = memories.map((memory) => {
        if (this.#isSuperseded(memory)) return false
        this.#removeChunks(this.#setVersion(memory, null))
        return true
      })
      this.#prune()
      return taken
    })
  }

  /** The version that is embedded, and whether in this space; undefined where none is. */
  async find(key: string, namespace: string): Promise<{ version: Version; current: boolean } | undefined> {
    return this.#guard(() => {
      const row = this.#prepare(`
        SELECT epoch, sequence, idx, space_id FROM memories
        WHERE namespace_id = (SELECT id FROM namespaces WHERE name = ?) AND key = ? AND space_id IS NOT NULL
      `).get(namespace, key)
      return row && { version: toVersion(row), current: row.space_id === this.#search.spaceId() }
    })
  }

  /** Counts what was spent beside `save`: calls that failed, texts that needed none. */
  async addSpending(spending: { day: string } & Partial<Spending>): Promise<void> {
    this.#transaction(() => this.#addSpending(spending))
  }

  /** What was spent on a day, or in all, by model. */
  async spending(day?: string): Promise<Map<string, Spending>> {
    return this.#guard(() => {
      const rows = this.#prepare(`
        SELECT model, sum(calls) AS calls, sum(tokens) AS tokens, sum(cache_hits) AS cache_hits FROM spending
        WHERE ?1 IS NULL OR day = ?1 GROUP BY model
      `).all(day ?? null)
      return new Map(
        rows.map((row) => [
          String(row.model),
          { calls: Number(row.calls), tokens: Number(row.tokens), cacheHits: Number(row.cache_hits) },
        ]),
      )
    })
  }

  async totals(): Promise<VectorTotals> {
    return this.#guard(() => {
      const row = this.#prepare(`
        SELECT
          (SELECT count(*) FROM memories WHERE space_id = ?1) AS memories,
          (SELECT count(*) FROM memories WHERE space_id <> ifnull(?1, 0)) AS stale,
          (SELECT count(*) FROM chunks WHERE space_id = ?1) AS vectors,
          (SELECT count(*) FROM unused) AS unused,
          (SELECT page_count * page_size FROM pragma_page_count, pragma_page_size) AS bytes
      `).get(this.#search.spaceId() ?? null)
      const count = (name: string) => Number(row?.[name])
      return {
        memories: count('memories'),
        stale: count('stale'),
        vectors: count('vectors'),
        unused: count('unused'),
        bytes: count('bytes'),
      }
    })
  }

  /**
   * The memories whose vectors are nearest to `vector` by cosine, best first, each once with its best chunk.
   * @throws MEMSYNC_BAD_USAGE where the vector is not of this space's length
   */
  async search(vector: Float32Array, options: SearchOptions = {}): Promise<SearchHit[]> {
    try {
      return await this.#search.search(vector, options)
    } catch (thrown) {
      throw this.#toError(thrown)
    }
  }

  /** Idempotent. */
  async close(): Promise<void> {
    if (this.#db.isOpen) this.#db.close()
  }

  #put(memory: EmbeddedMemory): PutOutcome {
    if (this.#isSuperseded(memory)) return 'superseded'
    const vector = this.#prepare('SELECT id, vector FROM vectors WHERE content_hash = ?')
    const rows = memory.chunks.map(({ contentHash }) => vector.get(contentHash))
    if (rows.includes(undefined)) return 'incomplete'
    const spaceId = this.#spaceId()
    const memoryId = this.#setVersion(memory, spaceId)
    this.#removeChunks(memoryId)
    const insert = this.#prepare(`
      INSERT INTO chunks (space_id, namespace_id, memory_id, vector_id, number, signs, magnitude, excerpt)
      SELECT ?, namespace_id, id, ?, ?, ?, ?, ? FROM memories WHERE id = ?
    `)
    const markUsed = this.#prepare('DELETE FROM unused WHERE vector_id = ?')
    for (const [number, chunk] of memory.chunks.entries()) {
      const row = rows[number] as { id: number; vector: Uint8Array }
      const { signs, magnitude } = toSignature(toFloats(row.vector))
      insert.run(spaceId, row.id, number, toBytes(signs), magnitude, chunk.excerpt, memoryId)
      markUsed.run(row.id)
    }
    return 'stored'
  }

  /** The compare of the compare-and-set; both stand in one transaction. */
  #isSuperseded({ namespace, key, version }: MemoryVersion): boolean {
    const row = this.#prepare(`
      SELECT epoch, sequence, idx FROM memories
      WHERE namespace_id = (SELECT id FROM namespaces WHERE name = ?) AND key = ?
    `).get(namespace, key)
    return row !== undefined && compareVersions(toVersion(row), version) > 0
  }

  /** @returns the memory's id */
  #setVersion({ namespace, key, version }: MemoryVersion, spaceId: number | null): number {
    this.#prepare('INSERT INTO namespaces (name) VALUES (?) ON CONFLICT DO NOTHING').run(namespace)
    const row = this.#prepare(`
      INSERT INTO memories (namespace_id, key, epoch, sequence, idx, space_id)
      SELECT id, ?, ?, ?, ?, ? FROM namespaces WHERE name = ?
      ON CONFLICT (namespace_id, key) DO UPDATE SET
        epoch = excluded.epoch, sequence = excluded.sequence, idx = excluded.idx, space_id = excluded.space_id
      RETURNING id
    `).get(key, version.epoch, version.sequence, version.index, spaceId, namespace)
    return Number(row?.id)
  }

  #removeChunks(memoryId: number): void {
    const chunks = this.#prepare('SELECT id, vector_id FROM chunks WHERE memory_id = ?').all(memoryId)
    const remove = this.#prepare('DELETE FROM chunks WHERE id = ?')
    const note = this.#prepare('INSERT INTO removals (chunk_id) VALUES (?)')
    const markUnused = this.#prepare(`
      INSERT INTO unused (vector_id) SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM chunks WHERE vector_id = ?1)
      ON CONFLICT DO NOTHING
    `)
    for (const chunk of chunks) {
      remove.run(Number(chunk.id))
      note.run(Number(chunk.id))
      markUnused.run(Number(chunk.vector_id))
    }
  }

  #prune(): void {
    const { count } = this.#prepare('SELECT count(*) AS count FROM unused').get() as { count: number }
    if (count > this.#maxUnused) {
      const oldest = this.#prepare('SELECT id, vector_id FROM unused ORDER BY id LIMIT ?').all(
        count - this.#maxUnused,
      )
      for (const { id, vector_id } of oldest) {
        this.#prepare('DELETE FROM vectors WHERE id = ?').run(Number(vector_id))
        this.#prepare('DELETE FROM unused WHERE id = ?').run(Number(id))
      }
    }
    this.#prepare('DELETE FROM removals WHERE id <= (SELECT max(id) FROM removals) - ?').run(MAX_REMOVALS)
  }

  #checkLength(vectors: readonly { vector: Float32Array }[]): void {
    const spaceId = this.#spaceId()
    const known = this.#prepare('SELECT vector_length FROM spaces WHERE id = ?').get(spaceId)?.vector_length
    const length = Number(known ?? vectors[0]?.vector.length)
    const other = vectors.find(({ vector }) => vector.length !== length)
    if (other) {
      throw new MemsyncError(
        'MEMSYNC_EMBEDDER_BAD_ANSWER',
        `a vector of ${other.vector.length} dimensions, where ${this.space.model} has ${length}`,
      )
    }
    if (known === null) this.#prepare('UPDATE spaces SET vector_length = ? WHERE id = ?').run(length, spaceId)
  }

  /** A store that writes has named its space when it was opened. */
  #spaceId(): number {
    return this.#search.spaceId() as number
  }

  #addSpending({ day, calls = 0, tokens = 0, cacheHits = 0 }: { day: string } & Partial<Spending>): void {
    this.#prepare(`
      INSERT INTO spending (day, model, calls, tokens, cache_hits) VALUES (?, ?, ?, ?, ?)
      ON CONFLICT (day, model) DO UPDATE SET
        calls = calls + excluded.calls, tokens = tokens + excluded.tokens,
        cache_hits = cache_hits + excluded.cache_hits
    `).run(day, this.space.model, calls, tokens, cacheHits)
  }

  #prepare(sql: string): StatementSync {
    let statement = this.#statements.get(sql)
    if (!statement) {
      statement = this.#db.prepare(sql)
      this.#statements.set(sql, statement)
    }
    return statement
  }

  #transaction<T>(work: () => T): T {
    return this.#guard(() => {
      this.#db.exec('BEGIN IMMEDIATE')
      try {
        const result = work()
        this.#db.exec('COMMIT')
        return result
      } catch (thrown) {
        if (this.#db.isTransaction) this.#db.exec('ROLLBACK')
        throw thrown
      }
    })
  }

  #guard<T>(work: () => T): T {
    try {
      return work()
    } catch (thrown) {
      throw this.#toError(thrown)
    }
  }

  #toError(thrown: unknown): unknown {
    if (this.#db.isOpen) return toStoreError(thrown, this.#path)
    return new MemsyncError('MEMSYNC_STORE_UNAVAILABLE', `${this.#path}: was closed`, { cause: thrown })
  }
}

function toVersion(row: Record<string, unknown>): Version {
  return { epoch: Number(row.epoch), sequence: Number(row.sequence), index: Number(row.idx) }
}
