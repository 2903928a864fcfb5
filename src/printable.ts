/** Text that came from outside, as a terminal may be shown it. Pure. */

/** What a terminal would take for a command, or read the other way round, as an escape; the rest unchanged. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Bidi_C}\p{Cs}\u2028\u2029]/gu, escapeCharacter)
}

/** The same for text of many lines. */
export function printableLines(text: string): string {
  return text.replace(/[\p{Cc}\p{Bidi_C}\p{Cs}\u2028\u2029]/gu, (character) =>
    character === '\n' || character === '\t' ? character : escapeCharacter(character),
  )
}

function escapeCharacter(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}
