/**
 * Search by cosine over the file of vectors, in two passes.
 *
 * The coarse pass orders all vectors by their signs, which are held in memory (`SignIndex`); the second reads the
 * best few hundred from the file and compares them exactly. So a search costs memory of 1/32 of the vectors, and
 * what it returns is ranked by exact scores. How many are read is set by bytes, not by count: the shorter the
 * vectors, the less their signs tell, and the more of them are read.
 */

import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { setImmediate } from 'node:timers/promises'
import { packSigns, SignIndex } from '../../embedding/signIndex.ts'
import type { VectorSpace } from '../../embedding/text.ts'
import { cosineOfUnits, toFloats, toUnit, toWords } from '../../embedding/vectorBytes.ts'
import { MemsyncError } from '../../errors.ts'
import type { Version } from '../../jobs/version.ts'

/** What the second pass reads: 341 vectors of 3,072 components, 2,730 of 384. */
const SECOND_PASS_BYTES = 4 * 1024 * 1024
/** Rows cost time too, however short. */
const MAX_SECOND_PASS = 4096
/** At least so many times as many vectors are compared exactly as are asked for. */
const CANDIDATES_PER_HIT = 10
const MIN_SECOND_PASS = 100
/** Candidates looked at between two turns of the event loop; a filter that takes few may look at all. */
const TURN_CANDIDATES = 1000

/** What a filter is asked about. */
export interface SearchCandidate {
  namespace: string
  key: string
  /** The version that was embedded, which may be older than what the memory store holds. */
  version: Version
}

export interface SearchHit extends SearchCandidate {
  /** Cosine similarity, from -1 to 1. */
  score: number
  /** Which chunk of the memory's text was nearest, counted from 0, and how it begins. */
  chunk: number
  excerpt: string
}

export interface SearchOptions {
  /** How many memories at most. Default 10. */
  k?: number
  /** Only memories of this namespace. */
  namespace?: string
  /** Only memories it is true of; asked once per memory, nearest first, until enough were taken. */
  filter?: (candidate: SearchCandidate) => boolean | Promise<boolean>
}

export class VectorSearch {
  readonly #db: DatabaseSync
  readonly #space: VectorSpace
  #spaceId: number | undefined
  #index: SignIndex | undefined
  #vectorLength = 0
  /** The newest chunk and removal that the index knows of. */
  #lastChunk = 0
  #lastRemoval = 0
  #readChunk: StatementSync | undefined
  #readVector: StatementSync | undefined

  constructor(db: DatabaseSync, space: VectorSpace) {
    this.#db = db
    this.#space = space
  }

