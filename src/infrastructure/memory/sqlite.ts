/**
 * The store on SQLite (`node:sqlite`): one file in write-ahead mode, every commit on disk before it is reported (see
 * `logSync.ts`).
 *
 * - Any number of processes may read and write it at once: writers wait for one another for up to 2 s.
 * - Calls take effect in the order in which they are made, each before it returns its promise; that of a write resolves
 *   once the write is on disk.
 * - Errors are MEMSYNC_STORE_UNAVAILABLE (try again: disk full, busy, read-only, I/O, moved away, closed) or
 *   MEMSYNC_STORE_CORRUPT, MEMSYNC_STORE_NEWER (at opening, before anything is written).
 */
import { type Stats, statSync } from 'node:fs'
import { resolve } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import { MemsyncError } from '../../errors.ts'
import { DEFAULT_NAMESPACE } from '../../jobs/key.ts'
import type { Version } from '../../jobs/version.ts'
import { LogSync } from './logSync.ts'
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
  writer?: { statements: SqliteWriter; log: LogSync }
  /** The file as it was opened, by device and inode. */
  file: Stats
}

function connect(path: string, options: StoreOptions): Connection | undefined {
  if (options.readOnly) {
    const db = openForReading(path)
    return db && { db, reader: new SqliteReader(db), file: statSync(path) }
  }
  const db = openForWriting(path)
  const statements = new SqliteWriter(db, options.historyVersions ?? DEFAULT_HISTORY_VERSIONS)
  const log = new LogSync(`${path}-wal`, () => emptyLog(db))
  return { db, reader: new SqliteReader(db), writer: { statements, log }, file: statSync(path) }
}

/** Brings all commits into the database itself, on disk, and the log to nothing. @throws where another uses the log */
function emptyLog(db: DatabaseSync): void {
  const { busy } = db.prepare('PRAGMA wal_checkpoint(TRUNCATE)').get() as { busy: number }
  if (busy)
    throw new MemsyncError('MEMSYNC_STORE_UNAVAILABLE', 'the log cannot be emptied while others use it')
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
  #writable(): { db: DatabaseSync; statements: SqliteWriter; log: LogSync } {
    if (this.#closed) throw this.#unavailable('is closed')
    const connection = this.#connection
    if (!connection?.writer) throw this.#unavailable('is open for reading only')
    const file = statSync(this.#path, { throwIfNoEntry: false })
    if (file?.ino !== connection.file.ino || file.dev !== connection.file.dev) {
      throw this.#unavailable('was moved or deleted while open; put it back, or start the process again')
    }
    return { db: connection.db, ...connection.writer }
  }

  #commit<T>(write: (statements: SqliteWriter) => T): T {
    return this.#guard(() => {
      const { db, statements } = this.#writable()
      try {
        db.exec('BEGIN IMMEDIATE')
        const result = write(statements)
        db.exec('COMMIT')
        return result
      } finally {
        // Still open means that something threw; SQLite itself ends it after some errors and not after others.
        if (db.isTransaction) db.exec('ROLLBACK')
      }
    })
  }

  async #write<T>(write: (statements: SqliteWriter) => T): Promise<T> {
    const result = this.#commit(write)
    try {
      await this.#connection?.writer?.log.durable()
    } catch (thrown) {
      throw toStoreError(thrown, this.#path)
    }
    return result
  }

  async apply(writes: readonly Write[], epoch?: EpochRecord): Promise<WriteOutcome[]> {
    return this.#write((statements) => statements.apply(writes, epoch, Date.now()))
  }

  async nextLocalVersion(): Promise<Version> {
    // No sync of its own: this reaches the disk with the write that carries the version, and a version that no write
    // carried may be given out again.
    return this.#guard(() => this.#writable().statements.nextLocalVersion())
  }

  async readEpoch(): Promise<EpochRecord> {
    return this.#read({ epoch: 0, token: '', batch: 0 }, (reader) => reader.epoch())
  }

  async readHead(): Promise<{ epoch: number; sequence: number }> {
    return this.#read({ epoch: 0, sequence: 0 }, (reader) => reader.head())
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
    return this.#commit((statements) => statements.recordReceipts(entries))
  }

  async adoptRemote(identity: string): Promise<boolean> {
    return this.#write((statements) => statements.adoptRemote(identity))
  }

  async forgetPushes(names: readonly MemoryName[]): Promise<void> {
    await this.#write((statements) => statements.forgetPushes(names))
  }

  async raiseEpochOffset(epochOffset: number): Promise<void> {
    await this.#write((statements) => statements.raiseEpochOffset(epochOffset))
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
    await this.#write((statements) => statements.requestEmbedding(names))
  }

  async receipts(key: string, namespace = DEFAULT_NAMESPACE): Promise<Receipt[]> {
    return this.#read([], (reader) => reader.receipts(key, namespace))
  }

  async probe(): Promise<void> {
    await this.#write((statements) => statements.probe())
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    const connection = this.#connection
    if (!connection) return
    await connection.writer?.log.close()
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
