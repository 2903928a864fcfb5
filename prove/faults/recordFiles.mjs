/**
 * Preloaded into the processes of a fault run (`node --import`): records what this process did to the files of the
 * spool, so that a cut of the power can be acted out. It changes nothing of what is done.
 *
 * A disk keeps of a file what was synced, and of a folder the names that stood there when the folder was synced. So a
 * line is appended to MEMSYNC_PROOF_JOURNAL before or after each call, whichever is the safe side: a loss is recorded
 * before the call, what makes it durable after it. `powerCut.ts` reads the lines.
 */
import { linkSync, openSync, writeSync } from 'node:fs'
import fsPromises from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { basename, dirname, join } from 'node:path'

const folder = process.env.MEMSYNC_PROOF_SPOOL
const journal = process.env.MEMSYNC_PROOF_JOURNAL
const kept = process.env.MEMSYNC_PROOF_KEPT

if (folder && journal && kept) {
  const file = openSync(journal, 'a', 0o600)
  const note = (entry) => writeSync(file, `${JSON.stringify(entry)}\n`)
  const isSpool = (path) => typeof path === 'string' && dirname(path) === folder
  const nameOf = (path) => basename(path)
  let links = 0

  const { open, rename, rm } = fsPromises
  fsPromises.open = async (path, flags, mode) => {
    if (path === folder) return recordSync(await open(path, flags, mode), () => note({ did: 'sync folder' }))
    if (!isSpool(path) || flags === 'r') return open(path, flags, mode)
    note({ did: 'create', name: nameOf(path) })
    return recordSync(await open(path, flags, mode), () => note({ did: 'sync', name: nameOf(path) }))
  }
  fsPromises.rename = async (from, to) => {
    if (isSpool(from)) note({ did: 'rename', name: nameOf(from), to: nameOf(to) })
    return rename(from, to)
  }
  fsPromises.rm = async (path, options) => {
    if (isSpool(path)) {
      // What a removal takes away is still on the disk until the folder is synced.
      const as = `${process.pid}-${++links}`
      try {
        linkSync(path, join(kept, as))
        note({ did: 'remove', name: nameOf(path), as })
      } catch (error) {
        if (error.code !== 'ENOENT') throw error
      }
    }
    return rm(path, options)
  }
  syncBuiltinESMExports()
}

function recordSync(handle, synced) {
  const sync = handle.sync.bind(handle)
  handle.sync = async () => {
    await sync()
    synced()
  }
  return handle
}
