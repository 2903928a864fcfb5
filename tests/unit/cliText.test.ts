/** The command's pure parts: what its arguments mean, and what it says. */

import { describe, expect, it } from 'vitest'
import { errorText, exitCodeOf } from '../../src/cli/failure.ts'
import { parseRate } from '../../src/cli/redrive.ts'
import { mayBeSame } from '../../src/cli/sameRedis.ts'
import { maskSecret } from '../../src/cli/settings.ts'
import { parseMetadata, parseValueText } from '../../src/cli/textInput.ts'
import { formatDuration, parseDurationMs } from '../../src/duration.ts'
import { ERROR_CODES, type ErrorCode, MemsyncError } from '../../src/errors.ts'
import { decodeUtf8, parseJsonExactly } from '../../src/jobs/jsonText.ts'
import { printable, printableLines } from '../../src/printable.ts'

const codeOf = (work: () => unknown): string => {
  try {
    work()
  } catch (error) {
    return error instanceof MemsyncError ? error.code : String(error)
  }
  return 'none'
}

describe('the exit code', () => {
  it('is 2 for what the caller has to change, and 1 for every other error', () => {
    const two = (Object.keys(ERROR_CODES) as ErrorCode[]).filter((code) => exitCodeOf(code) === 2)
    expect(two.sort()).toEqual([
      'MEMSYNC_BAD_SETTING',
      'MEMSYNC_BAD_USAGE',
      'MEMSYNC_INVALID_MEMORY',
      'MEMSYNC_INVALID_VALUE',
      'MEMSYNC_VALUE_TOO_LARGE',
    ])
    expect(exitCodeOf('MEMSYNC_NOT_FOUND')).toBe(1)
  })
})

describe('an error', () => {
  const error = new MemsyncError('MEMSYNC_NOT_FOUND', 'two\n  lines\u001b[31m', {
    cause: new Error('the cause'),
  })

  it('is one line with its code, then the hint, and nothing a terminal would obey', () => {
    expect(errorText(error, false)).toBe(
      `memsync: two lines\\u001b[31m (MEMSYNC_NOT_FOUND)\n  ${ERROR_CODES.MEMSYNC_NOT_FOUND.hint}\n`,
    )
  })

  it('shows the stacks of itself and its cause only to who debugs', () => {
    expect(errorText(error, true)).toContain('cliText.test')
    expect(errorText(error, true)).toContain('Error: the cause')
  })
})

describe('a span of time', () => {
  it.each([
    ['500ms', 500],
    ['90s', 90_000],
    ['30m', 1_800_000],
    ['2h', 7_200_000],
    ['1.5d', 129_600_000],
    ['1w', 604_800_000],
  ])('%s is %i ms', (text, expected) => expect(parseDurationMs(text, '--older-than')).toBe(expected))

  it.each(['', '2', 'h', '-2h', '2 h', '2x', '1e3s', '2h30m'])(
    '%j is refused by the name of the flag',
    (text) => {
      expect(() => parseDurationMs(text, '--older-than')).toThrow(/^--older-than: /)
    },
  )

  it.each([
    [-5, '0 ms'],
    [850, '850 ms'],
    [3_999, '3 s'],
    [720_000, '12 min'],
    [47 * 3_600_000, '47 h'],
    [48 * 3_600_000, '2 d'],
  ])('%i ms is shown as %s', (durationMs, expected) => expect(formatDuration(durationMs)).toBe(expected))
})

describe('VALUE', () => {
  it.each([
    ['{"a":[1,null,true]}', { a: [1, null, true] }],
    ['"text"', 'text'],
    ['-5', -5],
    [' 1 ', 1],
    ['1.5e3', 1500],
    ['9007199254740992', 2 ** 53],
    ['0.12345678901234567890', 0.12345678901234568],
    ['', ''],
    ['plain text', 'plain text'],
    ['{"a":', '{"a":'],
    ['NaN', 'NaN'],
    ['007', '007'],
  ])('%j is taken as JSON where it is JSON, and as text otherwise', (text, expected) => {
    expect(parseValueText(text)).toEqual(expected)
  })

  it.each(['9007199254740993', '{"id":[12345678901234567890]}', '-9223372036854775807'])(
    '%s is refused rather than stored with other digits, and not repeated',
    (text) => {
      expect(codeOf(() => parseValueText(text))).toBe('MEMSYNC_INVALID_VALUE')
      expect(() => parseValueText(text)).toThrow(/^value holds an integer beyond 2\^53[^0-9]+$/)
    },
  )

  it('keeps a number that stands inside a string, whatever its length', () => {
    expect(parseJsonExactly('"12345678901234567890"')).toBe('12345678901234567890')
  })

  it('is refused where it is nested too deep for the second look at its numbers', () => {
    const text = `${'['.repeat(100_000)}12345678901234567890${']'.repeat(100_000)}`
    expect(codeOf(() => parseValueText(text))).toBe('MEMSYNC_VALUE_TOO_LARGE')
  })
})

