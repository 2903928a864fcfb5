/**
 * The predecessor's files, in the shapes it wrote them. Pure.
 *
 *   queue         {"queue": [E], "last_100": [E], "failed": [E], "stats": {...}}
 *   dead letters  {"items": [E], "last_update": ...}
 *   emergency     one E a line
 *
 * `last_100` was filled when an entry was queued, not when it was synced: it is proof of nothing and is passed over.
 * A file that was cut off or damaged gives every entry that stands whole in it, and says what does not.
 */

/** Where an entry stood, as a person finds it: `queue[3]`, `line 7`. */
interface Place {
  place: string
}

export interface LegacyFile {
  /** Undefined where it is none of the predecessor's files that hold memories. */
  kind: 'queue' | 'dead letters' | 'emergency' | undefined
  entries: (Place & { entry: unknown })[]
  /** What cannot be read, and why; more may be missing behind the last. */
  unreadable: (Place & { problem: string })[]
}

const LISTS = { queue: ['queue', 'failed'], 'dead letters': ['items'] } as const
const DECODER = new TextDecoder('utf-8', { fatal: true })

export function parseLegacyFile(bytes: Uint8Array): LegacyFile {
  const document = parseJson(bytes)
  if (isObject(document)) return readDocument(document) ?? readOther(document)
  const salvaged = new Salvage(bytes).read()
  return salvaged.kind ? salvaged : readLines(bytes)
}

function readDocument(document: Record<string, unknown>): LegacyFile | undefined {
  for (const kind of ['queue', 'dead letters'] as const) {
    const names = LISTS[kind]
    if (!names.some((name) => Array.isArray(document[name]))) continue
    const file: LegacyFile = { kind, entries: [], unreadable: [] }
    for (const name of names) {
      const list = document[name] ?? []
      if (!Array.isArray(list)) file.unreadable.push({ place: name, problem: 'is not a list' })
      else file.entries.push(...list.map((entry, index) => ({ place: `${name}[${index}]`, entry })))
    }
    return file
  }
  return undefined
}

/** An emergency file of one line looks like any document. */
function readOther(document: Record<string, unknown>): LegacyFile {
  if (!('content' in document)) return { kind: undefined, entries: [], unreadable: [] }
  return { kind: 'emergency', entries: [{ place: 'line 1', entry: document }], unreadable: [] }
}

function readLines(bytes: Uint8Array): LegacyFile {
  const file: LegacyFile = { kind: undefined, entries: [], unreadable: [] }
  let start = 0
  for (let line = 1; start < bytes.length; line++) {
    const lineFeed = bytes.indexOf(LINE_FEED, start)
    const end = lineFeed < 0 ? bytes.length : lineFeed
    const text = bytes.subarray(start, end)
    start = end + 1
    if (text.every((byte) => SPACES.has(byte))) continue
    const entry = parseJson(text)
    if (isObject(entry)) file.entries.push({ place: `line ${line}`, entry })
    else file.unreadable.push({ place: `line ${line}`, problem: 'is not a JSON object' })
  }
  if (file.entries.some(({ entry }) => isObject(entry) && 'content' in entry)) file.kind = 'emergency'
  return file
}

const [QUOTE, BACKSLASH, LINE_FEED] = [0x22, 0x5c, 0x0a]
const [COMMA, COLON, OPEN_LIST, CLOSE_LIST, OPEN, CLOSE] = [0x2c, 0x3a, 0x5b, 0x5d, 0x7b, 0x7d]
const SPACES = new Set([0x20, 0x09, 0x0a, 0x0d])

/** Reads a document that is no JSON as far as it goes, entry by entry. */
class Salvage {
  private readonly bytes: Uint8Array
  private at = 0
  private readonly file: LegacyFile = { kind: undefined, entries: [], unreadable: [] }

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
  }

  read(): LegacyFile {
    if (!this.take(OPEN)) return this.file
    do {
      const name = parseJson(this.value())
      if (typeof name !== 'string' || !this.take(COLON)) break
      const kind = (['queue', 'dead letters'] as const).find((one) =>
        LISTS[one].some((list) => list === name),
      )
      // An emergency line that is cut off holds none of these lists.
      if (kind) this.file.kind ??= kind
      if (kind ? !this.list(name) : this.value().length === 0) break
    } while (this.take(COMMA))
    this.file.unreadable.push({ place: `byte ${this.at}`, problem: 'the file is cut off or damaged here' })
    return this.file
  }

  /** False where the list does not end. */
  private list(name: string): boolean {
    if (!this.take(OPEN_LIST)) return false
    if (this.take(CLOSE_LIST)) return true
    for (let index = 0; ; index++) {
      const start = this.at
      const text = this.value()
      if (text.length === 0) return false
      const entry = parseJson(text)
      const place = `${name}[${index}]`
      if (entry !== undefined) this.file.entries.push({ place, entry })
      else this.file.unreadable.push({ place, problem: `is not JSON (byte ${start})` })
      if (this.take(CLOSE_LIST)) return true
      if (!this.take(COMMA)) return false
    }
  }

  /** Passes over one value; empty where it does not end. */
  private value(): Uint8Array {
    this.skipSpaces()
    const start = this.at
    let depth = 0
    for (let position = start; position < this.bytes.length; position++) {
      const byte = this.bytes[position]
      if (byte === QUOTE) {
        position = this.endOfString(position)
        if (position < 0) break
      } else if (byte === OPEN || byte === OPEN_LIST) depth++
      else if ((byte === CLOSE || byte === CLOSE_LIST) && depth > 0) depth--
      else if (depth > 0 || !ENDS_VALUE.has(byte ?? 0)) continue
      else if (position === start) break
      else return this.upTo(position)
      if (depth === 0) return this.upTo(position + 1)
    }
    return new Uint8Array()
  }

  private upTo(end: number): Uint8Array {
    const text = this.bytes.subarray(this.at, end)
    this.at = end
    return text
  }

  /** The position of the closing quote, or -1. */
  private endOfString(start: number): number {
    for (let position = start + 1; position < this.bytes.length; position++) {
      if (this.bytes[position] === BACKSLASH) position++
      else if (this.bytes[position] === QUOTE) return position
    }
    return -1
  }

  private take(byte: number): boolean {
    this.skipSpaces()
    if (this.bytes[this.at] !== byte) return false
    this.at++
    return true
  }

  private skipSpaces(): void {
    while (SPACES.has(this.bytes[this.at] ?? 0)) this.at++
  }
}

const ENDS_VALUE = new Set([COMMA, COLON, CLOSE, CLOSE_LIST, ...SPACES])

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Undefined where it is no JSON; the parser's own message would quote the text. */
function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(DECODER.decode(bytes)) as unknown
  } catch {
    return undefined
  }
}
