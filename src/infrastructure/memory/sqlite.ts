/**
 * The store on SQLite (`node:sqlite`): one file in write-ahead mode, every commit on disk before it is reported.
 *
 * - Any number of processes may read and write it at once: writers wait for one another for up to 2 s.
 * - Calls take effect in the order in which they are made; each runs to its end before it returns its promise.
 * - Errors are MEMSYNC_STORE_UNAVAILABLE (try again: disk full, busy, read-only, I/O, moved away, closed) or
 *   MEMSYNC_STORE_CORRUPT, MEMSYNC_STORE_NEWER (at opening, before anything is written).
 */
import { type Stats, statSync } from 'node:fs'
import { resolve } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import { MemsyncError } from '../../errors.ts'
import { DEFAULT_NAMESPACE } from '../../jobs/key.ts'
import type { Version } from '../../jobs/version.ts'
import type {
  BehindPage,
  EpochRecord,
  ListOptions,
  ListPage,
  MemoryName,
  Receipt,
  ReceiptLane,
  RemoteState,
  Store,
  StoredMemory,
  StoreOptions,
  StoreTotals,
  Write,
  WriteOutcome,
} from './port.ts'
import { toStoreError } from './sqliteErrors.ts'
import { SqliteReader } from './sqliteRead.ts'
import { openForReading, openForWriting } from './sqliteSchema.ts'
import { SqliteWriter } from './sqliteWrite.ts'

const DEFAULT_HISTORY_VERSIONS = 10

interface Connection {
  db: DatabaseSync
  reader: SqliteReader
  /** Absent where the store is open for reading only. */
  writer?: SqliteWriter
  /** The file as it was opened, by device and inode. */
  file: Stats
}

function connect(path: string, options: StoreOptions): Connection | undefined {
  if (options.readOnly) {
    const db = openForReading(path)
    return db && { db, reader: new SqliteReader(db), file: statSync(path) }
  }
  const db = openForWriting(path)
  const writer = new SqliteWriter(db, options.historyVersions ?? DEFAULT_HISTORY_VERSIONS)
  return { db, reader: new SqliteReader(db), writer, file: statSync(path) }
}

/** Commits what `work` does without waiting for the disk; the next write that does wait takes it along. */
function withoutSync<T>(db: DatabaseSync, work: () => T): T {
  db.exec('PRAGMA synchronous = NORMAL')
  try {
    return work()
  } finally {
    db.exec('PRAGMA synchronous = FULL')
  }
}

class SqliteStore implements Store {
  readonly #path: string
  readonly #options: StoreOptions
  /** Undefined while a store that is only read does not exist yet. */
  #connection: Connection | undefined
  #closed = false

  constructor(path: string, options: StoreOptions) {
    this.#path = path
    this.#options = options
    this.#connection = this.#guard(() => connect(path, options))
  }

  #guard<T>(work: () => T): T {
    try {
      return work()
    } catch (thrown) {
      throw toStoreError(thrown, this.#path)
    }
  }

