/**
 * flock(2), which other programs use and Node does not offer: a small child takes the lock on an open file that it
 * shares with this process, and ends; the lock stays with the file, so it is given back by closing it here, and dies
 * with this process. Whichever of `flock`, `perl` and `python3` is there does it: Linux has the first, macOS the second.
 */
import { spawn } from 'node:child_process'
import { closeSync, constants, openSync } from 'node:fs'
import { MemsyncError } from '../errors.ts'

/** Each takes the lock on descriptor 3 without waiting, and ends with 0 where it has it and 1 where another has. */
export const LOCKERS = {
  flock: ['-x', '-n', '3'],
  perl: [
    '-e',
    'use Fcntl ":flock"; open(my $f, "+<&=", 3) or exit 2; exit(flock($f, LOCK_EX | LOCK_NB) ? 0 : 1)',
  ],
  python3: [
    '-c',
    'import fcntl, sys\ntry: fcntl.flock(3, fcntl.LOCK_EX | fcntl.LOCK_NB)\nexcept BlockingIOError: sys.exit(1)',
  ],
} as const

type Locker = keyof typeof LOCKERS

export interface FileLock {
  release(): void
}

/**
 * Takes the lock without waiting for its holder; makes the file where it is missing.
 * @returns undefined where another process holds it
 * @throws MEMSYNC_BAD_SETTING where nothing on this machine can take it; what the file system says
 */
export async function tryFlock(
  path: string,
  lockers = Object.keys(LOCKERS) as Locker[],
): Promise<FileLock | undefined> {
  const file = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600)
  let held = false
  try {
    for (const locker of lockers) {
      const code = await exitCodeOf(locker, file)
      if (code === undefined) continue
      if (code > 1) throw new MemsyncError('MEMSYNC_BAD_SETTING', `${locker} cannot lock ${path}`)
      held = code === 0
      return held ? { release: () => closeSync(file) } : undefined
    }
    throw new MemsyncError(
      'MEMSYNC_BAD_SETTING',
      `MEMSYNC_LEGACY_DIR: none of ${lockers.join(', ')} is on the PATH, and one is needed to share its lock`,
    )
  } finally {
    if (!held) closeSync(file)
  }
}

/** Undefined where there is no such program. */
function exitCodeOf(locker: Locker, file: number): Promise<number | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<number | undefined>()
  const child = spawn(locker, LOCKERS[locker], {
    stdio: ['ignore', 'ignore', 'ignore', file],
    env: { PATH: process.env.PATH },
  })
  child.on('error', (error: NodeJS.ErrnoException) =>
    error.code === 'ENOENT' || error.code === 'EACCES' ? resolve(undefined) : reject(error),
  )
  child.on('exit', (code) => resolve(code ?? 2))
  return promise
}
