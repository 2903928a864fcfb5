/** A disk without room. */
import { closeSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** Fills the file system of this folder to its last byte, for so long. */
export async function fillDisk(folder: string, forMs: number): Promise<void> {
  const path = join(folder, 'filler')
  const file = openSync(path, 'w')
  try {
    for (let size = 1024 * 1024; size >= 1; size = Math.floor(size / 4)) fill(file, size)
    await sleep(forMs)
  } finally {
    closeSync(file)
    rmSync(path, { force: true })
  }
}

function fill(file: number, size: number): void {
  const piece = Buffer.alloc(size)
  try {
    for (;;) writeSync(file, piece)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
  }
}
