/**
 * Reads a log that its writer rotates meanwhile (see logFile.ts): each line once, in order, none missed while the
 * files it stands in are kept. A file is known by its identity, not by its name, and read to its end before the next.
 */
import { type BigIntStats, closeSync, fstatSync, openSync, readdirSync, readSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const CHUNK_BYTES = 64 * 1024
const POLL_MS = 200

/** The lines of one file, as far as they are whole. */
class LogTail {
  readonly identity: string
  /** When it was last written. */
  readonly writtenMs: number
  private readonly descriptor: number
  private readonly chunk = Buffer.alloc(CHUNK_BYTES)
  private position = 0
  private partial: Buffer = Buffer.alloc(0)

  /** @throws what opening throws */
  constructor(path: string) {
    this.descriptor = openSync(path, 'r')
    const stats = fstatSync(this.descriptor, { bigint: true })
    this.identity = identityOf(stats)
    this.writtenMs = Number(stats.mtimeMs)
  }

  /** The whole lines that were added since. */
  *lines(): Generator<string> {
    // Cut by its writer, as it could not be set aside.
    if (fstatSync(this.descriptor).size < this.position) {
      this.position = 0
      this.partial = Buffer.alloc(0)
    }
    for (;;) {
      const bytes = readSync(this.descriptor, this.chunk, 0, CHUNK_BYTES, this.position)
      if (bytes === 0) return
      this.position += bytes
      let rest: Buffer = Buffer.concat([this.partial, this.chunk.subarray(0, bytes)])
      for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
        yield rest.toString('utf8', 0, end)
        rest = rest.subarray(end + 1)
      }
      this.partial = rest
    }
  }

  close(): void {
    closeSync(this.descriptor)
  }
}

/** Not the inode alone: that of a removed file is soon another's. */
function identityOf({ dev, ino, birthtimeNs }: BigIntStats): string {
  return `${dev}:${ino}:${birthtimeNs}`
}

export class LogReader {
  private readonly path: string
  private current: LogTail | undefined
  private readonly known = new Set<string>()

  /** @param path of the current file; those that were set aside stand beside it */
  constructor(path: string) {
    this.path = path
  }

  /**
   * The lines there are, oldest first; files that were last written before `sinceMs` are not opened.
   * Where a limit is given: the last so many that are wanted.
   */
  *kept(isWanted: (line: string) => boolean, { sinceMs = 0, limit }: { sinceMs?: number; limit?: number }) {
    const tails = this.open().filter((tail) => {
      if (tail.writtenMs >= sinceMs || tail === this.current) return true
      tail.close()
      return false
    })
    try {
      if (limit === undefined) for (const tail of tails) yield* wanted(tail, isWanted)
      else yield* lastOf(tails, isWanted, limit)
    } finally {
      for (const tail of tails) if (tail !== this.current) tail.close()
    }
  }

  /** The lines that are added from now on, until `signal` aborts. */
  async *follow(isWanted: (line: string) => boolean, signal: AbortSignal): AsyncGenerator<string> {
    while (!signal.aborted) {
      if (this.current) yield* wanted(this.current, isWanted)
      yield* this.newer(isWanted)
      // Aborted: the loop sees it.
      await sleep(POLL_MS, undefined, { signal }).catch(() => undefined)
    }
    this.close()
  }

  close(): void {
    this.current?.close()
    this.current = undefined
  }

  /** What stands in files that were begun since. */
  private *newer(isWanted: (line: string) => boolean): Generator<string> {
    const stats = statSync(this.path, { bigint: true, throwIfNoEntry: false })
    if (stats && identityOf(stats) === this.current?.identity) return
    const before = this.current
    const seen = new Set(this.known)
    const tails = this.open()
    // Set aside or removed: what was written until then is still there to be read.
    if (before && before !== this.current) {
      yield* wanted(before, isWanted)
      before.close()
    }
    for (const tail of tails) {
      if (tail !== before && !seen.has(tail.identity)) yield* wanted(tail, isWanted)
      if (tail !== this.current) tail.close()
    }
  }

  /** Every file, oldest first; the last is the current one, which stays open. */
  private open(): LogTail[] {
    const tails: LogTail[] = []
    const found = new Set<string>()
    // From the newest on: one that is set aside meanwhile is met again, and none is missed.
    for (const path of this.paths()) {
      const tail = openIfThere(path)
      if (tail && !found.has(tail.identity)) {
        found.add(tail.identity)
        tails.unshift(tail)
      } else tail?.close()
    }
    // Not in place of those before: one that is renamed during the look is missed by it, and met again.
    for (const identity of found) this.known.add(identity)
    const newest = tails.pop()
    if (newest && newest.identity === this.current?.identity) newest.close()
    else this.current = newest
    return this.current ? [...tails, this.current] : tails
  }

  /** Newest first. */
  private paths(): string[] {
    const name = basename(this.path)
    const generations = namesIn(dirname(this.path))
      .map((file) =>
        file === name ? 0 : Number(file.startsWith(`${name}.`) ? file.slice(name.length + 1) : Number.NaN),
      )
      .filter((generation) => Number.isInteger(generation))
      .toSorted((a, b) => a - b)
    return generations.map((generation) =>
      join(dirname(this.path), generation === 0 ? name : `${name}.${generation}`),
    )
  }
}

function* wanted(tail: LogTail, isWanted: (line: string) => boolean): Generator<string> {
  for (const line of tail.lines()) if (isWanted(line)) yield line
}

/** From the newest file back, until there are enough. */
function lastOf(tails: LogTail[], isWanted: (line: string) => boolean, limit: number): string[] {
  let lines: string[] = []
  for (const tail of tails.toReversed()) {
    const missing = limit - lines.length
    let found: string[] = []
    // The newest is read to its end in any case: following goes on from there.
    for (const line of wanted(tail, isWanted)) {
      found.push(line)
      if (found.length > 2 * missing + 1000) found = found.slice(found.length - missing)
    }
    lines = [...found.slice(Math.max(0, found.length - missing)), ...lines]
    if (lines.length >= limit) break
  }
  return lines
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

function openIfThere(path: string): LogTail | undefined {
  try {
    return new LogTail(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
