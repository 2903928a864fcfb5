/**
 * What comes in by `POST /v1/memories`: one memory, an array of them, or NDJSON of any length in bounded memory.
 *
 * - An array is checked as a whole first: where one memory breaks the contract, none is handed over.
 * - Of NDJSON each line stands alone: what breaks the contract is refused by its number, and the rest goes on.
 * - Memories are handed over in the order in which they stand, many at a time.
 */
import type { Readable } from 'node:stream'
import { type ErrorCode, MemsyncError, toMemsyncError } from '../errors.ts'
import { MAX_METADATA_BYTES, type MemoryInput, parsePayload } from '../jobs/index.ts'
import { decodeUtf8, MAX_ESCAPED_LENGTH, parseJsonExactly } from '../jobs/jsonText.ts'
import { MAX_KEY_BYTES, MAX_NAMESPACE_BYTES } from '../jobs/key.ts'
import { type HandedOver, type HandOver, type Receipt, receiptOf } from './handOver.ts'
import { badRequest, type ErrorBody, errorBody, statusOf } from './httpErrors.ts'
import { LineCutter, type NdjsonLine } from './ndjsonLines.ts'

/** Above this, NDJSON is the way: its answer does not grow with it. */
const MAX_ARRAY_MEMORIES = 10_000
/** How many refused lines of NDJSON are named one by one. */
const MAX_NAMED_REFUSALS = 100
/** Enough to keep Redis busy over one connection. */
const MAX_IN_FLIGHT = 256

export interface IntakeOptions {
  maxValueBytes: number
  handOver: HandOver
}

export interface Answer {
  status: number
  body: unknown
  /** Of a body that is text as it stands; without it the body is sent as JSON. */
  contentType?: string
}

/** The longest JSON body taken: one value of the greatest length, however it is escaped, and what stands around it. */
function maxBodyBytes(maxValueBytes: number): number {
  const fields = maxValueBytes + MAX_KEY_BYTES + MAX_NAMESPACE_BYTES + MAX_METADATA_BYTES
  return fields * MAX_ESCAPED_LENGTH + 1024
}

/** @throws MEMSYNC_BAD_REQUEST, MEMSYNC_INVALID_MEMORY, MEMSYNC_INVALID_VALUE, MEMSYNC_VALUE_TOO_LARGE; an outage */
export async function takeJson(body: Readable, options: IntakeOptions): Promise<Answer> {
  const data = parseText(await readWhole(body, maxBodyBytes(options.maxValueBytes)), 'the body')
  if (Array.isArray(data)) return takeArray(data, options)
  const memory = checked(data, options)
  return { status: 202, body: receiptOf(memory, await options.handOver(memory)) }
}

async function takeArray(items: unknown[], options: IntakeOptions): Promise<Answer> {
  if (items.length === 0) throw badRequest('the array has no memory in it')
  if (items.length > MAX_ARRAY_MEMORIES) {
    throw badRequest(`the array has more than ${MAX_ARRAY_MEMORIES} memories; send them as NDJSON`, 413)
  }
  const memories = items.map((item, index) => {
    try {
      return checked(item, options)
    } catch (thrown) {
      const { code, message } = toMemsyncError(thrown, 'MEMSYNC_INVALID_MEMORY')
      throw new MemsyncError(code, `memory ${index}: ${message} (none was taken)`, { cause: thrown })
    }
  })
  const results: (Receipt | ErrorBody)[] = []
  const conveyor = new Conveyor(options.handOver)
  for (const [index, memory] of memories.entries()) {
    await conveyor.put(memory, (outcome) => {
      results[index] = outcome instanceof MemsyncError ? errorBody(outcome) : receiptOf(memory, outcome)
    })
  }
  const failure = await conveyor.finish()
  const { accepted } = conveyor
  if (!failure) return { status: 202, body: { accepted, results } }
  return { status: statusOf(failure), body: { ...errorBody(failure), accepted, results } }
}

/** What became of a stream. */
interface StreamSummary {
  accepted: number
  refused: number
  refusals: { line: number; code: ErrorCode; message: string }[]
  /** Refused lines beyond those named. */
  moreRefusals: number
}

/** @throws MEMSYNC_BAD_REQUEST where the body ends too early */
export async function takeNdjson(body: Readable, options: IntakeOptions): Promise<Answer> {
  const stream = new StreamIntake(options)
  try {
    for await (const chunk of body.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>) {
      await stream.take(chunk)
      if (stream.failedLine !== undefined) break
    }
  } catch (thrown) {
    await stream.finish()
    throw endedEarly(thrown)
  }
  return stream.finish()
}

class StreamIntake {
  /** The first line that an outage kept from being handed over. */
  failedLine: number | undefined
  private readonly options: IntakeOptions
  private readonly maxLineBytes: number
  private readonly cutter: LineCutter
  private readonly conveyor: Conveyor
  private readonly summary: StreamSummary = { accepted: 0, refused: 0, refusals: [], moreRefusals: 0 }

  constructor(options: IntakeOptions) {
    this.options = options
    this.maxLineBytes = maxBodyBytes(options.maxValueBytes)
    this.cutter = new LineCutter(this.maxLineBytes)
    this.conveyor = new Conveyor(options.handOver)
  }

