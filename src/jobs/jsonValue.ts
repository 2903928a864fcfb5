/**
 * What counts as a JSON value, checked so that what is stored is exactly what was handed over. Pure.
 *
 * `JSON.stringify` drops `undefined` and functions, turns NaN into null and a Date into a string without a
 * word; here each of them is refused by the path at which it stands. Only -0 changes: JSON has it as 0.
 */
import { MemsyncError } from '../errors.ts'

export type JsonValue = null | boolean | number | string | JsonValue[] | { [name: string]: JsonValue }

/** The deepest nesting taken; the parsers of other languages begin to fail above it. */
export const MAX_VALUE_DEPTH = 500

/** Bytes of JSON at most for each that a walk counts: a number counts as one, and may be 24 long, and a comma. */
const MAX_BYTES_OF_ONE = 25

const IDENTIFIER = /^[A-Za-z_$][\w$]*$/

type Path = readonly (string | number)[]

function describePath(path: Path): string {
  let text = 'value'
  for (const step of path) {
    text += typeof step === 'string' && IDENTIFIER.test(step) ? `.${step}` : `[${JSON.stringify(step)}]`
    if (text.length > 200) return `${text.slice(0, 200)}…`
  }
  return text
}

/** True for `{}` of this or another realm and for what has no prototype, false for an instance of a class. */
export function isPlainObject(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype === null || prototype === Object.prototype) return true
  // Only a realm's own Object.prototype has no prototype and yet owns this method.
  return Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype as object, 'isPrototypeOf')
}

function refuse(path: Path, problem: string): MemsyncError {
  return new MemsyncError('MEMSYNC_INVALID_VALUE', `${describePath(path)} ${problem}: not JSON`)
}

function findObjectProblem(value: object): string | undefined {
  // JSON.stringify would store what this method returns in place of the value, wherever the method stands.
  if (
    typeof (value as { toJSON?: unknown }).toJSON === 'function' &&
    (Array.isArray(value) || isPlainObject(value))
  )
    return 'has a toJSON method'
  if (Array.isArray(value)) return undefined
  if (!isPlainObject(value)) {
    const name: unknown = Object.getPrototypeOf(value)?.constructor?.name
    return typeof name === 'string' && name !== '' ? `is a ${name}` : 'is a class instance'
  }
  return Object.getOwnPropertySymbols(value).length > 0 ? 'has a symbol for a name' : undefined
}

/** One walk over one value: where it stands, and how many bytes of JSON are left at most. */
class Walk {
  readonly #path: (string | number)[] = []
  readonly #parents: object[] = []
  readonly #maxBytes: number
  #bytesLeft: number

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
    this.#bytesLeft = maxBytes
  }

  /** The most that the JSON of what was visited can have. */
  get maxJsonBytes(): number {
    return (this.#maxBytes - this.#bytesLeft) * MAX_BYTES_OF_ONE
  }

  visit(node: unknown): void {
    if (typeof node === 'object') {
      if (node === null) this.#spend(4)
      else this.#descend(node)
    } else if (typeof node === 'string') {
      this.#spend(node.length + 2)
    } else if (typeof node === 'number') {
      if (!Number.isFinite(node)) throw refuse(this.#path, `is ${node}`)
      this.#spend(1)
    } else if (typeof node === 'boolean') {
      this.#spend(4)
    } else {
      throw refuse(this.#path, node === undefined ? 'is undefined' : `is a ${typeof node}`)
    }
  }

  #descend(node: object): void {
    const problem = findObjectProblem(node)
    if (problem !== undefined) throw refuse(this.#path, problem)
    this.#parents.push(node)
    // The depth also bounds the recursion: a value nested a million deep is an error here, not a stack overflow.
    if (this.#parents.length > MAX_VALUE_DEPTH) {
      this.#refuseCycle()
      const where = describePath(this.#path)
      throw new MemsyncError(
        'MEMSYNC_VALUE_TOO_LARGE',
        `${where} is nested deeper than ${MAX_VALUE_DEPTH} levels`,
      )
    }
    this.#spend(2)
    if (Array.isArray(node)) this.#visitItems(node)
    else this.#visitMembers(node as Record<string, unknown>)
    this.#parents.pop()
  }

  #visitItems(items: unknown[]): void {
    for (let index = 0; index < items.length; index++) {
      this.#path.push(index)
      this.visit(items[index])
      this.#path.pop()
    }
    // By now every index is known to be there, so any further name is one that JSON would drop.
    const names = Object.keys(items)
    if (names.length > items.length)
      throw refuse([...this.#path, names[items.length] as string], 'is not an item')
  }

  #visitMembers(members: Record<string, unknown>): void {
    for (const name of Object.keys(members)) {
      this.#path.push(name)
      this.#spend(name.length + 3)
      this.visit(members[name])
      this.#path.pop()
    }
  }

  /** Counts from below, so that a value built of one part referred to a billion times ends here, at once. */
  #spend(bytes: number): void {
    this.#bytesLeft -= bytes
    if (this.#bytesLeft >= 0) return
    this.#refuseCycle()
    throw tooLarge(`more than ${this.#maxBytes}`, this.#maxBytes)
  }

  /** A cycle always ends in one limit or the other, so it is looked for only there. */
  #refuseCycle(): void {
    const repeat = this.#parents.findIndex((parent, depth) => this.#parents.indexOf(parent) < depth)
    if (repeat !== -1) throw refuse(this.#path.slice(0, repeat), 'is a cycle')
  }
}

function tooLarge(bytes: string, maxBytes: number): MemsyncError {
  return new MemsyncError(
    'MEMSYNC_VALUE_TOO_LARGE',
    `value is ${bytes} bytes of JSON, the limit is ${maxBytes} (MEMSYNC_MAX_VALUE_BYTES)`,
  )
}

/** Whether something in it stands below more than so many levels of objects and arrays. */
export function isDeeperThan(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false
  return levels === 0 || Object.values(value).some((item) => isDeeperThan(item, levels - 1))
}

/** @throws MEMSYNC_INVALID_VALUE, with the path of what is not JSON */
export function assertJsonValue(value: unknown): asserts value is JsonValue {
  new Walk(Number.POSITIVE_INFINITY).visit(value)
}

/**
 * Makes the JSON text only where the value comes near the limit.
 * @throws MEMSYNC_INVALID_VALUE where it is not JSON, MEMSYNC_VALUE_TOO_LARGE above `maxBytes` of UTF-8
 */
export function checkJsonValue(value: unknown, maxBytes: number): void {
  const walk = new Walk(maxBytes)
  walk.visit(value)
  if (walk.maxJsonBytes > maxBytes) encodeWithin(value, maxBytes)
}

/**
 * The value as JSON text.
 * @throws MEMSYNC_INVALID_VALUE where it is not JSON, MEMSYNC_VALUE_TOO_LARGE above `maxBytes` of UTF-8
 */
export function encodeJsonValue(value: unknown, maxBytes: number): string {
  new Walk(maxBytes).visit(value)
  return encodeWithin(value, maxBytes)
}

function encodeWithin(value: unknown, maxBytes: number): string {
  const json = JSON.stringify(value)
  const bytes = Buffer.byteLength(json)
  if (bytes > maxBytes) throw tooLarge(String(bytes), maxBytes)
  return json
}
