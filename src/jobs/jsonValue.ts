/**
 * What counts as a JSON value, checked so that what is stored is exactly what was handed over. Pure.
 *
 * `JSON.stringify` drops `undefined` and functions, turns NaN into null and a Date into a string without a
 * word; here each of them is refused by the path at which it stands.
 */
import { MemsyncError } from '../errors.ts'

export type JsonValue = null | boolean | number | string | JsonValue[] | { [name: string]: JsonValue }

/** The deepest nesting taken; the parsers of other languages begin to fail above it. */
export const MAX_VALUE_DEPTH = 500

const IDENTIFIER = /^[A-Za-z_$][\w$]*$/

function describePath(path: readonly (string | number)[]): string {
  let text = 'value'
  for (const step of path) {
    text += typeof step === 'string' && IDENTIFIER.test(step) ? `.${step}` : `[${JSON.stringify(step)}]`
    if (text.length > 200) return `${text.slice(0, 200)}…`
  }
  return text
}

function refusal(value: unknown): string | undefined {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return undefined
    case 'number':
      return Number.isFinite(value) ? undefined : `is ${value}`
    case 'object': {
      if (value === null || Array.isArray(value)) return undefined
      const prototype: unknown = Object.getPrototypeOf(value)
      if (prototype === null || Object.getPrototypeOf(prototype) === null) {
        return Object.getOwnPropertySymbols(value).length > 0 ? 'has a symbol for a name' : undefined
      }
      return `is a ${value.constructor?.name || 'class instance'}`
    }
    default:
      return `is ${typeof value === 'undefined' ? 'undefined' : `a ${typeof value}`}`
  }
}

/** Throws `MEMSYNC_INVALID_VALUE` or `MEMSYNC_VALUE_TOO_LARGE` with the path of what is not JSON. */
export function assertJsonValue(value: unknown): asserts value is JsonValue {
  // Not recursive: a value nested a million deep must be an error here, not a stack overflow.
  const path: (string | number)[] = []
  const open = new Set<object>()
  const stack: { node: object; names: (string | number)[]; next: number }[] = []

  const enter = (node: unknown) => {
    const problem = refusal(node)
    if (problem) throw new MemsyncError('MEMSYNC_INVALID_VALUE', `${describePath(path)} ${problem}: not JSON`)
    if (typeof node !== 'object' || node === null) return
    if (open.has(node)) {
      throw new MemsyncError('MEMSYNC_INVALID_VALUE', `${describePath(path)} is a cycle: not JSON`)
    }
    if (stack.length >= MAX_VALUE_DEPTH) {
      throw new MemsyncError(
        'MEMSYNC_VALUE_TOO_LARGE',
        `${describePath(path)} is nested deeper than ${MAX_VALUE_DEPTH} levels`,
      )
    }
    open.add(node)
    const names = Array.isArray(node) ? Array.from(node.keys()) : Object.keys(node)
    stack.push({ node, names, next: 0 })
  }

  enter(value)
  for (let frame = stack.at(-1); frame; frame = stack.at(-1)) {
    if (frame.next === frame.names.length) {
      open.delete(frame.node)
      stack.pop()
      path.pop()
      continue
    }
    const name = frame.names[frame.next++] as string | number
    path.push(name)
    const depth = stack.length
    enter((frame.node as Record<string | number, unknown>)[name])
    if (stack.length === depth) path.pop()
  }
}

/**
 * The value as JSON text.
 * @throws MEMSYNC_INVALID_VALUE where it is not JSON, MEMSYNC_VALUE_TOO_LARGE above `maxBytes` of UTF-8.
 */
export function encodeJsonValue(value: unknown, maxBytes: number): string {
  assertJsonValue(value)
  const json = JSON.stringify(value)
  const bytes = Buffer.byteLength(json)
  if (bytes > maxBytes) {
    throw new MemsyncError(
      'MEMSYNC_VALUE_TOO_LARGE',
      `value is ${bytes} bytes of JSON, the limit is ${maxBytes} (MEMSYNC_MAX_VALUE_BYTES)`,
    )
  }
  return json
}
