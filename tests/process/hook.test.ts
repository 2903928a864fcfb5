/** `memsync hook` as an agent meets it: exit code 0 in time, whatever happens, and one line where a user sees it. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { controlSocket } from '../../src/daemon/controlClient.ts'
import { commandLine, MEMSYNC } from '../support/cli.ts'
import { isolatedEnvironment, startDaemon, type TestDaemon } from '../support/daemon.ts'
import { startTestRedis, type TestRedis } from '../support/redis.ts'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

const LIMIT_MS = 300
/** A machine on which Node itself takes longer than this to start is too busy for the limit, which then grows with it. */
const BARE_START_MS = 60
/** Where it matters what a hook did, and not how fast. */
const PATIENT = { MEMSYNC_HOOK_TIMEOUT_MS: '20000' }
const prompt = {
  hook_event_name: 'UserPromptSubmit',
  session_id: 's1',
  cwd: '/home/me/app',
  prompt: 'Use SQLite.',
}
const start = { hook_event_name: 'SessionStart', session_id: 's1', cwd: '/home/me/app', source: 'startup' }

interface HookEnd {
  code: number | null
  stdout: string
  stderr: string
  ms: number
}

/** @param input undefined for a stdin that never ends */
async function hook(
  dataDir: string,
  input: unknown,
  { args = [] as string[], env = {} as Record<string, string> } = {},
): Promise<HookEnd> {
  const startedMs = performance.now()
  const child = spawn(process.execPath, [MEMSYNC, 'hook', ...args], {
    env: isolatedEnvironment(dataDir, env),
  })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk
  })
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    stderr += chunk
  })
  child.stdin.on('error', () => undefined)
  if (input !== undefined) child.stdin.end(typeof input === 'string' ? input : JSON.stringify(input))
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, stdout, stderr, ms: performance.now() - startedMs }
}

/** However busy the machine of the test is. */
function patientHook(
  dataDir: string,
  input: unknown,
  options: { args?: string[]; env?: Record<string, string> } = {},
) {
  return hook(dataDir, input, { ...options, env: { ...PATIENT, ...options.env } })
}

async function bareStartMs(): Promise<number> {
  const startedMs = performance.now()
  await once(spawn(process.execPath, ['-e', '0']), 'close')
  return performance.now() - startedMs
}

/**
 * Runs it until it was in time with what it had to do, some tries at most: what is always late is too late. On a machine
 * that is too busy to start a bare Node in its usual time the limit grows with that time.
 * @param isDone whether it did what it had to; unless given, that it does not say otherwise
 */
async function expectInTime(
  dataDir: string,
  input: unknown,
  options: Parameters<typeof patientHook>[2] = {},
  isDone = (end: HookEnd) => !end.stderr.includes('not done in time'),
): Promise<HookEnd> {
  let told = ''
  for (let tries = 0; tries < 8; tries++) {
    const slowness = (await bareStartMs()) / BARE_START_MS
    const limitMs = LIMIT_MS * (slowness > 1 ? slowness * 1.5 : 1)
    const env = slowness > 1 ? { MEMSYNC_HOOK_TIMEOUT_MS: String(Math.ceil(limitMs)) } : {}
    const end = await hook(dataDir, input, { ...options, env: { ...env, ...options.env } })
    expect(end.code).toBe(0)
    if (end.ms < limitMs && isDone(end)) return end
    told += ` ${Math.round(end.ms)} ms of ${Math.round(limitMs)} (${end.stderr.trim()});`
  }
  throw new Error(`never in time:${told}`)
}

const systemMessage = ({ stdout }: HookEnd) => (JSON.parse(stdout) as { systemMessage: string }).systemMessage

