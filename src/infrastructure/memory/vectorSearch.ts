/**
 * Search by cosine over the file of vectors, from rough to exact.
 *
 * All vectors are ordered by their signs, which are held in memory (`SignIndex`), and the first hundred are read
 * from the file and compared exactly. Where the best stand out that is all; where they do not, what may still be
 * among them is estimated more sharply, and read while it may. So a search takes 1/32 of the vectors' memory,
 * returns exact scores, and reads a few hundred vectors at most times.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { setImmediate } from 'node:timers/promises'
import { highestLikelyCosine, packSigns, SignIndex } from '../../embedding/signIndex.ts'
import type { VectorSpace } from '../../embedding/text.ts'
import { cosineOfUnits, toFloats, toUnit, toWords } from '../../embedding/vectorBytes.ts'
import { MemsyncError } from '../../errors.ts'
import type { Version } from '../../jobs/version.ts'

/** Compared exactly before anything is estimated. */
const FIRST_COMPARED = 100
/** How many more are compared between two looks at whether that was enough. */
const COMPARED_PER_LOOK = 25
/** Estimated at a time, 1 µs each, and at most: further on by signs there is hardly one of the best. */
const ESTIMATED_AT_ONCE = 4096
const MAX_ESTIMATED = 16_384
/** The most compared: 2,048, 4 MB of shorter vectors, or 10 for each that is asked for. */
const MAX_COMPARED = 2048
const MAX_COMPARED_BYTES = 4 * 1024 * 1024
const MAX_COMPARED_PER_HIT = 10
/** Candidates looked at between two turns of the event loop; a filter that takes few may look at all. */
const CANDIDATES_PER_TURN = 1000
/** Chunks taken into the index between two turns. */
const CHUNKS_PER_TURN = 5000

/** What a filter is asked about. */
interface SearchCandidate {
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
  filter?: Filter
}

type Filter = (candidate: SearchCandidate) => boolean | Promise<boolean>

/** A chunk by its exact score. */
interface Compared {
  id: number
  memoryId: number
  score: number
}

/** The best memories so far, and whether what remains can still be among them. */
class Best {
  readonly #k: number
  readonly #most: number
  readonly #byMemory = new Map<number, Compared>()
  #compared = 0
  /** The score of the last of the best as it was a few comparisons ago: it only rises. */
  #lastScore = Number.NEGATIVE_INFINITY
  #lookAt = FIRST_COMPARED

  constructor(k: number, vectorLength: number) {
    this.#k = k
    const affordable = Math.floor(MAX_COMPARED_BYTES / (4 * vectorLength))
    this.#most = Math.max(MAX_COMPARED, MAX_COMPARED_PER_HIT * k, affordable)
  }

  /** @param compared undefined for a chunk that another process removed meanwhile */
  add(compared: Compared | undefined): void {
    if (!compared) return
    this.#compared += 1
    const before = this.#byMemory.get(compared.memoryId)
    if (!before || compared.score > before.score) this.#byMemory.set(compared.memoryId, compared)
  }

  isFull(): boolean {
    return this.#byMemory.size >= this.#k
  }

