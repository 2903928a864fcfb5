/**
 * What of a memory is embedded, and under which name its vector is kept. Pure.
 */
import { createHash } from 'node:crypto'
import { canonicalJson } from '../jobs/canonicalJson.ts'
import type { JsonValue } from '../jobs/jsonValue.ts'

/** Vectors are comparable within one space only: one model, asked for one number of dimensions. */
export interface VectorSpace {
  model: string
  /** The length asked for; undefined where the model's own is taken. */
  dimensions: number | undefined
}

const EXCERPT_CHARACTERS = 200

/**
 * The text a memory is embedded as: a string verbatim, any other value as canonical JSON. A lone surrogate,
 * which no server could read, becomes U+FFFD.
 */
export function textOf(value: JsonValue): string {
  return (typeof value === 'string' ? value : canonicalJson(value)).toWellFormed()
}

/** SHA-256, in hex, of all that decides a vector. The same hash means the same vector, so no second call. */
export function contentHash(space: VectorSpace, text: string): string {
  // The JSON array ends where the text begins, so that no model name can run into a text.
  const head = JSON.stringify([space.model, space.dimensions ?? null])
  return createHash('sha256').update(head).update('\0').update(text).digest('hex')
}

/** The beginning of a text on one line, at most 200 characters, never half a character. */
export function excerptOf(text: string): string {
  // Four times the length is looked at, so that a megabyte of blanks costs nothing.
  const line = text
    .slice(0, EXCERPT_CHARACTERS * 4)
    .replace(/\s+/g, ' ')
    .trim()
  const characters = Array.from(line.toWellFormed())
  if (characters.length <= EXCERPT_CHARACTERS && text.length <= EXCERPT_CHARACTERS * 4)
    return characters.join('')
  return `${characters.slice(0, EXCERPT_CHARACTERS - 1).join('')}…`
}
