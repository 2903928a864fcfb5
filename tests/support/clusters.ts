/** Vectors as embeddings lie: unit vectors in clusters around random centres. The same for the same seed. */

export interface ClusterOptions {
  dimensions: number
  centres: number
  /** Standard deviation of the noise, times the square root of the dimensions. Default 0.5. */
  noise?: number
  /** Decides the centres, */
  seed: number
  /** and with this the vectors around them. Default 0. */
  stream?: number
}

/** Hands out one vector after another; each is around a random centre. */
export function clusteredVectors(options: ClusterOptions): () => Float32Array {
  const { dimensions, centres, noise = 0.5, seed, stream = 0 } = options
  const ofCentres = randomSource(seed)
  const random = () => unit(Float32Array.from({ length: dimensions }, ofCentres.gaussian))
  const middles = Array.from({ length: centres }, random)
  const { uniform, gaussian } = randomSource(seed + 1 + stream)
  const deviation = noise / Math.sqrt(dimensions)
  return () => {
    const middle = middles[Math.floor(uniform() * centres)] as Float32Array
    const vector = new Float32Array(dimensions)
    for (let i = 0; i < dimensions; i++) vector[i] = (middle[i] as number) + gaussian() * deviation
    return unit(vector)
  }
}

function unit(vector: Float32Array): Float32Array {
  let squares = 0
  for (const component of vector) squares += component * component
  const length = Math.sqrt(squares)
  for (let i = 0; i < vector.length; i++) vector[i] = (vector[i] as number) / length
  return vector
}

/** Uniform numbers in [0, 1) by mulberry32, and normal ones from them by Marsaglia's polar method. */
function randomSource(seed: number) {
  let state = seed | 0
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  let spare: number | undefined
  const gaussian = () => {
    if (spare !== undefined) {
      const kept = spare
      spare = undefined
      return kept
    }
    for (;;) {
      const x = uniform() * 2 - 1
      const y = uniform() * 2 - 1
      const square = x * x + y * y
      if (square >= 1 || square === 0) continue
      const factor = Math.sqrt((-2 * Math.log(square)) / square)
      spare = y * factor
      return x * factor
    }
  }
  return { uniform, gaussian }
}
