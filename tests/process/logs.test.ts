/** The daemon's log as a file, and `memsync logs`, which reads it: the real daemon, the real command. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { privateRedisSocket } from '../../src/queue/privateRedis.ts'
import { type CommandLine, commandLine, HAS_TERMINAL, MEMSYNC, runOnTerminal } from '../support/cli.ts'
import { isolatedEnvironment, startDaemon, type TestDaemon } from '../support/daemon.ts'
import { produceOn } from '../support/producer.ts'
import { waitFor } from '../support/waitFor.ts'

const SECRET = 'a-secret-value'

const cleanUps: (() => unknown)[] = []
afterEach(async () => {
  for (let cleanUp = cleanUps.pop(); cleanUp; cleanUp = cleanUps.pop()) await cleanUp()
})

async function runningDaemon(cli: CommandLine, extra: Record<string, string> = {}): Promise<TestDaemon> {
  const daemon = await startDaemon(cli.dataDir, extra)
  cleanUps.push(async () => {
    daemon.kill('SIGKILL')
    await daemon.ended
  })
  return daemon
}

type Line = { level: string; msg: string; key?: string; pid: number; reason?: string }
const parseLines = (text: string) =>
  text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Line)

/** `memsync logs -f` as a process that goes on. */
function followLogs(dataDir: string, ...args: string[]) {
  const child = spawn(process.execPath, [MEMSYNC, 'logs', '-f', ...args], {
    env: isolatedEnvironment(dataDir),
  })
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
  })
  const ended = once(child, 'close')
  cleanUps.push(() => child.kill('SIGKILL'))
  return { lines: () => parseLines(text.slice(0, text.lastIndexOf('\n') + 1)), child, ended }
}

describe('the log file', () => {
  it('holds what stdout does, for this user alone, and goes on over a restart', async () => {
    const cli = commandLine()
    const path = join(cli.dataDir, 'memsync.log')
    for (const lives of [1, 2]) {
      const daemon = await runningDaemon(cli)
      daemon.kill('SIGTERM')
      expect(await daemon.ended).toEqual({ code: 0, signal: null })
      const lines = parseLines(readFileSync(path, 'utf8'))
      expect(lines.filter(({ msg }) => msg === 'ready')).toHaveLength(lives)
      expect(lines.slice(-daemon.log.length)).toEqual(daemon.log)
    }
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(existsSync(`${path}.1`)).toBe(false)
  })

  it('that cannot be written costs nothing else, and says so once it can', async () => {
    const cli = commandLine()
    const path = join(cli.dataDir, 'memsync.log')
    mkdirSync(path)
    const daemon = await runningDaemon(cli, { MEMSYNC_LOG_LEVEL: 'debug' })
    const enqueue = async () => expect((await cli.run(['enqueue', 'k', '1', '--wait'])).code).toBe(0)
    await enqueue()
    rmSync(path, { recursive: true })
    await waitFor('it is written again', async () => {
      await enqueue()
      return existsSync(path)
    })
    daemon.kill('SIGTERM')
    expect(await daemon.ended).toEqual({ code: 0, signal: null })
    const lines = parseLines(readFileSync(path, 'utf8'))
    expect(lines.map(({ msg }) => msg)).toContain('log lines could not be written')
    expect(lines.at(-1)?.msg).toBe('stopped')
  })

  it('is none where that is set', async () => {
    const cli = commandLine()
    await runningDaemon(cli, { MEMSYNC_LOG_FILE: 'none' })
    expect(existsSync(join(cli.dataDir, 'memsync.log'))).toBe(false)
    const { code, stderr } = await cli.run(['logs'], { env: { MEMSYNC_LOG_FILE: 'none' } })
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining('MEMSYNC_LOG_FILE') })
  })
})

