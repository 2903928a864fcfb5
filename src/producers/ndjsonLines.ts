/**
 * NDJSON cut into lines, as they come: numbered from 1, with bounded memory whatever the input. A line may end in LF
 * or CRLF, the last one in nothing; a byte order mark before the first is dropped.
 */

export type NdjsonLine =
  | { number: number; bytes: Uint8Array }
  /** Read past, not kept. */
  | { number: number; tooLong: true }

const LINE_FEED = 10
const CARRIAGE_RETURN = 13
const BYTE_ORDER_MARK = Buffer.from('\uFEFF')

export class LineCutter {
  private readonly maxLineBytes: number
  private held: Uint8Array[] = []
  private heldBytes = 0
  private number = 0

  constructor(maxLineBytes: number) {
    this.maxLineBytes = maxLineBytes
  }

  /** The lines that end in this chunk. */
  *cut(chunk: Uint8Array): Generator<NdjsonLine> {
    let start = 0
    for (let end = chunk.indexOf(LINE_FEED); end >= 0; end = chunk.indexOf(LINE_FEED, start)) {
      this.hold(chunk.subarray(start, end))
      start = end + 1
      yield this.take()
    }
    this.hold(chunk.subarray(start))
  }

  /** What stands behind the last line end, if anything. */
  *rest(): Generator<NdjsonLine> {
    if (this.heldBytes > 0) yield this.take()
  }

  private hold(part: Uint8Array): void {
    this.heldBytes += part.length
    // CRLF may come in two chunks, so a line has one byte more than its text.
    if (this.heldBytes > this.maxLineBytes + 1) this.held = []
    else if (part.length > 0) this.held.push(part)
  }

  private take(): NdjsonLine {
    const [only, ...more] = this.held
    const { heldBytes } = this
    let bytes = more.length === 0 ? (only ?? new Uint8Array()) : Buffer.concat(this.held)
    this.held = []
    this.heldBytes = 0
    this.number++
    if (bytes.at(-1) === CARRIAGE_RETURN) bytes = bytes.subarray(0, -1)
    if (heldBytes > this.maxLineBytes + 1 || bytes.length > this.maxLineBytes) {
      return { number: this.number, tooLong: true }
    }
    if (this.number === 1 && BYTE_ORDER_MARK.equals(bytes.subarray(0, BYTE_ORDER_MARK.length))) {
      bytes = bytes.subarray(BYTE_ORDER_MARK.length)
    }
    return { number: this.number, bytes }
  }
}
