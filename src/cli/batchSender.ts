/**
 * Hands memories over in batches, in order: one batch is on its way at a time and the next gathers meanwhile, so a
 * fast input goes in large batches and a slow one at once. Each batch is accepted as a whole or not at all.
 */
import { MemsyncError, toMemsyncError } from '../errors.ts'
import type { MemoryInput } from '../jobs/index.ts'

const MAX_BATCH_MEMORIES = 500
const MAX_BATCH_BYTES = 4 * 1024 * 1024

interface Batch {
  memories: MemoryInput[]
  /** The line each of them stood on. */
  lines: number[]
  bytes: number
}

/** Resolves once all of them are accepted. */
export type SendBatch = (memories: MemoryInput[], lines: number[]) => Promise<unknown>

export class BatchSender {
  accepted = 0
  /** Why a batch was not accepted, and the line it began on; nothing is sent after it. */
  failure: { error: MemsyncError; line: number } | undefined
  private readonly send: SendBatch
  private batch: Batch = { memories: [], lines: [], bytes: 0 }
  private underway: Promise<void> | undefined

  /** @param send called again only after it has resolved */
  constructor(send: SendBatch) {
    this.send = send
  }

  /** Resolves when there is room for more. */
  async add(memory: MemoryInput, line: number, bytes: number): Promise<void> {
    this.batch.memories.push(memory)
    this.batch.lines.push(line)
    this.batch.bytes += bytes
    if (this.batch.memories.length < MAX_BATCH_MEMORIES && this.batch.bytes < MAX_BATCH_BYTES) return
    await this.underway
    this.flushWhenIdle()
  }

  /** Sends what has gathered: at once, or as soon as the batch on its way has arrived. */
  flushWhenIdle(): void {
    const { memories, lines } = this.batch
    if (this.underway || memories.length === 0 || this.failure) return
    this.batch = { memories: [], lines: [], bytes: 0 }
    this.underway = this.send(memories, lines).then(
      () => {
        this.accepted += memories.length
        this.underway = undefined
        // The input may say nothing more for a long time.
        this.flushWhenIdle()
      },
      (thrown: unknown) => {
        this.failure = { error: plainError(thrown), line: lines[0] ?? 0 }
        this.underway = undefined
      },
    )
  }

  /** Sends the rest and resolves when its fate is known. */
  async finish(): Promise<void> {
    this.flushWhenIdle()
    while (this.underway !== undefined) await this.underway
  }
}

/** The queue's error without its place in the batch, which says nothing to who counts lines. */
function plainError(thrown: unknown): MemsyncError {
  const error = toMemsyncError(thrown, 'MEMSYNC_QUEUE_UNAVAILABLE')
  return error.cause instanceof MemsyncError ? error.cause : error
}