describe('memsync logs', () => {
  it('finds by key what became of a memory, and never its value', async () => {
    const cli = commandLine()
    await runningDaemon(cli, { MEMSYNC_LOG_LEVEL: 'debug' })
    const producer = await produceOn({ kind: 'socket', path: privateRedisSocket(cli.dataDir) })
    cleanUps.push(() => producer.close())
    const bad = { key: 'broken', value: SECRET, unknownField: SECRET }
    await producer.queue.add('MEMORY_SYNC', bad, { attempts: 1 })
    await cli.run(['enqueue', 'good', SECRET, '--wait'])
    const logs = async (...args: string[]) => parseLines((await cli.run(['logs', ...args])).stdout)
    await waitFor('the dead letter is logged', async () => (await logs('--key', 'broken')).length >= 2)
    expect((await logs('--key', 'broken', '--level', 'warn')).map(({ msg }) => msg)).toEqual(['dead letter'])
    expect((await logs('--key', 'good')).map(({ level, msg }) => [level, msg])).toEqual([
      ['debug', 'memory done'],
    ])
    expect(await logs('--key', 'goo')).toEqual([])
    expect((await logs('--since', '1h', '--level', 'info')).map(({ msg }) => msg)).toContain('ready')
    expect(await logs('--since', '2999-01-01')).toEqual([])
    expect(await logs('-n', '1')).toHaveLength(1)
    for (const file of readdirSync(cli.dataDir).filter((name) => name.startsWith('memsync.log'))) {
      expect(readFileSync(join(cli.dataDir, file), 'utf8')).not.toContain(SECRET)
    }
  })

  it('follows through rotations of a busy daemon: every line once, until Ctrl-C', async () => {
    const cli = commandLine()
    const { lines, child, ended } = followLogs(cli.dataDir, '--level', 'debug', '-n', '0')
    const daemon = await runningDaemon(cli, {
      MEMSYNC_LOG_LEVEL: 'debug',
      MEMSYNC_LOG_MAX_BYTES: '4096',
      MEMSYNC_LOG_FILES: '50',
    })
    const input = Array.from({ length: 300 }, (_, at) => JSON.stringify({ key: `k${at}`, value: at })).join(
      '\n',
    )
    expect((await cli.run(['enqueue', '--ndjson', '-'], { input })).code).toBe(0)
    await waitFor('all are synced', async () => (await daemon.status()).totals.synced === 300)
    const done = () => lines().filter(({ msg }) => msg === 'memory done')
    await waitFor('all were seen', () => done().length >= 300)
    expect(new Set(done().map(({ key }) => key)).size).toBe(300)
    expect(done()).toHaveLength(300)
    expect(existsSync(join(cli.dataDir, 'memsync.log.5'))).toBe(true)
    child.kill('SIGINT')
    expect(await ended).toEqual([0, null])
  })

  it('ends quietly when its reader goes away', async () => {
    const cli = commandLine()
    await runningDaemon(cli)
    const { child, ended } = followLogs(cli.dataDir)
    await once(child.stdout, 'data')
    child.stdout.destroy()
    // The next line meets the closed pipe.
    const [daemonEnded] = [runningDaemon(cli).catch(() => undefined)]
    await daemonEnded
    expect(await ended).toEqual([0, null])
  })

  it.skipIf(!HAS_TERMINAL)('is text on a terminal, in colours; JSON with --json', async () => {
    const cli = commandLine()
    const daemon = await runningDaemon(cli)
    daemon.kill('SIGTERM')
    await daemon.ended
    const { shown } = runOnTerminal(['logs', '-n', '1'], cli.dataDir)
    expect(shown).toContain('\u001b[')
    expect(shown).toMatch(/\d\d:\d\d:\d\d/)
    expect(shown).toContain('stopped')
    expect(shown).not.toContain('{"level"')
    expect(runOnTerminal(['logs', '-n', '1', '--json'], cli.dataDir).shown).toContain('"msg":"stopped"')
    const plain = runOnTerminal(['logs', '-n', '1'], cli.dataDir, { env: { NO_COLOR: '1' } })
    expect(plain.shown).not.toContain('\u001b[')
  })

  it('where there is none says where it looked', async () => {
    const { dataDir, run } = commandLine()
    expect(await run(['logs'])).toEqual({
      code: 0,
      stdout: '',
      stderr: `memsync: no such line in ${join(dataDir, 'memsync.log')}\n`,
    })
    expect(await run(['logs', '--level', 'loud'])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--level'),
    })
  })
})
