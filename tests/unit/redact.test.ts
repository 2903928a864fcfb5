/** Keys of well-known shapes are masked, nothing else is, in time that grows with the length of the text alone. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { redactMemory, redactText, redactValue, SECRET_PATTERNS } from '../../src/jobs/redact.ts'
import { printedSeed } from '../support/seed.ts'

const seed = printedSeed('redact')

/** Put together here, so that nobody who scans this file for keys finds one. */
const letters = (length: number) => 'aB3dE5gH7jK9mN1pQ2sT4vW6yZ8'.repeat(10).slice(0, length)
const hex = (length: number) => '0123456789abcdef'.repeat(10).slice(0, length)
const PEM = `${'-'.repeat(5)}BEGIN RSA PRIVATE KEY${'-'.repeat(5)}\nProc-Type: 4,ENCRYPTED\n\n${letters(200)}\n`
const PEM_END = `${'-'.repeat(5)}END RSA PRIVATE KEY${'-'.repeat(5)}`

/** What stands around it, and the secret itself. */
const SECRETS: Record<string, [before: string, secret: string, after: string][]> = {
  'private key': [
    ['key:\n', `${PEM}${PEM_END}`, '\nend'],
    ['', `${PEM.replaceAll('\n', '\\n')}${PEM_END}`, ''],
    ['', `-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n${letters(90)}\n-----END PGP PRIVATE KEY BLOCK-----`, ''],
    ['cut off: ', `-----BEGIN OPENSSH PRIVATE KEY-----\n${letters(100)}`, ''],
  ],
  'Authorization header': [
    ['curl -H "Authorization: Bearer ', letters(40), '" https://x.example'],
    ['{\\"authorization\\": \\"Basic ', 'dXNlcjpwYXNzMTIz', '\\"}'],
  ],
  'password in a URL': [
    ['postgres://app:', 's3cr.et!', '@db.example:5432/x'],
    ['redis://:', 'hunter2', '@127.0.0.1:6379'],
  ],
  'JSON Web Token': [['token ', `eyJ${letters(20)}.eyJ${letters(40)}.${letters(43)}`, '.']],
  'AWS access key id': [['id=', `AKIA${'IOSFODNN7EXAMPLE'.slice(0, 16)}`, ' ']],
  'AWS secret access key': [
    ['AWS_SECRET_ACCESS_KEY=', letters(40), '\n'],
    ['"aws_secret_access_key": "', letters(40), '"'],
  ],
  'Azure storage account key': [['AccountName=x;AccountKey=', `${letters(86)}==`, ';']],
  'Google API key': [['key=', `AIza${letters(35)}`, '&x']],
  'Google OAuth secret or token': [
    ['', `GOCSPX-${letters(28)}`, ''],
    ['', `ya29.${letters(60)}`, ''],
  ],
  'GitHub token': [
    ['https://x-access-token:', `ghs_${letters(36)}`, ' '],
    ['', `github_pat_${letters(22)}_${letters(59)}`, ''],
  ],
  'GitLab token': [['', `glpat-${letters(20)}`, ' ']],
  'key that begins with sk-': [
    ['OPENAI_API_KEY=', `sk-${letters(48)}`, '\n'],
    ['', `sk-proj-${letters(40)}_${letters(40)}`, ' '],
  ],
  'Mem0 key': [
    ['Token ', `m0-${letters(40)}`, ''],
    ['', `m0sk_${letters(32)}`, ''],
  ],
  'Hugging Face token': [['', `hf_${letters(34)}`, '']],
  'Slack token or webhook': [
    ['', `xoxb-${'1'.repeat(12)}-${letters(24)}`, ''],
    ['', `xapp-1-${letters(60)}`, ''],
    ['https://', `hooks.slack.com/services/T00000000/B00000000/${letters(24)}`, ''],
  ],
  'Stripe key': [
    ['', `sk_live_${letters(24)}`, ''],
    ['', `whsec_${letters(32)}`, ''],
  ],
  'npm token': [['//registry.npmjs.org/:_authToken=', `npm_${letters(36)}`, '']],
  'PyPI token': [['', `pypi-AgEIcHlwaS5vcmc${letters(100)}`, '']],
  'SendGrid key': [['', `SG.${letters(22)}.${letters(43)}`, '']],
  'DigitalOcean token': [['', `dop_v1_${hex(64)}`, '']],
  'Telegram bot token': [
    ['bot', '', ''],
    ['token: ', `123456789:AA${letters(33)}`, ''],
  ],
}

/** Texts of programmers' days, none of which holds a key. */
const HARMLESS = [
  '3b18e512-dba9-4cb7-9d2a-4f6c1c1b6e5d',
  `sha256:${hex(64)}`,
  'd3585ed4f9a1c2b3e4f5a6b7c8d9e0f1a2b3c4d5',
  'sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==',
  `data:image/png;base64,${letters(250)}`,
  '2026-11-22T18:10:00.000Z and 127.0.0.1:6379',
  'sk-circle-fade-dot sk-learn-pipeline-with-a-rather-long-name-for-a-class',
  'task-2026-11-22-Some-Long-Title-With-Many-Words-And-Numbers-12345',
  'npm_config_user_agent npm_package_json hf_hub_download gho_st ghp_ m0-model',
  'see https://example.com:8080/path@2x.png and http://[::1]:80/a@b, git@github.com:owner/name.git',
  'postgres://user@host/db mailto:someone:else@example.com',
  `https://user:$TOKEN@github.com https://user:${'$'}{TOKEN}@github.com https://user:<password>@host`,
  '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----',
  '-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----',
  'A file that begins with -----BEGIN PRIVATE KEY----- is a key, and one must not commit it.',
  'The header is Authorization: Bearer followed by the token; Authorization: Basic authentication is older',
  'eyJhbGciOiJIUzI1NiJ9 is the header of a token, eyJhbGciOiJIUzI1NiJ9.not.one',
  'AKIA is a prefix, AKIDs are ids, ASIANCONTINENTALSHELF too',
  'SG.1 xoxo whsec_ ya29 AIzaHello glpat- pypi-server 12345:AAPL rk_test sk_live',
  'The quick brown fox jumps over the lazy dog. Пример 例え 😀',
]