  /** True where a vector that can have a cosine of `reach` at most is not among the best, or enough were compared. */
  isBeyond(reach: number): boolean {
    if (!this.isFull()) return false
    if (this.#compared >= this.#lookAt) {
      this.#lookAt = this.#compared + COMPARED_PER_LOOK
      const scores = Float64Array.from(this.#byMemory.values(), (compared) => compared.score).sort()
      this.#lastScore = scores[scores.length - this.#k] as number
    }
    return this.#compared >= this.#most || reach < this.#lastScore
  }

  /** The best, best first. */
  ranked(): Compared[] {
    const all = Array.from(this.#byMemory.values()).sort((a, b) => b.score - a.score || a.id - b.id)
    return all.slice(0, this.#k)
  }
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
  #readAdded: StatementSync | undefined
  #readRemoved: StatementSync | undefined
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

  /** How many vectors are held in memory: those there were when the last search began. */
  get size(): number {
    return this.#index?.size ?? 0
  }

  async search(vector: Float32Array, { k = 10, namespace, filter }: SearchOptions): Promise<SearchHit[]> {
    const index = await this.#update()
    if (!index || k <= 0) return []
    if (vector.length !== this.#vectorLength) {
      throw new MemsyncError(
        'MEMSYNC_BAD_USAGE',
        `a vector of ${vector.length} dimensions to search by, where the stored ones have ${this.#vectorLength}`,
      )
    }
    const query = toUnit(vector)
    const group = namespace === undefined ? undefined : this.#namespaceId(namespace)
    const { ids, differences } = index.nearest(packSigns(query), group)
    const best = new Best(k, this.#vectorLength)
    const allowed = new Map<number, boolean>()
    const compare = async (id: number) => {
      if (filter && !(await this.#isAllowed(id, filter, allowed))) return
      best.add(this.#compare(id, query))
    }

    for (const id of ids.subarray(0, FIRST_COMPARED)) await compare(id)
    for (let start = FIRST_COMPARED; start < ids.length; start += ESTIMATED_AT_ONCE) {
      if (best.isBeyond(highestLikelyCosine(differences[start] as number, this.#vectorLength))) break
      if (best.isFull() && start > MAX_ESTIMATED) break
      const some = ids.subarray(start, start + ESTIMATED_AT_ONCE)
      const reach = index.highestLikelyCosines(query, some)
      const places = Uint16Array.from(some.keys()).sort((a, b) => (reach[b] as number) - (reach[a] as number))
      for (const [count, place] of places.entries()) {
        if (best.isBeyond(reach[place] as number)) break
        if (count % CANDIDATES_PER_TURN === 0) await setImmediate()
        await compare(some[place] as number)
      }
    }
    return best.ranked().flatMap(({ id, score }) => {
      const described = this.#describe(id)
      return described ? [{ ...described.candidate, score, ...described.place }] : []
    })
  }

  async #isAllowed(id: number, filter: Filter, allowed: Map<number, boolean>): Promise<boolean> {
    const described = this.#describe(id)
    if (!described) return false
    const known = allowed.get(described.memoryId) ?? (await filter(described.candidate))
    allowed.set(described.memoryId, known)
    return known
  }

  /** The index with what was changed since the last search, by any process; undefined while there is no vector. */
  async #update(): Promise<SignIndex | undefined> {
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
    // Chunks before removals: one that goes in between is added and then taken out, never left behind. Searches
    // that run at the same time go on from wherever another has come to.
    while (this.#addChunks(spaceId) === CHUNKS_PER_TURN) await setImmediate()
    this.#removeChunks()
    return this.#index
  }

  /** @returns how many were added */
  #addChunks(spaceId: number): number {
    this.#readAdded ??= this.#db.prepare(`
      SELECT id, namespace_id, signs, magnitude FROM chunks WHERE id > ? AND space_id = ? ORDER BY id LIMIT ?
    `)
    let count = 0
    for (const row of this.#readAdded.iterate(this.#lastChunk, spaceId, CHUNKS_PER_TURN)) {
      const signature = { signs: toWords(row.signs as Uint8Array), magnitude: Number(row.magnitude) }
      this.#index?.add(Number(row.id), Number(row.namespace_id), signature)
      this.#lastChunk = Number(row.id)
      count += 1
    }
    return count
  }

  #removeChunks(): void {
    this.#readRemoved ??= this.#db.prepare('SELECT id, chunk_id FROM removals WHERE id > ? ORDER BY id')
    for (const row of this.#readRemoved.iterate(this.#lastRemoval)) {
      this.#index?.remove(Number(row.chunk_id))
      this.#lastRemoval = Number(row.id)
    }
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

  #compare(id: number, query: Float32Array): Compared | undefined {
    this.#readVector ??= this.#db.prepare(
      'SELECT c.memory_id, v.vector FROM chunks AS c JOIN vectors AS v ON v.id = c.vector_id WHERE c.id = ?',
    )
    const row = this.#readVector.get(id)
    if (!row) return undefined
    const score = cosineOfUnits(query, toFloats(row.vector as Uint8Array))
    return { id, memoryId: Number(row.memory_id), score }
  }

  #describe(id: number) {
    this.#readChunk ??= this.#db.prepare(`
      SELECT c.memory_id, c.number, c.excerpt, n.name, m.key, m.epoch, m.sequence, m.idx
      FROM chunks AS c JOIN memories AS m ON m.id = c.memory_id JOIN namespaces AS n ON n.id = c.namespace_id
      WHERE c.id = ?
    `)
    const row = this.#readChunk.get(id)
    if (!row) return undefined
    const version = { epoch: Number(row.epoch), sequence: Number(row.sequence), index: Number(row.idx) }
    return {
      memoryId: Number(row.memory_id),
      candidate: { namespace: String(row.name), key: String(row.key), version },
      place: { chunk: Number(row.number), excerpt: String(row.excerpt) },
    }
  }
}
