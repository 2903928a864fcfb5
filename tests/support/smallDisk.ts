/** A small file system of a test's own, so that a full disk is one, and of nobody else. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'

/**
 * @param size as mount takes it, such as `48m`
 * @throws where this machine does not let us
 */
export function mountSmallDisk(folder: string, size: string): void {
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size},mode=0700`, 'tmpfs', folder], { stdio: 'pipe' })
}

/** Also where a process still has files of it open. */
export function unmountSmallDisk(folder: string): void {
  execFileSync('umount', ['-l', folder])
}

/**
 * Whether this machine lets us mount a small file system.
 * @param folder where it is tried
 */
export function canMountDisk(folder: string): boolean {
  const path = join(folder, 'mounted')
  mkdirSync(path)
  try {
    mountSmallDisk(path, '1m')
    unmountSmallDisk(path)
    return true
  } catch {
    // No mount command, or no right to use it.
    return false
  } finally {
    rmSync(path, { recursive: true, force: true })
  }
}
