/** `memsync enqueue --ndjson` end to end: hostile input comes back exactly or is refused by its line, in order. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { commandLine, HAS_TERMINAL, MEMSYNC, runOnTerminal } from '../support/cli.ts'
import { isolatedEnvironment, startDaemon, type TestDaemon } from '../support/daemon.ts'
import { startTestRedis, type TestRedis } from '../support/redis.ts'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

const MAX_VALUE_BYTES = 1024 * 1024

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
  const take = (input: string | Uint8Array, env = {}) =>
    cli.json(['enqueue', '--ndjson', '-'], { input, env: { ...env } })
  const drained = () =>
    waitFor('the daemon has nothing left to do', async () => {
      const { sync } = (await daemon.status()).lanes
      return sync.waiting === 0 && sync.active === 0 && sync.delayed === 0
    })

  it('hostile keys and values come back exactly', async () => {
    const deep = `${'['.repeat(500)}${']'.repeat(500)}`
    const atLimit = 'x'.repeat(MAX_VALUE_BYTES - 2)
    const values: Record<string, unknown> = {
      'nul\u0000key': 'a\u0000b',
      '👩‍👧 emoji': ['🜁', '\ud83d\ude00'],
      'עברית\u202eعربي': { 'שם\u202e': 'مرحبا' },
      wait: 'wait',
      meta: { meta: 1 },
      'a:b': { 'c:d': ':' },
      'line\nbreak\r\n': 'x\r\ny',
      '"\\': '\\"',
      constructor: { constructor: null, toString: 1 },
      [`${'é'.repeat(512)}`]: '1,024 bytes',
      escaped: '\ud800 alone',
      numbers: [0.1, -1e-7, 1e21, 2 ** 53, 5e-324],
      atLimit,
      deep: JSON.parse(deep),
    }
    const lines = Object.entries(values).map(([key, value]) => JSON.stringify({ key, value }))
    // Written by hand, as an object literal would make it a prototype.
    lines.push('{"key":"__proto__","value":{"__proto__":{"polluted":true},"a":1}}')
    const { code, document } = await take(lines.join('\n'))
    expect(document).toMatchObject({ accepted: lines.length, refused: 0 })
    expect(code).toBe(0)
    await drained()
    const { stdout } = await cli.run(['list', '--all', '--json'])
    const stored = new Map(
      stdout
        .trimEnd()
        .split('\n')
        .map((line) => [JSON.parse(line).key, line]),
    )
    for (const [key, value] of Object.entries(values)) {
      expect(JSON.parse(stored.get(key) ?? '{}').value, key).toEqual(value)
    }
    expect(stored.get('__proto__')).toContain('"value":{"__proto__":{"polluted":true},"a":1}')
    expect(stored.size).toBe(lines.length)
    expect((await cli.json(['status'])).document).toMatchObject({ deadLetters: 0 })
  })

  it('what cannot be kept exactly is refused by its line and reason, and the rest goes on', async () => {
    const value = (text: string) => `{"key":"bad","value":${text}}`
    const cases: [line: string, code: string, message: RegExp][] = [
      ['not json', 'MEMSYNC_INVALID_MEMORY', /^the line is not JSON$/],
      ['[1]', 'MEMSYNC_INVALID_MEMORY', /./],
      ['{"value":1}', 'MEMSYNC_INVALID_MEMORY', /^key: /],
      ['{"key":"","value":1}', 'MEMSYNC_INVALID_MEMORY', /^key: is empty/],
      ['{"key":"\\ud800","value":1}', 'MEMSYNC_INVALID_MEMORY', /^key: .*lone surrogate/],
      [`{"key":"${'é'.repeat(512)}x","value":1}`, 'MEMSYNC_INVALID_MEMORY', /^key: .*1024 bytes/],
      ['{"key":"bad"}', 'MEMSYNC_INVALID_MEMORY', /^value: missing/],
      ['{"key":"bad","value":1,"ttl":5}', 'MEMSYNC_INVALID_MEMORY', /unknown field "ttl"/],
      ['{"key":"bad","value":1,"__proto__":{}}', 'MEMSYNC_INVALID_MEMORY', /unknown field "__proto__"/],
      ['{"key":"bad","op":"delete","value":1}', 'MEMSYNC_INVALID_MEMORY', /^value: a delete takes no value/],
      [
        value(JSON.stringify('x'.repeat(MAX_VALUE_BYTES - 1))),
        'MEMSYNC_VALUE_TOO_LARGE',
        /the limit is 1048576/,
      ],
      [value(`${'['.repeat(501)}${']'.repeat(501)}`), 'MEMSYNC_VALUE_TOO_LARGE', /nested deeper than 500/],
      [value(`${'['.repeat(200_000)}${']'.repeat(200_000)}`), 'MEMSYNC_VALUE_TOO_LARGE', /nested deeper/],
      [value('12345678901234567890'), 'MEMSYNC_INVALID_VALUE', /integer beyond 2\^53/],
      [value('1e400'), 'MEMSYNC_INVALID_VALUE', /is Infinity/],
      [
        value(`"${'\\u0041'.repeat(1_300_000)}"`),
        'MEMSYNC_VALUE_TOO_LARGE',
        /^the line is longer than \d+ bytes$/,
      ],
    ]
    const good = '{"key":"good","value":1}'
    const { code, document } = await take([good, ...cases.map(([line]) => line), good].join('\n'))
    expect(code).toBe(1)
    expect(document).toEqual({
      accepted: 2,
      refused: cases.length,
      refusals: cases.map(([, code, message], index) => ({
        line: index + 2,
        code,
        message: expect.stringMatching(message),
      })),
      moreRefusals: 0,
    })
    await drained()
    expect((await cli.json(['status'])).document).toMatchObject({ deadLetters: 0 })
    expect(await cli.run(['has', 'bad'])).toMatchObject({ code: 1 })
  })

  it('takes CRLF, blank lines, a byte order mark and a last line without an end, and refuses what is not UTF-8', async () => {
    const input = Buffer.concat([
      Buffer.from('\uFEFF{"key":"crlf","value":"\\r"}\r\n\r\n  \n'),
      Buffer.from('{"key":"latin1","value":"'),
      Buffer.of(0xe9),
      Buffer.from('"}\n{"key":"last","value":2}'),
    ])
    const { document } = await take(input)
    expect(document).toMatchObject({
      accepted: 2,
      refused: 1,
      refusals: [{ line: 4, code: 'MEMSYNC_INVALID_VALUE' }],
    })
    await drained()
    expect((await cli.json(['get', 'crlf'])).document.value).toBe('\r')
    expect((await cli.json(['get', 'last'])).document.value).toBe(2)
  })

  it('keeps the order of the lines over many batches, and tells the first 20 refusals', async () => {
    const writes = Array.from({ length: 3000 }, (_, n) => JSON.stringify({ key: `order-${n % 7}`, value: n }))
    const refused = Array.from({ length: 25 }, () => 'x')
    const file = join(tempDir(), 'memories.ndjson')
    writeFileSync(file, [...writes, ...refused].join('\n'))
    const { code, stdout, stderr } = await cli.run(['enqueue', '--ndjson', file])
    expect({ code, stdout }).toEqual({ code: 1, stdout: 'accepted 3000, refused 25\n' })
    const told = stderr.trimEnd().split('\n')
    expect(told).toHaveLength(21)
    expect(told[0]).toBe('memsync: line 3001: the line is not JSON (MEMSYNC_INVALID_MEMORY)')
    expect(told[20]).toBe('memsync: and 5 more')
    await drained()
    const { stdout: list } = await cli.run(['list', 'order-', '--json'])
    const newest = list
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line).value)
    expect(newest.sort()).toEqual([2993, 2994, 2995, 2996, 2997, 2998, 2999])
  })

  it('hands a line over as soon as it comes, though its writer goes on', async () => {
    const child = spawn(process.execPath, [MEMSYNC, 'enqueue', '--ndjson', '-'], {
      env: isolatedEnvironment(cli.dataDir),
    })
    child.stdin.write('{"key":"early","value":1}\n{"key":"ha')
    await waitFor('the first line has arrived', async () => (await cli.run(['has', 'early'])).code === 0)
    child.stdin.end('lf","value":2}')
    const [code] = await once(child, 'close')
    expect(code).toBe(0)
    await drained()
    expect(await cli.run(['has', 'half'])).toMatchObject({ code: 0 })
  })

  it.runIf(HAS_TERMINAL)('shows its progress on a terminal, and leaves the line clean', async () => {
    const file = join(tempDir(), 'memories.ndjson')
    const line = JSON.stringify({ key: 'shown', value: 'x'.repeat(500) })
    writeFileSync(file, `${line}\n`.repeat(4000))
    const { shown } = runOnTerminal(['enqueue', '--ndjson', file], cli.dataDir)
    const drawn = shown.split('\r\u001b[K')
    expect(drawn.find((line) => /^\[[#-]{24}\] +\d+ % /.test(line))).toBeDefined()
    expect(drawn.at(-1)).toBe('accepted 4000, refused 0\r\n')
    await drained()
  })
})

describe('cut short', () => {
  const cli = commandLine()
  let redis: TestRedis
  beforeAll(async () => {
    redis = await startTestRedis()
  })
  afterAll(() => redis.stop())

  /** Begins a stream of lines that goes on for as long as the test wants. */
  async function begin() {
    const child = spawn(process.execPath, [MEMSYNC, 'enqueue', '--ndjson', '-', '--json'], {
      env: isolatedEnvironment(cli.dataDir, { REDIS_URL: redis.url }),
    })
    child.stdin.on('error', () => undefined)
    const waiting = async () => (await cli.json(['status'], { env: { REDIS_URL: redis.url } })).document
    const before = ((await waiting()).totals as { queued: number }).queued
    child.stdin.write('{"key":"a","value":1}\n\n{"key":"b","value":2}\n')
    await waitFor('both lines are accepted', async () => {
      return ((await waiting()).totals as { queued: number }).queued === before + 2
    })
    let stdout = ''
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      stdout += chunk
    })
    const ended = once(child, 'close').then(([code]) => ({ code, document: JSON.parse(stdout) }))
    return { child, ended }
  }

  it('by a Redis that dies: says how many were accepted and from which line to go on', async () => {
    const { child, ended } = await begin()
    await redis.kill()
    // No end of the input: the failure is told without waiting for one.
    child.stdin.write('{"key":"c","value":3}\n')
    expect(await ended).toEqual({
      code: 1,
      document: {
        accepted: 2,
        refused: 0,
        refusals: [],
        moreRefusals: 0,
        goOnFromLine: 4,
        error: expect.objectContaining({ code: 'MEMSYNC_QUEUE_UNAVAILABLE' }),
      },
    })
    await redis.restart()
  })

  it('by Ctrl-C: the same', async () => {
    const { child, ended } = await begin()
    child.kill('SIGINT')
    expect(await ended).toMatchObject({
      code: 1,
      document: { accepted: 2, goOnFromLine: 4, error: { code: 'MEMSYNC_INTERRUPTED' } },
    })
  })
})
