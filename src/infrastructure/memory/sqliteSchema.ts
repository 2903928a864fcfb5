/**
 * The SQLite file: how it is made, checked and migrated.
 *
 * - It comes into being whole: built beside its place and linked there, so a file that is empty or half made is
 *   never this program's and is refused, not filled.
 * - It is checked before anything opens it for writing, over a connection that cannot write, so that a file that
 *   fails is left as it was, byte for byte.
 * - Every file is readable by its owner alone; `-wal` and `-shm` take their mode from the database.
 */
import { randomBytes } from 'node:crypto'
import { closeSync, fsyncSync, linkSync, mkdirSync, openSync, rmSync, type Stats, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { MemsyncError } from '../../errors.ts'

/** 'mems': says whose file it is, to `file` and to us. */
const APPLICATION_ID = 0x6d656d73

/**
 * How long a write waits for another process's, in milliseconds. The wait blocks the process, so it stays far
 * below the queue's 10 s job lock.
 */
const BUSY_TIMEOUT_MS = 2000

/**
 * What takes the schema from each version to the next; `PRAGMA user_version` counts them.
 *
 * 1. `memories`: the newest write of each key, a tombstone where `value` is NULL; `revision` numbers the applied
 *    writes of one key from 1 without a gap. `history`: the writes before it. `outcomes`: what became of recent
 *    writes that neither of them holds. `receipts`: how far each memory has come in each lane. `state`: one row.
 *    Text compares bytewise (BINARY), which for UTF-8 is the order of the code points.
 * 2. `state.remote`: the remote that the push receipts speak of; `state.pushed`: how many there ever were.
 * 3. `state.epoch_offset`: see `RemoteState` of the port.
 */
const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE memories (
    id INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    key TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    embed INTEGER NOT NULL,
    accepted_at_ms INTEGER NOT NULL,
    persisted_at_ms INTEGER NOT NULL,
    metadata TEXT,
    value TEXT,
    UNIQUE (namespace, key)
  );
  CREATE TABLE history (
    id INTEGER PRIMARY KEY,
    memory_id INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    embed INTEGER NOT NULL,
    accepted_at_ms INTEGER NOT NULL,
    persisted_at_ms INTEGER NOT NULL,
    metadata TEXT,
    value TEXT
  );
  CREATE INDEX history_by_memory ON history (memory_id, revision);
  CREATE TABLE outcomes (
    generation INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    superseded INTEGER NOT NULL,
    PRIMARY KEY (generation, epoch, sequence, idx)
  ) WITHOUT ROWID;
  CREATE TABLE receipts (
    memory_id INTEGER NOT NULL,
    lane TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    remote_id TEXT,
    content_hash TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (memory_id, lane)
  ) WITHOUT ROWID;
  CREATE TABLE state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    epoch INTEGER NOT NULL DEFAULT 0,
    token TEXT NOT NULL DEFAULT '',
    batch INTEGER NOT NULL DEFAULT 0,
    head_epoch INTEGER NOT NULL DEFAULT 0,
    head_sequence INTEGER NOT NULL DEFAULT 0,
    local_writes INTEGER NOT NULL DEFAULT 0,
    live_keys INTEGER NOT NULL DEFAULT 0,
    synced INTEGER NOT NULL DEFAULT 0,
    superseded INTEGER NOT NULL DEFAULT 0,
    outcomes INTEGER NOT NULL DEFAULT 0,
    probes INTEGER NOT NULL DEFAULT 0
  );
  INSERT INTO state (id) VALUES (1);
  `,
  `
  ALTER TABLE state ADD COLUMN remote TEXT NOT NULL DEFAULT '';
  ALTER TABLE state ADD COLUMN pushed INTEGER NOT NULL DEFAULT 0;
  `,
  `ALTER TABLE state ADD COLUMN epoch_offset INTEGER NOT NULL DEFAULT 0;`,
]

function readPragma(db: DatabaseSync, name: string): unknown {
  return db.prepare(`PRAGMA ${name}`).get()?.[name]
}

function migrate(db: DatabaseSync): void {
  db.exec('BEGIN IMMEDIATE')
  // Read within the transaction: another process may have migrated it a moment ago.
  const from = Number(readPragma(db, 'user_version'))
  for (const sql of MIGRATIONS.slice(from)) db.exec(sql)
  db.exec(`PRAGMA user_version = ${MIGRATIONS.length}`)
  db.exec('COMMIT')
}

function create(path: string): void {
  const folder = dirname(path)
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const draft = `${path}.${process.pid}-${randomBytes(6).toString('hex')}.new`
  try {
    closeSync(openSync(draft, 'wx', 0o600))
    const db = new DatabaseSync(draft)
    try {
      // Before the first table, as later only a VACUUM of the whole could: pages that are free go back in small steps.
      db.exec(`PRAGMA auto_vacuum = INCREMENTAL; PRAGMA application_id = ${APPLICATION_ID}`)
      migrate(db)
      const mode = db.prepare('PRAGMA journal_mode = WAL').get()?.journal_mode
      if (mode !== 'wal') {
        throw new MemsyncError(
          'MEMSYNC_STORE_UNAVAILABLE',
          `${path}: this file system cannot hold a write-ahead log`,
        )
      }
    } finally {
      db.close()
    }
    linkSync(draft, path)
    syncFolder(folder)
  } catch (thrown) {
    const { code, syscall } = thrown as NodeJS.ErrnoException
    // Another process was first, and its file is as good.
    if (code !== 'EEXIST' || syscall !== 'link') throw thrown
  } finally {
    rmSync(draft, { force: true })
  }
}

/** Makes the names in it outlast a power cut. */
export function syncFolder(folder: string): void {
  const descriptor = openSync(folder, 'r')
  try {
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}

function checkHeader(db: DatabaseSync, path: string): void {
  const version = Number(readPragma(db, 'user_version'))
  if (readPragma(db, 'application_id') !== APPLICATION_ID) {
    throw new MemsyncError('MEMSYNC_STORE_CORRUPT', `${path}: is an SQLite database, but not a memory store`)
  }
  if (version > MIGRATIONS.length) {
    throw new MemsyncError(
      'MEMSYNC_STORE_NEWER',
      `${path}: has schema ${version}, and this memsyncd knows none above ${MIGRATIONS.length}`,
    )
  }
}

/** Whether these are the tables of a store of the schema that its version says, and nothing else: no view, no trigger. */
export function hasOwnSchema(db: DatabaseSync): boolean {
  const sql = 'SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name'
  const own = new DatabaseSync(':memory:')
  try {
    for (const migration of MIGRATIONS.slice(0, Number(readPragma(db, 'user_version')))) own.exec(migration)
    return JSON.stringify(db.prepare(sql).all()) === JSON.stringify(own.prepare(sql).all())
  } finally {
    own.close()
  }
}

/** @throws MEMSYNC_STORE_CORRUPT, MEMSYNC_STORE_NEWER, or what SQLite throws; the file is only read */
export function checkIntegrity(path: string): void {
  const db = new DatabaseSync(path, { readOnly: true, timeout: BUSY_TIMEOUT_MS })
  try {
    checkHeader(db, path)
    const found = db.prepare('PRAGMA quick_check(1)').get()?.quick_check
    // Its text names pages and tables, never content.
    if (found !== 'ok')
      throw new MemsyncError('MEMSYNC_STORE_CORRUPT', `${path}: ${String(found).slice(0, 200)}`)
  } finally {
    db.close()
  }
}

/** True where the file is there. @throws MEMSYNC_STORE_CORRUPT where it is empty. */
function isThere(path: string): boolean {
  const stats = statSync(path, { throwIfNoEntry: false })
  if (stats?.size === 0) {
    throw new MemsyncError('MEMSYNC_STORE_CORRUPT', `${path}: is empty, so it was truncated`)
  }
  return stats !== undefined
}

/**
 * The database, made where there was none, checked and migrated.
 * @throws MEMSYNC_STORE_CORRUPT, MEMSYNC_STORE_NEWER, or what SQLite and the file system throw
 */
export function openForWriting(path: string): DatabaseSync {
  if (!isThere(path)) create(path)
  checkIntegrity(path)
  const opened = statSync(path)
  const db = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS })
  try {
    ensureWriteAheadMode(db, path, opened)
    // A commit is brought to the disk by `logSync.ts`; the log before it is copied back, and the database after that,
    // by SQLite. fullfsync is macOS alone, where fsync leaves the data in the drive's cache. The log is copied back
    // every 16 MB: at SQLite's 4 MB, overwrites of scattered keys cost half as much again.
    db.exec(`
      PRAGMA synchronous = NORMAL;
      PRAGMA fullfsync = ON;
      PRAGMA cache_size = -65536;
      PRAGMA wal_autocheckpoint = 4000;
      PRAGMA journal_size_limit = 67108864;
      PRAGMA temp_store = MEMORY;
    `)
    if (Number(readPragma(db, 'user_version')) < MIGRATIONS.length) migrate(db)
  } catch (thrown) {
    db.close()
    throw thrown
  }
  return db
}

/** A restore takes the mode away while it replaces the file, and where it was killed it stayed away. */
function ensureWriteAheadMode(db: DatabaseSync, path: string, opened: Stats): void {
  if (readPragma(db, 'journal_mode') === 'wal') return
  // Waits for a restore that holds the file locked. A log of the file before would carry the name of the one after.
  db.exec('BEGIN EXCLUSIVE; ROLLBACK')
  if (statSync(path, { throwIfNoEntry: false })?.ino !== opened.ino) {
    throw new MemsyncError('MEMSYNC_STORE_UNAVAILABLE', `${path}: was replaced while it was opened`)
  }
  db.exec('PRAGMA journal_mode = WAL')
}

/**
 * The database for reading beside its writers, or undefined where there is none; makes none. One that an older
 * program wrote is migrated, as its columns are not those that are read.
 */
export function openForReading(path: string): DatabaseSync | undefined {
  if (!isThere(path)) return undefined
  const db = new DatabaseSync(path, { readOnly: true, timeout: BUSY_TIMEOUT_MS })
  try {
    checkHeader(db, path)
    if (Number(readPragma(db, 'user_version')) < MIGRATIONS.length) openForWriting(path).close()
    db.exec('PRAGMA cache_size = -16384')
  } catch (thrown) {
    db.close()
    throw thrown
  }
  return db
}
