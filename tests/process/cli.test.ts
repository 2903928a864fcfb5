/** The built command at work: beside a daemon, and without one. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { loadConfig } from '../../src/config.ts'
import { openStore } from '../../src/infrastructure/memory/index.ts'
import { commandLine, HAS_TERMINAL, MEMSYNC, privateRedisPid, runOnTerminal } from '../support/cli.ts'
import { isolatedEnvironment, startDaemon, type TestDaemon } from '../support/daemon.ts'
import { startTestRedis } from '../support/redis.ts'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

describe('beside a daemon', () => {
  const cli = commandLine()
  let daemon: TestDaemon
  beforeAll(async () => {
    daemon = await startDaemon(cli.dataDir)
  })
  afterAll(async () => {
    daemon.kill('SIGTERM')
    await daemon.ended
  })
  const value = async (key: string) => (await cli.json(['get', key])).document.value

  it('enqueue is accepted and arrives, with everything that was asked for', async () => {
    const args = ['enqueue', 'prefs', '{"theme":"dark"}', '--embed', '--metadata', 'source=chat', 'turn=3']
    expect(await cli.run(args)).toEqual({
      code: 0,
      stdout: expect.stringMatching(/^accepted prefs as job \d+\n$/),
      stderr: '',
    })
    const memory = await waitFor('it has arrived', async () => {
      const { code, document } = await cli.json(['get', 'prefs'])
      return code === 0 ? document : undefined
    })
    expect(memory).toEqual({
      key: 'prefs',
      namespace: 'default',
      value: { theme: 'dark' },
      deleted: false,
      metadata: { source: 'chat', turn: 3 },
      embed: true,
      version: expect.stringMatching(/^1-\d+-0$/),
      acceptedAt: expect.stringMatching(/^\d{4}-.*Z$/),
      persistedAt: expect.stringMatching(/^\d{4}-.*Z$/),
    })
  })

  it('enqueue --wait returns once it can be read, and a delete and a rollback do too', async () => {
    const wait = async (...args: string[]) => (await cli.json([...args, '--wait'])).document
    expect(await wait('enqueue', 'k', 'one')).toEqual({ status: 'success', key: 'k', namespace: 'default' })
    expect(await value('k')).toBe('one')
    await wait('enqueue', 'k', 'two')
    expect(await cli.run(['rollback', 'k'])).toMatchObject({ code: 0, stdout: 'rolled back k\n' })
    expect(await value('k')).toBe('one')
    expect(await cli.run(['delete', 'k', '--wait'])).toMatchObject({ code: 0, stdout: 'deleted k\n' })
    expect(await cli.run(['has', 'k'])).toMatchObject({ code: 1, stdout: 'false\n' })
    const { stdout } = await cli.run(['history', 'k', '--json'])
    const versions = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(versions.map((memory) => (memory.deleted ? '(deleted)' : memory.value))).toEqual([
      '(deleted)',
      'one',
      'two',
      'one',
    ])
  })

  it('get prints text as it is and everything else as JSON, exactly', async () => {
    await cli.run(['enqueue', 'text', '-', '--wait'], { input: 'a "text"\n of\ttwo lines\n' })
    expect((await cli.run(['get', 'text'])).stdout).toBe('a "text"\n of\ttwo lines\n\n')
    await cli.run(['enqueue', 'number', '--string', '007', '--wait'])
    expect(await value('number')).toBe('007')
    await cli.run(['enqueue', 'json', '-', '--wait'], { input: ' {"b": [1, 2.50], "__proto__": null}\n' })
    expect((await cli.run(['get', 'json'])).stdout).toBe('{"b":[1,2.5],"__proto__":null}\n')
    await cli.run(['enqueue', 'negative', '--wait', '--', '-5'])
    expect(await value('negative')).toBe(-5)
  })

  it('what breaks the contract is refused by the daemon, by name', async () => {
    const long = await cli.json(['enqueue', 'k'.repeat(1025), '1'])
    expect(long).toMatchObject({ code: 2, document: { error: { code: 'MEMSYNC_INVALID_MEMORY' } } })
    expect(long.document.error).toMatchObject({ message: expect.stringContaining('key') })
    const namespace = await cli.json(['enqueue', 'k', '1', '--namespace', ''])
    expect(namespace).toMatchObject({ code: 2, document: { error: { code: 'MEMSYNC_INVALID_MEMORY' } } })
  })

  it('namespaces are apart', async () => {
    await cli.run(['enqueue', 'same', '1', '--wait'])
    await cli.run(['enqueue', 'same', '2', '--namespace', 'other', '--wait'])
    expect(await value('same')).toBe(1)
    expect((await cli.run(['get', 'same', '--namespace', 'other'])).stdout).toBe('2\n')
    expect((await cli.run(['list', 'same', '--all-namespaces'])).stdout).toBe('default\tsame\nother\tsame\n')
    expect((await cli.run(['list', 'same', '--namespace', 'other'])).stdout).toBe('same\n')
  })

  it('status comes from the daemon', async () => {
    const { code, document } = await cli.json(['status'])
    expect(code).toBe(0)
    expect(document).toMatchObject({
      daemon: { running: true, pid: daemon.pid, since: expect.any(String) },
      redis: { state: 'up' },
      lanes: { sync: { gate: 'open' } },
      deadLetters: 0,
    })
    const { stdout } = await cli.run(['status'])
    expect(stdout).toMatch(/^daemon +running, /m)
    expect(stdout).toMatch(/^pending +\d+\nfailed +0\ntotal synced +\d+/m)
    expect(stdout).not.toContain('\u001b')
  })

  it('a daemon that hangs is told from none, and keeps nobody from handing over', async () => {
    daemon.kill('SIGSTOP')
    try {
      const [status, accepted] = await Promise.all([cli.json(['status']), cli.json(['enqueue', 'hung', '1'])])
      expect(status).toMatchObject({
        code: 0,
        document: {
          daemon: { running: true, pid: null, progress: { state: 'stalled' } },
          redis: { state: 'up' },
        },
      })
      expect(accepted).toMatchObject({ code: 0, document: { accepted: true, spooled: true, key: 'hung' } })
    } finally {
      daemon.kill('SIGCONT')
    }
    await waitFor('it has arrived', async () => (await cli.run(['has', 'hung'])).code === 0)
    // The daemon found the request in its socket too, and did not take it twice.
    expect((await cli.run(['history', 'hung', '--json'])).stdout.trim().split('\n')).toHaveLength(1)
  })

  it('enqueue --wait says when it takes long, and waits on', async () => {
    daemon.kill('SIGSTOP')
    const args = [MEMSYNC, 'enqueue', 'held', '1', '--wait']
    const waiting = spawn(process.execPath, args, { env: isolatedEnvironment(cli.dataDir) })
    const ended = once(waiting, 'exit')
    try {
      const [told] = (await once(waiting.stderr, 'data')) as [Buffer]
      expect(String(told)).toBe(
        'memsync: not done yet, still waiting; `memsync status` shows what holds it up\n',
      )
      expect(waiting.exitCode).toBe(null)
    } finally {
      daemon.kill('SIGCONT')
    }
    expect(await ended).toEqual([0, null])
    expect(await value('held')).toBe(1)
  })

  it('enqueue, delete and the reads load no library of the queue', async () => {
    const hook = join(tempDir(), 'log-imports.mjs')
    writeFileSync(
      hook,
      `import { registerHooks } from 'node:module'
      registerHooks({ load(url, context, next) { process.stderr.write(url + '\\n'); return next(url, context) } })`,
    )
    const env = { NODE_OPTIONS: `--import=${pathToFileURL(hook)}` }
    const loaded = async (...args: string[]) => (await cli.run(args, { env })).stderr
    for (const args of [
      ['enqueue', 'light', '1'],
      ['delete', 'light'],
    ]) {
      const urls = await loaded(...args)
      expect(urls).toContain('controlClient')
      expect(urls).not.toMatch(/bullmq|ioredis|zod|pino|node:sqlite/)
    }
    expect(await loaded('get', 'prefs')).not.toMatch(/bullmq|ioredis|zod|pino/)
  })

  it('--redis-url takes it past the daemon to the Redis that was named', async () => {
    const redis = await startTestRedis()
    try {
      const { document } = await cli.json(['enqueue', 'elsewhere', '1', '--redis-url', redis.url])
      expect(document).toMatchObject({ accepted: true, jobId: '1' })
      const { document: status } = await cli.json(['enqueue', 'here', '1'])
      expect(Number(status.jobId)).toBeGreaterThan(1)
    } finally {
      await redis.stop()
    }
  })
})

it('`memsync daemon` is the daemon, until a signal', async () => {
  const cli = commandLine()
  const child = spawn(process.execPath, [MEMSYNC, 'daemon', '--data-dir', cli.dataDir], {
    env: isolatedEnvironment(tempDir()),
  })
  const ended = once(child, 'close')
  await waitFor('it answers', async () => {
    const { document } = await cli.json(['status'])
    return (document.daemon as { pid: number | null }).pid === child.pid
  })
  child.kill('SIGTERM')
  expect(await ended).toEqual([0, null])
})

describe('beside a daemon that uses another Redis', () => {
  const cli = commandLine()
  it.each([
    ['a job to wait for', ['enqueue', 'k', '1', '--wait']],
    ['many memories', ['enqueue', '--ndjson', '-']],
    ['dead letters', ['dlq', 'list']],
  ])('what would go to the wrong one is refused: %s', async (_what, args) => {
    const redis = await startTestRedis()
    const daemon = await startDaemon(cli.dataDir, { REDIS_URL: redis.url })
    try {
      const { code, stderr } = await cli.run(args, { input: '{"key":"k","value":1}\n' })
      expect({ code, stderr }).toEqual({
        code: 2,
        stderr: expect.stringContaining('REDIS_URL: the daemon of'),
      })
      expect(stderr).toContain(`uses ${redis.url.replace('//', '')}`)
      const named = await cli.run(args, { env: { REDIS_URL: redis.url }, input: '{"key":"k","value":1}\n' })
      expect(named.code).toBe(0)
    } finally {
      daemon.kill('SIGTERM')
      await daemon.ended
      await redis.stop()
    }
  })
})

describe('without a daemon', () => {
  it('enqueue is accepted on disk with a notice, and the next daemon carries it through in order', async () => {
    const cli = commandLine()
    for (const value of ['1', '2']) {
      const { code, stdout, stderr } = await cli.run(['enqueue', 'k', value])
      expect({ code, stdout }).toEqual({
        code: 0,
        stdout: expect.stringMatching(/^accepted k into the spool as [0-9a-f-]{36}\n$/),
      })
      expect(stderr).toMatch(/^memsync: accepted into the spool; no daemon runs.*`memsync daemon`\n$/)
    }
    expect(await privateRedisPid(cli.dataDir)).toBe(undefined)
    const daemon = await startDaemon(cli.dataDir)
    try {
      const history = await waitFor('both are there', async () => {
        const { stdout } = await cli.run(['history', 'k', '--json'])
        const values = stdout.match(/"value":\d/g)
        return values?.length === 2 && values
      })
      expect(history).toEqual(['"value":2', '"value":1'])
    } finally {
      daemon.kill('SIGTERM')
      await daemon.ended
    }
  })

  it('enqueue --wait carries it through itself, and leaves no Redis behind', async () => {
    const cli = commandLine()
    expect(await cli.run(['enqueue', 'k', '1', '--wait'])).toMatchObject({ code: 0, stderr: '' })
    expect((await cli.json(['get', 'k'])).document.value).toBe(1)
    expect(await privateRedisPid(cli.dataDir)).toBe(undefined)
  })

  it('enqueue goes to a Redis that runs, with a notice', async () => {
    const cli = commandLine()
    const redis = await startTestRedis()
    try {
      const env = { REDIS_URL: redis.url }
      const { code, stdout, stderr } = await cli.run(['enqueue', 'k', '1'], { env })
      expect({ code, stdout }).toEqual({ code: 0, stdout: 'accepted k as job 1\n' })
      expect(stderr).toMatch(
        /^memsync: accepted; no daemon runs, so it waits in the queue.*`memsync daemon`\n$/,
      )
    } finally {
      await redis.stop()
    }
  })

  it('status is composed from the store, and from Redis where that runs', async () => {
    const redis = await startTestRedis()
    try {
      const cli = commandLine()
      const env = { REDIS_URL: redis.url }
      await cli.run(['enqueue', 'a', '1', '--wait'], { env })
      // Many at once never go to the spool, however slow the machine.
      await cli.run(['enqueue', '--ndjson', '-'], { env, input: '{"key":"b","value":1}\n' })
      expect((await cli.json(['status'], { env })).document).toMatchObject({
        daemon: { running: false },
        redis: { state: 'up' },
        lanes: { sync: { waiting: 1, active: 0, delayed: 0 } },
        totals: { queued: 2, synced: 1 },
        store: { keys: 1, state: 'up' },
      })
      await redis.kill()
      const { code, document } = await cli.json(['status'], { env })
      expect(code).toBe(0)
      expect(document).toMatchObject({ redis: { state: 'down' }, lanes: { sync: { waiting: null } } })
    } finally {
      await redis.stop()
    }
  })

  it('a Redis that is not there keeps nobody from handing over, unless it was named for this one call', async () => {
    const cli = commandLine()
    const url = `unix://${join(tempDir(), 'none.sock')}`
    const spooled = await cli.json(['enqueue', 'k', '1'], { env: { REDIS_URL: url } })
    expect(spooled).toMatchObject({ code: 0, document: { accepted: true, spooled: true, key: 'k' } })
    const { code, document } = await cli.json(['enqueue', 'k', '1', '--redis-url', url])
    expect(code).toBe(1)
    expect(document).toEqual({ error: expect.objectContaining({ code: 'MEMSYNC_QUEUE_UNAVAILABLE' }) })
  })
})

describe('a store of many keys', () => {
  const cli = commandLine()
  const keys = Array.from({ length: 1200 }, (_, index) => `key-${String(index).padStart(4, '0')}`)
  beforeAll(async () => {
    const store = await openStore({ ...loadConfig({}, {}).config, dataDir: cli.dataDir })
    const version = (sequence: number) => ({ epoch: 1, sequence, index: 0 })
    const write = { namespace: 'default', acceptedAtMs: 1 }
    await store.apply([
      ...keys.map((key, at) => ({
        ...write,
        op: 'set' as const,
        key,
        valueJson: '"v"',
        version: version(at),
      })),
      { ...write, op: 'set', key: 'a\u001b[2J\u202e', valueJson: '1', version: version(5000) },
      { ...write, op: 'set', key: 'gone', valueJson: '1', version: version(5001) },
      { ...write, op: 'delete', key: 'gone', version: version(5002) },
    ])
    await store.close()
  })

  it('is listed in pages: the first 100, as many as asked for, or all', async () => {
    const first = await cli.run(['list', 'key-'])
    expect(first.stdout).toBe(`${keys.slice(0, 100).join('\n')}\n`)
    expect(first.stderr).toContain('--all')
    expect((await cli.run(['list', 'key-', '--limit', '700'])).stdout).toBe(
      `${keys.slice(0, 700).join('\n')}\n`,
    )
    expect(await cli.run(['list', 'key-', '--all'])).toEqual({
      code: 0,
      stdout: `${keys.join('\n')}\n`,
      stderr: '',
    })
    const { stdout } = await cli.run(['list', '--all', '--deleted', '--json'])
    const documents = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(documents.map(({ key }) => key)).toEqual(['a\u001b[2J\u202e', 'gone', ...keys])
    expect(documents[1]).toMatchObject({ deleted: true })
    expect(documents[1]).not.toHaveProperty('value')
  })

  it('shows no key as what a terminal would obey, and marks the deleted', async () => {
    expect((await cli.run(['list', '--limit', '1'])).stdout).toBe('a\\u001b[2J\\u202e\n')
    expect((await cli.run(['list', 'gone', '--deleted'])).stdout).toBe('gone\t(deleted)\n')
  })

  it('is listed to a reader that goes away without a complaint', async () => {
    const child = spawn(process.execPath, [MEMSYNC, 'list', '--all', '--json'], {
      env: isolatedEnvironment(cli.dataDir),
    })
    let stderr = ''
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      stderr += chunk
    })
    await once(child.stdout, 'data')
    child.stdout.destroy()
    const [code] = await once(child, 'close')
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  })

  it.runIf(HAS_TERMINAL)('has colours on a terminal, unless NO_COLOR is set', () => {
    expect(runOnTerminal(['status'], cli.dataDir).shown).toContain('\u001b[31mstopped\u001b[39m')
    expect(runOnTerminal(['status'], cli.dataDir, { env: { NO_COLOR: '1' } }).shown).toMatch(
      /daemon +stopped/,
    )
  })
})
