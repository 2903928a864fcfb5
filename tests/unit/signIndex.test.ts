import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { highestLikelyCosine, packSigns, SignIndex, toSignature } from '../../src/embedding/signIndex.ts'
import { toUnit } from '../../src/embedding/vectorBytes.ts'
import { clusteredVectors } from '../support/clusters.ts'

const dimensions = fc.integer({ min: 1, max: 300 })

function differences(a: Float32Array, b: Float32Array): number {
  return a.reduce((count, component, i) => count + (component > 0 === (b[i] as number) > 0 ? 0 : 1), 0)
}

describe('the index of signs', () => {
  it('orders by the number of differing signs, whatever was added, replaced and removed before', () => {
    const step = fc.record({
      id: fc.nat(30),
      group: fc.nat(2),
      seed: fc.nat(),
      removes: fc.boolean(),
    })
    fc.assert(
      fc.property(dimensions, fc.array(step, { maxLength: 80 }), fc.nat(), (length, steps, seed) => {
        const vector = (from: number) =>
          Float32Array.from({ length }, (_, i) => Math.sin(from * 1000 + i * (1 + (from % 7))))
        const index = new SignIndex(length)
        const model = new Map<number, { group: number; vector: Float32Array }>()
        for (const { id, group, seed: from, removes } of steps) {
          if (removes) {
            index.remove(id)
            model.delete(id)
          } else {
            index.add(id, group, toSignature(vector(from)))
            model.set(id, { group, vector: vector(from) })
          }
        }
        const query = vector(seed)
        expect(index.size).toBe(model.size)
        for (const group of [undefined, 0, 1, 2, 3]) {
          const nearest = index.nearest(packSigns(query), group)
          const found = Array.from(nearest.ids)
          const members = Array.from(model).filter(
            ([, entry]) => group === undefined || entry.group === group,
          )
          expect(found.toSorted((a, b) => a - b)).toEqual(members.map(([id]) => id).sort((a, b) => a - b))
          const distances = found.map((id) => differences(query, model.get(id)?.vector as Float32Array))
          expect(distances).toEqual(distances.toSorted((a, b) => a - b))
          expect(Array.from(nearest.differences)).toEqual(distances)
        }
      }),
    )
  })

  it('holds more than one block, and large ids', () => {
    const index = new SignIndex(4)
    const near = toSignature(Float32Array.of(1, 1, 1, -1))
    const far = toSignature(Float32Array.of(-1, -1, -1, 1))
    for (let id = 0; id < 10_000; id++) index.add(2 ** 40 + id, 1, id === 9_000 ? near : far)
    const { ids } = index.nearest(near.signs)
    expect(ids.length).toBe(10_000)
    expect(ids[0]).toBe(2 ** 40 + 9_000)
  })

  it('takes a zero for no sign, and knows a vector from its opposite at any length', () => {
    for (const length of [1, 31, 32, 33, 95, 96, 97, 3072]) {
      const index = new SignIndex(length)
      const vector = Float32Array.from({ length }, (_, i) => (i % 3) - 1)
      index.add(1, 1, toSignature(vector.map((component) => -component)))
      index.add(2, 1, toSignature(vector))
      index.add(3, 1, toSignature(new Float32Array(length).fill(-0)))
      expect(index.nearest(packSigns(vector)).ids[0]).toBe(2)
    }
  })

  it('says how near a vector may be, rightly for 97 in 100, and more sharply by its estimate', () => {
    const length = 1024
    const next = clusteredVectors({ dimensions: length, centres: 1, noise: 1, seed: 3 })
    const other = clusteredVectors({ dimensions: length, centres: 1, noise: 1, seed: 4 })
    const index = new SignIndex(length)
    const vectors = Array.from({ length: 400 }, (_, i) => {
      const [a, b, share] = [next(), other(), (i % 20) / 20]
      return toUnit(a.map((component, d) => component * share + (b[d] as number) * (1 - share)))
    })
    for (const [id, vector] of vectors.entries()) index.add(id, 1, toSignature(vector))
    const query = next()
    const estimated = index.highestLikelyCosines(query, Float64Array.from(vectors.keys()))
    const within = { counted: 0, estimated: 0 }
    const above = { counted: 0, estimated: 0 }
    for (const [id, vector] of vectors.entries()) {
      const cosine = dot(vector, query)
      const counted = highestLikelyCosine(differences(vector, query), length)
      if (counted >= cosine) within.counted += 1
      if ((estimated[id] as number) >= cosine) within.estimated += 1
      above.counted += (counted - cosine) / vectors.length
      above.estimated += ((estimated[id] as number) - cosine) / vectors.length
    }
    expect(within.counted / vectors.length).toBeGreaterThan(0.97)
    expect(within.estimated / vectors.length).toBeGreaterThan(0.97)
    expect(above.counted).toBeLessThan(0.13)
    expect(above.estimated).toBeLessThan(0.065)
    expect(highestLikelyCosine(0, length)).toBe(1)
    expect(highestLikelyCosine(length, length)).toBe(-1)
  })
})

function dot(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, component, i) => sum + component * (b[i] as number), 0)
}
