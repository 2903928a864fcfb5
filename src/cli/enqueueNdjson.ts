/**
 * `memsync enqueue --ndjson`: a stream of memories, one JSON object a line, in order and in bounded memory. A line
 * that breaks the contract is refused by its number, and the rest goes on.
 */
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { type ErrorCode, MemsyncError, toMemsyncError } from '../errors.ts'
import { MAX_METADATA_BYTES, type MemoryInput, parsePayload } from '../jobs/index.ts'
import { decodeUtf8, MAX_ESCAPED_LENGTH, parseJsonExactly } from '../jobs/jsonText.ts'
import { DEFAULT_NAMESPACE, MAX_KEY_BYTES, MAX_NAMESPACE_BYTES } from '../jobs/key.ts'
import { printable } from '../printable.ts'
import { LineCutter, type NdjsonLine } from '../producers/ndjsonLines.ts'
import { BatchSender, type SendBatch } from './batchSender.ts'
import type { CommandContext } from './context.ts'
import { badUsage, errorDocument, errorText, exitCodeOf } from './failure.ts'
import { daemonRuns, NO_DAEMON_NOTICE } from './handOver.ts'
import { notice, print, printJson } from './output.ts'
import { ProgressBar } from './progressBar.ts'
import { type Receipt, ReceiptFile } from './receipts.ts'
import { checkSameRedis } from './sameRedis.ts'

const READ_CHUNK_BYTES = 256 * 1024
/** How many refused lines are told one by one. */
const MAX_TOLD_REFUSALS = 20

interface Input {
  stream: Readable
  /** Undefined where the input does not say. */
  totalBytes: number | undefined
}

/** What became of an input. */
interface Summary {
  accepted: number
  refused: number
  /** The first of the refused. */
  refusals: { line: number; code: ErrorCode; message: string }[]
  /** What ended it before the input did, and the line to go on from. */
  failure: { error: MemsyncError; line: number } | undefined
}

export async function enqueueNdjson(
  context: CommandContext,
  source: string,
  receiptsPath: string | undefined,
): Promise<number> {
  const input = await openInput(source)
  const receipts = receiptsPath === undefined ? undefined : new ReceiptFile(receiptsPath)
  const { TypedWorkerQueue } = await import('../queue/index.ts')
  await checkSameRedis(context)
  const queue = new TypedWorkerQueue({ config: context.config })
  const send: SendBatch = async (memories, lines) => {
    const jobIds: string[] = []
    await queue.enqueueMany(memories, { onAccepted: (_, { jobId }) => jobIds.push(jobId) })
    try {
      receipts?.write(memories.map((memory, index) => receiptOf(memory, lines[index], jobIds[index])))
    } catch (error) {
      // They are accepted all the same, so this ends the reading and not the batch.
      intake.stop(toMemsyncError(error, 'MEMSYNC_BAD_USAGE'))
    }
  }
  const intake = new Intake(input, context.config.maxValueBytes, send)
  const interrupt = (signal: NodeJS.Signals) =>
    intake.stop(new MemsyncError('MEMSYNC_INTERRUPTED', `${signal} before the end of the input`))
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt)
  try {
    const summary = await intake.run()
    await tell(context, summary, source)
    if (summary.failure) return exitCodeOf(summary.failure.error.code)
    return summary.refused > 0 ? 1 : 0
  } finally {
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt)
    input.stream.destroy()
    receipts?.close()
    await queue.close()
  }
}

function receiptOf(memory: MemoryInput, line = 0, jobId = ''): Receipt {
  return { line, key: memory.key, namespace: memory.namespace ?? DEFAULT_NAMESPACE, jobId }
}

async function openInput(source: string): Promise<Input> {
  if (source === '-') return { stream: process.stdin, totalBytes: undefined }
  try {
    const about = await stat(source)
    if (about.isDirectory()) throw badUsage(`--ndjson: ${printable(source)} is a folder`)
    const stream = createReadStream(source, { highWaterMark: READ_CHUNK_BYTES })
    // A pipe or a device has no size to measure progress by.
    return { stream, totalBytes: about.isFile() ? about.size : undefined }
  } catch (error) {
    if (error instanceof MemsyncError) throw error
    throw badUsage(`--ndjson: ${printable(source)} cannot be read (${(error as NodeJS.ErrnoException).code})`)
  }
}

/** One run over one input. */
class Intake {
  private readonly input: Input
  private readonly maxValueBytes: number
  private readonly maxLineBytes: number
  private readonly sender: BatchSender
  private readonly bar = new ProgressBar(process.stderr)
  private readonly refusals: Summary['refusals'] = []
  private refused = 0
  private lines = 0
  private readBytes = 0
  private cutShort: MemsyncError | undefined

