/** The remotes by the name they have in `MEMSYNC_REMOTE_KIND`. */
import { openHttp } from './http.ts'
import { openLegacy } from './legacy.ts'
import { openMem0 } from './mem0.ts'
import { openMem0Platform } from './mem0Platform.ts'
import type { Remote, RemoteKind, RemoteOptions } from './port.ts'

const OPEN: Record<RemoteKind, (options: RemoteOptions) => Remote> = {
  mem0: openMem0,
  'mem0-platform': openMem0Platform,
  legacy: openLegacy,
  http: openHttp,
}

/**
 * The remote of this kind. Connects to nothing yet.
 * @throws MEMSYNC_BAD_SETTING that names MEMSYNC_REMOTE_URL or MEMSYNC_REMOTE_KEY, and never shows the key
 */
export function openRemote(kind: RemoteKind, options: RemoteOptions): Remote {
  return OPEN[kind](options)
}
