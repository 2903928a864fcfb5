/** Text that fits a terminal, coloured or not. */
import { stripVTControlCharacters, styleText } from 'node:util'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { clip, fitRows, visibleWidth, wrap, wrapParts } from '../../src/cli/layout.ts'

const red = (text: string) => styleText('red', text, { validateStream: false })

describe('the width of text', () => {
  it.each([
    ['abc', 3],
    [red('abc'), 3],
    ['日本', 4],
    ['e\u0301', 1],
  ])('%j takes its columns', (text, width) => expect(visibleWidth(text)).toBe(width))
})

describe('a line that is clipped', () => {
  it.each([
    ['abcdef', 6, 'abcdef'],
    ['abcdef', 5, 'abcd…'],
    ['日本語', 5, '日本…'],
  ])('%j in %d columns is %j', (text, columns, expected) => expect(clip(text, columns)).toBe(expected))

  it('never takes more columns than there are, and ends its colour', () => {
    const word = fc.string({ unit: 'grapheme-ascii' }).map((text) => (text.length % 2 ? red(text) : text))
    fc.assert(
      fc.property(fc.array(word), fc.integer({ min: 1, max: 60 }), (words, columns) => {
        expect(visibleWidth(clip(words.join(' '), columns))).toBeLessThanOrEqual(columns)
      }),
    )
    expect(clip(red('abcdef'), 4)).toBe('\u001b[31mabc…\u001b[0m')
  })
})

describe('text that is wrapped', () => {
  it('keeps every word, and no line is wider unless a word is', () => {
    expect(wrap('one two three', 7)).toEqual(['one two', 'three'])
    expect(wrap('see /a/very/long/path', 8)).toEqual(['see', '/a/very/long/path'])
    fc.assert(
      fc.property(fc.array(fc.stringMatching(/^[a-z]{1,9}$/), { minLength: 1 }), (words) => {
        const lines = wrap(words.join(' '), 9)
        expect(lines.join(' ')).toBe(words.join(' '))
        for (const line of lines) expect(line.length).toBeLessThanOrEqual(9)
      }),
    )
  })

  it('is broken between facts first', () => {
    expect(wrapParts('running, pid 42, last job 3 s ago', 16)).toEqual([
      'running, pid 42,',
      'last job 3 s ago',
    ])
    expect(wrapParts(`${red('up')} for 3 s  unix:/redis.sock`, 14).map(stripVTControlCharacters)).toEqual([
      'up for 3 s',
      'unix:/redis.sock',
    ])
    expect(wrapParts('of 12 accepted by this Redis', 14)).toEqual(['of 12 accepted', 'by this Redis'])
  })
})

describe('lines for so many rows', () => {
  it('lose what is empty first, then the end', () => {
    const lines = ['a', '', 'b', '', 'c']
    expect(fitRows(lines, 5)).toEqual(lines)
    expect(fitRows(lines, 4)).toEqual(['a', 'b', 'c'])
    expect(fitRows(lines, 2)).toEqual(['a', '…'])
  })
})
