/**
 * The file of vectors: how it is made, checked and migrated.
 *
 * It is a file of its own, `vectors.db`, and not part of the memory store's, because SQLite has one writer per
 * file: a batch of 2,048 vectors is 25 MB to write, and persisting must not wait for it. It is also a hundred
 * times as large, can be made again, and so belongs neither into the store's integrity check nor its backups.
 */
import { closeSync, mkdirSync, openSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { MemsyncError } from '../../errors.ts'

/** 'memv': says whose file it is. */
const APPLICATION_ID = 0x6d656d76
/** How long a write waits for another process's, in milliseconds; it blocks this process meanwhile. */
const BUSY_TIMEOUT_MS = 2000

/**
 * What takes the schema from each version to the next; `PRAGMA user_version` counts them.
 *
 * 1. `spaces`: a model at a length asked for (0: its own) and the length its vectors have. `vectors`: each once,
 *    by the hash of all that decides it, as a unit vector of float32; `unused` lists those no chunk refers to,
 *    the longest unused first. `memories`: the version that was embedded, in which space; a tombstone where there
 *    is none. `chunks`: what a search looks through; an id is never given twice, so that another process finds
 *    what is new above the last id it saw, and what is gone in `removals`. `spending`: calls and tokens by day.
 */
const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE spaces (
    id INTEGER PRIMARY KEY,
    model TEXT NOT NULL,
    dimensions INTEGER NOT NULL,
    vector_length INTEGER,
    UNIQUE (model, dimensions)
  );
  CREATE TABLE vectors (
    id INTEGER PRIMARY KEY,
    content_hash TEXT NOT NULL UNIQUE,
    vector BLOB NOT NULL
  );
  CREATE TABLE unused (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    vector_id INTEGER NOT NULL UNIQUE
  );
  CREATE TABLE namespaces (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
  );
  CREATE TABLE memories (
    id INTEGER PRIMARY KEY,
    namespace_id INTEGER NOT NULL,
    key TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    space_id INTEGER,
    UNIQUE (namespace_id, key)
  );
  CREATE INDEX memories_by_space ON memories (space_id);
  CREATE TABLE chunks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    space_id INTEGER NOT NULL,
    namespace_id INTEGER NOT NULL,
    memory_id INTEGER NOT NULL,
    vector_id INTEGER NOT NULL,
    number INTEGER NOT NULL,
    signs BLOB NOT NULL,
    magnitude REAL NOT NULL,
    excerpt TEXT NOT NULL
  );
  CREATE INDEX chunks_by_memory ON chunks (memory_id);
  CREATE INDEX chunks_by_vector ON chunks (vector_id);
  CREATE TABLE removals (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    chunk_id INTEGER NOT NULL
  );
  CREATE TABLE spending (
    day TEXT NOT NULL,
    model TEXT NOT NULL,
    calls INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    cache_hits INTEGER NOT NULL,
    PRIMARY KEY (day, model)
  ) WITHOUT ROWID;
  `,
]

/**
 * The database, made where there was none; undefined where it is only to be read and is not there.
 * @throws MEMSYNC_STORE_CORRUPT, MEMSYNC_STORE_NEWER, or what SQLite and the file system throw
 */
export function openVectorFile(path: string, readOnly: boolean): DatabaseSync | undefined {
  if (readOnly && statSync(path, { throwIfNoEntry: false }) === undefined) return undefined
  if (!readOnly) {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    // Made here, as SQLite would let others read it.
    closeSync(openSync(path, 'a', 0o600))
  }
  const db = new DatabaseSync(path, { readOnly, timeout: BUSY_TIMEOUT_MS })
  try {
    // A cache of 8 MB: a search reads scattered rows that the system's own cache holds better.
    db.exec('PRAGMA cache_size = -8192')
    if (!readOnly) prepareForWriting(db, path)
    checkHeader(db, path)
  } catch (thrown) {
    db.close()
    throw thrown
  }
  return db
}

function prepareForWriting(db: DatabaseSync, path: string): void {
  const isNew = db.prepare('SELECT 1 FROM sqlite_schema LIMIT 1').get() === undefined
  if (!isNew) checkHeader(db, path)
  // A vector is reported as kept, and its text never paid again, once it is on disk: hence FULL.
  db.exec(`
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA fullfsync = ON;
    PRAGMA journal_size_limit = 67108864;
  `)
  if (readPragma(db, 'user_version') === MIGRATIONS.length) return
  db.exec('BEGIN IMMEDIATE')
  // Read again within the transaction: another process may have migrated it a moment ago.
  const from = Number(readPragma(db, 'user_version'))
  for (const sql of MIGRATIONS.slice(from)) db.exec(sql)
  db.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${MIGRATIONS.length}; COMMIT`)
}

function checkHeader(db: DatabaseSync, path: string): void {
  if (readPragma(db, 'application_id') !== APPLICATION_ID) {
    throw new MemsyncError('MEMSYNC_STORE_CORRUPT', `${path}: is an SQLite database, but holds no vectors`)
  }
  const version = Number(readPragma(db, 'user_version'))
  if (version > MIGRATIONS.length) {
    throw new MemsyncError(
      'MEMSYNC_STORE_NEWER',
      `${path}: has schema ${version}, and this memsyncd knows none above ${MIGRATIONS.length}`,
    )
  }
}

function readPragma(db: DatabaseSync, name: string): unknown {
  return db.prepare(`PRAGMA ${name}`).get()?.[name]
}
