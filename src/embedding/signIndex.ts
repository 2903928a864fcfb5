/**
 * The coarse pass of a search: of each vector the signs of its components, one bit each, held in memory. Pure.
 *
 * - Two vectors that point the same way differ in few signs: at an angle of a, in a share of a/π of them on average
 *   (Charikar, "Similarity estimation techniques from rounding algorithms", 2002). Counting them orders all vectors.
 * - The signs of one and the components of the other tell the cosine twice as sharply (Gao and Long, "RaBitQ",
 *   2024), at 50 times the work: for some thousands, where counting alone leaves too many in question.
 * - Each estimate comes with how far off it is likely to be, so that a search knows when it has looked enough.
 *
 * 100,000 vectors of 3,072 components take 38 MB.
 */

/** Vectors per block: the index grows by this many, and is never copied as a whole. */
const BLOCK_VECTORS = 4096
/** In `#groups`: nothing stands here. */
const EMPTY = -1

/** How many 32-bit words hold the signs of so many components: a multiple of three, as `countDifferences` reads. */
function signWords(dimensions: number): number {
  return Math.ceil(dimensions / 96) * 3
}

/** One bit per component, 1 where it is above zero, the first in the lowest bit; zeros to the end. */
export function packSigns(vector: Float32Array): Uint32Array {
  const words = new Uint32Array(signWords(vector.length))
  for (let i = 0; i < vector.length; i++) {
    if ((vector[i] as number) > 0) words[i >>> 5] = (words[i >>> 5] as number) | (1 << (i & 31))
  }
  return words
}

/** What the index holds of a unit vector. */
export interface Signature {
  signs: Uint32Array
  /** The sum of the components' absolute values. */
  magnitude: number
}

export function toSignature(unit: Float32Array): Signature {
  return { signs: packSigns(unit), magnitude: unit.reduce((sum, component) => sum + Math.abs(component), 0) }
}

/** How many standard deviations a cosine is expected to stay within; 1 in 160 lies above. */
const DEVIATIONS = 2.5

/**
 * The highest cosine that two vectors are likely to have which differ in so many signs. Each sign is taken for a
 * throw that differs with the probability a/π, so their number has the deviation of a binomial distribution.
 */
export function highestLikelyCosine(differences: number, dimensions: number): number {
  const share = differences / dimensions
  const angle = Math.PI * share
  const deviationOfAngle = Math.PI * Math.sqrt((share * (1 - share)) / dimensions)
  return Math.cos(angle) + DEVIATIONS * deviationOfAngle * Math.sin(angle)
}

/**
 * How far above its estimate a cosine is likely to be. With x the unit vector of the signs and v the vector itself,
 * the estimate's deviation is that of the part of x that is not along v: √((1 - (x·v)²) / (x·v)²) / √(d - 1).
 */
function likelyError({ magnitude, dimensions }: { magnitude: number; dimensions: number }): number {
  const along = Math.min(1, magnitude / Math.sqrt(dimensions))
  return (DEVIATIONS * Math.sqrt((1 - along * along) / Math.max(1, dimensions - 1))) / along
}

/** Ids in order, and of each in how many signs it differs. */
export interface Nearest {
  ids: Float64Array
  differences: Uint16Array
}

export class SignIndex {
  readonly #dimensions: number
  readonly #words: number
  readonly #blocks: Uint32Array[] = []
  /** By slot: the vector's id and its group, the namespace it may be searched by. */
  readonly #ids: number[] = []
  readonly #groups: number[] = []
  readonly #magnitudes: number[] = []
  readonly #slots = new Map<number, number>()
  readonly #free: number[] = []

  constructor(dimensions: number) {
    this.#dimensions = dimensions
    this.#words = signWords(dimensions)
  }

  get size(): number {
    return this.#slots.size
  }

  /** Takes in a vector; a known id is replaced. */
  add(id: number, group: number, { signs, magnitude }: Signature): void {
    const slot = this.#slots.get(id) ?? this.#free.pop() ?? this.#ids.length
    const within = slot % BLOCK_VECTORS
    const number = (slot - within) / BLOCK_VECTORS
    this.#blocks[number] ??= new Uint32Array(BLOCK_VECTORS * this.#words)
    this.#blocks[number]?.set(signs.subarray(0, this.#words), within * this.#words)
    this.#ids[slot] = id
    this.#groups[slot] = group
    this.#magnitudes[slot] = magnitude
    this.#slots.set(id, slot)
  }

  remove(id: number): void {
    const slot = this.#slots.get(id)
    if (slot === undefined) return
    this.#slots.delete(id)
    this.#groups[slot] = EMPTY
    this.#free.push(slot)
  }

