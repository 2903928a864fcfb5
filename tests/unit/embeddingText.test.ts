import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { contentHash, excerptOf, textOf } from '../../src/embedding/text.ts'
import { printedSeed } from '../support/seed.ts'

const seed = printedSeed('embedding text')

describe('the text of a memory', () => {
  it('is a string as it stands, and JSON for anything else', () => {
    expect(textOf('  as it\nstands "so" ')).toBe('  as it\nstands "so" ')
    expect(textOf({ b: 1, a: ['x'] })).toBe('{"a":["x"],"b":1}')
    expect([textOf(null), textOf(false), textOf(1.5), textOf('')]).toEqual(['null', 'false', '1.5', ''])
    expect(textOf('half \ud83d a face')).toBe('half � a face')
  })

  it('has its own hash for each model, length and text', () => {
    const spaces = [
      { model: 'm', dimensions: undefined },
      { model: 'm', dimensions: 8 },
      { model: 'm8', dimensions: undefined },
    ]
    const hashes = spaces.flatMap((space) => ['a', 'b', ''].map((text) => contentHash(space, text)))
    expect(new Set(hashes).size).toBe(9)
    expect(hashes).toEqual(
      spaces.flatMap((space) => ['a', 'b', ''].map((text) => contentHash({ ...space }, text))),
    )
    expect(hashes[0]).toMatch(/^[0-9a-f]{64}$/)
  })
})

describe('the excerpt of a text', () => {
  it('is one line of at most 200 whole characters, and says where it was cut', () => {
    expect(excerptOf('  two\n\n lines\t ')).toBe('two lines')
    expect(excerptOf('😀'.repeat(200))).toBe('😀'.repeat(200))
    expect(excerptOf('😀'.repeat(201))).toBe(`${'😀'.repeat(199)}…`)
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 1000, size: 'max' }), (text) => {
        const excerpt = excerptOf(text)
        expect(Array.from(excerpt).length).toBeLessThanOrEqual(200)
        expect(excerpt.isWellFormed()).toBe(true)
      }),
      { seed, numRuns: 30 },
    )
  })

  it('says that it was cut where the beginning is blank, or the cut goes through a character', () => {
    expect(excerptOf(`${' '.repeat(5000)}late`)).toBe('…')
    expect(excerptOf(`a${'😀'.repeat(500)}`)).toMatch(/^a😀+…$/u)
  })
})
