/** The half of the contract that is about writes: which wins, what it leaves, and that it counts once. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Write } from '../../src/infrastructure/memory/port.ts'
import { compareVersions, SPOOL_INDEX, SPOOL_REPEAT_INDEX } from '../../src/jobs/version.ts'
import type { StoreInUse } from './memoryStore.ts'
import { modelOf } from './memoryStoreModel.ts'
import {
  APPLIED,
  APPLIED_BEFORE,
  at,
  deleteOf,
  rollbackOf,
  SUPERSEDED,
  SUPERSEDED_BEFORE,
  setOf,
} from './writes.ts'

interface Life {
  writes: { key: string; op: Write['op']; value: unknown; embed: boolean }[]
  arrivals: number[][]
  reopenAfter: number | null
}

function permutations<T>(items: readonly T[]): T[][] {
  if (items.length === 0) return [[]]
  return items.flatMap((item, at) => permutations(items.toSpliced(at, 1)).map((rest) => [item, ...rest]))
}

export function describeWrites(use: StoreInUse): void {
  const { make, outcomesOf, readValue, reopen } = use

  describe('what came through the spool', () => {
    const spooled = (sequence: number) => at(sequence, 1, SPOOL_INDEX)
    const repeatable = (sequence: number) => at(sequence, 1, SPOOL_REPEAT_INDEX)
    const accepted = (acceptedAtMs: number, more: Partial<Write> = {}) => ({ acceptedAtMs, ...more })

    it('loses to what was accepted after it, whatever its sequence, and says so once', async () => {
      expect(await outcomesOf(setOf('k', 'late', at(1), accepted(200)))).toEqual([APPLIED])
      const early = setOf('k', 'early', spooled(2), accepted(100))
      expect(await outcomesOf(early)).toEqual([SUPERSEDED])
      expect(await outcomesOf(early)).toEqual([SUPERSEDED_BEFORE])
      expect(await readValue('k')).toBe('late')
      expect(await use.store.totals()).toMatchObject({ synced: 1, superseded: 1 })
      expect(await outcomesOf(deleteOf('k', spooled(3), accepted(199)))).toEqual([SUPERSEDED])
      expect(await outcomesOf(setOf('k', 'latest', spooled(4), accepted(201)))).toEqual([APPLIED])
      expect(await readValue('k')).toBe('latest')
    })

    it('wins over what was accepted before it or in the same millisecond', async () => {
      await outcomesOf(setOf('k', 0, at(1), accepted(100)))
      for (const [value, acceptedAtMs] of [
        [1, 100],
        [2, 101],
        [3, 101],
      ] as const) {
        const write = setOf('k', value, spooled(value + 1), accepted(acceptedAtMs))
        expect(await outcomesOf(write, write)).toEqual([APPLIED, APPLIED_BEFORE])
        expect(await readValue('k')).toBe(value)
      }
      // A write of the queue goes by its version alone.
      expect(await outcomesOf(setOf('k', 4, at(5), accepted(1)))).toEqual([APPLIED])
    })

    it('loses to what was accepted after it also where that has an earlier place and comes later', async () => {
      expect(await outcomesOf(setOf('k', 'early', spooled(6), accepted(100)))).toEqual([APPLIED])
      const late = setOf('k', 'late', at(5), accepted(200))
      expect(await outcomesOf(late, late)).toEqual([APPLIED, APPLIED_BEFORE])
      expect(await readValue('k')).toBe('late')
      // Versions of a key only grow, as a remote goes by them.
      const [first, second] = await use.store.history('k')
      expect(compareVersions(first?.version ?? at(0), second?.version ?? at(0))).toBeGreaterThan(0)
      expect(second?.value).toBe('early')
      expect(await outcomesOf(setOf('k', 'older', at(4), accepted(99)))).toEqual([SUPERSEDED])
      expect(await outcomesOf(setOf('k', 'next', at(7), accepted(201)), late)).toEqual([
        APPLIED,
        APPLIED_BEFORE,
      ])
      expect(await readValue('k')).toBe('next')
      expect(await use.store.totals()).toMatchObject({ synced: 3, superseded: 1 })
    })

    it('ends the same whatever the order in which it and the queue are worked off', async () => {
      const writes = [
        setOf('', 100, spooled(6), accepted(100)),
        setOf('', 200, at(5), accepted(200)),
        setOf('', 150, spooled(7), accepted(150)),
        setOf('', 90, at(4), accepted(90)),
      ]
      const orders = permutations(writes)
      for (const [number, order] of orders.entries()) {
        const placed = order.map((write) => {
          const { sequence } = write.version
          return {
            ...write,
            key: `k${number}`,
            version: { ...write.version, sequence: sequence + 10 * number },
          }
        })
        await outcomesOf(...placed)
        expect(await readValue(`k${number}`)).toBe(200)
      }
      const { synced, superseded } = await use.store.totals()
      expect(synced + superseded).toBe(writes.length * orders.length)
    })

    it('ends the same whatever the order in which it is drained', async () => {
      const writes = [300, 100, 200].map((ms, index) => setOf('k', ms, spooled(index + 1), accepted(ms)))
      expect(await outcomesOf(...writes)).toEqual([APPLIED, SUPERSEDED, SUPERSEDED])
      expect(await readValue('k')).toBe(300)
    })

    it('is taken once where it may have been handed over before', async () => {
      const more = { metadataJson: '{"a":1}', embed: true }
      const before = setOf('k', 'v', at(1), accepted(100, more))
      await outcomesOf(before)
      const again = setOf('k', 'v', repeatable(2), accepted(100, more))
      expect(await outcomesOf(again)).toEqual([APPLIED_BEFORE])
      expect(await outcomesOf(setOf('k', 'w', at(3), accepted(150)))).toEqual([APPLIED])
      // Also once it is history, and under any version.
      expect(await outcomesOf(again, setOf('k', 'v', repeatable(4), accepted(100, more)))).toEqual([
        APPLIED_BEFORE,
        APPLIED_BEFORE,
      ])
      expect(await readValue('k')).toBe('w')
      expect(await use.store.totals()).toMatchObject({ synced: 2, superseded: 0 })
    })

    it('is another memory where anything of it differs', async () => {
      await outcomesOf(setOf('k', 'v', at(1), accepted(100)))
      const others = [
        setOf('k', 'other', repeatable(2), accepted(100)),
        setOf('k', 'v', repeatable(3), accepted(101)),
        setOf('k', 'v', repeatable(4), accepted(101, { embed: true })),
        setOf('k', 'v', repeatable(5), accepted(101, { metadataJson: '{}' })),
        deleteOf('k', repeatable(6), accepted(101)),
        setOf('other', 'v', repeatable(7), accepted(100)),
        setOf('k', 'v', repeatable(8), accepted(101, { namespace: 'other' })),
      ]
      expect(await outcomesOf(...others)).toEqual(others.map(() => APPLIED))
      // One that is known to be new is never taken for one that was here.
      expect(
        await outcomesOf(setOf('new', 1, at(9), accepted(5)), setOf('new', 1, spooled(10), accepted(5))),
      ).toEqual([APPLIED, APPLIED])
    })
  })

  describe('the newest write wins', () => {
    it('applies newer writes and supersedes older ones, whatever the order of arrival', async () => {
      expect(await outcomesOf(setOf('k', 'second', at(2)))).toEqual([APPLIED])
      expect(await outcomesOf(setOf('k', 'first', at(1)))).toEqual([SUPERSEDED])
      expect(await readValue('k')).toBe('second')
      expect(await outcomesOf(setOf('k', 'third', at(3)))).toEqual([APPLIED])
      expect(await readValue('k')).toBe('third')
    })

    it('orders by epoch, then sequence, then index, up to the largest safe integer', async () => {
      const most = Number.MAX_SAFE_INTEGER
      const rising = [
        ...[at(1, 1, 0), at(1, 1, 1), at(2, 1, 0), at(most - 1, 1, most), at(most, 1, 0)],
        ...[at(0, 2, 0), at(0, most - 1, 0), at(0, most, 0), at(most, most, most - 1), at(most, most, most)],
      ]
      for (const [index, version] of rising.entries()) {
        expect(await outcomesOf(setOf('up', index, version))).toEqual([APPLIED])
        expect((await use.store.find('up'))?.version).toEqual(version)
      }
      const last = rising.length - 1
      const falling = rising.map((version, index) => setOf('down', index, version)).reverse()
      await use.store.apply(falling.slice(0, 1))
      expect(await use.store.apply(falling.slice(1))).toEqual(Array(last).fill(SUPERSEDED))
      expect(await readValue('down')).toBe(last)
    })

    it('keeps a deleted key deleted against older writes', async () => {
      expect(await outcomesOf(deleteOf('k', at(5)))).toEqual([APPLIED])
      expect(await outcomesOf(setOf('k', 'late', at(4)))).toEqual([SUPERSEDED])
      expect(await use.store.find('k')).toMatchObject({ deleted: true, value: undefined, version: at(5) })
      expect(await outcomesOf(setOf('k', 'back', at(6)))).toEqual([APPLIED])
      expect(await readValue('k')).toBe('back')
    })

    it('takes many writes of one key in one batch, each with its own outcome', async () => {
      const writes = [
        setOf('k', 'b', at(2)),
        setOf('k', 'a', at(1)),
        setOf('k', 'c', at(3)),
        setOf('k', 'b', at(2)),
      ]
      expect(await use.store.apply(writes)).toEqual([APPLIED, SUPERSEDED, APPLIED, APPLIED_BEFORE])
      expect((await use.store.history('k')).map((memory) => memory.value)).toEqual(['c', 'b'])
      expect(await use.store.totals()).toMatchObject({ keys: 1, synced: 2, superseded: 1 })
    })

    it('writes a batch whole or not at all', async () => {
      const { valueJson: _, ...broken } = setOf('b', 1, at(2))
      await expect(
        use.store.apply([setOf('a', 1, at(1)), broken], { epoch: 9, token: 't', batch: 1 }),
      ).rejects.toThrow()
      expect(await use.store.find('a')).toBeUndefined()
      expect(await use.store.readEpoch()).toEqual({ epoch: 0, token: '', batch: 0 })
      expect(await use.store.totals()).toMatchObject({ keys: 0, synced: 0, superseded: 0 })
      expect(await outcomesOf(setOf('a', 1, at(1)))).toEqual([APPLIED])
    })
  })

  describe('exactly once', () => {
    it('gives a write that is run again its first outcome, and counts it once', async () => {
      const writes = [setOf('k', 'new', at(2)), setOf('k', 'old', at(1)), deleteOf('gone', at(3))]
      expect(await use.store.apply(writes)).toEqual([APPLIED, SUPERSEDED, APPLIED])
      const totals = await use.store.totals()
      await reopen()
      expect(await use.store.apply(writes)).toEqual([APPLIED_BEFORE, SUPERSEDED_BEFORE, APPLIED_BEFORE])
      expect(await use.store.totals()).toMatchObject({ keys: totals.keys, synced: 2, superseded: 1 })
      expect(await use.store.history('k')).toHaveLength(1)
    })

    it('remembers the outcome of writes that history no longer holds', async () => {
      const writes = Array.from({ length: 200 }, (_, index) => setOf('hot', index, at(index + 1)))
      expect(await use.store.apply(writes)).toEqual(Array(200).fill(APPLIED))
      await reopen()
      expect(await use.store.apply(writes)).toEqual(Array(200).fill(APPLIED_BEFORE))
      expect(await use.store.totals()).toMatchObject({ keys: 1, synced: 200, superseded: 0 })
      expect(await readValue('hot')).toBe(199)
    })

    it('makes a rollback that is run again a no-op, though a newer write came between', async () => {
      await outcomesOf(setOf('k', 'a', at(1)), setOf('k', 'b', at(2)), rollbackOf('k', at(3)))
      expect(await outcomesOf(rollbackOf('k', at(3)))).toEqual([APPLIED_BEFORE])
      expect(await readValue('k')).toBe('a')
      await outcomesOf(setOf('k', 'c', at(4)))
      expect(await outcomesOf(rollbackOf('k', at(3)))).toEqual([APPLIED_BEFORE])
      expect(await readValue('k')).toBe('c')
    })
  })

  describe('history', () => {
    it('keeps the last ten writes, newest first, tombstones included', async () => {
      for (let sequence = 1; sequence <= 14; sequence++) {
        await outcomesOf(sequence === 12 ? deleteOf('k', at(sequence)) : setOf('k', sequence, at(sequence)))
      }
      const history = await use.store.history('k')
      expect(history.map((memory) => memory.version.sequence)).toEqual([14, 13, 12, 11, 10, 9, 8, 7, 6, 5])
      expect(history.map((memory) => memory.value)).toEqual([14, 13, undefined, 11, 10, 9, 8, 7, 6, 5])
      expect(history[2]?.deleted).toBe(true)
      await reopen()
      expect(await use.store.history('k')).toEqual(history)
    })

    it('keeps as many as it is told, and no superseded write', async () => {
      const other = await make({ historyVersions: 2 })
      await other.store.apply([
        setOf('k', 1, at(1)),
        setOf('k', 3, at(3)),
        setOf('k', 2, at(2)),
        setOf('k', 4, at(4)),
      ])
      expect((await other.store.history('k')).map((memory) => memory.value)).toEqual([4, 3])
      await other.store.close()
    })

    it('refuses to keep so few that a rollback would find nothing', async () => {
      await expect(make({ historyVersions: 1 })).rejects.toMatchObject({ code: 'MEMSYNC_BAD_SETTING' })
    })
  })

  describe('rollback', () => {
    it('restores value, metadata and embed of the write before, as a new version', async () => {
      const first = { metadataJson: '{"a":1}', embed: true }
      await outcomesOf(setOf('k', 'one', at(1), first), setOf('k', 'two', at(2), { metadataJson: '{"b":2}' }))
      expect(await outcomesOf(rollbackOf('k', at(3)))).toEqual([APPLIED])
      expect(await use.store.find('k')).toMatchObject({
        value: 'one',
        metadata: { a: 1 },
        embed: true,
        version: at(3),
      })
      expect((await use.store.history('k')).map((memory) => memory.value)).toEqual(['one', 'two', 'one'])
    })

    it('deletes a key that had only one write, and one that had none', async () => {
      await outcomesOf(setOf('once', 1, at(1)))
      expect(await outcomesOf(rollbackOf('once', at(2)), rollbackOf('never', at(3)))).toEqual([
        APPLIED,
        APPLIED,
      ])
      expect(await use.store.find('once')).toMatchObject({ deleted: true, version: at(2) })
      expect(await use.store.find('never')).toMatchObject({ deleted: true, version: at(3) })
      expect((await use.store.totals()).keys).toBe(0)
    })

    it('brings back what a delete took, and deletes again what a set brought back', async () => {
      await outcomesOf(setOf('k', 'v', at(1)), deleteOf('k', at(2)), rollbackOf('k', at(3)))
      expect(await readValue('k')).toBe('v')
      await outcomesOf(rollbackOf('k', at(4)))
      expect(await use.store.find('k')).toMatchObject({ deleted: true })
    })

    it('loses to a newer write like any other', async () => {
      await outcomesOf(setOf('k', 'a', at(1)), setOf('k', 'b', at(5)))
      expect(await outcomesOf(rollbackOf('k', at(4)))).toEqual([SUPERSEDED])
      expect(await outcomesOf(rollbackOf('k', at(4)))).toEqual([SUPERSEDED_BEFORE])
      expect(await readValue('k')).toBe('b')
    })
  })

  describe('a random life', () => {
    it('agrees with the model on every outcome, value, history and total', async () => {
      const write = fc.record({
        key: fc.constantFrom('a', 'b', 'c\0'),
        op: fc.constantFrom('set', 'set', 'set', 'delete', 'rollback') as fc.Arbitrary<Write['op']>,
        value: fc.jsonValue({ maxDepth: 1 }),
        embed: fc.boolean(),
      })
      // Versions are unique; arrival is any order, with repeats, in batches of any size, across reopenings.
      const life = fc.array(write, { minLength: 1, maxLength: 40 }).chain((writes) =>
        fc.record({
          writes: fc.constant(writes),
          arrivals: fc.array(fc.array(fc.nat(writes.length - 1), { maxLength: 12 }), { maxLength: 12 }),
          reopenAfter: fc.option(fc.nat(11), { freq: 5 }),
        }),
      )
      const agree = async ({ writes, arrivals, reopenAfter }: Life) => {
        const tested = await make({ historyVersions: 3 })
        try {
          const model = modelOf(3)
          for (const [round, arrival] of arrivals.entries()) {
            const batch = arrival.map((index) => {
              const { key, op, value, embed } = writes[index] as (typeof writes)[number]
              const version = at(index >> 2, 1 + (index & 1), index)
              if (op === 'set') return setOf(key, value, version, { embed })
              return op === 'delete' ? deleteOf(key, version, { embed }) : rollbackOf(key, version)
            })
            expect(await tested.store.apply(batch)).toEqual(batch.map((one) => model.apply(one)))
            if (round === reopenAfter) tested.store = await tested.reopen()
          }
          for (const key of ['a', 'b', 'c\0']) {
            const history = (await tested.store.history(key)).map(({ version, value, embed }) => ({
              ...{ version, embed },
              valueJson: value === undefined ? undefined : JSON.stringify(value),
            }))
            expect(history).toEqual(model.history(key))
          }
          const { bytes: _, ...totals } = await tested.store.totals()
          expect(totals).toEqual(model.totals())
        } finally {
          await tested.store.close()
        }
      }
      await fc.assert(fc.asyncProperty(life, agree), { numRuns: 60 })
    })
  })
}