  /** Undefined where only a writer could name the space, and none has. */
  spaceId(): number | undefined {
    this.#spaceId ??= this.#db
      .prepare('SELECT id FROM spaces WHERE model = ? AND dimensions = ?')
      .get(this.#space.model, this.#space.dimensions ?? 0)?.id as number | undefined
    return this.#spaceId
  }

  async search(vector: Float32Array, { k = 10, namespace, filter }: SearchOptions): Promise<SearchHit[]> {
    const index = this.#update()
    if (!index) return []
    if (vector.length !== this.#vectorLength) {
      throw new MemsyncError(
        'MEMSYNC_BAD_USAGE',
        `a vector of ${vector.length} dimensions to search by, where the stored ones have ${this.#vectorLength}`,
      )
    }
    const query = toUnit(vector)
    const group = namespace === undefined ? undefined : this.#namespaceId(namespace)
    const candidates = index.nearest(packSigns(query), group)
    const enough = secondPassSize(k, this.#vectorLength)
    const best = new Map<number, SearchHit>()
    const allowed = new Map<number, boolean>()
    let compared = 0
    for (const [position, id] of candidates.entries()) {
      if (compared >= enough && best.size >= k) break
      if (position % TURN_CANDIDATES === TURN_CANDIDATES - 1) await setImmediate()
      const row = this.#chunk(id)
      // Another process may have removed it since; what came instead is found by the next search.
      if (!row) continue
      if (filter) {
        const known = allowed.get(row.memoryId) ?? (await filter(row.candidate))
        allowed.set(row.memoryId, known)
        if (!known) continue
      }
      const score = this.#score(query, row.vectorId)
      if (score === undefined) continue
      compared += 1
      const before = best.get(row.memoryId)
      if (before && before.score >= score) continue
      best.set(row.memoryId, { ...row.candidate, score, chunk: row.chunk, excerpt: row.excerpt })
    }
    return Array.from(best.values()).sort(compareHits).slice(0, k)
  }

  /** The index with what was changed since the last search, by any process; undefined while there is no vector. */
  #update(): SignIndex | undefined {
    const spaceId = this.spaceId()
    if (spaceId === undefined) return undefined
    if (!this.#index) {
      const { vector_length: length } = this.#db
        .prepare('SELECT vector_length FROM spaces WHERE id = ?')
        .get(spaceId) as { vector_length: number | null }
      if (length === null) return undefined
      this.#vectorLength = length
      this.#startIndex()
    } else if (this.#missedRemovals()) {
      this.#startIndex()
    }
    const index = this.#index as SignIndex
    // Chunks before removals: one that goes in between is added and then taken out, never left behind.
    const added = this.#db.prepare(
      'SELECT id, namespace_id, signs FROM chunks WHERE id > ? AND space_id = ? ORDER BY id',
    )
    for (const row of added.iterate(this.#lastChunk, spaceId)) {
      index.add(Number(row.id), Number(row.namespace_id), toWords(row.signs as Uint8Array))
      this.#lastChunk = Number(row.id)
    }
    const removed = this.#db.prepare('SELECT id, chunk_id FROM removals WHERE id > ? ORDER BY id')
    for (const row of removed.iterate(this.#lastRemoval)) {
      index.remove(Number(row.chunk_id))
      this.#lastRemoval = Number(row.id)
    }
    return index
  }

  #startIndex(): void {
    this.#index = new SignIndex(this.#vectorLength)
    this.#lastChunk = 0
    // From here on, as the chunks read next hold none that was removed before.
    this.#lastRemoval = this.#newestRemoval()
  }

  #newestRemoval(): number {
    return Number(this.#db.prepare('SELECT ifnull(max(id), 0) AS id FROM removals').get()?.id)
  }

  /** True where removals were forgotten before this index saw them. */
  #missedRemovals(): boolean {
    const oldest = this.#db.prepare('SELECT min(id) AS id FROM removals').get()?.id
    return oldest !== null && Number(oldest) > this.#lastRemoval + 1
  }

  /** A namespace nobody knows is one without members. */
  #namespaceId(name: string): number {
    return Number(this.#db.prepare('SELECT id FROM namespaces WHERE name = ?').get(name)?.id ?? 0)
  }

  #chunk(id: number) {
    this.#readChunk ??= this.#db.prepare(`
      SELECT c.memory_id, c.vector_id, c.number, c.excerpt, n.name, m.key, m.epoch, m.sequence, m.idx
      FROM chunks AS c JOIN memories AS m ON m.id = c.memory_id JOIN namespaces AS n ON n.id = c.namespace_id
      WHERE c.id = ?
    `)
    const row = this.#readChunk.get(id)
    if (!row) return undefined
    const version = { epoch: Number(row.epoch), sequence: Number(row.sequence), index: Number(row.idx) }
    return {
      memoryId: Number(row.memory_id),
      vectorId: Number(row.vector_id),
      chunk: Number(row.number),
      excerpt: String(row.excerpt),
      candidate: { namespace: String(row.name), key: String(row.key), version },
    }
  }

  #score(query: Float32Array, vectorId: number): number | undefined {
    this.#readVector ??= this.#db.prepare('SELECT vector FROM vectors WHERE id = ?')
    const row = this.#readVector.get(vectorId)
    return row && cosineOfUnits(query, toFloats(row.vector as Uint8Array))
  }
}

function secondPassSize(k: number, vectorLength: number): number {
  const affordable = Math.min(MAX_SECOND_PASS, Math.floor(SECOND_PASS_BYTES / (4 * vectorLength)))
  return Math.max(MIN_SECOND_PASS, CANDIDATES_PER_HIT * k, affordable)
}

/** Best first; equal ones by name, so that an order is always the same. */
function compareHits(a: SearchHit, b: SearchHit): number {
  return b.score - a.score || compareText(a.namespace, b.namespace) || compareText(a.key, b.key)
}

function compareText(a: string, b: string): number {
  if (a === b) return 0
  return a < b ? -1 : 1
}
