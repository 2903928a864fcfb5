import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { dayOf, nextDayStartMs, remainingAllowance } from '../../src/embedding/budget.ts'
import { estimateCost } from '../../src/embedding/price.ts'
import { printedSeed } from '../support/seed.ts'

const seed = printedSeed('embedding budget')

const at = (text: string) => Date.parse(text)
const next = (text: string, zone: string) => new Date(nextDayStartMs(at(text), zone)).toISOString()

describe('the day of the budget', () => {
  it('begins at midnight of the zone', () => {
    expect(next('2026-03-10T12:00:00Z', 'UTC')).toBe('2026-03-11T00:00:00.000Z')
    expect(next('2026-03-10T12:00:00Z', 'America/Los_Angeles')).toBe('2026-03-11T07:00:00.000Z')
    expect(next('2026-03-10T12:00:00Z', 'Asia/Kathmandu')).toBe('2026-03-10T18:15:00.000Z')
    expect(next('2026-03-10T00:00:00Z', 'UTC')).toBe('2026-03-11T00:00:00.000Z')
    expect(next('2026-03-10T23:59:59.999Z', 'UTC')).toBe('2026-03-11T00:00:00.000Z')
    expect(dayOf(at('2026-03-10T23:30:00Z'), 'Europe/Paris')).toBe('2026-03-11')
  })

  it('has 23 or 25 hours where clocks are set, and may begin at 01:00', () => {
    // Paris sets its clocks forward on 29 March 2026 and back on 25 October.
    expect(next('2026-03-28T23:00:00Z', 'Europe/Paris')).toBe('2026-03-29T22:00:00.000Z')
    expect(next('2026-10-24T22:00:00Z', 'Europe/Paris')).toBe('2026-10-25T23:00:00.000Z')
    // In Cairo there is no midnight on 24 April 2026: 24:00 is 01:00.
    expect(next('2026-04-23T12:00:00Z', 'Africa/Cairo')).toBe('2026-04-23T22:00:00.000Z')
    // São Paulo set its clocks back at midnight on 18 February 2018: the 17th had 25 hours.
    expect(next('2018-02-17T02:00:00Z', 'America/Sao_Paulo')).toBe('2018-02-18T03:00:00.000Z')
    // Samoa had no 30 December 2011.
    expect(next('2011-12-30T09:00:00Z', 'Pacific/Apia')).toBe('2011-12-30T10:00:00.000Z')
  })

  it('is followed by another one within 25 hours, in any zone at any time', () => {
    const zones = Intl.supportedValuesOf('timeZone')
    const moments = fc.integer({ min: at('2000-01-01'), max: at('2035-01-01') })
    fc.assert(
      fc.property(fc.constantFrom(...zones), moments, (zone, now) => {
        const start = nextDayStartMs(now, zone)
        expect(start).toBeGreaterThan(now)
        expect(start - now).toBeLessThanOrEqual(25 * 3_600_000)
        expect(dayOf(start, zone) > dayOf(now, zone)).toBe(true)
        expect(dayOf(start - 1, zone)).toBe(dayOf(now, zone))
      }),
      { seed, numRuns: 300 },
    )
  })
})

describe('what may be spent', () => {
  const now = at('2026-03-10T12:00:00Z')

  it('is what the day has left, and never below nothing', () => {
    expect(remainingAllowance(400, 1000, 50, now, 'UTC')).toEqual({
      tokens: 600,
      resumesAtMs: at('2026-03-11T00:00:00Z'),
    })
    expect(remainingAllowance(1000, 1000, 50, now, 'UTC').tokens).toBe(0)
    expect(remainingAllowance(1200, 1000, 50, now, 'UTC').tokens).toBe(0)
    expect(remainingAllowance(0, 0, 0, now, 'UTC').tokens).toBe(0)
  })

  it('is never more than the day’s limit, whatever is asked for and when, but for one long text at its start', () => {
    const asked = fc.array(
      fc.tuple(fc.integer({ min: 1, max: 3_000 }), fc.integer({ min: 0, max: 6 * 3_600_000 })),
      {
        maxLength: 60,
      },
    )
    fc.assert(
      fc.property(
        asked,
        fc.integer({ min: 0, max: 2_500 }),
        fc.constantFrom('UTC', 'Europe/Paris', 'Africa/Cairo'),
        (steps, limit, zone) => {
          const spent = new Map<string, { tokens: number; requests: number }>()
          let at = now
          for (const [tokens, afterMs] of steps) {
            at += afterMs
            const day = dayOf(at, zone)
            const today = spent.get(day) ?? { tokens: 0, requests: 0 }
            const allowance = remainingAllowance(today.tokens, limit, tokens, at, zone)
            expect(allowance.tokens).toBeGreaterThanOrEqual(0)
            expect(dayOf(allowance.resumesAtMs, zone) > day).toBe(true)
            if (tokens > allowance.tokens) continue
            spent.set(day, { tokens: today.tokens + tokens, requests: today.requests + 1 })
          }
          for (const { tokens, requests } of spent.values())
            expect(tokens <= limit || requests === 1).toBe(true)
        },
      ),
      { seed, numRuns: 300 },
    )
  })

  it('has no end where no limit is set', () => {
    expect(remainingAllowance(1e9, undefined, 50, now, 'UTC').tokens).toBe(Number.POSITIVE_INFINITY)
  })

  it('lets a text above the daily limit go on a day that spent nothing', () => {
    expect(remainingAllowance(0, 1000, 8000, now, 'UTC').tokens).toBe(8000)
    expect(remainingAllowance(1, 1000, 8000, now, 'UTC').tokens).toBe(999)
  })
})

describe('the estimate of costs', () => {
  it('is made for the models whose price is known, and says how old the price is', () => {
    expect(estimateCost('text-embedding-3-large', 2_000_000)).toEqual({ usd: 0.26, asOf: '2026-05' })
    expect(estimateCost('text-embedding-3-small', 1_000_000)).toEqual({ usd: 0.02, asOf: '2026-07' })
    expect(estimateCost('nomic-embed-text', 1_000_000)).toBeUndefined()
    expect(estimateCost('constructor', 1)).toBeUndefined()
  })
})