  /**
   * The ids in order of how many signs differ from those of `signs`, fewest first.
   * @param group only ids of this group; all of them where it is undefined
   */
  nearest(signs: Uint32Array, group?: number): Nearest {
    const slots = this.#ids.length
    const distances = new Uint16Array(slots)
    for (const [number, block] of this.#blocks.entries()) {
      const first = number * BLOCK_VECTORS
      countDifferences(block, signs, distances.subarray(first, Math.min(first + BLOCK_VECTORS, slots)))
    }
    // A counting sort: `places[d]` becomes where the next id at distance d goes.
    const wanted = (slot: number) =>
      group === undefined ? this.#groups[slot] !== EMPTY : this.#groups[slot] === group
    const places = new Uint32Array(this.#words * 32 + 2)
    for (let slot = 0; slot < slots; slot++) {
      const next = (distances[slot] as number) + 1
      if (wanted(slot)) places[next] = (places[next] as number) + 1
    }
    for (let d = 1; d < places.length; d++) places[d] = (places[d] as number) + (places[d - 1] as number)
    const ids = new Float64Array(places.at(-1) as number)
    const differences = new Uint16Array(ids.length)
    for (let slot = 0; slot < slots; slot++) {
      if (!wanted(slot)) continue
      const distance = distances[slot] as number
      const place = places[distance] as number
      places[distance] = place + 1
      ids[place] = this.#ids[slot] as number
      differences[place] = distance
    }
    return { ids, differences }
  }

  /**
   * Of each id, in the order given: the highest cosine it is likely to have with `unit`; -Infinity of one that is
   * not there (any more).
   */
  highestLikelyCosines(unit: Float32Array, ids: Float64Array): Float64Array {
    const sums = sumsByByte(unit, this.#words)
    return ids.map((id) => {
      const slot = this.#slots.get(id)
      if (slot === undefined) return Number.NEGATIVE_INFINITY
      const within = slot % BLOCK_VECTORS
      const block = this.#blocks[(slot - within) / BLOCK_VECTORS] as Uint32Array
      const magnitude = this.#magnitudes[slot] as number
      const estimate = sumBySigns(block, within * this.#words, this.#words, sums) / magnitude
      return estimate + likelyError({ magnitude, dimensions: this.#dimensions })
    })
  }
}

/**
 * In how many bits each vector of the block differs from `signs`. Three words are added at a time by a full
 * adder, so that two population counts serve three words: 1.8 times as fast here as one by one.
 */
function countDifferences(block: Uint32Array, signs: Uint32Array, distances: Uint16Array): void {
  const words = signs.length
  let at = 0
  for (let vector = 0; vector < distances.length; vector++) {
    let count = 0
    for (let i = 0; i < words; i += 3, at += 3) {
      const a = (block[at] as number) ^ (signs[i] as number)
      const b = (block[at + 1] as number) ^ (signs[i + 1] as number)
      const c = (block[at + 2] as number) ^ (signs[i + 2] as number)
      const either = a ^ b
      const ones = either ^ c
      const twos = (a & b) | (either & c)
      let x = ones - ((ones >>> 1) & 0x55555555)
      x = (x & 0x33333333) + ((x >>> 2) & 0x33333333)
      let y = twos - ((twos >>> 1) & 0x55555555)
      y = (y & 0x33333333) + ((y >>> 2) & 0x33333333)
      x = ((x + (x >>> 4)) & 0x0f0f0f0f) + 2 * ((y + (y >>> 4)) & 0x0f0f0f0f)
      count += Math.imul(x, 0x01010101) >>> 24
    }
    distances[vector] = count
  }
}

/** For each byte of signs and each value it may have: the sum of the vector's eight components, signed by it. */
function sumsByByte(vector: Float32Array, words: number): Float32Array {
  const sums = new Float32Array(words * 4 * 256)
  for (let byte = 0; byte < words * 4; byte++) {
    const components = Array.from({ length: 8 }, (_, bit) => vector[byte * 8 + bit] ?? 0)
    sums[byte * 256] = -components.reduce((sum, component) => sum + component, 0)
    for (let value = 1; value < 256; value++) {
      const lowest = 31 - Math.clz32(value & -value)
      const without = sums[byte * 256 + (value & (value - 1))] as number
      sums[byte * 256 + value] = without + 2 * (components[lowest] as number)
    }
  }
  return sums
}

/** The scalar product of the vector behind `sums` with the signs that stand at `at`, read as 1 and -1. */
function sumBySigns(block: Uint32Array, at: number, words: number, sums: Float32Array): number {
  let sum = 0
  let row = 0
  for (let i = at; i < at + words; i++, row += 1024) {
    const word = block[i] as number
    sum +=
      (sums[row + (word & 255)] as number) +
      (sums[row + 256 + ((word >>> 8) & 255)] as number) +
      (sums[row + 512 + ((word >>> 16) & 255)] as number) +
      (sums[row + 768 + (word >>> 24)] as number)
  }
  return sum
}
