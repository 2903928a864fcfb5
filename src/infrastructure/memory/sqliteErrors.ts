/** What each error of SQLite and of the file system means to the store. The only place that knows their codes. */
import { type ErrorCode, MemsyncError } from '../../errors.ts'

/** By primary result code, https://sqlite.org/rescode.html. What is missing here is a defect of this program. */
const SQLITE_ERRORS: Readonly<Record<number, readonly [name: string, code: ErrorCode]>> = {
  3: ['SQLITE_PERM', 'MEMSYNC_STORE_UNAVAILABLE'],
  5: ['SQLITE_BUSY', 'MEMSYNC_STORE_UNAVAILABLE'],
  6: ['SQLITE_LOCKED', 'MEMSYNC_STORE_UNAVAILABLE'],
  7: ['SQLITE_NOMEM', 'MEMSYNC_STORE_UNAVAILABLE'],
  8: ['SQLITE_READONLY', 'MEMSYNC_STORE_UNAVAILABLE'],
  10: ['SQLITE_IOERR', 'MEMSYNC_STORE_UNAVAILABLE'],
  11: ['SQLITE_CORRUPT', 'MEMSYNC_STORE_CORRUPT'],
  13: ['SQLITE_FULL', 'MEMSYNC_STORE_UNAVAILABLE'],
  14: ['SQLITE_CANTOPEN', 'MEMSYNC_STORE_UNAVAILABLE'],
  15: ['SQLITE_PROTOCOL', 'MEMSYNC_STORE_UNAVAILABLE'],
  22: ['SQLITE_NOLFS', 'MEMSYNC_STORE_UNAVAILABLE'],
  26: ['SQLITE_NOTADB', 'MEMSYNC_STORE_CORRUPT'],
}

/** What was thrown as the store's own error, or as it was where neither table nor file system explains it. */
export function toStoreError(thrown: unknown, path: string): unknown {
  if (thrown instanceof MemsyncError || !(thrown instanceof Error)) return thrown
  const { errcode, errstr, code, syscall } = thrown as Error & Record<string, unknown>
  if (typeof errcode === 'number') {
    // The low byte is the primary code; the rest says more exactly what failed.
    const entry = SQLITE_ERRORS[errcode & 0xff]
    if (!entry) return thrown
    return new MemsyncError(entry[1], `${path}: ${errstr} (${entry[0]} ${errcode})`, { cause: thrown })
  }
  if (typeof code === 'string' && typeof syscall === 'string') {
    return new MemsyncError('MEMSYNC_STORE_UNAVAILABLE', `${path}: ${syscall} failed with ${code}`, {
      cause: thrown,
    })
  }
  return thrown
}
