/**
 * One text per JSON value, whatever order its names were written in. Pure.
 *
 * Names are sorted by UTF-16 code units and nothing is put between tokens, as RFC 8785 has it; numbers and
 * strings are written as `JSON.stringify` writes them, which is what that document builds on.
 */
import type { JsonValue } from './jsonValue.ts'

/** The value as canonical JSON. The value must have passed `assertJsonValue`, which bounds its depth. */
export function canonicalJson(value: JsonValue): string {
  if (value === null || typeof value !== 'object') return JSON.stringify(value)
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`
  // Written straight to text: copying into an object with sorted names would lose a name like `__proto__`.
  const members = Object.keys(value)
    .sort()
    .map((name) => `${JSON.stringify(name)}:${canonicalJson(value[name] as JsonValue)}`)
  return `{${members.join(',')}}`
}
