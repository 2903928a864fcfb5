/** Rates, sparklines and the time to drain, from samples made by hand. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  flowOf,
  formatRate,
  ratesOver,
  remember,
  type Sample,
  sparkline,
} from '../../src/cli/watchFigures.ts'

const at = (seconds: number, synced: number, pending: number | null = 0): Sample => ({
  atMs: seconds * 1000,
  synced,
  embedded: 0,
  pushed: 0,
  pending: { sync: pending, embed: 0, push: 0 },
})

describe('the flow of a lane', () => {
  it('is unknown before the second look', () => {
    const unknown = { perSecond: null, shrinksPerSecond: null, drainMs: null }
    expect(flowOf([], 'sync')).toEqual(unknown)
    expect(flowOf([at(0, 5, 10)], 'sync')).toEqual(unknown)
  })

  it('is what ended in the last ten seconds, and what is left at the pace at which that becomes less', () => {
    const samples = [at(0, 0, 9000), at(10, 1000, 8000), at(15, 2000, 7500), at(20, 3000, 7000)]
    expect(flowOf(samples, 'sync')).toEqual({ perSecond: 200, shrinksPerSecond: 100, drainMs: 70_000 })
    expect(flowOf(samples, 'push').perSecond).toBe(0)
  })

  it('has no time to drain where what waits stays, grows, is unknown or none, or would take months', () => {
    const drainMs = (...pending: [number | null, number | null]) =>
      flowOf([at(0, 0, pending[0]), at(1, 1, pending[1])], 'sync').drainMs
    expect(drainMs(10, 10)).toBeNull()
    expect(drainMs(10, 20)).toBeNull()
    expect(drainMs(null, 10)).toBeNull()
    expect(drainMs(10, null)).toBeNull()
    expect(drainMs(10, 0)).toBeNull()
    expect(drainMs(1e9, 1e9 - 1)).toBeNull()
    expect(drainMs(20, 10)).toBe(1000)
  })
})

describe('what is remembered', () => {
  it('is not older than asked for', () => {
    const samples = [at(0, 0), at(1, 1), at(2, 2)]
    expect(remember(samples, at(3, 3), 1000).map(({ synced }) => synced)).toEqual([2, 3])
  })

  it('begins anew where a total falls, as another store was put in place', () => {
    expect(remember([at(0, 100), at(1, 200)], at(2, 50), 60_000)).toEqual([at(2, 50)])
  })
})

describe('rates over time', () => {
  it('are those between the looks, and unknown before the first', () => {
    const samples = [at(10, 0), at(20, 100), at(30, 100), at(40, 400)]
    expect(ratesOver(samples, 'sync', 4, 40_000)).toEqual([null, 10, 0, 30])
    // Looks that do not meet the slots' edges count by their share.
    expect(ratesOver(samples, 'sync', 2, 30_000)).toEqual([100 / 15, 300 / 15])
  })

  it('add up to all that was done, however the looks and the slots lie', () => {
    const steps = fc.array(fc.tuple(fc.integer({ min: 1, max: 20 }), fc.nat(1000)), { minLength: 2 })
    fc.assert(
      fc.property(steps, fc.integer({ min: 1, max: 50 }), (given, slots) => {
        let [seconds, synced] = [0, 0]
        const samples = given.map(([wait, done]) => {
          seconds += wait
          synced += done
          return at(seconds, synced)
        })
        const [first, last] = [samples[0] as Sample, samples.at(-1) as Sample]
        const spanMs = last.atMs - first.atMs
        const rates = ratesOver(samples, 'sync', slots, spanMs)
        const sum = rates.reduce<number>(
          (total, rate) => total + (rate ?? Number.NaN) * (spanMs / slots / 1000),
          0,
        )
        expect(sum).toBeCloseTo(last.synced - first.synced, 3)
      }),
    )
  })
})

describe('a sparkline', () => {
  it.each([
    [[], ''],
    [[null, 0, 0], ' ▁▁'],
    [[0, 1, 2, 3, 4, 5, 6, 7, 8], '▁▂▂▃▄▅▆▇█'],
    [[1, 1000], '▂█'],
    [[5, 5], '██'],
  ])('of %j is "%s"', (values, expected) => expect(sparkline(values)).toBe(expected))
})

describe('a rate', () => {
  it.each([
    [0, '0/s'],
    [0.04, '0/s'],
    [0.42, '0.4/s'],
    [9.94, '9.9/s'],
    [12.4, '12/s'],
    [1250, '1,250/s'],
  ])('of %d is %s', (perSecond, expected) => expect(formatRate(perSecond)).toBe(expected))
})
