/** The batcher: whatever jobs come, in whatever order, and whatever the server does, no text is paid twice and each job learns its own fate. */
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { EmbedBatcher, type Text } from '../../src/embedding/batcher.ts'
import type { Embedded, Embedder } from '../../src/embedding/embedder.ts'
import { MemsyncError } from '../../src/errors.ts'
import { printedSeed } from '../support/seed.ts'

const seed = printedSeed('batcher')
const textOf = (id: number): Text => ({ contentHash: `h${id}`, text: `t${id}`, tokens: 1 + (id % 7) })

class Server implements Embedder {
  readonly space = { model: 'm', dimensions: 1 }
  readonly maxRequestTokens = 20
  readonly paid: string[] = []
  private readonly bad: readonly number[]
  private outages: number

  constructor(bad: readonly number[], outages: number) {
    this.bad = bad
    this.outages = outages
  }

  async embed(texts: readonly string[]): Promise<Embedded> {
    await undefined
    if (this.outages > 0) {
      this.outages--
      throw new MemsyncError('MEMSYNC_EMBEDDER_UNAVAILABLE', 'away')
    }
    if (texts.some((text) => this.bad.includes(Number(text.slice(1))))) {
      throw new MemsyncError('MEMSYNC_EMBEDDER_REFUSED', 'no')
    }
    this.paid.push(...texts.filter((text) => text.startsWith('t')))
    return {
      vectors: texts.map((text) => Float32Array.of(Number(text.slice(1)) + 1)),
      tokens: texts.length,
      pauseMs: 0,
    }
  }

  async probe(): Promise<void> {}
}

it('each job has its vectors or its own error, no text is paid twice, and nothing is left waiting', async () => {
  const jobs = fc.array(fc.array(fc.nat(15), { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 12 })
  const bad = fc.uniqueArray(fc.nat(15), { maxLength: 3 })
  await fc.assert(
    fc.asyncProperty(jobs, bad, fc.constantFrom(0, 0, 0, 1, 2), async (wanted, refused, outages) => {
      const server = new Server(refused, outages)
      const saved = new Map<string, number>()
      let spentCalls = 0
      const batcher = new EmbedBatcher({
        embedder: server,
        missing: async (hashes) => new Set(hashes.filter((hash) => !saved.has(hash))),
        save: async (vectors, { calls }) => {
          spentCalls += calls
          for (const { contentHash, vector } of vectors) saved.set(contentHash, vector[0] ?? Number.NaN)
        },
        allowance: async () => Number.POSITIVE_INFINITY,
      })
      const { signal } = new AbortController()
      const ends = await Promise.allSettled(
        wanted.map((ids) => batcher.embed(async () => ({ texts: ids.map(textOf) }), signal)),
      )
      for (const [index, end] of ends.entries()) {
        const ids = wanted[index] ?? []
        if (end.status === 'fulfilled') for (const id of ids) expect(saved.get(`h${id}`)).toBe(id + 1)
        else {
          const { code } = end.reason as MemsyncError
          expect([
            'MEMSYNC_EMBEDDER_REFUSED',
            'MEMSYNC_EMBEDDER_UNAVAILABLE',
            'MEMSYNC_EMBEDDER_MISCONFIGURED',
          ]).toContain(code)
          // A refusal is of one of its own texts; an outage or a wrong setting is everybody's.
          if (code === 'MEMSYNC_EMBEDDER_REFUSED') expect(ids.some((id) => refused.includes(id))).toBe(true)
          if (outages === 0) expect(ids.some((id) => refused.includes(id))).toBe(true)
        }
      }
      expect(new Set(server.paid).size).toBe(server.paid.length)
      for (const [hash, value] of saved) expect(value).toBe(Number(hash.slice(1)) + 1)
      expect(spentCalls).toBeGreaterThanOrEqual(server.paid.length > 0 ? 1 : 0)
      await batcher.close()
    }),
    { seed, numRuns: 40, endOnFailure: true },
  )
})