describe('beside a daemon', () => {
  const cli = commandLine()
  let redis: TestRedis
  let daemon: TestDaemon
  beforeAll(async () => {
    redis = await startTestRedis()
    daemon = await startDaemon(cli.dataDir, { REDIS_URL: redis.url, MEMSYNC_DRAIN_TIMEOUT_MS: '100' })
  })
  afterAll(async () => {
    daemon.kill('SIGTERM')
    await daemon.ended
    await redis.stop()
  })
  const listed = async (prefix: string, ...args: string[]) => {
    const { stdout } = await cli.run(['list', prefix, '--json', ...args])
    return stdout
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Record<string, unknown>)
  }

  it('stores the event, says nothing, and is quick', async () => {
    // The first run fills the compile cache, which the hooks of a user have.
    await hook(cli.dataDir, prompt)
    await patientHook(cli.dataDir, prompt)
    const end = await expectInTime(cli.dataDir, prompt)
    console.log(`memsync hook: ${Math.round(end.ms)} ms`)
    expect(end).toMatchObject({ code: 0, stdout: '', stderr: '' })
    const [memory] = await waitFor('it is stored', async () => {
      const found = await listed('agent/s1/')
      return found.length >= 2 && found
    })
    expect(memory).toMatchObject({
      key: expect.stringMatching(/^agent\/s1\/\d{4}-.*Z-UserPromptSubmit-[0-9a-f]{8}$/),
      value: { event: 'UserPromptSubmit', session: 's1', cwd: '/home/me/app', prompt: 'Use SQLite.' },
      metadata: { project: 'app' },
    })
  })

  it('stores by flags and settings what they say, and where', async () => {
    const tool = {
      ...prompt,
      hook_event_name: 'PostToolUse',
      tool_name: 'Bash',
      tool_input: { command: 'ls' },
    }
    expect(await patientHook(cli.dataDir, tool)).toMatchObject({ code: 0, stdout: '', stderr: '' })
    const args = ['--events', 'PostToolUse', '--key', 'last/{event}', '--namespace', '{project}']
    expect(await patientHook(cli.dataDir, tool, { args })).toMatchObject({ code: 0, stderr: '' })
    await waitFor('it is stored', async () => (await listed('last/', '--namespace', 'app')).length === 1)
    const [stored] = await listed('last/', '--namespace', 'app')
    expect(stored).toMatchObject({ key: 'last/PostToolUse', value: { tool_name: 'Bash' } })
    expect((await listed('agent/')).map(({ key }) => key)).not.toContainEqual(
      expect.stringContaining('PostToolUse'),
    )
    const env = { MEMSYNC_HOOK_EVENTS: 'PostToolUse', MEMSYNC_HOOK_KEY: 'from-settings' }
    await patientHook(cli.dataDir, tool, { env })
    await waitFor('it is stored', async () => (await listed('from-settings')).length === 1)
  })

  it('says at the start of a session how the memory is, and later only what is wrong', async () => {
    const well = await patientHook(cli.dataDir, start)
    expect(well.stdout.trimEnd().split('\n')).toHaveLength(1)
    expect(systemMessage(well)).toMatch(/^memsync: \d+ memories stored, \d+ waiting$/)
    expect((await patientHook(cli.dataDir, { ...start, source: 'compact' })).stdout).toBe('')
    await redis.kill()
    await waitFor('the daemon notices', async () => (await daemon.status()).redis.state === 'down')
    expect(systemMessage(await patientHook(cli.dataDir, { ...start, source: 'compact' }))).toMatch(
      /Redis cannot be reached/,
    )
    const spooled = { ...prompt, session_id: 'spooled' }
    expect(await patientHook(cli.dataDir, spooled)).toMatchObject({ code: 0, stdout: '', stderr: '' })
    await redis.restart()
    await waitFor('what was spooled is stored', async () => (await listed('agent/spooled/')).length > 0)
  })

  it('loads no library but Node', async () => {
    const path = join(tempDir(), 'log-imports.mjs')
    writeFileSync(
      path,
      `import { registerHooks } from 'node:module'
      registerHooks({ load(url, context, next) { process.stderr.write(url + '\\n'); return next(url, context) } })`,
    )
    const env = { NODE_OPTIONS: `--import=${pathToFileURL(path)}` }
    for (const event of [prompt, start]) {
      const { stderr } = await hook(cli.dataDir, event, { env })
      expect(stderr).toContain('hookEvents')
      expect(stderr).not.toContain('node_modules')
    }
  })
})

