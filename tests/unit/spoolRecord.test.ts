/** The lines of a spool file: whatever a crash or a disk does to them, no half of a memory is taken for one. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatSpoolRecord, parseSpoolRecords, type SpoolRecord } from '../../src/producers/spoolRecord.ts'
import { printedSeed } from '../support/seed.ts'

const seed = printedSeed('spool records')

const record = (): fc.Arbitrary<SpoolRecord> =>
  fc.record(
    {
      uid: fc.uuid(),
      acceptedAtMs: fc.nat(),
      mayRepeat: fc.constant(true as const),
      memory: fc.record({ key: fc.string({ unit: 'binary', minLength: 1 }), value: fc.jsonValue() }),
    },
    { requiredKeys: ['uid', 'acceptedAtMs', 'memory'] },
  )
/** As it comes back from JSON, where -0 is 0 and a lone surrogate stays what it is. */
const plain = (records: SpoolRecord[]) => JSON.parse(JSON.stringify(records)) as SpoolRecord[]

describe('a spool file', () => {
  it('gives back what was written', () => {
    fc.assert(
      fc.property(fc.array(record()), (records) => {
        const bytes = Buffer.from(records.map(formatSpoolRecord).join(''))
        expect(parseSpoolRecords(bytes)).toEqual({ records: plain(records), unreadable: 0 })
      }),
      { seed, numRuns: 50 },
    )
  })

  it('torn at any byte gives the whole records before it, and says that something is missing', () => {
    fc.assert(
      fc.property(fc.array(record(), { minLength: 1, maxLength: 4 }), (records) => {
        const lines = records.map((one) => Buffer.from(formatSpoolRecord(one)))
        const bytes = Buffer.concat(lines)
        const ends = lines.map((_, index) => Buffer.concat(lines.slice(0, index + 1)).length)
        for (let length = 0; length <= bytes.length; length++) {
          const whole = ends.filter((end) => end <= length).length
          const isTorn = length > (ends[whole - 1] ?? 0)
          expect(parseSpoolRecords(bytes.subarray(0, length))).toEqual({
            records: plain(records.slice(0, whole)),
            unreadable: isTorn ? 1 : 0,
          })
        }
      }),
      { seed, numRuns: 30 },
    )
  })

  it('with any byte changed loses what stood there and nothing else', () => {
    const records = ['a', 'b', 'c'].map((key, index) => ({
      uid: `u${index}`,
      acceptedAtMs: index,
      memory: { key, value: { n: index } },
    }))
    const bytes = Buffer.from(records.map(formatSpoolRecord).join(''))
    const lineOf = (position: number) => bytes.subarray(0, position).toString().split('\n').length - 1
    for (let position = 0; position < bytes.length; position++) {
      for (const changed of [0, 10, 0x20, 0xff, (bytes[position] ?? 0) ^ 1]) {
        if (changed === bytes[position]) continue
        const damaged = Buffer.from(bytes)
        damaged[position] = changed
        const { records: read, unreadable } = parseSpoolRecords(damaged)
        // Where a line feed is lost, the next line is part of the damage; the last one then has no end.
        const lost = bytes[position] === 10 ? [lineOf(position), lineOf(position) + 1] : [lineOf(position)]
        expect(read).toEqual(records.filter((_, index) => !lost.includes(index)))
        expect(unreadable).toBeGreaterThan(0)
      }
    }
  })
})
