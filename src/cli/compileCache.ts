/**
 * V8's compile cache, in a folder of this user alone: what is in it is run, and Node's own default stands in /tmp, where
 * another user could plant code. NODE_COMPILE_CACHE and NODE_DISABLE_COMPILE_CACHE go on meaning what Node says.
 */
import { chmodSync, mkdirSync } from 'node:fs'
import { enableCompileCache } from 'node:module'
import { homedir } from 'node:os'
import { join } from 'node:path'

/** A cache that cannot be written, or made private, is none: the command works without, only slower. */
export function startCompileCache(): void {
  const caches =
    process.platform === 'darwin'
      ? join(homedir(), 'Library', 'Caches')
      : process.env.XDG_CACHE_HOME || join(homedir(), '.cache')
  const folder = join(caches, 'memsyncd', 'compile')
  try {
    // Whatever the umask is, and whoever made it before.
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    chmodSync(folder, 0o700)
  } catch {
    // Not ours, or no place to write.
    return
  }
  enableCompileCache(folder)
}
