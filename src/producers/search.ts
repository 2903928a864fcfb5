/**
 * Finding memories by words, straight from the store: every word of the query stands somewhere in the key or the value,
 * whatever its case. It looks at every memory, page by page with the event loop free in between, and stops after a
 * time; what it found until then is the answer, marked as incomplete.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { MemsyncError } from '../errors.ts'
import type { ListPage, Store, StoredMemory } from '../infrastructure/memory/port.ts'

interface SearchRequest {
  query: string
  /** Every namespace unless given. */
  namespace?: string
  /** How many hits at most, 1 to `MAX_SEARCH_LIMIT`. */
  limit: number
  /** Ends the search with what was found. */
  signal?: AbortSignal
}

export interface SearchHit {
  memory: StoredMemory
  /** The text around the first word found. */
  excerpt: string
}

interface SearchResult {
  /** The best first: by the key (as a whole, its beginning, somewhere in it), then by the value; the newest first. */
  hits: SearchHit[]
  /** False where time was up before every memory had been looked at. */
  complete: boolean
  /** Whether memories were compared by meaning too. */
  byMeaning: boolean
}

export type Search = (store: Store, request: SearchRequest) => Promise<SearchResult>

export const MAX_SEARCH_LIMIT = 100
const MAX_QUERY_CHARACTERS = 1_000
const PAGE_SIZE = 100
const TIME_LIMIT_MS = 1_000
const EXCERPT_CHARACTERS = 240

interface Candidate {
  memory: StoredMemory
  rank: number
}

/** @throws MEMSYNC_BAD_REQUEST for a query of no words or too many characters; what the store throws */
export async function searchByWords(
  store: Pick<Store, 'list'>,
  { query, namespace, limit, signal }: SearchRequest,
): Promise<SearchResult> {
  const words = wordsOf(query)
  const startedMs = performance.now()
  let best: Candidate[] = []
  let after: ListPage['next']
  do {
    const page = await store.list({
      limit: PAGE_SIZE,
      ...(namespace === undefined ? {} : { namespace }),
      ...(after ? { after } : {}),
    })
    for (const memory of page.memories) {
      const rank = rankOf(memory, words)
      if (rank !== undefined) best.push({ memory, rank })
    }
    best = best.sort(byRank).slice(0, limit)
    after = page.next
    if (after) await nextTurn()
  } while (after && !signal?.aborted && performance.now() - startedMs < TIME_LIMIT_MS)
  const hits = best.map(({ memory }) => ({ memory, excerpt: excerptOf(memory, words) }))
  return { hits, complete: after === undefined, byMeaning: false }
}

function wordsOf(query: string): string[] {
  const words = foldCase(query.slice(0, MAX_QUERY_CHARACTERS)).split(/\s+/).filter(Boolean)
  if (query.length > MAX_QUERY_CHARACTERS) {
    throw new MemsyncError(
      'MEMSYNC_BAD_REQUEST',
      `the query is longer than ${MAX_QUERY_CHARACTERS} characters`,
    )
  }
  if (words.length === 0) throw new MemsyncError('MEMSYNC_BAD_REQUEST', 'the query has no word in it')
  return words
}

/** The best is 0; undefined where a word is nowhere in the memory. */
function rankOf(memory: StoredMemory, words: readonly string[]): number | undefined {
  const key = foldCase(memory.key)
  const phrase = words.join(' ')
  if (key === phrase) return 0
  if (key.startsWith(phrase)) return 1
  if (words.every((word) => key.includes(word))) return 2
  const value = foldCase(textOf(memory))
  return words.every((word) => key.includes(word) || value.includes(word)) ? 3 : undefined
}

function byRank(a: Candidate, b: Candidate): number {
  return a.rank - b.rank || b.memory.acceptedAtMs - a.memory.acceptedAtMs
}

function excerptOf(memory: StoredMemory, words: readonly string[]): string {
  const text = textOf(memory)
  const folded = foldCase(text)
  const found = words.map((word) => folded.indexOf(word)).filter((at) => at >= 0)
  const start = Math.max(0, Math.min(...(found.length > 0 ? found : [0])) - EXCERPT_CHARACTERS / 4)
  return shorten(text.slice(start), EXCERPT_CHARACTERS, start > 0)
}

/** A string as it is, everything else as JSON. */
export function textOf({ value }: StoredMemory): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? '')
}

/** At most so many characters of the text, with an ellipsis for what is left out on either side. */
export function shorten(text: string, maxCharacters: number, isCutBefore = false): string {
  const cut = text.length > maxCharacters ? `${text.slice(0, maxCharacters).toWellFormed()}…` : text
  return isCutBefore ? `…${cut.toWellFormed()}` : cut
}

function foldCase(text: string): string {
  return text.normalize('NFC').toLowerCase()
}