describe('whatever happens, it ends with 0 in time and blocks nothing', () => {
  const huge = JSON.stringify({ ...prompt, prompt: 'x'.repeat(9 * 1024 * 1024) })
  it.each([
    ['no input', '', {}, 'no hook event'],
    ['no JSON', '{"hook_event_name":', {}, 'no hook event'],
    ['another JSON', '[1,2]', {}, 'no hook event'],
    ['no name', '{"session_id":"s"}', {}, 'no hook event'],
    ['bytes', '\u0000\ufffd\u0000', {}, 'no hook event'],
    ['huge input', huge, {}, 'is longer than'],
    ['a wrong setting', prompt, { env: { MEMSYNC_HOOK_EVENTS: '!' } }, 'MEMSYNC_HOOK_EVENTS'],
    ['a wrong template', prompt, { args: ['--key', '{user}'] }, '{user}'],
    ['a wrong flag', prompt, { args: ['--nonsense'] }, '--nonsense'],
    ['an unusable data folder', prompt, { args: ['--data-dir', '/dev/null'] }, 'MEMSYNC_SPOOL_UNAVAILABLE'],
    [
      'a settings file that is none',
      prompt,
      { args: ['--config', '/nowhere/memsync.env'] },
      'MEMSYNC_CONFIG',
    ],
  ])('%s', async (_what, input, options, reason) => {
    const dataDir = tempDir()
    const end = await expectInTime(dataDir, input, options)
    expect(end.stderr).toMatch(/^memsync hook: .*\n$/)
    expect(end.stderr).toContain(reason)
    expect(end.stderr + end.stdout).not.toContain('Use SQLite.')
  })

  it('a stdin that never ends', async () => {
    const end = await expectInTime(tempDir(), undefined, {}, () => true)
    expect(end).toMatchObject({ stdout: '', stderr: 'memsync hook: not done in time\n' })
  })

  it('a daemon that takes the event and never answers', async () => {
    const dataDir = tempDir()
    const server = createServer((socket) => socket.resume().on('error', () => undefined))
    await new Promise<void>((resolve) => {
      server.listen(controlSocket(dataDir), resolve)
    })
    try {
      const end = await expectInTime(dataDir, start, {}, () => true)
      expect(systemMessage(end)).toMatch(/did not answer|not done in time/)
      await waitFor('it is in the spool', async () => {
        await expectInTime(dataDir, prompt, {}, () => true)
        return existsSync(join(dataDir, 'spool')) && readdirSync(join(dataDir, 'spool')).length > 0
      })
    } finally {
      server.close()
    }
  })

  it('no daemon: the event goes to the spool', async () => {
    const dataDir = tempDir()
    await patientHook(dataDir, prompt)
    expect(await expectInTime(dataDir, prompt)).toMatchObject({ stdout: '', stderr: '' })
    expect(readdirSync(join(dataDir, 'spool')).length).toBeGreaterThan(1)
  })

  it('--embed asks for an embedding', async () => {
    const dataDir = tempDir()
    await patientHook(dataDir, prompt, { args: ['--embed'] })
    const spool = join(dataDir, 'spool')
    const records = readdirSync(spool).map((name) => readFileSync(join(spool, name), 'utf8'))
    expect(records.join('')).toContain('"embed":true')
  })

  it('a spool that is full: the user is told at once', async () => {
    const dataDir = tempDir()
    const env = { MEMSYNC_SPOOL_MAX_BYTES: '4096' }
    await patientHook(dataDir, prompt, { env })
    const lost = await patientHook(dataDir, prompt, { env })
    expect(lost).toMatchObject({ code: 0, stderr: expect.stringContaining('MEMSYNC_SPOOL_FULL') })
    expect(systemMessage(lost)).toMatch(/^memsync: .*MEMSYNC_SPOOL_FULL/)
  })

  it('a first word of another command is no hook, and a hook may have global options first', async () => {
    const cli = commandLine()
    expect((await cli.run(['get', 'hook'])).code).toBe(1)
    expect(await cli.run(['--data-dir', cli.dataDir, 'hook'], { input: 'x' })).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(/^memsync hook: /),
    })
    const help = await cli.run(['hook', '--help'])
    expect(help).toMatchObject({ code: 0, stdout: expect.stringContaining('--events') })
  })

  it('without a daemon, the start of a session says so', async () => {
    const { code, stdout } = await patientHook(tempDir(), start)
    expect({ code, stdout: JSON.parse(stdout) }).toEqual({
      code: 0,
      stdout: { systemMessage: 'memsync: no daemon runs; start it with `memsync daemon`' },
    })
  })
})
