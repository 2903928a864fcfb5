/** The sleep window: exactly one run a night, whatever the clocks and the laptop do. */
import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { type SleepWindow, sleepWindow } from '../../src/settingFormats.ts'
import { decideNight, latestNight } from '../../src/snapshot/sleepWindow.ts'
import { printedSeed } from '../support/seed.ts'

// Seconds on a machine that does nothing else.
vi.setConfig({ testTimeout: 120_000 })

const HOUR_MS = 3_600_000
const MINUTE_MS = 60_000
const at = (text: string) => Date.parse(text)
const window = (text: string) => sleepWindow(text) as SleepWindow
const iso = (ms: number) => new Date(ms).toISOString().replace(':00.000Z', 'Z')

/** The night that `now` sees, as `name start end`. */
const nightAt = (now: string, of: string, zone: string) => {
  const { name, startsAtMs, endsAtMs } = latestNight(at(now), window(of), zone)
  return `${name} ${iso(startsAtMs)} ${iso(endsAtMs)}`
}

/** What a daemon does that looks at these times. */
function runs(looks: readonly number[], of: SleepWindow, zone: string, firstDone: string) {
  const done = [firstDone]
  const made: { night: string; atMs: number; startsAtMs: number; isWithin: boolean }[] = []
  for (const now of looks) {
    const { night, isDue, isWithin } = decideNight(now, of, zone, done)
    if (!isDue) continue
    made.push({ night: night.name, atMs: now, startsAtMs: night.startsAtMs, isWithin })
    done.push(night.name)
  }
  return made
}

function everyFewMinutes(from: string, until: string): number[] {
  const looks: number[] = []
  for (let ms = at(from); ms < at(until); ms += 7 * MINUTE_MS) looks.push(ms)
  return looks
}

describe('the night of a moment', () => {
  it('is named by the local date of its start, also over midnight', () => {
    expect(nightAt('2026-07-10T12:00Z', '02:00-05:00', 'UTC')).toBe(
      '2026-07-10 2026-07-10T02:00Z 2026-07-10T05:00Z',
    )
    expect(nightAt('2026-07-10T01:59Z', '02:00-05:00', 'UTC')).toBe(
      '2026-07-09 2026-07-09T02:00Z 2026-07-09T05:00Z',
    )
    expect(nightAt('2026-07-10T02:00Z', '02:00-05:00', 'UTC')).toMatch(/^2026-07-10/)
    const over = '2026-07-09 2026-07-09T21:30Z 2026-07-10T04:00Z'
    expect(nightAt('2026-07-09T22:00Z', '23:30-06:00', 'Europe/Berlin')).toBe(over)
    expect(nightAt('2026-07-10T03:00Z', '23:30-06:00', 'Europe/Berlin')).toBe(over)
    expect(nightAt('2026-07-10T21:29Z', '23:30-06:00', 'Europe/Berlin')).toBe(over)
  })

  it('starts after the gap where its hour is skipped', () => {
    // Berlin, 29 March 2026: 02:00 becomes 03:00 at 01:00 UTC.
    const gap = '2026-03-29T01:00Z'
    expect(nightAt('2026-03-29T02:00Z', '02:15-02:45', 'Europe/Berlin')).toBe(`2026-03-29 ${gap} ${gap}`)
    expect(nightAt('2026-03-29T00:59Z', '02:15-02:45', 'Europe/Berlin')).toMatch(/^2026-03-28/)
    expect(nightAt('2026-03-29T02:00Z', '01:30-03:30', 'Europe/Berlin')).toBe(
      '2026-03-29 2026-03-29T00:30Z 2026-03-29T01:30Z',
    )
  })

  it('starts at the first of two equal times where its hour comes twice', () => {
    // Berlin, 25 October 2026: 03:00 becomes 02:00 at 01:00 UTC.
    expect(nightAt('2026-10-25T01:20Z', '02:15-02:45', 'Europe/Berlin')).toBe(
      '2026-10-25 2026-10-25T00:15Z 2026-10-25T00:45Z',
    )
    expect(nightAt('2026-10-25T06:00Z', '02:30-03:30', 'Europe/Berlin')).toBe(
      '2026-10-25 2026-10-25T00:30Z 2026-10-25T02:30Z',
    )
  })
})

