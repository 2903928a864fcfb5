/**
 * What a key and a namespace may be: the one rule, for the wire and for every way around it. Pure, and free of
 * the schema library, so that a read of the store need not load it.
 */

export const MAX_KEY_BYTES = 1024
export const MAX_NAMESPACE_BYTES = 256
export const DEFAULT_NAMESPACE = 'default'

/**
 * What is wrong with `text` as UTF-8 of 1 to `maxBytes` bytes, or undefined where nothing is. A lone surrogate
 * has no UTF-8 form, so it would not come back as it was.
 */
export function findTextProblem(text: unknown, maxBytes: number): string | undefined {
  if (typeof text !== 'string') return `is ${text === null ? 'null' : `a ${typeof text}`}, not a string`
  if (text.length === 0) return 'is empty'
  if (!text.isWellFormed()) return 'holds a lone surrogate, which has no UTF-8 form'
  return Buffer.byteLength(text) > maxBytes ? `is longer than ${maxBytes} bytes` : undefined
}

/** Which memory a job's data is about, as far as it says so by the rules, and nothing else of it: what a log may name. */
export function memoryNameIn(data: unknown): { namespace?: string; key?: string } {
  const { namespace, key } = (typeof data === 'object' && data !== null ? data : {}) as Record<
    string,
    unknown
  >
  return {
    ...(findTextProblem(namespace, MAX_NAMESPACE_BYTES) ? {} : { namespace: namespace as string }),
    ...(findTextProblem(key, MAX_KEY_BYTES) ? {} : { key: key as string }),
  }
}
