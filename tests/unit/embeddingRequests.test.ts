import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Embedded, Embedder } from '../../src/embedding/embedder.ts'
import { type EmbedOutcome, embedBisecting, fillRequests } from '../../src/embedding/requests.ts'
import { MemsyncError } from '../../src/errors.ts'
import { printedSeed } from '../support/seed.ts'

const seed = printedSeed('requests')

describe('filling requests', () => {
  it('keeps the order, loses nothing, and breaks no limit', () => {
    const texts = fc.array(fc.record({ tokens: fc.integer({ min: 1, max: 120 }) }), { maxLength: 200 })
    fc.assert(
      fc.property(
        texts,
        fc.integer({ min: 1, max: 300 }),
        fc.integer({ min: 1, max: 20 }),
        (items, tokens, inputs) => {
          const requests = fillRequests(items, tokens, inputs)
          expect(requests.flat()).toEqual(items)
          for (const [position, request] of requests.entries()) {
            const total = request.reduce((sum, text) => sum + text.tokens, 0)
            expect(request.length).toBeGreaterThan(0)
            expect(request.length).toBeLessThanOrEqual(inputs)
            expect(total <= tokens || request.length === 1).toBe(true)
            const next = requests[position + 1]?.[0]
            if (next) expect(request.length === inputs || total + next.tokens > tokens).toBe(true)
          }
        },
      ),
      { seed },
    )
  })

  it('makes 7 calls of 10,000 texts of 200 tokens, and 5 of as many short ones', () => {
    const texts = (tokens: number) => Array.from({ length: 10_000 }, () => ({ tokens }))
    expect(fillRequests(texts(200)).map((request) => request.length)).toEqual([
      1500, 1500, 1500, 1500, 1500, 1500, 1000,
    ])
    expect(fillRequests(texts(1)).map((request) => request.length)).toEqual([2048, 2048, 2048, 2048, 1808])
  })
})

/** An embedder that gives text `t7` the vector [7], and refuses some texts. */
class Embeds implements Embedder {
  readonly space = { model: 'm', dimensions: 1 }
  readonly maxRequestTokens = 300_000
  readonly requests: string[][] = []
  readonly #refused: (text: string) => boolean
  readonly #awayAfter: number

  constructor(refused: (text: string) => boolean, awayAfter = Number.POSITIVE_INFINITY) {
    this.#refused = refused
    this.#awayAfter = awayAfter
  }

  async embed(texts: readonly string[]): Promise<Embedded> {
    if (this.requests.length >= this.#awayAfter)
      throw new MemsyncError('MEMSYNC_EMBEDDER_UNAVAILABLE', 'away')
    this.requests.push([...texts])
    if (texts.some(this.#refused)) throw new MemsyncError('MEMSYNC_EMBEDDER_REFUSED', 'refused (HTTP 400)')
    return {
      vectors: texts.map((text) => Float32Array.of(Number(text.slice(1)))),
      tokens: texts.length,
      pauseMs: 0,
    }
  }

  async probe(): Promise<void> {}
}

async function collect(
  embedder: Embedder,
  texts: string[],
  into: EmbedOutcome[] = [],
): Promise<EmbedOutcome[]> {
  for await (const outcome of embedBisecting(embedder, texts, new AbortController().signal))
    into.push(outcome)
  return into
}

describe('finding the refused text', () => {
  it('gives every good text its vector, once, and every bad one its error, whichever they are', async () => {
    const bad = fc.uniqueArray(fc.nat(99), { maxLength: 12 })
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 100 }), bad, async (count, refused) => {
        const texts = Array.from({ length: count }, (_, i) => `t${i}`)
        const isBad = (text: string) => refused.includes(Number(text.slice(1)))
        const embedder = new Embeds((text) => text !== 'memory' && isBad(text))
        const outcomes = await collect(embedder, texts)
        const seen = outcomes.flatMap((outcome) => outcome.positions).sort((a, b) => a - b)
        expect(seen).toEqual(Array.from(texts.keys()))
        for (const outcome of outcomes) {
          if ('error' in outcome) {
            expect(isBad(`t${outcome.positions[0]}`)).toBe(true)
            expect(outcome.error.code).toBe('MEMSYNC_EMBEDDER_REFUSED')
          } else {
            expect(outcome.vectors.map((vector) => vector[0])).toEqual(outcome.positions)
          }
        }
        const paid = embedder.requests.filter((request) => !request.some(isBad)).flat()
        expect(new Set(paid).size).toBe(paid.length)
      }),
      { seed },
    )
  })

  it('takes one call where all is well, and few to find one among 2,048', async () => {
    const texts = Array.from({ length: 2048 }, (_, i) => `t${i}`)
    const fine = new Embeds(() => false)
    expect(await collect(fine, texts)).toHaveLength(1)
    expect(fine.requests).toHaveLength(1)
    const one = new Embeds((text) => text === 't1234')
    const outcomes = await collect(one, texts)
    expect(outcomes.filter((outcome) => 'error' in outcome)).toMatchObject([{ positions: [1234] }])
    expect(one.requests).toHaveLength(23)
  })

  it('blames the server, not the texts, where it refuses a harmless one too', async () => {
    const error = await collect(new Embeds(() => true), ['t0', 't1', 't2']).catch(
      (thrown: MemsyncError) => thrown,
    )
    expect(error).toMatchObject({ code: 'MEMSYNC_EMBEDDER_MISCONFIGURED', class: 'credentials' })
  })

  it('hands over what was paid for before the server went away', async () => {
    const outcomes: EmbedOutcome[] = []
    const texts = ['t0', 't1', 't2', 't3']
    const away = collect(new Embeds((text) => text === 't3', 2), texts, outcomes)
    await expect(away).rejects.toMatchObject({ code: 'MEMSYNC_EMBEDDER_UNAVAILABLE' })
    expect(outcomes).toMatchObject([{ positions: [0, 1] }])
  })
})
