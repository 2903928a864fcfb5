/** Promises: the delay doubles to a cap with full jitter, honours Retry-After, and is sane for any input. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { computeRetryDelayMs, MAX_RETRY_AFTER_MS, parseRetryAfter } from '../../src/queue/retryPolicy.ts'
import { printedSeed } from '../support/seed.ts'

const seed = printedSeed('retryPolicy')
const most = () => 1
const half = () => 0.5
const least = () => 0

describe('computeRetryDelayMs', () => {
  it.each([
    // attempt, backoffMs, random, expected
    [1, undefined, most, 1_000],
    [2, undefined, most, 2_000],
    [3, undefined, most, 4_000],
    [3, undefined, half, 2_000],
    [3, undefined, least, 0],
    [9, undefined, most, 256_000],
    [10, undefined, most, 300_000],
    [5_000, undefined, most, 300_000],
    [1, 50, most, 50],
    [4, 50, most, 400],
    [1, 600_000, most, 300_000],
    [7, 0, most, 0],
  ])('attempt %s with backoff %s', (attempt, backoffMs, random, expected) => {
    expect(computeRetryDelayMs({ attempt, backoffMs }, random)).toBe(expected)
  })

  it.each([
    // retryAfterMs, expected against a backoff of 4,000
    [1_000, 4_000],
    [4_001, 4_001],
    [120_000, 120_000],
    [600_000, 600_000],
    [MAX_RETRY_AFTER_MS + 1, MAX_RETRY_AFTER_MS],
    [Number.POSITIVE_INFINITY, MAX_RETRY_AFTER_MS],
    [Number.NaN, 4_000],
    [-5, 4_000],
    [4_000.2, 4_001],
  ])('Retry-After %s is the least wait', (retryAfterMs, expected) => {
    expect(computeRetryDelayMs({ attempt: 3, retryAfterMs }, most)).toBe(expected)
  })

  it.each([
    [{ attempt: 0 }, 1_000],
    [{ attempt: -7 }, 1_000],
    [{ attempt: Number.NaN }, 1_000],
    [{ attempt: Number.POSITIVE_INFINITY }, 300_000],
    [{ attempt: Number.POSITIVE_INFINITY, backoffMs: 0 }, 0],
    [{ attempt: 1, backoffMs: -5 }, 0],
    [{ attempt: 1, backoffMs: Number.NaN }, 1_000],
    [{ attempt: 1, backoffMs: Number.POSITIVE_INFINITY }, 1_000],
  ])('takes the degenerate %o', (input, expected) => {
    expect(computeRetryDelayMs(input, most)).toBe(expected)
  })

  it('is a whole number within its bounds for any input', () => {
    const anything = fc.option(fc.double(), { nil: undefined })
    fc.assert(
      fc.property(
        fc.double(),
        anything,
        anything,
        fc.double(),
        (attempt, backoffMs, retryAfterMs, random) => {
          const delayMs = computeRetryDelayMs({ attempt, backoffMs, retryAfterMs }, () => random)
          expect(Number.isInteger(delayMs)).toBe(true)
          expect(delayMs).toBeGreaterThanOrEqual(0)
          expect(delayMs).toBeLessThanOrEqual(retryAfterMs ? MAX_RETRY_AFTER_MS : 300_000)
        },
      ),
      { seed, numRuns: 1_000 },
    )
  })

  it('spreads evenly over the whole range', () => {
    const delays = Array.from({ length: 1_000 }, (_, i) =>
      computeRetryDelayMs({ attempt: 4 }, () => i / 1_000),
    )
    expect(delays.filter((delay) => delay < 4_000)).toHaveLength(500)
    expect(Math.max(...delays)).toBeGreaterThan(7_900)
  })
})

describe('parseRetryAfter', () => {
  const nowMs = Date.UTC(2026, 10, 6, 8, 49, 37)

  it.each([
    ['120', 120_000],
    [' 7 ', 7_000],
    ['0', 0],
    ['0.25', 250],
    ['2026', 2_026_000],
    ['3600', MAX_RETRY_AFTER_MS],
    ['3601', MAX_RETRY_AFTER_MS],
    ['99999999999999999999999', MAX_RETRY_AFTER_MS],
    ['9'.repeat(400), MAX_RETRY_AFTER_MS],
    ['Fri, 06 Nov 2026 08:50:37 GMT', 60_000],
    ['Friday, 06-Nov-26 08:50:37 GMT', 60_000],
    ['Fri Nov  6 08:50:37 2026', 60_000],
    ['Sun, 06 Nov 1994 08:49:37 GMT', 0],
    ['Fri, 31 Dec 9999 23:59:59 GMT', MAX_RETRY_AFTER_MS],
  ])('reads %s', (header, expected) => {
    expect(parseRetryAfter(header, nowMs)).toBe(expected)
  })

  it.each([
    undefined,
    null,
    '',
    ' ',
    '-5',
    '+5',
    '1e3',
    '0x10',
    '12s',
    'soon',
    'NaN',
    'Infinity',
    'wait until May 5',
    '2026-11-06T08:50:37Z',
    'Fri, 06 Nov 2026 25:50:37 GMT',
    'Fri, 99 Nov 2026 08:50:37 GMT',
    'Fri, 06 Nov 2026 08:50:37 PST',
  ])('does not guess at %o', (header) => {
    expect(parseRetryAfter(header, nowMs)).toBeUndefined()
  })

  it('does not depend on the time zone', () => {
    const zone = process.env.TZ
    try {
      process.env.TZ = 'America/New_York'
      expect(parseRetryAfter('Fri Nov  6 08:50:37 2026', nowMs)).toBe(60_000)
    } finally {
      if (zone === undefined) delete process.env.TZ
      else process.env.TZ = zone
    }
  })

  it('is undefined or within bounds for any text', () => {
    const headers = fc.oneof(
      fc.string(),
      fc.date({ noInvalidDate: true }).map((date) => date.toUTCString()),
      fc.double({ min: 0 }).map(String),
    )
    fc.assert(
      fc.property(headers, (header) => {
        const waitMs = parseRetryAfter(header, nowMs) ?? 0
        expect(Number.isInteger(waitMs)).toBe(true)
        expect(waitMs).toBeGreaterThanOrEqual(0)
        expect(waitMs).toBeLessThanOrEqual(MAX_RETRY_AFTER_MS)
      }),
      { seed, numRuns: 1_000 },
    )
  })
})