  constructor(input: Input, maxValueBytes: number, send: SendBatch) {
    this.input = input
    this.maxValueBytes = maxValueBytes
    const fields = maxValueBytes + MAX_KEY_BYTES + MAX_NAMESPACE_BYTES + MAX_METADATA_BYTES
    this.maxLineBytes = fields * MAX_ESCAPED_LENGTH + 1024
    this.sender = new BatchSender(async (memories, lines) => {
      try {
        await send(memories, lines)
      } catch (error) {
        // An input that says nothing more would keep this failure untold.
        input.stream.destroy()
        throw error
      }
    })
  }

  /** Stops reading, and says why; what was read is still handed over. */
  stop(reason: MemsyncError): void {
    this.cutShort ??= reason
    this.input.stream.destroy()
  }

  async run(): Promise<Summary> {
    const cutter = new LineCutter(this.maxLineBytes)
    try {
      for await (const chunk of this.input.stream as AsyncIterable<Uint8Array>) {
        this.readBytes += chunk.length
        await this.takeAll(cutter.cut(chunk))
        if (this.sender.failure) break
      }
      if (!this.cutShort) await this.takeAll(cutter.rest())
    } catch (error) {
      // Whatever ended the stream on purpose was there first.
      const reason = (error as NodeJS.ErrnoException).code ?? 'unknown error'
      this.cutShort ??= new MemsyncError(
        'MEMSYNC_BAD_USAGE',
        `the input cannot be read to its end (${reason})`,
      )
    }
    await this.sender.finish()
    this.bar.clear()
    const cut = this.cutShort && { error: this.cutShort, line: this.lines + 1 }
    const { accepted, failure = cut } = this.sender
    return { accepted, refused: this.refused, refusals: this.refusals, failure }
  }

  private async takeAll(lines: Iterable<NdjsonLine>): Promise<void> {
    for (const line of lines) {
      if (this.sender.failure) return
      this.lines = line.number
      await this.take(line)
    }
    this.sender.flushWhenIdle()
    this.bar.update({
      done: this.readBytes,
      total: this.input.totalBytes,
      tallies: [
        [this.sender.accepted, 'accepted'],
        [this.refused, 'refused'],
      ],
    })
  }

  private async take(line: NdjsonLine): Promise<void> {
    let memory: MemoryInput | undefined
    try {
      memory = this.readMemory(line)
    } catch (thrown) {
      const { code, message } = toMemsyncError(thrown, 'MEMSYNC_INVALID_MEMORY')
      this.refused++
      if (this.refusals.length < MAX_TOLD_REFUSALS) this.refusals.push({ line: line.number, code, message })
      return
    }
    if (memory && 'bytes' in line) await this.sender.add(memory, line.number, line.bytes.length)
  }

  /** Undefined for a blank line. */
  private readMemory(line: NdjsonLine): MemoryInput | undefined {
    if ('tooLong' in line) {
      throw new MemsyncError('MEMSYNC_VALUE_TOO_LARGE', `the line is longer than ${this.maxLineBytes} bytes`)
    }
    const text = decodeUtf8(line.bytes, 'the line')
    if (text.trim() === '') return undefined
    let data: unknown
    try {
      data = parseJsonExactly(text)
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error
      // The parser's own message would quote the text.
      throw new MemsyncError('MEMSYNC_INVALID_MEMORY', 'the line is not JSON')
    }
    parsePayload('MEMORY_SYNC', data, this.maxValueBytes)
    return data as MemoryInput
  }
}

async function tell(context: CommandContext, summary: Summary, source: string): Promise<void> {
  const { accepted, refused, refusals, failure } = summary
  if (accepted > 0 && !(await daemonRuns(context))) notice(`accepted; ${NO_DAEMON_NOTICE}`)
  const untold = refused - refusals.length
  if (context.json) {
    await printJson({
      accepted,
      refused,
      refusals,
      moreRefusals: untold,
      ...(failure ? { goOnFromLine: failure.line, error: errorDocument(failure.error) } : {}),
    })
    return
  }
  for (const { line, code, message } of refusals) notice(`line ${line}: ${printable(message)} (${code})`)
  if (untold > 0) notice(`and ${untold} more`)
  if (failure) {
    process.stderr.write(errorText(failure.error, context.config.logLevel === 'debug'))
    const from =
      source === '-' ? `line ${failure.line} of the input` : `tail -n +${failure.line} ${printable(source)}`
    notice(`to go on, hand over the rest, from line ${failure.line}: ${from} | memsync enqueue --ndjson -`)
  }
  await print(`accepted ${accepted}, refused ${refused}\n`)
}
