/** One daemon for each data folder, which belongs to its user alone. */
import { chmodSync, mkdirSync } from 'node:fs'
import { MemsyncError } from '../errors.ts'
import type { Part } from './lifecycle.ts'
import { acquireProcessLock, instanceLockPath, type ProcessLock } from './processLock.ts'

/** Makes the folder where there is none. @throws at its start MEMSYNC_BAD_SETTING, MEMSYNC_ALREADY_RUNNING */
export function lockPart(dataDir: string): Part {
  let lock: ProcessLock | undefined
  return {
    name: 'lock',
    start: async () => {
      try {
        mkdirSync(dataDir, { recursive: true, mode: 0o700 })
        chmodSync(dataDir, 0o700)
      } catch (cause) {
        const reason = cause instanceof Error ? cause.message : String(cause)
        throw new MemsyncError('MEMSYNC_BAD_SETTING', `MEMSYNC_DATA_DIR: it cannot be used: ${reason}`, {
          cause,
        })
      }
      lock = acquireProcessLock(instanceLockPath(dataDir))
      if (!lock) throw new MemsyncError('MEMSYNC_ALREADY_RUNNING', `another daemon holds ${dataDir}`)
    },
    stop: async () => lock?.release(),
  }
}