  async take(chunk: Uint8Array): Promise<void> {
    for (const line of this.cutter.cut(chunk)) await this.takeLine(line)
  }

  async finish(): Promise<Answer> {
    for (const line of this.cutter.rest()) await this.takeLine(line)
    const failure = await this.conveyor.finish()
    const summary = { ...this.summary, accepted: this.conveyor.accepted }
    summary.refusals.sort((a, b) => a.line - b.line)
    if (failure) {
      return {
        status: statusOf(failure),
        body: { ...errorBody(failure), ...summary, goOnFromLine: this.failedLine },
      }
    }
    if (summary.refused === 0) return { status: 202, body: summary }
    return { status: summary.accepted > 0 ? 207 : 400, body: this.withError(summary) }
  }

  private withError(summary: StreamSummary): unknown {
    const [first] = summary.refusals
    if (summary.accepted > 0 || !first) return summary
    const error = new MemsyncError(first.code, `line ${first.line}: ${first.message} (no line was taken)`)
    return { ...errorBody(error), ...summary }
  }

  private async takeLine(line: NdjsonLine): Promise<void> {
    if (this.failedLine !== undefined) return
    let memory: MemoryInput | undefined
    try {
      memory = this.read(line)
    } catch (thrown) {
      this.refuse(line.number, toMemsyncError(thrown, 'MEMSYNC_INVALID_MEMORY'))
      return
    }
    if (memory === undefined) return
    await this.conveyor.put(memory, (outcome) => {
      if (!(outcome instanceof MemsyncError)) return
      if (outcome.class === 'outage') this.failedLine = Math.min(line.number, this.failedLine ?? line.number)
      else this.refuse(line.number, outcome)
    })
  }

  /** Undefined for a blank line. */
  private read(line: NdjsonLine): MemoryInput | undefined {
    if ('tooLong' in line) {
      throw new MemsyncError('MEMSYNC_VALUE_TOO_LARGE', `the line is longer than ${this.maxLineBytes} bytes`)
    }
    if (line.bytes.every((byte) => byte === 0x20 || byte === 0x09)) return undefined
    return checked(parseText(line.bytes, 'the line'), this.options)
  }

  private refuse(line: number, { code, message }: MemsyncError): void {
    this.summary.refused++
    if (this.summary.refusals.length < MAX_NAMED_REFUSALS) this.summary.refusals.push({ line, code, message })
    else this.summary.moreRefusals++
  }
}

/** Hands memories over in the order they are put, so many at a time; each hears what became of it. */
class Conveyor {
  accepted = 0
  private readonly handOver: HandOver
  private inFlight = 0
  private failure: MemsyncError | undefined
  private bug: { thrown: unknown } | undefined
  private moved = Promise.withResolvers<void>()

  constructor(handOver: HandOver) {
    this.handOver = handOver
  }

  /** Resolves when there is room for the next. */
  async put(memory: MemoryInput, settled: (outcome: HandedOver | MemsyncError) => void): Promise<void> {
    this.inFlight++
    void this.handOver(memory)
      .then(
        (handedOver) => {
          this.accepted++
          settled(handedOver)
        },
        (thrown: unknown) => {
          if (!(thrown instanceof MemsyncError)) {
            this.bug ??= { thrown }
            return
          }
          // What the memory itself breaks is its own refusal; anything else concerns all that come after it.
          if (thrown.class !== 'permanent') this.failure ??= thrown
          settled(thrown)
        },
      )
      .finally(() => {
        this.inFlight--
        this.moved.resolve()
        this.moved = Promise.withResolvers()
      })
    while (this.inFlight >= MAX_IN_FLIGHT) await this.moved.promise
  }

  /** Resolves once the fate of each is known, with the first failure that was not a memory's own. @throws a bug */
  async finish(): Promise<MemsyncError | undefined> {
    while (this.inFlight > 0) await this.moved.promise
    if (this.bug) throw this.bug.thrown
    return this.failure
  }
}

function checked(data: unknown, { maxValueBytes }: IntakeOptions): MemoryInput {
  parsePayload('MEMORY_SYNC', data, maxValueBytes)
  return data as MemoryInput
}

function parseText(bytes: Uint8Array, what: string): unknown {
  const text = decodeUtf8(bytes, what)
  try {
    return parseJsonExactly(text)
  } catch (thrown) {
    if (!(thrown instanceof SyntaxError)) throw thrown
    // The parser's own message would quote the text.
    throw new MemsyncError('MEMSYNC_INVALID_MEMORY', `${what} is not JSON`)
  }
}

async function readWhole(body: Readable, maxBytes: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let size = 0
  try {
    for await (const chunk of body.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>) {
      size += chunk.length
      if (size > maxBytes) break
      chunks.push(chunk)
    }
  } catch (thrown) {
    throw endedEarly(thrown)
  }
  if (size <= maxBytes) return Buffer.concat(chunks)
  throw new MemsyncError('MEMSYNC_VALUE_TOO_LARGE', `the body is longer than ${maxBytes} bytes`)
}

function endedEarly(thrown: unknown): MemsyncError {
  return thrown instanceof MemsyncError ? thrown : badRequest('the body ended before it was whole')
}
