/**
 * The spool: files that hold accepted memories while Redis is away, in `spool/` of the data folder.
 *
 * - What `write` resolved for is on disk: a file is written whole beside its place, fsynced, and only then renamed to
 *   it, and the folder is fsynced. A file in its place is never written to again.
 * - So producers share nothing but the folder: no lock, no file with two writers, nothing a process that is stopped or
 *   killed could hold. What a killed one leaves behind is a `.tmp` that nobody was told was accepted.
 * - A full spool refuses and keeps what it holds. The limit may be passed by what several producers write within the
 *   same second.
 */
import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { MemsyncError } from '../errors.ts'
import { type RedactMode, redactMemory } from '../jobs/redact.ts'
import {
  blocksOf,
  depthOf,
  newSpoolFileName,
  parseSpoolFileName,
  type SpoolDepth,
  type SpoolFile,
} from './spoolFile.ts'
import { formatSpoolRecord, type SpoolRecord } from './spoolRecord.ts'

/** A folder of so many files takes milliseconds to list, so then it is not done before each write. */
const MANY_FILES = 1_000
const LOOK_AGAIN_MS = 1_000
/** Of a `.tmp` so old nobody writes any more. */
const ABANDONED_MS = 3_600_000

/** Counts the files of this process; the clock never goes back in it either. */
let filesWritten = 0
let lastWrittenAtMs = 0

export class Spool {
  readonly folder: string
  private readonly maxBytes: number
  private readonly redact: RedactMode
  private looked: { atMs: number; files: number; bytes: number } | undefined

  /** Makes nothing before the first write. @param redact what is made of a memory before it is written */
  constructor(dataDir: string, maxBytes: number, redact: RedactMode = 'off') {
    this.redact = redact
    this.folder = join(dataDir, 'spool')
    this.maxBytes = maxBytes
  }

  /**
   * Takes the records as one file: all of them or none. Durable when it resolves.
   * @throws MEMSYNC_SPOOL_FULL, MEMSYNC_SPOOL_UNAVAILABLE; nothing was accepted then
   */
  async write(records: readonly SpoolRecord[]): Promise<void> {
    if (records.length === 0) return
    const lines = records.map((record) =>
      formatSpoolRecord({ ...record, memory: redactMemory(record.memory, this.redact) }),
    )
    const content = Buffer.from(lines.join(''))
    const { bytes } = await this.look()
    if (bytes + blocksOf(content.length) > this.maxBytes) {
      throw new MemsyncError('MEMSYNC_SPOOL_FULL', `the spool holds ${bytes} of ${this.maxBytes} bytes`)
    }
    lastWrittenAtMs = Math.max(lastWrittenAtMs, Date.now())
    const name = newSpoolFileName(
      lastWrittenAtMs,
      ++filesWritten,
      process.pid,
      records.length,
      content.length,
    )
    try {
      await this.place(name, content)
    } catch (error) {
      throw unavailable(error)
    }
    if (this.looked) {
      this.looked.files++
      this.looked.bytes += blocksOf(content.length)
    }
  }

  /** Whether it holds nothing. @throws MEMSYNC_SPOOL_UNAVAILABLE */
  async isEmpty(): Promise<boolean> {
    return (await this.look()).files === 0
  }

  /** Every file, in the order they were written. @throws MEMSYNC_SPOOL_UNAVAILABLE */
  async list(): Promise<SpoolFile[]> {
    const names = await this.names()
    return names
      .map(parseSpoolFileName)
      .filter((file) => file !== undefined)
      .sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  /** @throws MEMSYNC_SPOOL_UNAVAILABLE */
  async depth(nowMs: number): Promise<SpoolDepth> {
    return depthOf(await this.list(), nowMs)
  }

  /** Makes the renames so far outlast a power cut. */
  async sync(): Promise<void> {
    await syncFolder(this.folder)
  }

  /** Makes the folder, and removes what producers that were killed left half written. */
  async prepare(nowMs: number): Promise<void> {
    await mkdir(this.folder, { recursive: true, mode: 0o700 })
    for (const name of await this.names()) {
      if (!name.endsWith('.tmp')) continue
      const path = join(this.folder, name)
      const about = await stat(path).catch(() => undefined)
      if (about && nowMs - about.mtimeMs > ABANDONED_MS) await rm(path, { force: true })
    }
  }

  private async place(name: string, content: Buffer): Promise<void> {
    const draft = join(this.folder, `${name}.tmp`)
    const file = await this.create(draft)
    try {
      try {
        await file.writeFile(content)
        await file.sync()
      } finally {
        await file.close()
      }
      await rename(draft, join(this.folder, name))
    } catch (error) {
      await rm(draft, { force: true }).catch(() => undefined)
      throw error
    }
    try {
      await this.sync()
    } catch (error) {
      // It may not outlast a power cut, so it was not accepted: taken back, unless it is being drained already.
      const kept = await rm(join(this.folder, name)).catch((removal: NodeJS.ErrnoException) => removal.code)
      if (kept !== 'ENOENT') throw error
    }
  }

  private async create(path: string): Promise<FileHandle> {
    try {
      return await open(path, 'wx', 0o600)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      const first = await mkdir(this.folder, { recursive: true, mode: 0o700 })
      // Each folder that is new stands in another, up to the first that was there.
      for (let made = this.folder; first !== undefined && made.length >= first.length; made = dirname(made)) {
        await syncFolder(dirname(made))
      }
      return await open(path, 'wx', 0o600)
    }
  }

  /** How much it holds: looked up, or what was seen a moment ago where that takes long. */
  private async look(): Promise<{ files: number; bytes: number }> {
    const nowMs = performance.now()
    const seen = this.looked
    if (seen && seen.files > MANY_FILES && nowMs - seen.atMs < LOOK_AGAIN_MS) return seen
    const files = (await this.names()).map(parseSpoolFileName).filter((file) => file !== undefined)
    const bytes = files.reduce((sum, file) => sum + blocksOf(file.bytes), 0)
    this.looked = { atMs: nowMs, files: files.length, bytes }
    return this.looked
  }

  private async names(): Promise<string[]> {
    try {
      return await readdir(this.folder)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
      throw unavailable(error)
    }
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

function unavailable(cause: unknown): MemsyncError {
  const { code = 'unknown error' } = cause as NodeJS.ErrnoException
  return new MemsyncError('MEMSYNC_SPOOL_UNAVAILABLE', `the spool cannot be used (${code})`, { cause })
}
