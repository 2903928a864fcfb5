/**
 * Vectors as numbers and as bytes, in the order of this machine's processor: little-endian on all that Node 24
 * runs on but s390x, whose files are its own. Pure.
 */

/** The vector at length 1; one without a direction as it is. */
export function toUnit(vector: Float32Array): Float32Array {
  let squares = 0
  for (let i = 0; i < vector.length; i++) squares += (vector[i] as number) ** 2
  const length = Math.sqrt(squares)
  return length === 0 ? vector : vector.map((component) => component / length)
}

/** The cosine of the angle between two vectors of length 1, from -1 to 1. */
export function cosineOfUnits(a: Float32Array, b: Float32Array): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number)
  return Math.min(1, Math.max(-1, sum))
}

export function toBytes(numbers: Float32Array | Uint32Array): Uint8Array {
  return new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength)
}

export function toFloats(bytes: Uint8Array): Float32Array {
  const { buffer, byteOffset } = aligned(bytes)
  return new Float32Array(buffer, byteOffset, bytes.byteLength / 4)
}

export function toWords(bytes: Uint8Array): Uint32Array {
  const { buffer, byteOffset } = aligned(bytes)
  return new Uint32Array(buffer, byteOffset, bytes.byteLength / 4)
}

/** Copied where it does not begin at a multiple of four, as typed arrays must. */
function aligned(bytes: Uint8Array): Uint8Array {
  return bytes.byteOffset % 4 === 0 ? bytes : Uint8Array.from(bytes)
}
