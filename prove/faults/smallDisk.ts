/** A small file system for the data folder of a fault run, so that a full disk is one, and of nobody else. */
import { execFileSync } from 'node:child_process'
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const OPTIONS = 'size=48m,mode=0700'

/** @throws where this machine does not let us */
export function mountSmallDisk(folder: string): void {
  execFileSync('mount', ['-t', 'tmpfs', '-o', OPTIONS, 'tmpfs', folder], { stdio: 'pipe' })
}

/** Also where a process still has files of it open. */
export function unmountSmallDisk(folder: string): void {
  execFileSync('umount', ['-l', folder])
}

/** Whether this machine lets us mount a small file system. */
export function canFillDisk(folder: string): boolean {
  const path = join(folder, 'mounted')
  mkdirSync(path)
  try {
    mountSmallDisk(path)
    unmountSmallDisk(path)
    return true
  } catch {
    // No mount command, or no right to use it.
    return false
  } finally {
    rmSync(path, { recursive: true, force: true })
  }
}

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
