/** The archive of `memsync doctor --bundle`: whole, readable by any tar, and with nothing in it that must not leave. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { commandLine } from '../support/cli.ts'
import { startDaemon } from '../support/daemon.ts'
import { startFakeMem0 } from '../support/fakeMem0.ts'
import { startFakeOpenai } from '../support/fakeOpenai.ts'
import { tempDir } from '../support/tempDir.ts'

vi.setConfig({ testTimeout: 60_000 })

/** What must not be in it, wherever it could come from. */
const SECRETS = {
  MEMSYNC_REMOTE_KEY: 'm0sk_topsecret-remote',
  OPENAI_API_KEY: 'sk-topsecret-openai',
  MEMSYNC_SERVE_TOKEN: 'topsecret-serve-token',
  MEMSYNC_NOTIFY_URL: 'https://hooks.example/services/topsecret/webhook',
  MEMSYNC_NOTIFY_COMMAND: 'curl -H "Authorization: topsecret-command" https://ntfy.example',
}
const KEY = 'private-key-of-a-memory'
const VALUE = 'private-value-of-a-memory'

function unpack(path: string): Map<string, string> {
  const folder = tempDir()
  execFileSync('tar', ['-xzf', path, '-C', folder])
  const [root = ''] = readdirSync(folder)
  const files = readdirSync(join(folder, root))
  return new Map(files.map((name) => [name, readFileSync(join(folder, root, name), 'utf8')]))
}

describe('the bundle', () => {
  it('holds what a bug report needs, and no value, key or secret', async ({ onTestFinished }) => {
    const { dataDir, run, json } = commandLine()
    const mem0 = await startFakeMem0({ apiKey: SECRETS.MEMSYNC_REMOTE_KEY })
    const openai = await startFakeOpenai()
    onTestFinished(async () => {
      await Promise.all([mem0.close(), openai.close()])
    })
    const settings = {
      ...SECRETS,
      MEMSYNC_REMOTE_KIND: 'mem0',
      MEMSYNC_REMOTE_URL: mem0.url,
      OPENAI_BASE_URL: openai.baseUrl,
    }
    const file = join(dataDir, '.config', 'memsyncd', 'memsync.env')
    mkdirSync(dirname(file), { recursive: true })
    const lines = Object.entries(settings).map(([name, text]) => `${name}='${text}'\n`)
    writeFileSync(file, lines.join(''), { mode: 0o600 })

    const daemon = await startDaemon(dataDir, { MEMSYNC_LOG_LEVEL: 'trace', MEMSYNC_MAX_VALUE_BYTES: '100' })
    onTestFinished(async () => {
      daemon.kill('SIGKILL')
      await daemon.ended
    })
    expect((await run(['enqueue', KEY, VALUE, '--embed', '--wait'])).code).toBe(0)
    await run(['enqueue', `${KEY}-2`, VALUE.repeat(10), '--wait'])
    // The daemon's own lines, and one that a defect of a later release might write.
    const slip = { level: 'info', key: KEY, value: VALUE, reason: SECRETS.OPENAI_API_KEY, msg: 'slip' }
    writeFileSync(
      join(dataDir, 'memsync.log'),
      `${daemon.output()}${JSON.stringify(slip)}\nnot json: ${VALUE}\n`,
    )

    const path = join(tempDir(), 'bundle.tar.gz')
    const { document } = await json(['doctor', '--bundle', path])
    expect(document.bundle).toBe(path)
    expect(statSync(path).mode & 0o777).toBe(0o600)
    const files = unpack(path)
    expect([...files.keys()].sort()).toEqual([
      ...['README.txt', 'config.json', 'dead-letters.json', 'doctor.json'],
      ...['memsync.log', 'redis.log', 'status.json', 'versions.json'],
    ])
    const everything = [...files.values()].join('\n')
    for (const text of [KEY, VALUE, 'topsecret', dataDir]) expect(everything).not.toContain(text)

    const parsed = (name: string) => JSON.parse(files.get(name) ?? '')
    expect(parsed('doctor.json')).toEqual(
      expect.arrayContaining([expect.objectContaining({ hop: 'redis', state: 'ok' })]),
    )
    expect(parsed('config.json')).toMatchObject({
      MEMSYNC_REMOTE_KIND: { value: 'mem0', source: 'file' },
      MEMSYNC_REMOTE_KEY: { value: '********' },
      MEMSYNC_NOTIFY_URL: { value: 'https://hooks.example/********' },
      MEMSYNC_CONCURRENCY: { value: '200', source: 'default' },
    })
    expect(parsed('status.json')).toMatchObject({ daemon: { running: true }, totals: { synced: 1 } })
    expect(parsed('versions.json')).toMatchObject({
      node: process.versions.node,
      redis: expect.stringMatching(/^\d/),
    })
    const keyHash = expect.stringMatching(/^#[0-9a-f]{12}$/)
    expect(parsed('dead-letters.json')).toEqual([
      expect.objectContaining({ code: 'MEMSYNC_VALUE_TOO_LARGE', keyHash }),
    ])
    const log = (files.get('memsync.log') ?? '')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(log.some(({ msg }) => msg === 'ready')).toBe(true)
    expect(log.find(({ msg }) => msg === 'slip')).toEqual({
      level: 'info',
      key: keyHash,
      value: '********',
      reason: '********',
      msg: 'slip',
    })
  })

  it('is written also where nothing runs and the settings do not parse, and never over a file', async () => {
    const { dataDir, json, run } = commandLine()
    const env = { REDIS_URL: 'htp://user:topsecret@host', MEMSYNC_HTTP: 'topsecret' }
    const path = join(tempDir(), 'bundle.tar.gz')
    const { code, document } = await json(['doctor', '--bundle', path], { env })
    expect({ code, bundle: document.bundle }).toEqual({ code: 1, bundle: path })
    const files = unpack(path)
    expect(JSON.parse(files.get('doctor.json') ?? '')).toContainEqual(
      expect.objectContaining({
        hop: 'settings',
        state: 'failure',
        says: expect.stringMatching(/^REDIS_URL /),
      }),
    )
    expect([...files.values()].join('\n')).not.toContain('topsecret')

    const again = await run(['doctor', '--bundle', path])
    expect(again.code).toBe(2)
    expect(again.stderr).toContain(`--bundle: ${path} cannot be written (EEXIST)`)
    expect(readdirSync(dataDir)).not.toContain('redis')
  })
})
