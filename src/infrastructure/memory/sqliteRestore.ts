/**
 * Puts an image (`sqliteImage.ts`) in the place of the store, so that everything that goes by versions stays right.
 *
 * **A restore is a write.** Where the store that is replaced can be read, each memory that differs from it gets a version
 * of its own: newer than all that either of them applied, older than what the queue accepts next. A key that only the
 * replaced store has becomes a tombstone of such a version. What was replaced is in the history of its key. Receipts are
 * those of the replaced store, as they say what the remote holds and what was embedded; they are older than the new
 * versions, so both lanes carry exactly what differs. The life of the queue (`queue/epoch.ts`) is the later one of both.
 *
 * **Where there is no store that can be read,** the memories keep their versions. Nobody knows what became of the remote, so
 * every push receipt goes, and all is pushed again; embed receipts stay where the vectors are of that very version.
 *
 * Either way the epochs on their way to the remote are raised (`RemoteState.epochOffset`) above all that is known here, and
 * above the Unix time in milliseconds: what a lost store had pushed is then older too, whatever its epochs were. That is the one
 * place where a clock stands in for a version, and `memsync reconcile` mends what a wrong clock makes of it.
 *
 * The replacement is one rename, and before it nothing but names beside the store changes:
 *
 *   lock the store ─▶ give the image its versions ─▶ link the store's second name ─▶ rename the image over the first
 */
