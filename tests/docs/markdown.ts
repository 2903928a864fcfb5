/** Reading our own documents: tables, code blocks and links. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

export const ROOT = join(import.meta.dirname, '..', '..')

export function readDocument(name: string): string {
  return readFileSync(join(ROOT, name), 'utf8')
}

/**
 * The rows of the table below the heading or marker, by the names of its columns. Backquotes that hold a whole cell
 * are taken off.
 */
export function tableBelow(document: string, mark: string): Record<string, string>[] {
  const start = document.indexOf(`${mark}\n`)
  if (start < 0) throw new Error(`the document has no "${mark}"`)
  const lines = document.slice(start).split('\n')
  const first = lines.findIndex((line) => line.startsWith('|'))
  const end = lines.findIndex((line, index) => index > first && !line.startsWith('|'))
  const [head = [], , ...rows] = lines.slice(first, end < 0 ? undefined : end).map(cellsOf)
  return rows.map((cells) => Object.fromEntries(head.map((name, column) => [name, cells[column] ?? ''])))
}

function cellsOf(line: string): string[] {
  return line
    .slice(1, line.lastIndexOf('|'))
    .split(/(?<!\\)\|/)
    .map((cell) => unquote(cell.trim().replaceAll('\\|', '|')))
}

function unquote(cell: string): string {
  return /^`[^`]*`$/.test(cell) ? cell.slice(1, -1) : cell
}

/** The blocks of code in this language. */
export function codeBlocks(document: string, language: string): string[] {
  return [...document.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)]
    .filter(([, found]) => found === language)
    .map(([, , code = '']) => code)
}

/** Where its links to files of this repository lead. */
export function fileLinks(document: string): string[] {
  return [...document.matchAll(/\]\(([^)#]+)[^)]*\)/g)]
    .map(([, target = '']) => target)
    .filter((target) => !/^https?:/.test(target))
}
