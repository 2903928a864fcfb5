/**
 * Housekeeping of the store beside its writers, in small steps: each is a transaction of its own of a few milliseconds, and
 * the time between two is at least twice as long, so no writer waits for long.
 *
 * - History beyond the limit goes (where the limit was lowered, a key that is not written again keeps more), and so does the
 *   history of keys that were deleted `DELETED_KEPT_DAYS` ago.
 * - **Tombstones stay for ever.** An older write may still come after any time: a dead letter that is redriven after a year,
 *   the spool of a laptop that was in a drawer. Without the tombstone it would bring the key back.
 * - Free pages go back to the file system where they are many; the log is copied back and cut.
 */
import { existsSync } from 'node:fs'
import type { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { toStoreError } from './sqliteErrors.ts'
import { openForWriting } from './sqliteSchema.ts'
import { GENERATION_SIZE } from './sqliteWrite.ts'
import { openVectorFile } from './vectorSchema.ts'

const DAY_MS = 86_400_000
const DELETED_KEPT_DAYS = 90

/** Memories that are looked at, and rows that are removed, in one step. */
const STEP_MEMORIES = 1_000
const STEP_ROWS = 500
/** Pages given back in one step. */
const STEP_PAGES = 256
/** Less than this, and less than a fifth of the file, is left for what is written next. */
const WORTHWHILE_BYTES = 16 * 1024 * 1024
const WORTHWHILE_SHARE = 0.2

export interface TidyOptions {
  historyVersions: number
  nowMs: number
  /** Asked before each step; false ends it where it is. */
  goesOn: () => boolean
}

export interface Tidied {
  /** Rows of history that were removed. */
  historyRows: number
  /** Bytes that the file became smaller by. */
  freedBytes: number
}

/** @throws MEMSYNC_STORE_UNAVAILABLE, MEMSYNC_STORE_CORRUPT, MEMSYNC_STORE_NEWER; each step that was done stays so */
export async function tidyStore(storePath: string, options: TidyOptions): Promise<Tidied> {
  try {
    const db = openForWriting(storePath)
    try {
      const historyRows = await trimHistory(db, options)
      const freedBytes = await giveBackPages(db, options)
      checkpoint(db)
      return { historyRows, freedBytes }
    } finally {
      db.close()
    }
  } catch (thrown) {
    throw toStoreError(thrown, storePath)
  }
}

/** Copies the log of the vectors back, where there are any. @throws as `tidyStore` */
export function tidyVectors(vectorsPath: string): void {
  if (!existsSync(vectorsPath)) return
  try {
    const db = openVectorFile(vectorsPath, false)
    try {
      if (db) checkpoint(db)
    } finally {
      db?.close()
    }
  } catch (thrown) {
    throw toStoreError(thrown, vectorsPath)
  }
}

async function trimHistory(
  db: DatabaseSync,
  { historyVersions, nowMs, goesOn }: TidyOptions,
): Promise<number> {
  const range = db.prepare(
    'SELECT max(id) AS last FROM (SELECT id FROM memories WHERE id > ? ORDER BY id LIMIT ?)',
  )
  const find = db.prepare(
    `SELECT h.id FROM memories m JOIN history h ON h.memory_id = m.id WHERE m.id > ?1 AND m.id <= ?2
       AND (h.revision <= m.revision - ?3 OR m.value IS NULL AND m.persisted_at_ms < ?4) LIMIT ${STEP_ROWS}`,
  )
  let removed = 0
  let after = 0
  while (goesOn()) {
    const last = range.get(after, STEP_MEMORIES)?.last
    if (last === null || last === undefined) break
    const startedAtMs = performance.now()
    const rows = find.all(after, Number(last), historyVersions, nowMs - DELETED_KEPT_DAYS * DAY_MS)
    if (rows.length > 0)
      removeHistory(
        db,
        rows.map(({ id }) => Number(id)),
      )
    removed += rows.length
    if (rows.length < STEP_ROWS) after = Number(last)
    await pause(startedAtMs)
  }
  return removed
}

/** What is removed is remembered as any trimmed write is, for a job that is run again after a crash. */
function removeHistory(db: DatabaseSync, ids: readonly number[]): void {
  const list = JSON.stringify(ids)
  db.exec('BEGIN IMMEDIATE')
  try {
    const remembered = db
      .prepare(
        `INSERT OR IGNORE INTO outcomes (generation, epoch, sequence, idx, superseded)
         SELECT (SELECT outcomes / ${GENERATION_SIZE} FROM state), epoch, sequence, idx, 0 FROM history
         WHERE id IN (SELECT value FROM json_each(?))`,
      )
      .run(list).changes
    db.prepare('UPDATE state SET outcomes = outcomes + ?').run(remembered)
    db.exec(`DELETE FROM outcomes WHERE generation < (SELECT outcomes / ${GENERATION_SIZE} - 1 FROM state)`)
    db.prepare('DELETE FROM history WHERE id IN (SELECT value FROM json_each(?))').run(list)
    db.exec('COMMIT')
  } finally {
    if (db.isTransaction) db.exec('ROLLBACK')
  }
}

/** Only of a file that was made so (`auto_vacuum`); of another one the free pages are left for what is written next. */
async function giveBackPages(db: DatabaseSync, { goesOn }: TidyOptions): Promise<number> {
  const read = (name: string) => Number(db.prepare(`PRAGMA ${name}`).get()?.[name])
  const pageBytes = read('page_size')
  const INCREMENTAL = 2
  const free = read('freelist_count')
  const isWorthwhile = free * pageBytes >= WORTHWHILE_BYTES && free >= read('page_count') * WORTHWHILE_SHARE
  if (read('auto_vacuum') !== INCREMENTAL || !isWorthwhile) return 0
  const before = read('page_count')
  for (let left = free; left > 0 && goesOn(); left -= STEP_PAGES) {
    const startedAtMs = performance.now()
    db.exec(`PRAGMA incremental_vacuum(${STEP_PAGES})`)
    await pause(startedAtMs)
  }
  return (before - read('page_count')) * pageBytes
}

/** What can be copied back without waiting; the log is cut only where nobody uses it just then. */
function checkpoint(db: DatabaseSync): void {
  db.exec('PRAGMA wal_checkpoint(PASSIVE); PRAGMA busy_timeout = 0')
  db.prepare('PRAGMA wal_checkpoint(TRUNCATE)').get()
}

async function pause(startedAtMs: number): Promise<void> {
  await sleep(1 + 2 * (performance.now() - startedAtMs))
}
