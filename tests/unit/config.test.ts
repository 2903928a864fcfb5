/** Settings: what they must be to each other. Each alone is in the tests of the formats and of the command. */
import { describe, expect, it } from 'vitest'
import { loadConfig } from '../../src/config.ts'

const load = (env: Record<string, string>) => loadConfig({}, { MEMSYNC_CONFIG: '/dev/null', ...env }).config
const KEY = 'k3y-that-is-secret'

describe('a secret goes over plain http to this machine alone, unless that is asked for', () => {
  const ways = [
    { name: 'MEMSYNC_REMOTE_URL', more: { MEMSYNC_REMOTE_KIND: 'http', MEMSYNC_REMOTE_KEY: KEY } },
    { name: 'OPENAI_BASE_URL', more: { OPENAI_API_KEY: KEY } },
    { name: 'MEMSYNC_OTLP_ENDPOINT', more: { MEMSYNC_OTLP_HEADERS: `authorization=${KEY}` } },
    { name: 'MEMSYNC_NOTIFY_URL', more: {} },
  ] as const

  it.each(ways)('$name', ({ name, more }) => {
    for (const url of [
      'http://vps.example/v1',
      'http://10.0.0.1:8080',
      'http://127.0.0.1.nip.io',
      'HTTP://[2001:db8::1]/',
    ]) {
      const env = { ...more, [name]: url }
      expect(() => load(env), url).toThrow(
        new RegExp(`^${name}: plain http to .*MEMSYNC_REMOTE_INSECURE=true`),
      )
      expect(() => load(env), url).not.toThrow(KEY)
      expect(load({ ...env, MEMSYNC_REMOTE_INSECURE: 'true' })).toBeDefined()
    }
    for (const url of [
      'https://vps.example/v1',
      'http://127.0.0.1:1',
      'http://localhost:1/v1',
      'http://[::1]:1',
    ]) {
      expect(load({ ...more, [name]: url }), url).toBeDefined()
    }
  })

  it('and what has no key to carry goes anywhere', () => {
    expect(load({ OPENAI_BASE_URL: 'http://192.168.1.5:11434/v1' }).openaiApiKey).toBeUndefined()
    expect(
      load({ MEMSYNC_REMOTE_KIND: 'mem0', MEMSYNC_REMOTE_URL: 'http://vps.example' }).remoteKey,
    ).toBeUndefined()
    const unused = { MEMSYNC_REMOTE_URL: 'http://vps.example', MEMSYNC_REMOTE_KEY: KEY }
    expect(load(unused).remoteKind).toBe('none')
  })
})
