/** Text on a terminal of so many columns and rows. Colours take no room. Pure. */
import { stripVTControlCharacters } from 'node:util'

// What a terminal takes for a colour, as `styleText` writes it.
const COLOUR = /^\p{Cc}\[[\d;]*m/u
const RESET = '\u001b[0m'
/** Scripts, and pictures, of which a character takes two columns. */
const WIDE =
  /[\p{Script=Han}\p{Script=Hangul}\p{Script=Hiragana}\p{Script=Katakana}\p{Emoji_Presentation}\uff01-\uff60]/u
const NO_WIDTH = /\p{Mn}|\p{Me}|\u200d|\ufe0f/u

function widthOf(character: string): number {
  if (NO_WIDTH.test(character)) return 0
  return WIDE.test(character) ? 2 : 1
}

/** How many columns the text takes. */
export function visibleWidth(text: string): number {
  return [...stripVTControlCharacters(text)].reduce((sum, character) => sum + widthOf(character), 0)
}

/** Lines of at most `width`, broken at spaces; a word that is longer stays whole, so that a path can be copied. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && visibleWidth(line) + 1 + visibleWidth(word) > width) {
      lines.push(line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, line]
}

/** The same for facts with commas or wide gaps between them: broken within a fact only where it is too long by itself. */
export function wrapParts(text: string, width: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const part of text.split(/(?<=, | {2})(?! )/)) {
    if (line !== '' && visibleWidth(line + part.trimEnd()) > width) {
      lines.push(line)
      line = ''
    }
    line += part
  }
  return [...lines, line].flatMap((parts) => wrap(parts.trimEnd(), width))
}

/** The line as far as it fits, with an ellipsis where something was left out. */
export function clip(line: string, columns: number): string {
  if (visibleWidth(line) <= columns) return line
  let [shown, width, isColoured] = ['', 0, false]
  for (let rest = line; rest !== ''; ) {
    const colour = COLOUR.exec(rest)?.[0]
    if (colour !== undefined) {
      shown += colour
      rest = rest.slice(colour.length)
      isColoured = true
      continue
    }
    const [character = ''] = rest
    if (width + widthOf(character) > columns - 1) break
    shown += character
    width += widthOf(character)
    rest = rest.slice(character.length)
  }
  return `${shown}…${isColoured ? RESET : ''}`
}

/** The lines in so many rows: empty ones go first, then those at the end, which the last row says. */
export function fitRows(lines: readonly string[], rows: number): string[] {
  if (lines.length <= rows) return [...lines]
  const full = lines.filter((line) => line !== '')
  if (full.length <= rows) return full
  return [...full.slice(0, Math.max(0, rows - 1)), '…']
}