  #unavailable(problem: string): MemsyncError {
    return new MemsyncError('MEMSYNC_STORE_UNAVAILABLE', `${this.#path}: ${problem}`)
  }

  #read<T>(absent: T, read: (reader: SqliteReader) => T): T {
    if (this.#closed) throw this.#unavailable('is closed')
    return this.#guard(() => {
      this.#connection ??= connect(this.#path, this.#options)
      return this.#connection ? read(this.#connection.reader) : absent
    })
  }

  /** The connection, where a commit would land in the file of this name and not in one that was moved away. */
  #writable(): { db: DatabaseSync; writer: SqliteWriter } {
    if (this.#closed) throw this.#unavailable('is closed')
    const connection = this.#connection
    if (!connection?.writer) throw this.#unavailable('is open for reading only')
    const file = statSync(this.#path, { throwIfNoEntry: false })
    if (file?.ino !== connection.file.ino || file.dev !== connection.file.dev) {
      throw this.#unavailable('was moved or deleted while open; put it back, or start the process again')
    }
    return { db: connection.db, writer: connection.writer }
  }

  #write<T>(write: (writer: SqliteWriter) => T): T {
    return this.#guard(() => {
      const { db, writer } = this.#writable()
      try {
        db.exec('BEGIN IMMEDIATE')
        const result = write(writer)
        db.exec('COMMIT')
        return result
      } finally {
        // Still open means that something threw; SQLite itself ends it after some errors and not after others.
        if (db.isTransaction) db.exec('ROLLBACK')
      }
    })
  }

  async apply(writes: readonly Write[], epoch?: EpochRecord): Promise<WriteOutcome[]> {
    return this.#write((writer) => writer.apply(writes, epoch, Date.now()))
  }

  async nextLocalVersion(): Promise<Version> {
    // No sync of its own: this reaches the disk with the write that carries the version, and a version that no write
    // carried may be given out again.
    return this.#guard(() => {
      const { db, writer } = this.#writable()
      return withoutSync(db, () => writer.nextLocalVersion())
    })
  }

  async readEpoch(): Promise<EpochRecord> {
    return this.#read({ epoch: 0, token: '', batch: 0 }, (reader) => reader.epoch())
  }

  async find(key: string, namespace = DEFAULT_NAMESPACE): Promise<StoredMemory | undefined> {
    return this.#read(undefined, (reader) => reader.find(key, namespace))
  }

  async history(key: string, namespace = DEFAULT_NAMESPACE): Promise<StoredMemory[]> {
    return this.#read([], (reader) => reader.history(key, namespace))
  }

  async list(options?: ListOptions): Promise<ListPage> {
    return this.#read({ memories: [], next: undefined }, (reader) => reader.list(options))
  }

  async totals(): Promise<StoreTotals> {
    const totals = this.#read({ keys: 0, synced: 0, superseded: 0, pushed: 0 }, (reader) => reader.totals())
    const size = (path: string) => statSync(path, { throwIfNoEntry: false })?.size ?? 0
    return { ...totals, bytes: size(this.#path) + size(`${this.#path}-wal`) }
  }

  async recordReceipt(key: string, namespace: string, receipt: Receipt): Promise<boolean> {
    return (await this.recordReceipts([{ key, namespace, receipt }]))[0] ?? false
  }

  async recordReceipts(
    entries: readonly { key: string; namespace: string; receipt: Receipt }[],
  ): Promise<boolean[]> {
    // No sync of its own: the end of a process loses none, and one that the end of the machine takes means that the
    // lane looks again and finds its work done.
    return this.#guard(() => {
      const { db } = this.#writable()
      return withoutSync(db, () => this.#write((writer) => writer.recordReceipts(entries)))
    })
  }

  async adoptRemote(identity: string): Promise<boolean> {
    return this.#write((writer) => writer.adoptRemote(identity))
  }

  async forgetPushes(names: readonly MemoryName[]): Promise<void> {
    this.#write((writer) => writer.forgetPushes(names))
  }

  async raiseEpochOffset(epochOffset: number): Promise<void> {
    this.#write((writer) => writer.raiseEpochOffset(epochOffset))
  }

  async remoteState(): Promise<RemoteState> {
    return this.#read({ identity: '', epochOffset: 0 }, (reader) => reader.remoteState())
  }

  async namespaces(): Promise<{ namespace: string; memories: number }[]> {
    return this.#read([], (reader) => reader.namespaces())
  }

  async behind(lane: ReceiptLane, options: { limit: number; after?: MemoryName }): Promise<BehindPage> {
    return this.#read({ names: [], next: undefined }, (reader) => reader.behind(lane, options))
  }

  async behindAmong(lane: ReceiptLane, names: readonly MemoryName[]): Promise<MemoryName[]> {
    return this.#read([], (reader) => reader.behindAmong(lane, names))
  }

  async countUnembedded(namespace?: string): Promise<number> {
    return this.#read(0, (reader) => reader.countUnembedded(namespace))
  }

  async requestEmbedding(names: readonly MemoryName[]): Promise<void> {
    this.#write((writer) => writer.requestEmbedding(names))
  }

  async receipts(key: string, namespace = DEFAULT_NAMESPACE): Promise<Receipt[]> {
    return this.#read([], (reader) => reader.receipts(key, namespace))
  }

  async probe(): Promise<void> {
    this.#write((writer) => writer.probe())
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    const connection = this.#connection
    if (!connection) return
    try {
      // Copies back what no reader still needs, and never waits; the last to close does the rest.
      if (connection.writer) connection.db.exec('PRAGMA wal_checkpoint(PASSIVE)')
    } catch (thrown) {
      // A checkpoint that fails (disk full) loses nothing, as the log keeps what it would have copied.
      const error = toStoreError(thrown, this.#path)
      if (!(error instanceof MemsyncError) || error.class !== 'outage') throw error
    } finally {
      connection.db.close()
    }
  }
}

/**
 * The store in the file at `path`, made with its folder where there is none. With `readOnly` nothing is made, and
 * a file that is not there reads as empty until it is.
 * @throws MEMSYNC_STORE_UNAVAILABLE, MEMSYNC_STORE_CORRUPT, MEMSYNC_STORE_NEWER
 */
export async function openSqliteStore(path: string, options: StoreOptions = {}): Promise<Store> {
  const { historyVersions } = options
  if (historyVersions !== undefined && !(historyVersions >= 2)) {
    throw new MemsyncError(
      'MEMSYNC_BAD_SETTING',
      'historyVersions: is below 2, so a rollback would find nothing',
    )
  }
  return new SqliteStore(resolve(path), options)
}
