/**
 * Looks at one SQLite file of the data folder, as a process of its own: SQLite cannot be interrupted, and a large file or
 * a disk that hangs must not hold up the doctor. Arguments: `memories` or `vectors`, and the path.
 *
 * One JSON line is printed once the file is open (`{ keys, newestMs }`, or `{ absent: true }`), and one at the end
 * (`{ ok: true }`, or `{ code, message }`).
 */

import { MemsyncError, toMemsyncError } from '../../errors.ts'
import { toStoreError } from '../../infrastructure/memory/sqliteErrors.ts'
import { openForInspection } from '../../infrastructure/memory/sqliteSchema.ts'
import { openVectorFile } from '../../infrastructure/memory/vectorSchema.ts'

function tell(line: Record<string, unknown>): void {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

function inspect(kind: string, path: string): void {
  const db = kind === 'vectors' ? openVectorFile(path, true) : openForInspection(path)
  if (!db) {
    tell({ absent: true })
    return
  }
  const times = kind === 'vectors' ? 'NULL' : 'max(max(accepted_at_ms), max(persisted_at_ms))'
  tell({ ...db.prepare(`SELECT count(*) AS keys, ${times} AS newestMs FROM memories`).get() })
  const found = db.prepare('PRAGMA integrity_check(1)').get()?.integrity_check
  // Its text names pages and tables, never content.
  if (found !== 'ok') {
    throw new MemsyncError('MEMSYNC_STORE_CORRUPT', `${path}: ${String(found).slice(0, 200)}`)
  }
  tell({ ok: true })
}

const [kind = '', path = ''] = process.argv.slice(2)
try {
  inspect(kind, path)
} catch (thrown) {
  const { code, message } = toMemsyncError(toStoreError(thrown, path), 'MEMSYNC_STORE_UNAVAILABLE')
  tell({ code, message })
}
