import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { packSigns, SignIndex } from '../../src/embedding/signIndex.ts'

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
            index.add(id, group, packSigns(vector(from)))
            model.set(id, { group, vector: vector(from) })
          }
        }
        const query = vector(seed)
        expect(index.size).toBe(model.size)
        for (const group of [undefined, 0, 1, 2, 3]) {
          const found = Array.from(index.nearest(packSigns(query), group))
          const members = Array.from(model).filter(
            ([, entry]) => group === undefined || entry.group === group,
          )
          expect(found.toSorted((a, b) => a - b)).toEqual(members.map(([id]) => id).sort((a, b) => a - b))
          const distances = found.map((id) => differences(query, model.get(id)?.vector as Float32Array))
          expect(distances).toEqual(distances.toSorted((a, b) => a - b))
        }
      }),
    )
  })

  it('holds more than one block, and large ids', () => {
    const index = new SignIndex(4)
    const near = packSigns(Float32Array.of(1, 1, 1, -1))
    const far = packSigns(Float32Array.of(-1, -1, -1, 1))
    for (let id = 0; id < 10_000; id++) index.add(2 ** 40 + id, 1, id === 9_000 ? near : far)
    const found = index.nearest(near)
    expect(found.length).toBe(10_000)
    expect(found[0]).toBe(2 ** 40 + 9_000)
  })

  it('takes a zero for no sign, and knows a vector from its opposite at any length', () => {
    for (const length of [1, 31, 32, 33, 95, 96, 97, 3072]) {
      const index = new SignIndex(length)
      const vector = Float32Array.from({ length }, (_, i) => (i % 3) - 1)
      index.add(1, 1, packSigns(vector.map((component) => -component)))
      index.add(2, 1, packSigns(vector))
      index.add(3, 1, packSigns(new Float32Array(length).fill(-0)))
      expect(index.nearest(packSigns(vector))[0]).toBe(2)
    }
  })
})
