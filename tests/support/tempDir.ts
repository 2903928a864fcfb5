/** Temporary folders, removed when the test file that made them is done. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'

const made = new Set<string>()

afterAll(() => {
  for (const folder of made) rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  made.clear()
})

/** A new empty folder of this user alone; its path is short enough for a unix socket inside. */
export function tempDir(): string {
  const folder = mkdtempSync(join(tmpdir(), 't-'))
  made.add(folder)
  return folder
}

const MEMORY_DISK = '/dev/shm'

/** The same in memory, where there is such a disk: for what a disk that stands still for seconds would spoil. */
export function tempDirInMemory(): string {
  if (!existsSync(MEMORY_DISK)) return tempDir()
  const folder = mkdtempSync(join(MEMORY_DISK, 't-'))
  made.add(folder)
  return folder
}
