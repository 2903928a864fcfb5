/** Receipts of many pushes at once, in one transaction; each push learns when its own is written. */
import { setImmediate as immediate } from 'node:timers/promises'
import type { MemoryName, Receipt, Store } from '../infrastructure/memory/port.ts'

interface Entry {
  key: string
  namespace: string
  receipt: Receipt
}

export class ReceiptWriter {
  private readonly store: Pick<Store, 'recordReceipts'>
  private pending: { entry: Entry; resolve: () => void; reject: (error: unknown) => void }[] = []
  private writing = false

  constructor(store: Pick<Store, 'recordReceipts'>) {
    this.store = store
  }

  /** @throws MEMSYNC_STORE_UNAVAILABLE */
  record({ key, namespace }: MemoryName, receipt: Receipt): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.pending.push({ entry: { key, namespace, receipt }, resolve, reject })
    if (!this.writing) void this.write()
    return promise
  }

  private async write(): Promise<void> {
    this.writing = true
    while (this.pending.length > 0) {
      // What arrives in the same turn of the event loop shares the transaction.
      await immediate()
      const batch = this.pending
      this.pending = []
      try {
        await this.store.recordReceipts(batch.map(({ entry }) => entry))
        for (const { resolve } of batch) resolve()
      } catch (error) {
        for (const { reject } of batch) reject(error)
      }
    }
    this.writing = false
  }
}
