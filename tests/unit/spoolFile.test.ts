/** The names of spool files, and what is drained together. */
import { describe, expect, it } from 'vitest'
import { nextBatch } from '../../src/producers/spoolDrain.ts'
import { claimedName, depthOf, newSpoolFileName, parseSpoolFileName } from '../../src/producers/spoolFile.ts'

const file = (records: number, bytes: number, writtenAtMs = 1_700_000_000_000) => {
  const parsed = parseSpoolFileName(newSpoolFileName(writtenAtMs, 1, 42, records, bytes))
  if (!parsed) throw new Error('not a name')
  return parsed
}

describe('the name of a spool file', () => {
  it('says when it was written and what it holds, before and after it is claimed', () => {
    const name = newSpoolFileName(1_700_000_000_123, 7, 4242, 3, 512)
    const about = { writtenAtMs: 1_700_000_000_123, records: 3, bytes: 512 }
    expect(parseSpoolFileName(name)).toEqual({ name, ...about, claim: undefined })
    const claim = { epoch: 2, sequence: 1_000_000_007 }
    const claimed = claimedName(name, claim)
    expect(parseSpoolFileName(claimed)).toEqual({ name: claimed, ...about, claim })
    expect(newSpoolFileName(1, 1, 1, 1, 1)).not.toBe(newSpoolFileName(1, 1, 1, 1, 1))
  })

  it('sorts as the files were written, claimed or not', () => {
    const names = [
      newSpoolFileName(999, 999, 99_999, 1, 1),
      newSpoolFileName(1000, 9, 5, 1, 1),
      newSpoolFileName(1000, 10, 5, 1, 1),
      newSpoolFileName(10_000, 1, 1, 1, 1),
    ]
    expect(names.toReversed().sort()).toEqual(names)
    const [first = '', ...others] = names
    expect([...others, claimedName(first, { epoch: 1, sequence: 1 })].sort()[0]).toContain(first.slice(0, 20))
  })

  it('is told from everything else that may lie there', () => {
    const name = newSpoolFileName(1000, 1, 1, 1, 1)
    const claimed = claimedName(name, { epoch: 1, sequence: 1 })
    for (const other of [`${name}.tmp`, `${claimed}.corrupt`, 'drain.lock', '', '.spool', name.slice(1)]) {
      expect(parseSpoolFileName(other)).toBeUndefined()
    }
  })
})

describe('the depth of the spool', () => {
  it('counts memories, whole blocks, and the age of the oldest', () => {
    expect(depthOf([], 5000)).toEqual({ records: 0, bytes: 0, oldestMs: null })
    expect(depthOf([file(2, 10, 4000), file(3, 4097, 1000)], 5000)).toEqual({
      records: 5,
      bytes: 3 * 4096,
      oldestMs: 4000,
    })
    // A clock that was set back makes nothing older than it is.
    expect(depthOf([file(1, 1, 9000)], 5000).oldestMs).toBe(0)
  })
})

describe('what is drained together', () => {
  it('is as much as goes into the queue at once, from the oldest on, and always something', () => {
    const small = Array.from({ length: 600 }, () => file(1, 100))
    expect(nextBatch(small)).toEqual(small.slice(0, 500))
    expect(nextBatch(small.slice(0, 3))).toHaveLength(3)
    expect(nextBatch([file(10_000, 1), file(1, 1)])).toHaveLength(1)
    expect(nextBatch([file(1, 3_000_000), file(1, 3_000_000)])).toHaveLength(1)
    expect(nextBatch([])).toEqual([])
  })

  it('is what was claimed before a crash, before anything else gets a place', () => {
    const held = [1, 2, 3, 4].map(() => file(1, 1))
    for (const claimed of [held[1], held[2]]) if (claimed) claimed.claim = { epoch: 1, sequence: 1 }
    expect(nextBatch(held)).toEqual(held.slice(1, 3))
  })
})
