/**
 * A lock between processes that dies with its holder: an exclusive SQLite transaction on an empty file, kept open.
 * The kernel drops it however the holder ends; a stopped (SIGSTOP) holder still holds it; a PID plays no part.
 * Never open such a file with `fs` in a process that holds one: closing any descriptor of it drops the lock.
 */
import { closeSync, existsSync, mkdirSync, openSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { MemsyncError } from '../errors.ts'

export interface ProcessLock {
  /** Gives the lock back; again is a no-op. The file stays. */
  release(): void
}

const SQLITE_BUSY = 5

/** The lock that keeps a data folder to one daemon. */
export function instanceLockPath(dataDir: string): string {
  return join(dataDir, 'daemon.lock')
}

/**
 * Takes the lock without waiting for its holder; makes the file (mode 0600) and its folder (0700) where they are missing.
 * @param lookersTimeoutMs blocks this long at most, to sit out a process that only looks (`isLocked`, well under 1 ms);
 *   0 for a lock that nobody looks at
 * @returns undefined when another process, or this one, holds it
 * @throws MEMSYNC_STORE_UNAVAILABLE when the file cannot be made or locked at all
 */
export function acquireProcessLock(path: string, lookersTimeoutMs = 200): ProcessLock | undefined {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    makePrivate(path)
    const database = new DatabaseSync(path, { timeout: lookersTimeoutMs })
    // The journal stays in memory, so that no second file lingers when the holder is killed.
    if (!began(database, 'PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE')) return undefined
    return {
      release() {
        if (database.isOpen) database.close()
      },
    }
  } catch (cause) {
    throw new MemsyncError('MEMSYNC_STORE_UNAVAILABLE', `the lock ${path} cannot be taken`, { cause })
  }
}

/**
 * Whether some process, this one included, holds the lock. Makes no file.
 * @throws MEMSYNC_STORE_UNAVAILABLE when the file is there and cannot be read
 */
export function isLocked(path: string): boolean {
  if (!existsSync(path)) return false
  try {
    // A shared lock, so that those who look do not take each other for a holder.
    const database = new DatabaseSync(path, { readOnly: true, timeout: 0 })
    if (!began(database, 'BEGIN; SELECT 1 FROM sqlite_schema')) return true
    database.close()
    return false
  } catch (cause) {
    throw new MemsyncError('MEMSYNC_STORE_UNAVAILABLE', `the lock ${path} cannot be read`, { cause })
  }
}

/** SQLite would make it readable for others. What exists is not opened, as its lock may be this process's. */
function makePrivate(path: string): void {
  try {
    closeSync(openSync(path, 'wx', 0o600))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
}

/** Whether the statements took their lock; a database that did not is closed. */
function began(database: DatabaseSync, statements: string): boolean {
  try {
    database.exec(statements)
    return true
  } catch (error) {
    database.close()
    if ((error as { errcode?: number }).errcode === SQLITE_BUSY) return false
    throw error
  }
}
