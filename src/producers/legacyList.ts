/**
 * One of the predecessor's files that are one JSON document, while its producers go on writing to it: the entries that
 * are durable here are taken out of it, and nothing else is changed.
 *
 * Its lock is held for one reading and one writing of the file, never for longer: what took hours under the lock is what
 * ended the predecessor. A file that is damaged is never written to, it is set aside whole under a name that says so.
 */
import {
  closeSync,
  constants,
  fsyncSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { type FileLock, tryFlock } from './flock.ts'
import { type LegacyFile, parseLegacyFile } from './legacyFile.ts'

/** What became of an attempt to change the file. */
type Changed = 'changed' | 'locked' | 'unchanged'

/** The lists of a document in which entries wait. */
const LISTS = ['queue', 'failed', 'items'] as const

export class LegacyList {
  private readonly path: string
  private readonly lockPath: string

  constructor(path: string, lockPath: string) {
    this.path = path
    this.lockPath = lockPath
  }

  /** Names this state of the file; undefined where there is none. */
  state(): string | undefined {
    const stats = statSync(this.path, { bigint: true, throwIfNoEntry: false })
    return stats && `${stats.ino} ${stats.size} ${stats.mtimeNs}`
  }

  /** Reads it without the lock: it may be half written. */
  read(): LegacyFile {
    return parseLegacyFile(readFileSync(this.path))
  }

  /** Takes those entries out of it that are durable here, given each as its JSON. */
  async remove(durable: ReadonlySet<string>): Promise<Changed> {
    return this.withLock(() => {
      const path = realpathSync(this.path)
      const document = parseWhole(readFileSync(path))
      if (!document) return 'unchanged'
      let removed = 0
      for (const name of LISTS) {
        const list = document[name]
        if (!Array.isArray(list)) continue
        document[name] = list.filter((entry) => !durable.has(JSON.stringify(entry)))
        removed += list.length - (document[name] as unknown[]).length
      }
      if (removed === 0) return 'unchanged'
      replace(path, `${JSON.stringify(document, null, 2)}\n`)
      return 'changed'
    })
  }

  /** Sets the file aside where it is still damaged; `unchanged` where a producer has mended it meanwhile. */
  async setAside(keptAs: string): Promise<Changed> {
    return this.withLock(() => {
      if (parseWhole(readFileSync(this.path))) return 'unchanged'
      renameSync(this.path, keptAs)
      return 'changed'
    })
  }

  private async withLock(work: () => Changed): Promise<Changed> {
    const lock: FileLock | undefined = await tryFlock(this.lockPath)
    if (!lock) return 'locked'
    try {
      // Without an await: nothing else of this process runs while the producers wait.
      return work()
    } finally {
      lock.release()
    }
  }
}

/** Undefined where the bytes are not one whole document. */
function parseWhole(bytes: Uint8Array): Record<string, unknown> | undefined {
  const { kind, unreadable } = parseLegacyFile(bytes)
  if (kind === undefined || unreadable.length > 0) return undefined
  return JSON.parse(Buffer.from(bytes).toString('utf8')) as Record<string, unknown>
}

/** Whole or not at all, with the mode it had. */
function replace(path: string, content: string): void {
  const draft = `${path}.memsyncd-${process.pid}.tmp`
  try {
    const file = openSync(
      draft,
      constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC,
      statSync(path).mode & 0o777,
    )
    try {
      writeFileSync(file, content)
      fsyncSync(file)
    } finally {
      closeSync(file)
    }
    renameSync(draft, path)
  } catch (error) {
    rmSync(draft, { force: true })
    throw error
  }
  const folder = openSync(dirname(path), 'r')
  try {
    fsyncSync(folder)
  } finally {
    closeSync(folder)
  }
}
