import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { compareVersions, formatVersion, parseVersion, type Version } from '../../src/jobs/version.ts'

const part = () => fc.oneof(fc.constantFrom(0, 1, 9, 10, Number.MAX_SAFE_INTEGER), fc.maxSafeNat())
const version = (): fc.Arbitrary<Version> => fc.record({ epoch: part(), sequence: part(), index: part() })

describe('compareVersions', () => {
  it('goes by epoch, then sequence, then index', () => {
    const rising = [
      { epoch: 0, sequence: 9, index: 9 },
      { epoch: 1, sequence: 0, index: 9 },
      { epoch: 1, sequence: 1, index: 0 },
      { epoch: 1, sequence: 1, index: 1 },
      { epoch: 1, sequence: 10, index: 0 },
      { epoch: 10, sequence: 0, index: 0 },
    ]
    expect(rising.toReversed().sort(compareVersions)).toEqual(rising)
  })

  it('is a total order, also at the largest safe integers', () => {
    fc.assert(
      fc.property(version(), version(), version(), (a, b, c) => {
        expect(Math.sign(compareVersions(a, b))).toBe(-Math.sign(compareVersions(b, a)) + 0)
        expect(compareVersions(a, b) === 0).toBe(formatVersion(a) === formatVersion(b))
        if (compareVersions(a, b) <= 0 && compareVersions(b, c) <= 0)
          expect(compareVersions(a, c)).toBeLessThanOrEqual(0)
      }),
    )
  })
})

describe('parseVersion', () => {
  it('reads back whatever formatVersion wrote', () => {
    fc.assert(
      fc.property(version(), (one) => {
        expect(parseVersion(formatVersion(one))).toEqual(one)
      }),
    )
    const most = Number.MAX_SAFE_INTEGER
    expect(parseVersion(`${most}-${most}-${most}`)).toEqual({ epoch: most, sequence: most, index: most })
  })

  it.each([
    ...[
      '',
      '1',
      '1-2',
      '1-2-3-4',
      '-1-2-3',
      '1-2-',
      'a-b-c',
      '1.0-2-3',
      ' 1-2-3',
      '1-2-3\n',
      '01-2-3',
      '1-2-00',
    ],
    ...['9007199254740992-0-0', '0-99999999999999999-0', '1e3-0-0'],
  ])('knows %j for no version', (text) => {
    expect(parseVersion(text)).toBeUndefined()
  })
})
