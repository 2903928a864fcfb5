/** The search by words: what it finds, in which order, and when it stops. */
import { describe, expect, it } from 'vitest'
import type { ListOptions, ListPage, StoredMemory } from '../../src/infrastructure/memory/port.ts'
import { fuse } from '../../src/producers/meaningSearch.ts'
import { searchByWords } from '../../src/producers/search.ts'

const memory = (key: string, value: StoredMemory['value'], acceptedAtMs = 0): StoredMemory => ({
  namespace: 'default',
  key,
  value,
  deleted: false,
  metadata: undefined,
  embed: false,
  version: { epoch: 1, sequence: 1, index: 0 },
  acceptedAtMs,
  persistedAtMs: 0,
})

/** Pages of two, whatever is asked for. */
function storeOf(memories: StoredMemory[]) {
  let pages = 0
  return {
    pages: () => pages,
    async list({ after }: ListOptions = {}): Promise<ListPage> {
      pages++
      const start = after ? Number(after.key) : 0
      const next = start + 2 < memories.length ? { namespace: '', key: String(start + 2) } : undefined
      return { memories: memories.slice(start, start + 2), next }
    },
  }
}

const keys = async (memories: StoredMemory[], query: string, limit = 10) =>
  (await searchByWords(storeOf(memories), { query, limit })).hits.map(({ memory: { key } }) => key)

describe('it finds', () => {
  it('what holds every word in the key or the value: the key first, then the newest', async () => {
    const memories = [
      memory('x', 'an old Red fox', 1),
      memory('y', { animal: 'red FOX' }, 2),
      memory('fox/red', 'z'),
      memory('red fox jumps', 'z'),
      memory('red fox', 'z'),
      memory('red', 'a fox'),
      memory('fox', 'blue'),
    ]
    expect(await keys(memories, ' RED  fox ')).toEqual([
      'red fox',
      'red fox jumps',
      'fox/red',
      'y',
      'x',
      'red',
    ])
    expect(await keys(memories, 'red fox', 2)).toEqual(['red fox', 'red fox jumps'])
  })

  it('letters of any case and composition, numbers, and nothing where there is nothing', async () => {
    const memories = [
      memory('a', 'Caf\u0065\u0301'),
      memory('b', 42),
      memory('c', null),
      memory('d', undefined),
    ]
    expect(await keys(memories, 'CAFÉ')).toEqual(['a'])
    expect(await keys(memories, '42')).toEqual(['b'])
    expect(await keys(memories, 'nothing')).toEqual([])
  })

  it('and shows the text around it, without half a character', async () => {
    const text = `${'💾'.repeat(200)} needle ${'💾'.repeat(200)}`
    const { hits } = await searchByWords(storeOf([memory('k', text)]), { query: 'needle', limit: 1 })
    expect(hits[0]?.excerpt).toMatch(/^….*needle.*…$/u)
    expect(hits[0]?.excerpt.isWellFormed()).toBe(true)
    expect(hits[0]?.excerpt.length).toBeLessThan(250)
  })
})

describe('it stops', () => {
  const endless = {
    pages: 0,
    async list(): Promise<ListPage> {
      this.pages++
      return { memories: [memory('k', 'v')], next: { namespace: '', key: '' } }
    },
  }

  it('when time is up, with what it found', async () => {
    const { hits, complete } = await searchByWords(endless, { query: 'k', limit: 3 })
    expect({ hits: hits.length, complete }).toEqual({ hits: 3, complete: false })
  })

  it('when nobody waits any more, and leaves the event loop free until then', async () => {
    const stop = new AbortController()
    setImmediate(() => setImmediate(() => stop.abort()))
    endless.pages = 0
    expect(await searchByWords(endless, { query: 'k', limit: 1, signal: stop.signal })).toMatchObject({
      complete: false,
    })
    expect(endless.pages).toBeLessThan(10)
  })

  it('at the end', async () => {
    const store = storeOf([memory('a', 1), memory('b', 1), memory('c', 1)])
    expect(await searchByWords(store, { query: 'c', limit: 1 })).toMatchObject({ complete: true })
    expect(store.pages()).toBe(2)
  })
})

it.each([
  ['', 'no word'],
  [' \n', 'no word'],
  ['x'.repeat(1001), 'longer than 1000'],
])('the query %j is refused', async (query, message) => {
  await expect(searchByWords(storeOf([]), { query, limit: 1 })).rejects.toMatchObject({
    code: 'MEMSYNC_BAD_REQUEST',
    message: expect.stringContaining(message),
  })
})

describe('two lists of hits', () => {
  const hit = (key: string, excerpt = key) => ({ memory: memory(key, key), excerpt })
  it('are one, with what both have first, and each once', () => {
    const fused = fuse([
      [hit('a', 'word'), hit('b'), hit('both', 'word')],
      [hit('c'), hit('both', 'meaning')],
    ])
    expect(fused.map(({ memory: { key } }) => key)).toEqual(['both', 'a', 'c', 'b'])
    expect(fused[0]?.excerpt).toBe('word')
  })

  it('are as they were where the other is empty', () => {
    expect(fuse([[hit('a'), hit('b')], []]).map(({ memory: { key } }) => key)).toEqual(['a', 'b'])
    expect(fuse([[], []])).toEqual([])
  })
})
