/**
 * `memsync enqueue --ndjson FILE --receipts OUT`: one JSON line for each accepted memory, appended once it is durable
 * in the queue. The job id is its place in the order of acceptance, so the receipts of many producers say together
 * which write of a key is the newest.
 */
import { closeSync, openSync, writeFileSync } from 'node:fs'
import type { MemsyncError } from '../errors.ts'
import { printable } from '../printable.ts'
import { badUsage } from './failure.ts'

export interface Receipt {
  /** The line of the input, from 1. */
  line: number
  key: string
  namespace: string
  jobId: string
}

export class ReceiptFile {
  private readonly path: string
  private readonly file: number
  private failed = false

  /** @throws MEMSYNC_BAD_USAGE where the file cannot be written */
  constructor(path: string) {
    this.path = path
    try {
      // Appended, so that a run which goes on where another ended takes nothing away.
      this.file = openSync(path, 'a', 0o600)
    } catch (error) {
      throw this.unwritable(error)
    }
  }

  /** @throws MEMSYNC_BAD_USAGE the first time it cannot write; nothing is written after that */
  write(receipts: readonly Receipt[]): void {
    if (this.failed) return
    try {
      writeFileSync(this.file, receipts.map((receipt) => `${JSON.stringify(receipt)}\n`).join(''))
    } catch (error) {
      this.failed = true
      const first = receipts[0]?.line
      throw this.unwritable(error, `; what was accepted from line ${first} on may have no receipt`)
    }
  }

  close(): void {
    closeSync(this.file)
  }

  private unwritable(error: unknown, consequence = ''): MemsyncError {
    const reason = (error as NodeJS.ErrnoException).code ?? 'unknown error'
    return badUsage(`--receipts: ${printable(this.path)} cannot be written (${reason})${consequence}`)
  }
}