describe('the work of a night', () => {
  it('is done once in a night in which clocks are set, with the window in that very hour', () => {
    for (const [from, until] of [
      ['2026-03-27T12:00Z', '2026-03-31T12:00Z'],
      ['2026-10-23T12:00Z', '2026-10-27T12:00Z'],
    ] as const) {
      for (const of of [
        '02:00-03:00',
        '02:15-02:45',
        '01:59-02:01',
        '23:00-02:30',
        '02:30-01:00',
        '03:00-03:01',
      ]) {
        const looks = everyFewMinutes(from, until)
        const first = latestNight(looks[0] as number, window(of), 'Europe/Berlin').name
        const made = runs(looks, window(of), 'Europe/Berlin', first)
        expect(
          made.map(({ night }) => night),
          of,
        ).toHaveLength(4)
        expect(new Set(made.map(({ night }) => night)).size).toBe(4)
      }
    }
  })

  it('is caught up once after the window, and only that of the last night', () => {
    const looks = [
      at('2026-07-01T12:00Z'),
      at('2026-07-04T13:00Z'),
      at('2026-07-04T13:01Z'),
      at('2026-07-05T02:10Z'),
    ]
    expect(runs(looks, window('02:00-05:00'), 'UTC', '2026-07-01')).toEqual([
      { night: '2026-07-04', atMs: looks[1], startsAtMs: at('2026-07-04T02:00Z'), isWithin: false },
      { night: '2026-07-05', atMs: looks[3], startsAtMs: at('2026-07-05T02:00Z'), isWithin: true },
    ])
  })

  it('is not stopped for ever by a clock that was ahead, nor done again by one that is set back', () => {
    const of = window('02:00-05:00')
    expect(decideNight(at('2026-07-10T03:00Z'), of, 'UTC', ['2026-07-09', '2099-01-01']).isDue).toBe(true)
    expect(decideNight(at('2026-07-10T03:00Z'), of, 'UTC', ['2026-07-10', '2099-01-01']).isDue).toBe(false)
    // A flight to the west: the date there is yesterday's.
    expect(decideNight(at('2026-07-10T03:00Z'), of, 'America/Los_Angeles', ['2026-07-10']).isDue).toBe(false)
  })

  it('is done exactly once a night, in any zone, for any window, however the laptop sleeps', () => {
    const zones = Intl.supportedValuesOf('timeZone')
    const minute = fc.integer({ min: 0, max: 1439 })
    const windows = fc
      .record({ startMinute: minute, endMinute: minute })
      .filter(({ startMinute, endMinute }) => startMinute !== endMinute)
    // Mostly minutes, now and then days: a laptop that sleeps.
    const gaps = fc.array(
      fc.oneof(
        { weight: 6, arbitrary: fc.integer({ min: 1, max: 90 }) },
        { weight: 1, arbitrary: fc.integer({ min: 90, max: 5000 }) },
      ),
      { minLength: 30, maxLength: 150 },
    )
    const moments = fc.integer({ min: at('2012-02-01'), max: at('2035-01-01') })
    fc.assert(
      fc.property(fc.constantFrom(...zones), windows, moments, gaps, (zone, of, from, minutes) => {
        const looks = [from]
        for (const gap of minutes) looks.push((looks.at(-1) as number) + gap * MINUTE_MS)
        const first = latestNight(from, of, zone)
        const made = runs(looks, of, zone, first.name)
        const names = made.map(({ night }) => night)
        expect(names).toEqual([...new Set(names)].sort())
        for (const [place, now] of looks.entries()) {
          // Whatever night has begun at a look is done at that look, if it was not before.
          const night = latestNight(now, of, zone)
          expect(night.startsAtMs).toBeLessThanOrEqual(now)
          expect(night.endsAtMs).toBeGreaterThanOrEqual(night.startsAtMs)
          if (night.name === first.name) continue
          const run = made.find((one) => one.night === night.name)
          expect(run?.atMs).toBeLessThanOrEqual(now)
          // And no earlier than needed: at the first look after its start.
          const before = looks[place - 1] as number
          if (before < night.startsAtMs) expect(run?.atMs).toBe(now)
        }
      }),
      { numRuns: 80, seed: printedSeed('sleepWindow') },
    )
  })

  it('begins each night within 26 hours of the one before it, and no sooner than 22', () => {
    const zones = Intl.supportedValuesOf('timeZone')
    const minute = fc.integer({ min: 0, max: 1439 })
    const moments = fc.integer({ min: at('2012-02-01'), max: at('2035-01-01') })
    fc.assert(
      fc.property(fc.constantFrom(...zones), minute, moments, (zone, startMinute, now) => {
        const of = { startMinute, endMinute: (startMinute + 60) % 1440 }
        const night = latestNight(now, of, zone)
        const before = latestNight(night.startsAtMs - 1, of, zone)
        expect(before.name < night.name).toBe(true)
        expect((night.startsAtMs - before.startsAtMs) / HOUR_MS).toBeGreaterThanOrEqual(22)
        expect((night.startsAtMs - before.startsAtMs) / HOUR_MS).toBeLessThanOrEqual(26)
        // Its start shows its time, unless that hour was skipped, by an hour at most.
        const shown = new Intl.DateTimeFormat('en-GB', { timeZone: zone, hour: '2-digit', minute: '2-digit' })
        const [hour = 0, minutes = 0] = shown.format(night.startsAtMs).split(':').map(Number)
        expect((hour * 60 + minutes - startMinute + 1440) % 1440).toBeLessThanOrEqual(60)
      }),
      { numRuns: 100, seed: printedSeed('sleepWindow nights') },
    )
  })
})

describe('the setting', () => {
  it('is HH:MM-HH:MM or off', () => {
    expect(sleepWindow('23:30-06:05')).toEqual({ startMinute: 1410, endMinute: 365 })
    expect(sleepWindow('off')).toBe('off')
    for (const wrong of ['', '2:00-5:00', '24:00-05:00', '02:00', '02:60-05:00', '02:00-05:00 ', 'never']) {
      expect(() => sleepWindow(wrong), wrong).toThrow('is not HH:MM-HH:MM, nor off')
    }
    expect(() => sleepWindow('02:00-02:00')).toThrow('begins and ends at the same time')
  })
})
