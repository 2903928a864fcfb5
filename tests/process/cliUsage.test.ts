/** The built command where nothing runs: its usage, its settings, and how it fails. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { commandLine, MEMSYNC } from '../support/cli.ts'
import { isolatedEnvironment } from '../support/daemon.ts'
import { tempDir } from '../support/tempDir.ts'

const cli = commandLine()

describe('wrong usage', () => {
  it.each([
    [['bogus'], "unknown command 'bogus'"],
    [['enqeue', 'k', 'v'], "unknown command 'enqeue' (Did you mean enqueue?)"],
    [['get', 'k', '--bogus'], "unknown option '--bogus'"],
    [['get'], "missing required argument 'key'"],
    [['get', 'a', 'b'], 'too many arguments'],
    [['enqueue'], 'KEY is missing'],
    [['enqueue', 'k'], 'VALUE is missing'],
    [['enqueue', '--ndjson', '-', '--wait'], '--wait goes with KEY and VALUE'],
    [['enqueue', '--ndjson', '/nowhere'], '--ndjson: /nowhere cannot be read (ENOENT)'],
    [['get', ''], 'KEY is empty'],
    [['list', '--limit', '1', '--all'], '--all and --limit exclude each other'],
    [['dlq'], 'a command is missing'],
    [['dlq', 'redrive'], 'say what to redrive'],
    [['dlq', 'drop', '1-1-0-0', '--all'], 'either IDs, or a filter, or --all'],
    [['dlq', 'list', '--class', 'bad'], '--class: is not one of permanent'],
  ])('%j: exit code 2, one clear line and a hint', async (args, message) => {
    const { code, stdout, stderr } = await cli.run(args)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    const [problem, hint, ...more] = stderr.slice(stderr.indexOf('memsync: ')).trimEnd().split('\n')
    expect(problem).toContain(message)
    expect(problem).toMatch(/^memsync: .* \(MEMSYNC_BAD_USAGE\)$/)
    expect(hint).toMatch(/^ {2}\S/)
    expect(more).toEqual([])
    // Nothing was started or made for it.
    expect(existsSync(join(cli.dataDir, 'redis'))).toBe(false)
  })

  it('is one document on stdout with --json, wherever that stands', async () => {
    for (const args of [
      ['--json', 'get'],
      ['get', '--json'],
      ['bogus', '--json'],
    ]) {
      const { code, stdout, stderr } = await cli.run(args)
      expect({ code, stderr }).toEqual({ code: 2, stderr: '' })
      expect(JSON.parse(stdout)).toEqual({
        error: { code: 'MEMSYNC_BAD_USAGE', message: expect.any(String), hint: expect.any(String) },
      })
    }
  })
})

describe('help', () => {
  it('of every command shows what it does, and examples', async () => {
    const names = [
      'daemon',
      'enqueue',
      'delete',
      'rollback',
      'get',
      'has',
      'list',
      'history',
      'status',
      'doctor',
      'config',
    ]
    const commands = [[], ...names.map((name) => [name]), ['schema'], ['version'], ['dlq']]
    for (const sub of ['list', 'show', 'redrive', 'drop']) commands.push(['dlq', sub])
    const helps = await Promise.all(commands.map((command) => cli.run([...command, '--help'])))
    for (const [index, { code, stdout, stderr }] of helps.entries()) {
      const name = ['memsync', ...(commands[index] ?? [])].join(' ')
      expect({ code, stderr }, name).toEqual({ code: 0, stderr: '' })
      expect(stdout, name).toContain(`Usage: ${name} `)
      expect(stdout, name).toMatch(/\nExamples:\n {2}memsync /)
    }
  })
})

describe('bad input', () => {
  it.each([
    [['enqueue', 'k', '12345678901234567890'], 'MEMSYNC_INVALID_VALUE'],
    [['enqueue', 'k', `${'['.repeat(501)}${']'.repeat(501)}`], 'MEMSYNC_VALUE_TOO_LARGE'],
    [['status', '--config', '/nowhere/memsync.env'], 'MEMSYNC_BAD_SETTING'],
    [['status', '--redis-url', 'http://localhost'], 'MEMSYNC_BAD_SETTING'],
  ])('%j: exit code 2', async (args, code) => {
    expect(await cli.json(args)).toMatchObject({ code: 2, document: { error: { code } } })
  })

  it('of stdin is refused by name: no UTF-8, and more than a value may be', async () => {
    const noText = await cli.json(['enqueue', 'k', '-'], { input: Uint8Array.of(0x22, 0xff, 0x22) })
    expect(noText).toMatchObject({ code: 2, document: { error: { code: 'MEMSYNC_INVALID_VALUE' } } })
    const env = { MEMSYNC_MAX_VALUE_BYTES: '100' }
    const endless = await cli.json(['enqueue', 'k', '-'], { env, input: 'x'.repeat(1_000_000) })
    expect(endless).toMatchObject({ code: 2, document: { error: { code: 'MEMSYNC_VALUE_TOO_LARGE' } } })
    const long = await cli.json(['enqueue', 'k', '-'], { env, input: 'x'.repeat(99) })
    expect(long).toMatchObject({ code: 2, document: { error: { code: 'MEMSYNC_VALUE_TOO_LARGE' } } })
  })
})

describe('settings', () => {
  it('of flags beat the environment, which beats the file; each says where it came from', async () => {
    const file = join(tempDir(), 'memsync.env')
    writeFileSync(file, 'MEMSYNC_CONCURRENCY=7\nMEMSYNC_QUEUE_PREFIX=filed\nMEMSYNC_DATA_DIR=/from/file\n')
    const { document } = await cli.json(['config', '--config', file, '--data-dir', '/from/flag'], {
      env: { MEMSYNC_CONCURRENCY: '8', MEMSYNC_DATA_DIR: '/from/environment' },
    })
    expect(document).toMatchObject({
      MEMSYNC_DATA_DIR: { value: '/from/flag', source: 'flag' },
      MEMSYNC_CONFIG: { value: file, source: 'flag' },
      MEMSYNC_CONCURRENCY: { value: '8', source: 'environment' },
      MEMSYNC_QUEUE_PREFIX: { value: 'filed', source: 'file' },
      MEMSYNC_LOG_LEVEL: { value: 'info', source: 'default' },
      REDIS_URL: { value: null, source: 'unset' },
    })
  })

  it('that are secret show nowhere', async () => {
    const env = { REDIS_URL: 'redis://user:hunter2@127.0.0.1:1/0', WORKER_PAYLOAD: '{"key":"hunter2"}' }
    for (const args of [['config'], ['config', '--json'], ['status'], ['status', '--json']]) {
      const { code, stdout, stderr } = await cli.run(args, { env })
      expect(code).toBe(0)
      expect(stdout).toContain('127.0.0.1:1')
      expect(stdout + stderr).not.toContain('hunter2')
    }
    const wrong = await cli.run(['config'], { env: { REDIS_URL: 'http://user:hunter2@127.0.0.1' } })
    expect(wrong).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining('REDIS_URL') })
    expect(wrong.stderr).not.toContain('hunter2')
  })

  it('that are wrong end it with one line that names the setting, its problem and an example', async () => {
    const { code, stderr } = await cli.run(['status'], { env: { MEMSYNC_CONCURRENCY: 'many' } })
    expect(code).toBe(2)
    expect(stderr.split('\n')[0]).toMatch(
      /^memsync: MEMSYNC_CONCURRENCY \(from environment\): "many" is not .*; for example MEMSYNC_CONCURRENCY=200 \(MEMSYNC_BAD_SETTING\)$/,
    )
  })
})

describe('where nothing runs and nothing was ever stored', () => {
  it('reads find nothing, and make nothing', async () => {
    const fresh = join(tempDir(), 'not', 'there')
    const at = (...args: string[]) => cli.run(['--data-dir', fresh, ...args])
    expect(await at('get', 'k')).toMatchObject({ code: 1, stdout: '' })
    expect(await at('has', 'k')).toMatchObject({ code: 1, stdout: 'false\n' })
    expect(await at('history', 'k')).toMatchObject({ code: 1, stdout: '' })
    expect(await at('list', '--all')).toEqual({ code: 0, stdout: '', stderr: '' })
    const status = await at('status')
    expect(status).toMatchObject({ code: 0, stderr: '' })
    expect(status.stdout).toMatch(/^daemon +stopped$/m)
    expect(status.stdout).toContain('next: memsync daemon')
    expect(existsSync(fresh)).toBe(false)
  })

  it('the schema is the published one', async () => {
    const { stdout } = await cli.run(['schema'])
    const schema = JSON.parse(stdout)
    expect(Object.keys(schema)).toEqual(['MEMORY_SYNC', 'MEMORY_ROLLBACK'])
    expect(schema.MEMORY_SYNC).toMatchObject({ required: ['key'], additionalProperties: false })
  })

  it('an error shows its stack only with MEMSYNC_LOG_LEVEL=debug', async () => {
    expect((await cli.run(['get', 'k'])).stderr).not.toContain('    at ')
    const { stderr } = await cli.run(['get', 'k'], { env: { MEMSYNC_LOG_LEVEL: 'debug' } })
    expect(stderr).toContain('    at ')
  })
})

it('ends quietly when its reader goes away', async () => {
  const child = spawn(process.execPath, [MEMSYNC, 'schema'], { env: isolatedEnvironment(cli.dataDir) })
  child.stdout.destroy()
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    stderr += chunk
  })
  const [code] = await once(child, 'close')
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
})
