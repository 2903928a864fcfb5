/** The pure parts of the fault runs: the plan of a seed, the power cut, the trend of a soak, the mutants' texts. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { MUTANTS, mutate } from '../../prove/faults/mutants.ts'
import { describePlan, makePlan } from '../../prove/faults/plan.ts'
import { findUnsynced } from '../../prove/faults/powerCut.ts'
import { findFloors, findTrend } from '../../prove/faults/trend.ts'

it('a seed makes the same plan each time, and another seed another', () => {
  fc.assert(
    fc.property(fc.nat(), (seed) => {
      const plan = makePlan(seed, 20, { canFillDisk: true })
      expect(makePlan(seed, 20, { canFillDisk: true })).toEqual(plan)
      expect(describePlan(makePlan(seed + 1, 20, { canFillDisk: true }))).not.toBe(describePlan(plan))
    }),
    { numRuns: 20 },
  )
})

it('in a plan no two faults of a part overlap, all end in time, and every operation has a number of its own', () => {
  fc.assert(
    fc.property(fc.nat(), (seed) => {
      const { steps, lastOutage } = makePlan(seed, 20, { canFillDisk: true })
      const freeAtMs = new Map<string, number>()
      for (const step of steps) {
        if (step.do !== 'fault') continue
        const { fault, atMs } = step
        expect(atMs).toBeGreaterThanOrEqual(freeAtMs.get(fault.part) ?? 0)
        const endsAtMs = atMs + ('forMs' in fault ? fault.forMs : 'downMs' in fault ? fault.downMs : 0)
        expect(endsAtMs).toBeLessThanOrEqual(20_000)
        freeAtMs.set(fault.part, endsAtMs)
      }
      const numbers = steps.flatMap((step) =>
        step.do === 'operations' ? step.operations.map(({ number }) => number) : [],
      )
      numbers.push(...[...lastOutage.before, ...lastOutage.during].map(({ number }) => number))
      expect(new Set(numbers).size).toBe(numbers.length)
    }),
    { numRuns: 20 },
  )
})

it('a cut of the power takes what was not synced, and nothing else', () => {
  const written = [
    { did: 'create', name: 'a.tmp' },
    { did: 'sync', name: 'a.tmp' },
    { did: 'rename', name: 'a.tmp', to: 'a' },
  ] as const
  expect(findUnsynced([...written, { did: 'sync folder' }])).toEqual({ contents: [], names: [] })
  expect(findUnsynced(written)).toEqual({ contents: [], names: [written[0], written[2]] })
  // Renamed and its name synced, and never its content.
  expect(findUnsynced([written[0], written[2], { did: 'sync folder' }])).toEqual({
    contents: ['a'],
    names: [],
  })
  const removed = { did: 'remove', name: 'a', as: '1-1' } as const
  expect(findUnsynced([...written, { did: 'sync folder' }, removed])).toEqual({
    contents: [],
    names: [removed],
  })
})

it('the floors leave out what comes and goes, and keep what leaks', () => {
  const samples = Array.from({ length: 40 }, (_, at) => ({
    atMs: at * 10,
    value: at + (at % 4 === 1 ? 0 : 100),
  }))
  expect(findFloors(samples, 40)).toEqual(
    Array.from({ length: 10 }, (_, window) => ({ atMs: window * 40 + 10, value: window * 4 + 1 })),
  )
})

it('the trend is that of the line through the samples after the warm-up', () => {
  const line = Array.from({ length: 100 }, (_, index) => ({ atMs: index * 1000, value: 5 + index / 100 }))
  const warm = line.map((sample, index) => (index < 30 ? { ...sample, value: 99 } : sample))
  const trend = findTrend(warm, 1 / 3)
  expect(trend?.perHour).toBeCloseTo(36)
  expect(trend?.rise).toBeCloseTo(0.66)
  expect(findTrend(line.slice(0, 2), 0)).toBeUndefined()
})

it.each(MUTANTS)('the text that the mutant "$name" changes stands in the sources', ({ changes }) => {
  for (const change of changes) {
    const text = readFileSync(join(import.meta.dirname, '..', '..', 'src', change.file), 'utf8')
    expect(mutate(text, change)).not.toBe(text)
  }
})

it('a mutant whose text is gone fails loudly', () => {
  expect(() => mutate('text', { file: 'x.ts', before: 'other', after: '' })).toThrow('src/x.ts')
})
