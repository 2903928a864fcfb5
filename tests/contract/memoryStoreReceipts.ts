/** The part of the contract that is about receipts: how far each memory has come, and what is still to be pushed. */
import { describe, expect, it } from 'vitest'
import type { MemoryName, Receipt } from '../../src/infrastructure/memory/port.ts'
import type { Version } from '../../src/jobs/version.ts'
import type { StoreInUse } from './memoryStore.ts'
import { at, deleteOf, setOf } from './writes.ts'

export function describeReceipts(use: StoreInUse): void {
  const { outcomesOf, reopen } = use
  const receipt = (version: Version, more: Partial<Receipt> = {}): Receipt => ({
    ...{ lane: 'push', version, contentHash: `hash of ${version.sequence}`, atMs: 1_700_000_000_500 },
    ...more,
  })
  const entry = (key: string, version: Version, more: Partial<Receipt> = {}) => ({
    ...{ key, namespace: 'default', receipt: receipt(version, more) },
  })
  const named = (...keys: string[]): MemoryName[] => keys.map((key) => ({ namespace: 'default', key }))
  const unpushed = async () => (await use.store.behind('push', { limit: 100 })).names

  describe('receipts', () => {
    it('are kept per lane, the newest version only', async () => {
      await outcomesOf(setOf('k', 1, at(3)))
      const push = receipt(at(2), { remoteId: 'r-2' })
      expect(await use.store.recordReceipt('k', 'default', push)).toBe(true)
      expect(await use.store.recordReceipt('k', 'default', receipt(at(1)))).toBe(false)
      const embed = receipt(at(1), { lane: 'embed' })
      expect(await use.store.recordReceipt('k', 'default', embed)).toBe(true)
      await reopen()
      expect(await use.store.receipts('k')).toEqual([embed, push])
      expect(await use.store.receipts('k', 'other')).toEqual([])
    })

    it('replace themselves, so that a repaired remote id is kept', async () => {
      await outcomesOf(setOf('k', 1, at(3)))
      await use.store.recordReceipt('k', 'default', receipt(at(3), { remoteId: 'r-1' }))
      expect(await use.store.recordReceipt('k', 'default', receipt(at(3), { remoteId: 'r-2' }))).toBe(true)
      expect(await use.store.receipts('k')).toEqual([receipt(at(3), { remoteId: 'r-2' })])
      expect(await use.store.recordReceipt('k', 'default', receipt(at(4)))).toBe(true)
      expect(await use.store.receipts('k')).toEqual([receipt(at(4))])
    })

    it('are not taken for a memory the store has not', async () => {
      expect(await use.store.recordReceipt('k', 'default', receipt(at(1)))).toBe(false)
    })
  })

  describe('many receipts at once', () => {
    it('are each taken or not, as one by one', async () => {
      await outcomesOf(setOf('a', 1, at(1)), setOf('b', 2, at(2)), setOf('c', 3, at(3)))
      await use.store.recordReceipt('b', 'default', receipt(at(2)))
      const entries = [entry('a', at(1)), entry('b', at(1)), entry('never', at(9)), entry('c', at(3))]
      expect(await use.store.recordReceipts(entries)).toEqual([true, false, false, true])
      await reopen()
      expect(await use.store.receipts('b')).toEqual([receipt(at(2))])
      expect(await use.store.receipts('c')).toEqual([receipt(at(3))])
      expect(await use.store.recordReceipts([])).toEqual([])
    })

    it('count as pushed where they say so', async () => {
      await outcomesOf(setOf('a', 1, at(1)), setOf('b', 2, at(2)), setOf('c', 3, at(3)))
      await use.store.recordReceipts([
        ...[entry('a', at(1)), entry('never', at(1)), entry('b', at(2), { lane: 'embed' })],
        ...[entry('c', at(3), { lane: 'push-refused' }), entry('a', at(0))],
      ])
      await use.store.recordReceipt('b', 'default', receipt(at(2)))
      await reopen()
      expect((await use.store.totals()).pushed).toBe(2)
    })
  })

  describe('what is unpushed', () => {
    it('is every memory whose newest version has no receipt, tombstones too', async () => {
      await outcomesOf(setOf('a', 1, at(1)), setOf('b', 2, at(2)), deleteOf('c', at(3)), setOf('d', 4, at(4)))
      expect(await unpushed()).toEqual(named('a', 'b', 'c', 'd'))
      await use.store.recordReceipts([
        entry('a', at(1)),
        entry('c', at(3)),
        entry('d', at(4), { lane: 'embed' }),
      ])
      expect(await unpushed()).toEqual(named('b', 'd'))
      await outcomesOf(setOf('a', 'newer', at(5)), deleteOf('b', at(6)))
      await use.store.recordReceipt('a', 'default', receipt(at(1)))
      expect(await unpushed()).toEqual(named('a', 'b', 'd'))
      await reopen()
      expect(await unpushed()).toEqual(named('a', 'b', 'd'))
    })

    it('is not what the remote refused, until it is written again', async () => {
      await outcomesOf(setOf('a', 1, at(1)))
      await use.store.recordReceipt('a', 'default', receipt(at(1), { lane: 'push-refused', contentHash: '' }))
      expect(await unpushed()).toEqual([])
      await outcomesOf(setOf('a', 2, at(2)))
      expect(await unpushed()).toEqual(named('a'))
    })

    it('comes in pages that neither repeat nor skip', async () => {
      const keys = ['a', 'b', 'c', 'd', 'e', 'f', 'g']
      await outcomesOf(...keys.map((key, index) => setOf(key, 1, at(index + 1))))
      await outcomesOf(setOf('a', 1, at(8), { namespace: 'other' }))
      await use.store.recordReceipts([entry('b', at(2)), entry('e', at(5))])
      for (const limit of [1, 2, 3, 6, 100]) {
        const seen: MemoryName[] = []
        let after: MemoryName | undefined
        do {
          const page = await use.store.behind('push', { limit, ...(after ? { after } : {}) })
          expect(page.names.length).toBeLessThanOrEqual(limit)
          seen.push(...page.names)
          after = page.next
        } while (after)
        expect(seen).toEqual([...named('a', 'c', 'd', 'f', 'g'), { namespace: 'other', key: 'a' }])
      }
    })

    it('is again what is forgotten, and that alone', async () => {
      await outcomesOf(setOf('a', 1, at(1)), setOf('b', 2, at(2)), setOf('c', 3, at(3)))
      const embedded = receipt(at(1), { lane: 'embed' })
      await use.store.recordReceipt('a', 'default', embedded)
      await use.store.recordReceipts([
        entry('a', at(1)),
        entry('b', at(2), { lane: 'push-refused' }),
        entry('c', at(3)),
      ])
      await use.store.forgetPushes([...named('a', 'b', 'never'), { namespace: 'other', key: 'c' }])
      await reopen()
      expect(await unpushed()).toEqual(named('a', 'b'))
      expect(await use.store.receipts('a')).toEqual([embedded])
    })
  })

  describe('the remote', () => {
    it('is adopted once, and another one gets everything, refused ones included', async () => {
      await outcomesOf(setOf('a', 1, at(1)), setOf('b', 2, at(2)))
      expect(await use.store.adoptRemote('mem0 https://one.example')).toBe(true)
      const embedded = receipt(at(1), { lane: 'embed' })
      await use.store.recordReceipt('a', 'default', embedded)
      await use.store.recordReceipts([entry('a', at(1)), entry('b', at(2), { lane: 'push-refused' })])
      await reopen()
      expect(await use.store.adoptRemote('mem0 https://one.example')).toBe(false)
      expect(await unpushed()).toEqual([])
      expect(await use.store.adoptRemote('mem0 https://two.example')).toBe(true)
      expect(await unpushed()).toEqual(named('a', 'b'))
      expect(await use.store.receipts('a')).toEqual([embedded])
      expect(await use.store.remoteState()).toEqual({ identity: 'mem0 https://two.example', epochOffset: 0 })
    })

    it('has an epoch offset that only rises', async () => {
      expect(await use.store.remoteState()).toEqual({ identity: '', epochOffset: 0 })
      await use.store.raiseEpochOffset(7)
      await use.store.raiseEpochOffset(3)
      await use.store.adoptRemote('elsewhere')
      await reopen()
      expect(await use.store.remoteState()).toEqual({ identity: 'elsewhere', epochOffset: 7 })
    })
  })

  describe('namespaces', () => {
    it('are those that hold memories, with how many, tombstones counted', async () => {
      expect(await use.store.namespaces()).toEqual([])
      await outcomesOf(
        setOf('k', 1, at(1), { namespace: 'b' }),
        setOf('k', 1, at(2), { namespace: '\u{10ffff}' }),
        setOf('k', 1, at(3), { namespace: 'B' }),
        setOf('l', 1, at(4), { namespace: 'b' }),
        deleteOf('gone', at(5), { namespace: 'a' }),
      )
      expect(await use.store.namespaces()).toEqual([
        { namespace: 'B', memories: 1 },
        { namespace: 'a', memories: 1 },
        { namespace: 'b', memories: 2 },
        { namespace: '\u{10ffff}', memories: 1 },
      ])
    })
  })
}
