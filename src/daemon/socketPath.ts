/** Where this program's unix sockets stand, also when the data folder's path is too long for one. */
import { createHash } from 'node:crypto'
import { lstatSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { MemsyncError } from '../errors.ts'

/** The shortest of the systems' limits on a socket's path (macOS), less the closing NUL. */
const MAX_SOCKET_PATH_BYTES = 103

/**
 * The socket at this place in a data folder. Where its path would be too long for a socket, it stands in a short folder
 * of /tmp (not of TMPDIR, which differs between a service and a shell) named after the data folder and the user;
 * the folder is checked where it exists.
 * @throws MEMSYNC_BAD_SETTING when that short folder is another user's or open to others
 */
export function socketPathIn(dataDir: string, ...place: string[]): string {
  const path = join(resolve(dataDir), ...place)
  if (Buffer.byteLength(path) <= MAX_SOCKET_PATH_BYTES) return path
  const userId = process.getuid?.() ?? 0
  const hash = createHash('sha256')
    .update(`${userId}:${resolve(dataDir)}`)
    .digest('hex')
    .slice(0, 16)
  const folder = `/tmp/memsyncd-${hash}`
  const found = lstatSync(folder, { throwIfNoEntry: false })
  if (found && !(found.isDirectory() && found.uid === userId && (found.mode & 0o77) === 0)) {
    throw new MemsyncError(
      'MEMSYNC_BAD_SETTING',
      `MEMSYNC_DATA_DIR: its path is too long for a socket, and the short ${folder} is not a private folder of this user`,
    )
  }
  return join(folder, basename(path))
}
