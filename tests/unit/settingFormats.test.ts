/** What the text of a setting may be. */
import { describe, expect, it } from 'vitest'
import { headers, isLoopback, listenAddress, ratio, token, yesOrNo } from '../../src/settingFormats.ts'

describe('an address to listen on', () => {
  it.each([
    ['127.0.0.1:8765', { kind: 'tcp', host: '127.0.0.1', port: 8765 }],
    ['0.0.0.0:0', { kind: 'tcp', host: '0.0.0.0', port: 0 }],
    ['[::1]:65535', { kind: 'tcp', host: '::1', port: 65_535 }],
    ['vps.example:80', { kind: 'tcp', host: 'vps.example', port: 80 }],
    ['unix:/run/s.sock', { kind: 'socket', path: '/run/s.sock' }],
    ['unix:///run/s.sock', { kind: 'socket', path: '/run/s.sock' }],
  ])('is %s', (text, address) => {
    expect(listenAddress(text)).toEqual(address)
  })

  it.each(['', '8765', ':8765', '127.0.0.1', '127.0.0.1:65536', '::1:80', 'a b:80', 'http://x:80', 'unix:'])(
    'is not %j',
    (text) => {
      expect(() => listenAddress(text)).toThrow(/is not/)
    },
  )
})

describe('a host of this machine', () => {
  it.each(['localhost', 'LOCALHOST', 'a.localhost', '127.0.0.1', '127.1.2.3', '[::1]', '::1'])(
    'is %s',
    (host) => {
      expect(isLoopback(host)).toBe(true)
    },
  )
  it.each(['vps.example', 'localhost.example', '10.0.0.1', '0.0.0.0', '::', '128.0.0.1', '127.0.0.1.nip.io'])(
    'is not %s',
    (host) => {
      expect(isLoopback(host)).toBe(false)
    },
  )
})

it('a token has 16 characters that a header can carry', () => {
  expect(token('0123456789abcdef')).toBe('0123456789abcdef')
  for (const text of ['0123456789abcde', '0123456789 abcdef', '0123456789abcdé!', '0123456789abcdef\n']) {
    expect(() => token(text)).toThrow(/16 or more/)
  }
})

it('headers are names and values, however they are spaced', () => {
  expect(headers('authorization=Bearer a=b, x-tenant = one')).toEqual({
    authorization: 'Bearer a=b',
    'x-tenant': 'one',
  })
  for (const text of ['', 'authorization', '=one', 'a b=c', 'a=', 'a=b,', 'a=b\nc=d', 'a=ü']) {
    expect(() => headers(text), text).toThrow('is not NAME=VALUE')
  }
})

it('a ratio is from 0 to 1', () => {
  expect(['0', '1', '0.25', '.5', '1.0'].map(ratio)).toEqual([0, 1, 0.25, 0.5, 1])
  for (const text of ['', '1.1', '-0.1', '50%', 'NaN', '1e-1', 'half']) {
    expect(() => ratio(text), text).toThrow('is not a number from 0 to 1')
  }
})

it('yes is true and no is false, and nothing else is either', () => {
  expect([yesOrNo('true'), yesOrNo('false')]).toEqual([true, false])
  for (const text of ['', '1', 'TRUE', 'yes']) expect(() => yesOrNo(text)).toThrow('is not true or false')
})
