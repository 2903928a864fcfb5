/** Durable writes of many jobs at once, a transaction each hundred; every job learns what became of its own. */
import { setImmediate as immediate } from 'node:timers/promises'

/** A transaction blocks the process, so it stays short. */
const MAX_ITEMS = 100

interface Entry<T, R> {
  item: T
  resolve: (result: R) => void
  reject: (error: unknown) => void
}

export class GroupWriter<T, R> {
  private readonly writeAll: (items: T[]) => Promise<R[]>
  private pending: Entry<T, R>[] = []
  private writing = false

  /** @param writeAll writes all or nothing; a result for each, in order */
  constructor(writeAll: (items: T[]) => Promise<R[]>) {
    this.writeAll = writeAll
  }

  /** @throws what `writeAll` throws */
  write(item: T): Promise<R> {
    const { promise, resolve, reject } = Promise.withResolvers<R>()
    this.pending.push({ item, resolve, reject })
    if (!this.writing) void this.run()
    return promise
  }

  private async run(): Promise<void> {
    this.writing = true
    while (this.pending.length > 0) {
      // What arrives in the same turn of the event loop shares the transaction.
      await immediate()
      const batch = this.pending.slice(0, MAX_ITEMS)
      this.pending = this.pending.slice(batch.length)
      try {
        const results = await this.writeAll(batch.map(({ item }) => item))
        for (const [index, { resolve }] of batch.entries()) resolve(results[index] as R)
      } catch (error) {
        for (const { reject } of batch) reject(error)
      }
    }
    this.writing = false
  }
}
