/**
 * Images of the store: a copy of the database that is of one moment, made beside its writers, and the check of one before
 * it becomes a store.
 *
 * The copy is made by SQLite's online backup in a single step, which is one read transaction in write-ahead mode: writers
 * go on meanwhile. In several steps it would begin again at each write of another connection, and so never end beside a
 * busy daemon.
 */
import { closeSync, openSync } from 'node:fs'
import { backup, DatabaseSync } from 'node:sqlite'
import { MemsyncError } from '../../errors.ts'
import { toStoreError } from './sqliteErrors.ts'
import { checkIntegrity, hasOwnSchema, openForReading } from './sqliteSchema.ts'

const ALL_PAGES = 2 ** 31 - 1

export interface ImageFacts {
  /** Live keys. */
  keys: number
  schema: number
}

/**
 * Copies the store to `imagePath`, which must not be there, and checks the copy.
 * @throws MEMSYNC_NOT_FOUND where there is no store, MEMSYNC_STORE_CORRUPT, MEMSYNC_STORE_NEWER, MEMSYNC_STORE_UNAVAILABLE
 */
export async function copyStore(storePath: string, imagePath: string): Promise<ImageFacts> {
  try {
    // A connection of its own: SQLite locks one for as long as it is copied from.
    const db = openForReading(storePath)
    if (!db) throw new MemsyncError('MEMSYNC_NOT_FOUND', `${storePath}: there is no store yet`)
    try {
      // Made here, as SQLite would let others read it.
      closeSync(openSync(imagePath, 'wx', 0o600))
      await backup(db, imagePath, { rate: ALL_PAGES })
    } finally {
      db.close()
    }
    leaveWriteAheadMode(imagePath)
    checkIntegrity(imagePath)
    return readFacts(imagePath)
  } catch (thrown) {
    throw toStoreError(thrown, imagePath)
  }
}

/** Pages of the store, in bytes: what a copy takes. 0 where there is none. */
export function storeBytes(storePath: string): number {
  try {
    const db = openForReading(storePath)
    if (!db) return 0
    try {
      const sql = 'SELECT page_count * page_size AS bytes FROM pragma_page_count, pragma_page_size'
      return Number(db.prepare(sql).get()?.bytes)
    } finally {
      db.close()
    }
  } catch (thrown) {
    throw toStoreError(thrown, storePath)
  }
}

/**
 * That the file is a whole memory store that this program knows, all pages and indexes of it.
 * @throws MEMSYNC_STORE_CORRUPT, MEMSYNC_STORE_NEWER
 */
export function checkImage(imagePath: string): ImageFacts {
  try {
    // First: a file of another program is not changed.
    checkIntegrity(imagePath)
    const db = new DatabaseSync(imagePath, { readOnly: true })
    try {
      const found = db.prepare('PRAGMA integrity_check(1)').get()?.integrity_check
      if (found !== 'ok') throw new MemsyncError('MEMSYNC_STORE_CORRUPT', String(found).slice(0, 200))
      // A view or a trigger would run with the store's own statements.
      if (!hasOwnSchema(db))
        throw new MemsyncError('MEMSYNC_STORE_CORRUPT', 'its tables are not those of a store')
    } finally {
      db.close()
    }
    return readFacts(imagePath)
  } catch (thrown) {
    throw toStoreError(thrown, imagePath)
  }
}

/** One file, with no log beside it, that any program can read from anywhere. */
export function leaveWriteAheadMode(imagePath: string): void {
  const db = new DatabaseSync(imagePath)
  try {
    db.exec('PRAGMA journal_mode = DELETE')
  } finally {
    db.close()
  }
}

function readFacts(imagePath: string): ImageFacts {
  const db = new DatabaseSync(imagePath, { readOnly: true })
  try {
    const row = db
      .prepare('SELECT live_keys AS keys, user_version AS schema FROM state, pragma_user_version')
      .get()
    return { keys: Number(row?.keys), schema: Number(row?.schema) }
  } finally {
    db.close()
  }
}
