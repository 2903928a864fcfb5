/** What every memory store must do, whatever engine holds it. */
import { afterEach, beforeEach, describe } from 'vitest'
import type { Store, StoreOptions, Write, WriteOutcome } from '../../src/infrastructure/memory/port.ts'
import type { JsonValue } from '../../src/jobs/jsonValue.ts'
import { describeReads } from './memoryStoreReads.ts'
import { describeReceipts } from './memoryStoreReceipts.ts'
import { describeWrites } from './memoryStoreWrites.ts'

/** One store under test; `reopen` closes it and opens what it left behind. */
export interface StoreUnderTest {
  store: Store
  reopen(): Promise<Store>
}

/** What the tests of the contract work with: a new, empty store for each of them. */
export interface StoreInUse {
  readonly store: Store
  make(options?: StoreOptions): Promise<StoreUnderTest>
  reopen(): Promise<void>
  outcomesOf(...writes: Write[]): Promise<WriteOutcome[]>
  readValue(key: string): Promise<JsonValue | undefined>
}

export function describeMemoryStore(
  name: string,
  make: (options?: StoreOptions) => Promise<StoreUnderTest>,
): void {
  describe(`${name} as a memory store`, () => {
    let under: StoreUnderTest
    let store: Store

    beforeEach(async () => {
      under = await make()
      store = under.store
    })
    afterEach(() => store.close())

    const use: StoreInUse = {
      get store() {
        return store
      },
      make,
      reopen: async () => {
        store = await under.reopen()
      },
      outcomesOf: (...writes) => store.apply(writes),
      readValue: async (key) => (await store.find(key))?.value,
    }
    describeReads(use)
    describeWrites(use)
    describeReceipts(use)
  })
}
