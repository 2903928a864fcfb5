/**
 * The daemon's log as a file: JSON lines, mode 0600, rotated by size (`memsync.log`, then `memsync.log.1` and so on,
 * oldest last) and bounded by count. Writing never throws and never waits: a line that cannot be written is lost, and
 * the next one that can be is preceded by one that says how many were. Another process may write, rotate or remove the
 * same file: lines are appended whole, and within a second this one is back on the file of that name.
 */
import {
  closeSync,
  fchmodSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'

export interface LogFileOptions {
  path: string
  /** A file is set aside before it would grow beyond this. */
  maxBytes: number
  /** How many are kept, the current one included. */
  maxFiles: number
  /** Monotonic milliseconds. */
  now?: () => number
}

/** How often the file of that name is looked for, and a file that cannot be opened is tried again. */
const LOOK_INTERVAL_MS = 1_000

/** The file's name once it was set aside `generation` times; 0 is the current one. */
function logGeneration(path: string, generation: number): string {
  return generation === 0 ? path : `${path}.${generation}`
}

interface Opened {
  descriptor: number
  inode: number
  bytes: number
}

export class LogFile {
  private readonly options: Required<LogFileOptions>
  private file: Opened | undefined
  private lookedAtMs = Number.NEGATIVE_INFINITY
  private lostLines = 0
  /** The last write ended in the middle of a line. */
  private torn = false

  constructor(options: LogFileOptions) {
    this.options = { now: () => performance.now(), ...options }
  }

  /** Appends a line that ends in a newline. */
  write(line: string): void {
    const lost = this.lostLines === 0 ? '' : lostNotice(this.lostLines)
    const chunk = Buffer.from(`${this.torn ? '\n' : ''}${lost}${line}`)
    if (this.append(chunk)) this.lostLines = 0
    else this.lostLines++
  }

  /** Lets go of the file; a later line opens it again. */
  close(): void {
    if (this.file) closeSync(this.file.descriptor)
    this.file = undefined
    this.lookedAtMs = Number.NEGATIVE_INFINITY
  }

  private append(chunk: Buffer): boolean {
    try {
      this.look()
      if (!this.file) return false
      if (this.file.bytes > 0 && this.file.bytes + chunk.length > this.options.maxBytes) this.rotate()
      return this.file !== undefined && this.writeWhole(this.file, chunk)
    } catch {
      // The disk is full, away or read-only. There is no other place to tell it than the notice of the lost lines.
      return false
    }
  }

  private writeWhole(file: Opened, chunk: Buffer): boolean {
    let written = 0
    try {
      while (written < chunk.length) written += writeSync(file.descriptor, chunk, written)
      return true
    } finally {
      file.bytes += written
      if (written > 0) this.torn = written < chunk.length
    }
  }

  /** Opens the file where it is not open, is gone, or is another one now. */
  private look(): void {
    const nowMs = this.options.now()
    if (nowMs - this.lookedAtMs < LOOK_INTERVAL_MS) return
    this.lookedAtMs = nowMs
    const found = statSync(this.options.path, { throwIfNoEntry: false })
    if (this.file && found?.ino === this.file.inode) {
      this.file.bytes = found.size
      return
    }
    this.open()
  }

  private open(): void {
    if (this.file) closeSync(this.file.descriptor)
    this.file = undefined
    const { path } = this.options
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    const descriptor = openSync(path, 'a', 0o600)
    try {
      const stats = fstatSync(descriptor)
      // A device or a pipe is nothing to be set aside, nor closed to others.
      if (!stats.isFile()) throw new Error(`${path} is no file`)
      fchmodSync(descriptor, 0o600)
      this.file = { descriptor, inode: stats.ino, bytes: stats.size }
    } catch (error) {
      closeSync(descriptor)
      throw error
    }
  }

  private rotate(): void {
    const { path, maxFiles } = this.options
    // Whoever else writes this log may have set it aside a moment ago.
    if (statSync(path, { throwIfNoEntry: false })?.ino === this.file?.inode) {
      try {
        rmSync(logGeneration(path, maxFiles - 1), { force: true })
        for (let generation = maxFiles - 2; generation >= 0; generation--) {
          setAside(logGeneration(path, generation), logGeneration(path, generation + 1))
        }
      } catch {
        // The folder takes no change. A log that is cut is better than one that fills the disk.
        if (this.file) ftruncateSync(this.file.descriptor)
      }
    }
    this.open()
  }
}

function setAside(from: string, to: string): void {
  try {
    renameSync(from, to)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}

function lostNotice(lines: number): string {
  const notice = { level: 'warn', time: new Date().toISOString(), pid: process.pid, lines }
  return `${JSON.stringify({ ...notice, msg: 'log lines could not be written' })}\n`
}
