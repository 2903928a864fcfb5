/** Which lines of the log are wanted, and what a person is shown of them. */
import { describe, expect, it } from 'vitest'
import { isWanted, type LogFilter, linePrinter } from '../../src/cli/logLines.ts'
import { parseLimit, parseSince } from '../../src/cli/logs.ts'

const AT = '2026-03-01T12:00:00.000Z'
const line = (fields: object) =>
  JSON.stringify({ level: 'warn', time: AT, pid: 1, ...fields, msg: 'dead letter' })

describe('a line is wanted', () => {
  it.each<[LogFilter, string, boolean]>([
    [{}, line({}), true],
    [{}, '', false],
    [{ level: 'warn' }, line({}), true],
    [{ level: 'error' }, line({}), false],
    [{ level: 'info' }, line({ level: 'fatal' }), true],
    [{ key: 'a' }, line({ key: 'a' }), true],
    [{ key: 'a' }, line({ key: 'ab' }), false],
    [{ key: 'a' }, line({}), false],
    [{ sinceMs: Date.parse(AT) }, line({}), true],
    [{ sinceMs: Date.parse(AT) + 1 }, line({}), false],
    [{ level: 'warn', key: 'a', sinceMs: 0 }, line({ key: 'a' }), true],
    // What is no line of the daemon may be the very reason that it died.
    [{}, 'FATAL ERROR: heap out of memory', true],
    [{ sinceMs: 0 }, '{"level":"inf', true],
    [{ level: 'trace' }, '{"level":"inf', false],
    [{ key: 'a' }, 'FATAL ERROR: heap out of memory', false],
  ])('%j of %s: %s', (filter, text, wanted) => {
    expect(isWanted(text, filter)).toBe(wanted)
  })
})

describe('--since', () => {
  const nowMs = Date.parse(AT)

  it('is a span before now, or a moment', () => {
    expect(parseSince('90s', nowMs)).toBe(nowMs - 90_000)
    expect(parseSince('2026-02-28T10:00:00Z', nowMs)).toBe(Date.parse('2026-02-28T10:00:00Z'))
    expect(parseSince('2026-02-28', nowMs)).toBe(new Date(2026, 1, 28).getTime())
  })

  it.each(['yesterday', '2026-99-99', '', '5'])('%j is refused by name', (text) => {
    expect(() => parseSince(text, nowMs)).toThrow(/^--since: .* is not a span of time/)
  })
})

it('--lines is 100 unless said, and all with --since', () => {
  expect(parseLimit({})).toBe(100)
  expect(parseLimit({ since: '1h' })).toBeUndefined()
  expect(parseLimit({ since: '1h', lines: '5' })).toBe(5)
  expect(parseLimit({ lines: '0' })).toBe(0)
  expect(() => parseLimit({ lines: '-1' })).toThrow('--lines: is not a whole number')
})

describe('for a person', () => {
  it('a line has its local time, level, words and fields, and no colour unless asked', async () => {
    const text = (await linePrinter(false))(line({ key: 'a', code: 'MEMSYNC_STALLED' }))
    expect(text).toMatch(/^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] WARN: dead letter /)
    expect(text).toContain('"key":"a"')
    expect(text.endsWith('\n')).toBe(true)
    expect((await linePrinter(true))(line({}))).toContain('\u001b[33mWARN')
  })

  it('nothing that a terminal obeys gets through, in whatever part of a line', async () => {
    const show = await linePrinter(false)
    const nasty = '\u001b[2J\u202e\u0007'
    for (const text of [
      show(JSON.stringify({ level: 'info', time: AT, msg: nasty, reason: nasty, key: nasty })),
      show(`FATAL ${nasty}`),
    ]) {
      for (const sign of ['\u001b', '\u202e', '\u0007']) expect(text).not.toContain(sign)
      expect(text).toContain('\\u001b[2J')
    }
  })
})