describe('--metadata', () => {
  it('keeps names and text exactly, and takes plain numbers and booleans as such', () => {
    const given = [
      'a=1',
      'b=x=y',
      'c=true',
      'd=1.10',
      'e=',
      'f=-2.5',
      '__proto__=x',
      'g=NaN',
      'h=false',
      'i=null',
    ]
    expect(Object.entries(parseMetadata(given))).toEqual([
      ['a', 1],
      ['b', 'x=y'],
      ['c', true],
      ['d', '1.10'],
      ['e', ''],
      ['f', -2.5],
      ['__proto__', 'x'],
      ['g', 'NaN'],
      ['h', false],
      ['i', 'null'],
    ])
  })

  it.each(['word', '=x'])('%j is refused', (item) => {
    expect(codeOf(() => parseMetadata([item]))).toBe('MEMSYNC_BAD_USAGE')
  })
})

describe('text from outside', () => {
  it('is refused where it is not UTF-8, and keeps a byte order mark', () => {
    expect(codeOf(() => decodeUtf8(Uint8Array.of(0x61, 0xff), 'stdin'))).toBe('MEMSYNC_INVALID_VALUE')
    expect(decodeUtf8(Buffer.from('\uFEFFé'), 'stdin')).toBe('\uFEFFé')
  })

  it('reaches a terminal without what it would obey or read the other way round', () => {
    expect(printable('a\u001b[2J\u0000\n\u202eb\ud800')).toBe('a\\u001b[2J\\u0000\\u000a\\u202eb\\ud800')
    expect(printable('שלום 👩‍👧 é')).toBe('שלום 👩‍👧 é')
    expect(printableLines('a\n\tb\u001b')).toBe('a\n\tb\\u001b')
  })
})

describe('--rate', () => {
  it('is 50 unless given, and a number above 0', () => {
    expect([parseRate(undefined), parseRate('0.5'), parseRate('200')]).toEqual([50, 0.5, 200])
    for (const text of ['0', '-1', 'many', ''])
      expect(codeOf(() => parseRate(text))).toBe('MEMSYNC_BAD_USAGE')
  })
})

describe('a secret', () => {
  it.each([
    ['redis://user:hunter2@host:6379/1?password=hunter2', 'redis://********@host:6379/1?********'],
    ['rediss://:hunter2@host', 'rediss://********@host'],
    ['unix:///run/redis.sock', 'unix:///run/redis.sock'],
    ['hunter2', '********'],
    ['{"key":"k","value":"hunter2"}', '********'],
  ])('%s is shown as %s', (text, expected) => expect(maskSecret(text)).toBe(expected))
})

describe('two addresses of a Redis', () => {
  it.each([
    ['redis://127.0.0.1:6379', 'redis://localhost', true],
    ['redis://127.0.0.1:6379', 'redis://[::1]:6379', true],
    ['redis://127.0.0.1:6379', 'redis://127.0.0.1:6380', false],
    ['redis://127.0.0.1:6379/1', 'redis://localhost:6379/2', false],
    ['redis://db.example:6379', 'redis://10.0.0.7:6379', true],
    ['redis://db.example:6379', 'redis://db.example:6380', false],
    ['unix:/a/redis.sock', 'unix:/a/redis.sock', true],
    ['unix:/a/redis.sock', 'unix:/b/redis.sock', false],
    ['unix:/a/redis.sock', 'redis://localhost:6379', false],
  ])('%s and %s: may be one Redis: %s', (one, other, expected) => {
    expect(mayBeSame(one, other)).toBe(expected)
    expect(mayBeSame(other, one)).toBe(expected)
  })
})
