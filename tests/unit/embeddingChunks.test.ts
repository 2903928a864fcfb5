import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { type Chunk, splitIntoChunks } from '../../src/embedding/chunk.ts'
import { type CountTokens, loadTokenCounter } from '../../src/embedding/tokens.ts'
import { expectPrompt } from '../support/promptness.ts'
import { printedSeed } from '../support/seed.ts'

const seed = printedSeed('chunks')

let countTokens: CountTokens

beforeAll(async () => {
  countTokens = await loadTokenCounter()
})

const LIMITS = { maxInputTokens: 32, chunkTokens: 30, overlapTokens: 6 }

/** Every character stands in a chunk, in order; chunks overlap or meet; none begins or ends within a character. */
function expectCovering(text: string, chunks: readonly Chunk[]): void {
  let covered = 0
  for (const [position, chunk] of chunks.entries()) {
    expect(chunk.text).toBe(text.slice(chunk.start, chunk.end))
    expect(chunk.text.isWellFormed()).toBe(true)
    expect(chunk.start).toBeLessThanOrEqual(covered)
    expect(chunk.end).toBeGreaterThan(covered)
    if (position > 0) expect(chunk.start).toBeGreaterThan(chunks[position - 1]?.start ?? 0)
    covered = chunk.end
  }
  expect(covered).toBe(text.length)
}

describe('counting tokens', () => {
  it('counts as the tokenizer of the models does', () => {
    // Counts of OpenAI's own tokenizer, cl100k_base.
    expect(countTokens('')).toBe(0)
    expect(countTokens('hello world')).toBe(2)
    expect(countTokens('tiktoken is great!')).toBe(6)
    expect(countTokens('お誕生日おめでとう')).toBe(9)
    expect(countTokens('2 + 2 = 4')).toBe(7)
    expect(countTokens('antidisestablishmentarianism')).toBe(6)
  })

  it('takes a control token for the text it is', () => {
    expect(countTokens('<|endoftext|>')).toBeGreaterThan(1)
  })

  it('takes time in proportion to the text, however long its runs are', () => {
    for (const run of ['a', '=', ' ', '\n', '記', '😀']) {
      const started = performance.now()
      const tokens = countTokens(run.repeat(200_000))
      // A quadratic count of these takes 30 s and more.
      expectPrompt(performance.now() - started, 2500)
      expect(tokens).toBeGreaterThan(200_000 / 130)
    }
  })
})

describe('splitting a text', () => {
  it('leaves a text whole that fits, and makes nothing of an empty one', async () => {
    expect(await splitIntoChunks('', countTokens)).toEqual([])
    const text = 'word '.repeat(8000)
    const [chunk, ...rest] = await splitIntoChunks(text, countTokens)
    expect(rest).toEqual([])
    expect(chunk).toEqual({ text, start: 0, end: text.length, tokens: countTokens(text) })
    const dense = '😀'.repeat(4000)
    expect(await splitIntoChunks(dense, countTokens)).toMatchObject([{ text: dense, tokens: 8000 }])
    expect((await splitIntoChunks('😀'.repeat(4100), countTokens)).length).toBe(2)
  })

  it('splits above 8,191 tokens into chunks that each fit and overlap', async () => {
    const text = Array.from({ length: 20_000 }, (_, i) => `word${i}`).join(' ')
    const chunks = await splitIntoChunks(text, countTokens)
    expect(chunks.length).toBeGreaterThan(5)
    expectCovering(text, chunks)
    for (const [position, chunk] of chunks.entries()) {
      expect(countTokens(chunk.text)).toBeLessThanOrEqual(8000)
      if (position === 0) continue
      const overlap = countTokens(text.slice(chunk.start, chunks[position - 1]?.end))
      expect(overlap).toBeGreaterThan(150)
      expect(overlap).toBeLessThanOrEqual(200)
    }
  })

  it('covers any text, whatever it is made of, in chunks that fit', async () => {
    const word = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 40 }),
      fc.string({ unit: 'grapheme', maxLength: 40 }),
      fc.constantFrom('word ', 'a'.repeat(300), '\n\n', '😀'.repeat(90), '   ', '👩‍👩‍👧‍👦'.repeat(20), '.\n'),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(word, { maxLength: 40 }), async (words) => {
        const text = words.join('').toWellFormed()
        const chunks = await splitIntoChunks(text, countTokens, LIMITS)
        expectCovering(text, chunks)
        for (const chunk of chunks) {
          expect(countTokens(chunk.text)).toBeLessThanOrEqual(LIMITS.maxInputTokens)
          expect(chunk.tokens).toBeLessThanOrEqual(LIMITS.maxInputTokens)
        }
      }),
      { seed, numRuns: 200 },
    )
  })

  it('gives others a turn while it works on a long text', async () => {
    const text = Buffer.from(Float64Array.from({ length: 25_000 }, (_, i) => Math.sin(i)).buffer).toString(
      'base64',
    )
    let turns = 0
    const ticking = setInterval(() => {
      turns += 1
    }, 0)
    const chunks = await splitIntoChunks(text, countTokens)
    clearInterval(ticking)
    expectCovering(text, chunks)
    expect(chunks.length).toBeGreaterThan(10)
    expect(turns).toBeGreaterThan(4)
  })
})
