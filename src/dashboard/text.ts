/** How much of a long text the page is sent. Pure. */
import { shorten } from '../producers/search.ts'

/** More is hard on a browser, and nobody reads it there. */
const MAX_CHARACTERS = 100_000

export interface LongText {
  text: string
  /** How many characters the whole text has, where that is more than was sent. */
  cutFrom: number | null
}

export function jsonText(value: unknown): LongText {
  const text = typeof value === 'string' ? value : (JSON.stringify(value, null, 2) ?? '')
  if (text.length <= MAX_CHARACTERS) return { text: text.toWellFormed(), cutFrom: null }
  return { text: shorten(text, MAX_CHARACTERS), cutFrom: text.length }
}

export function excerptOf(text: string, maxCharacters: number): string {
  return shorten(text, maxCharacters).toWellFormed()
}
