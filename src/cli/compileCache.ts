/**
 * V8's compile cache, in a folder of this user: Node's own default stands in /tmp, where another user could plant
 * code. NODE_COMPILE_CACHE and NODE_DISABLE_COMPILE_CACHE go on meaning what Node says.
 */
import { enableCompileCache } from 'node:module'
import { homedir } from 'node:os'
import { join } from 'node:path'

/** A cache that cannot be written is none: the command works without, only slower. */
export function startCompileCache(): void {
  const caches =
    process.platform === 'darwin'
      ? join(homedir(), 'Library', 'Caches')
      : process.env.XDG_CACHE_HOME || join(homedir(), '.cache')
  enableCompileCache(join(caches, 'memsyncd', 'compile'))
}