describe('each pattern', () => {
  it.each(SECRET_PATTERNS)(
    '$name: is found, and what stands around it stays',
    ({ name, source, mask = '[redacted]' }) => {
      const samples = (SECRETS[name] ?? []).filter(([, secret]) => secret !== '')
      expect(samples.length).toBeGreaterThan(0)
      for (const [before, secret, after] of samples) {
        expect(redactText(before + secret + after)).toBe(before + mask + after)
      }
      expect(source).toMatch(/^https:\/\//)
    },
  )
})

it.each(HARMLESS)('leaves alone: %s', (text) => {
  expect(redactText(text)).toBe(text)
})

describe('a value', () => {
  const secret = `ghp_${letters(36)}`

  it('is masked at any depth, in its strings and in nothing else', () => {
    const value = {
      [secret]: 1,
      deep: [{ a: `x ${secret} y`, n: 1, b: false, z: null }],
      same: ['as', 'it', 'is'],
    }
    const redacted = redactValue(value)
    expect(redacted).toEqual({
      [secret]: 1,
      deep: [{ a: 'x [redacted] y', n: 1, b: false, z: null }],
      same: ['as', 'it', 'is'],
    })
    expect(redacted.same).toBe(value.same)
    const own = JSON.parse(`{"__proto__": "${secret}"}`) as object
    expect(JSON.stringify(redactValue(own))).toBe('{"__proto__":"[redacted]"}')
  })

  it('is masked with its metadata, in mask mode alone, and the memory handed in stays as it is', () => {
    const memory = { key: secret, value: secret, metadata: { from: secret, n: 1 }, embed: true }
    expect(redactMemory(memory, 'off')).toBe(memory)
    expect(redactMemory(memory, 'mask')).toEqual({
      key: secret,
      value: '[redacted]',
      metadata: { from: '[redacted]', n: 1 },
      embed: true,
    })
    expect(memory.value).toBe(secret)
    for (const plain of [
      { key: 'k', op: 'delete' as const },
      { key: 'k', value: null },
      { key: 'k', namespace: 'n' },
    ]) {
      expect(redactMemory(plain, 'mask')).toBe(plain)
    }
  })

  it('without a key in it comes back as the same object, any JSON', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(redactValue(value)).toBe(value)
      }),
      { seed, numRuns: 500 },
    )
  })
})

describe('a text of keys and other things', () => {
  const pieces = Object.values(SECRETS).flatMap((samples) => samples.flat())
  const part = fc.oneof(fc.constantFrom(...pieces, ...HARMLESS), fc.string())

  it('never becomes longer', () => {
    fc.assert(
      fc.property(fc.array(part, { maxLength: 6 }), (parts) => {
        const given = parts.join('')
        const redacted = redactText(given)
        expect(redacted.length).toBeLessThanOrEqual(given.length)
        expect(Buffer.byteLength(JSON.stringify(redacted))).toBeLessThanOrEqual(
          Buffer.byteLength(JSON.stringify(given)),
        )
      }),
      { seed, numRuns: 1_000 },
    )
  })

  it('is not masked any further once it was, where its parts stand apart', () => {
    fc.assert(
      fc.property(fc.array(part, { maxLength: 6 }), (parts) => {
        const redacted = redactText(parts.join(' | '))
        expect(redactText(redacted)).toBe(redacted)
      }),
      { seed, numRuns: 1_000 },
    )
  })
})

describe('time', () => {
  const starts = Object.values(SECRETS).flatMap((samples) =>
    samples.map(([before, secret]) => before + secret),
  )
  /** What makes a careless pattern try again from each place: its beginning over and over, and never its end. */
  const hostile = [
    ...starts.flatMap((start) => [start.slice(0, 8), start.slice(0, 30), start.slice(0, -1)]),
    ...[
      '-----BEGIN PRIVATE KEY-----',
      '-----BEGIN ',
      'A B C ',
      '-',
      '=',
      ':',
      '://',
      'a://:',
      'a1://b:c',
      'eyJ',
      'eyJ-',
    ],
    ...[
      'eyJaaaaaaaaaaa.',
      'sk-',
      'sk-A',
      'sk-1A-',
      'authorization: bearer ',
      'authorization:    "',
      'aws_secret_access_key',
      ' ',
      'a',
      '1',
      '\\',
    ],
  ].filter((piece) => piece !== '')

  it('grows with the length alone, whatever the text is', () => {
    const LENGTH = 1 << 16
    const measure = (text: string) => {
      const startedAt = performance.now()
      redactText(text)
      return performance.now() - startedAt
    }
    const harmless = 'The quick brown fox jumps over the lazy dog. '.repeat(LENGTH / 45)
    const usualMs = Math.max(measure(harmless), measure(harmless), 5)
    for (const piece of new Set(hostile)) {
      const text = piece.repeat(Math.ceil(LENGTH / piece.length))
      // The machine may have been busy with something else.
      const first = measure(text)
      const ms = first < 150 * usualMs ? first : measure(text)
      // One that is quadratic takes thousands of times as long.
      expect(ms, JSON.stringify(piece)).toBeLessThan(150 * usualMs)
    }
  })
})