import {
  closeSync,
  copyFileSync,
  existsSync,
  fsyncSync,
  linkSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { MemsyncError } from '../../errors.ts'
import { toStoreError } from './sqliteErrors.ts'
import { leaveWriteAheadMode } from './sqliteImage.ts'
import { adoptAlone, compareWithReplaced, mergeReplaced, type RestoreCounts } from './sqliteMerge.ts'
import { checkIntegrity, openForReading, openForWriting, syncFolder } from './sqliteSchema.ts'

/** How long another process's transaction is waited for, in milliseconds. */
const BUSY_TIMEOUT_MS = 2000
const SQLITE_BUSY = 5

/** What the image takes the place of: a store that can be read, one that cannot, or nothing. */
export type Replaced = 'readable' | 'unreadable' | 'none'

export interface Replacement {
  storePath: string
  imagePath: string
  /** Of the vectors, whether or not there are any. */
  vectorsPath: string
  /** The name that the replaced store keeps. */
  keptPath: string
  nowMs: number
  /** The newest epoch that something outside the store holds; 0 for none. */
  heldEpoch: number
}

/** Brings the image to this program's schema. It is checked already. @throws as `openSqliteStore` */
export function migrateImage(imagePath: string): void {
  try {
    openForWriting(imagePath).close()
    leaveWriteAheadMode(imagePath)
  } catch (thrown) {
    throw toStoreError(thrown, imagePath)
  }
}

/** @throws MEMSYNC_STORE_UNAVAILABLE */
export function lookAtReplaced(storePath: string): Replaced {
  if (!statSync(storePath, { throwIfNoEntry: false })) return 'none'
  try {
    openForReading(storePath)?.close()
    checkIntegrity(storePath)
    return 'readable'
  } catch (thrown) {
    const error = toStoreError(thrown, storePath)
    const unreadable = ['MEMSYNC_STORE_CORRUPT', 'MEMSYNC_STORE_NEWER']
    if (error instanceof MemsyncError && unreadable.includes(error.code)) return 'unreadable'
    throw error
  }
}

/** What the image would change. @throws MEMSYNC_STORE_UNAVAILABLE */
export function previewRestore(imagePath: string, storePath: string, replaced: Replaced): RestoreCounts {
  try {
    return compareWithReplaced(imagePath, replaced === 'readable' ? storePath : undefined)
  } catch (thrown) {
    throw toStoreError(thrown, storePath)
  }
}

/**
 * Replaces the store. When it throws, the store is as it was; when it returns, the image is the store, durably.
 * To be called while no daemon can start.
 * @throws MEMSYNC_STORE_IN_USE, MEMSYNC_STORE_UNAVAILABLE
 */
export function replaceStore(replacement: Replacement, replaced: Replaced): void {
  const { storePath, imagePath } = replacement
  try {
    if (replaced === 'readable') {
      replaceReadable(replacement)
      return
    }
    const db = new DatabaseSync(imagePath)
    try {
      adoptAlone(db, replacement)
      db.exec('PRAGMA journal_mode = WAL')
    } finally {
      db.close()
    }
    if (replaced === 'unreadable') keepUnreadable(replacement)
    // A log without its database, or of the one that was kept: SQLite would play it into the image.
    for (const suffix of ['-wal', '-shm', '-journal']) rmSync(`${storePath}${suffix}`, { force: true })
    renameSync(imagePath, storePath)
    syncFolder(dirname(storePath))
  } catch (thrown) {
    throw toStoreError(thrown, storePath)
  }
}

function replaceReadable(replacement: Replacement): void {
  const { storePath, imagePath, keptPath } = replacement
  const db = new DatabaseSync(storePath, { timeout: BUSY_TIMEOUT_MS })
  try {
    takeAlone(db, storePath)
    db.prepare('ATTACH ? AS image').run(imagePath)
    const before = mergeLocked(db, replacement)
    db.exec('DETACH image')
    restoreWriteAheadMode(imagePath)
    // The commit let go of the lock for a moment.
    beginAlone(db, storePath)
    if (dataVersion(db) !== before) throw inUse(storePath, 'was written to meanwhile')
    linkSync(storePath, keptPath)
    renameSync(imagePath, storePath)
    syncFolder(dirname(storePath))
  } catch (thrown) {
    throw (thrown as { errcode?: number }).errcode === SQLITE_BUSY ? inUse(storePath, 'is open') : thrown
  } finally {
    db.close()
  }
}

/** @returns the version of the data that was merged */
function mergeLocked(db: DatabaseSync, replacement: Replacement): number {
  beginAlone(db, replacement.storePath)
  const version = dataVersion(db)
  mergeReplaced(db, replacement)
  db.exec('COMMIT')
  return version
}

function dataVersion(db: DatabaseSync): number {
  return Number(db.prepare('PRAGMA main.data_version').get()?.data_version)
}

/**
 * Folds the log into the database and removes it, which SQLite does only where no other connection has it open. So the
 * file is whole under any name, and nobody is left who would write a log to the old name.
 */
function takeAlone(db: DatabaseSync, storePath: string): void {
  const mode = db.prepare('PRAGMA main.journal_mode = DELETE').get()?.journal_mode
  if (mode !== 'delete') throw inUse(storePath, 'is open')
}

function restoreWriteAheadMode(imagePath: string): void {
  const db = new DatabaseSync(imagePath)
  try {
    db.exec('PRAGMA journal_mode = WAL')
  } finally {
    db.close()
  }
}

/** Nobody reads or writes until the end of the transaction, nor gives the file a log again. */
function beginAlone(db: DatabaseSync, storePath: string): void {
  db.exec('BEGIN EXCLUSIVE')
  if (db.prepare('PRAGMA main.journal_mode').get()?.journal_mode !== 'delete')
    throw inUse(storePath, 'is open')
}

function inUse(storePath: string, problem: string): MemsyncError {
  return new MemsyncError('MEMSYNC_STORE_IN_USE', `${storePath}: ${problem} in another process`)
}

/** The damaged file with its log, byte for byte; the log is copied before the first name changes. */
function keepUnreadable({ storePath, keptPath }: Replacement): void {
  if (existsSync(`${storePath}-wal`)) {
    copyFileSync(`${storePath}-wal`, `${keptPath}-wal`)
    syncFile(`${keptPath}-wal`)
  }
  linkSync(storePath, keptPath)
  syncFolder(dirname(storePath))
}

function syncFile(path: string): void {
  const descriptor = openSync(path, 'r+')
  try {
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}

/** The name that the store of this path keeps when it is replaced at `nowMs`. */
export function keptName(storePath: string, nowMs: number): string {
  return `${storePath}.replaced-${new Date(nowMs).toISOString().replace(/[-:.]/g, '')}`
}

/**
 * Undoes what a restore that was killed before its rename left: the store's second name, the log moved beside it, the
 * image. To be called while no daemon and no other restore can run.
 * @returns whether there was anything
 */
export function undoHalfRestore(storePath: string): boolean {
  const folder = dirname(storePath)
  if (!existsSync(folder)) return false
  const names = readdirSync(folder)
  const images = names.filter((name) => name.startsWith(`${basename(storePath)}.restoring`))
  for (const name of images) rmSync(join(folder, name), { force: true })
  const store = statSync(storePath, { throwIfNoEntry: false })
  const kept = names.filter((name) => name.startsWith(`${basename(storePath)}.replaced-`))
  let found = images.length > 0
  for (const name of kept.filter((candidate) => !candidate.endsWith('-wal'))) {
    const path = join(folder, name)
    const about = statSync(path)
    if (about.ino !== store?.ino || about.dev !== store.dev) continue
    found = true
    if (existsSync(`${path}-wal`) && !existsSync(`${storePath}-wal`))
      renameSync(`${path}-wal`, `${storePath}-wal`)
    rmSync(`${path}-wal`, { force: true })
    rmSync(path)
  }
  for (const name of kept.filter((candidate) => candidate.endsWith('-wal'))) {
    if (!existsSync(join(folder, name.slice(0, -'-wal'.length)))) rmSync(join(folder, name), { force: true })
  }
  if (found) syncFolder(folder)
  return found
}
