/** The pages on the ways in say what the code does: their examples are run, their tables and fields are the code's own. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ROUTES } from '../../src/producers/httpRoutes.ts'
import { TOOLS } from '../../src/producers/mcpSchemas.ts'
import { SETTINGS } from '../../src/settings.ts'
import { commandLine, MEMSYNC } from '../support/cli.ts'
import { isolatedEnvironment } from '../support/daemon.ts'
import { type HttpDaemon, startHttpDaemon } from '../support/httpDaemon.ts'
import { waitFor } from '../support/waitFor.ts'
import { codeBlocks, fileLinks, ROOT, readDocument, tableBelow } from './markdown.ts'

const contract = readDocument('docs/wire-contract.md')
const producers = readDocument('docs/producers.md')
const hasTool = (command: string, ...args: string[]) => spawnSync(command, args).status === 0

/** What a value is made of: names and kinds, not what they hold. */
function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shapeOf)
  if (typeof value !== 'object' || value === null) return value === null ? null : typeof value
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, shapeOf(part)]))
}

describe('the examples of the wire contract', () => {
  const cli = commandLine()
  let http: HttpDaemon
  let env: Record<string, string>
  beforeAll(async () => {
    http = await startHttpDaemon({}, cli.dataDir)
    await http.daemon.logged('ready')
    const { redis } = await http.daemon.status()
    env = { MEMSYNC_URL: `http://127.0.0.1:${http.port}`, MEMSYNC_REDIS: redis.endpoint }
  })
  afterAll(() => http.stop())

  const run = (command: string, args: string[], input: string) =>
    spawnSync(command, args, {
      cwd: ROOT,
      input,
      encoding: 'utf8',
      env: isolatedEnvironment(cli.dataDir, env),
    })
  const arrives = (key: string, namespace = 'default') =>
    waitFor(
      `${key} is stored`,
      async () => (await http.ask('GET', `/v1/memories/${namespace}/${key}`)).status === 200,
    )

  it.runIf(hasTool('curl', '--version'))('of curl answer as shown', async () => {
    const [setup = '', ...commands] = codeBlocks(contract, 'sh')
    const answers = codeBlocks(contract, 'json')
    expect(commands.length).toBe(answers.length)
    expect(commands.length).toBeGreaterThan(6)
    for (const [at, command] of commands.entries()) {
      const reads = /\/v1\/(memories[/?]|search)/.test(command) && !command.includes('DELETE')
      if (reads) await arrives('user-preferences')
      const { status, stdout, stderr } = run('sh', ['-e'], setup + command)
      expect({ command, status, stderr }).toEqual({ command, status: 0, stderr: '' })
      expect({ command, shape: shapeOf(JSON.parse(stdout)) }).toEqual({
        command,
        shape: shapeOf(JSON.parse(answers[at] ?? '')),
      })
    }
  })

  it('of BullMQ for Node is accepted and stored', async () => {
    const [script = ''] = codeBlocks(contract, 'js')
    const { status, stdout, stderr } = run(process.execPath, ['--input-type=module'], script)
    expect({ status, stdout, stderr }).toEqual({
      status: 0,
      stdout: expect.stringMatching(/^\d+\n$/),
      stderr: '',
    })
    await arrives('from-node', 'ci')
  })

  const [bullmqForPython = '', pythonOverHttp = ''] = codeBlocks(contract, 'python')
  it.runIf(hasTool('python3', '-c', 'import bullmq'))(
    'of BullMQ for Python is accepted and stored',
    async () => {
      const { status, stderr } = run('python3', ['-'], bullmqForPython)
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
      await arrives('from-python', 'ci')
    },
  )

  it.runIf(hasTool('python3', '--version'))(
    'of Python without a package is accepted and stored',
    async () => {
      const { status, stdout, stderr } = run('python3', ['-'], pythonOverHttp)
      expect({ status, stdout, stderr }).toEqual({
        status: 0,
        stdout: expect.stringMatching(/^\d+\n$/),
        stderr: '',
      })
      await arrives('from-python-http')
    },
  )

  it('the hook of the settings it shows stores what it says', async () => {
    const [, settings = ''] = codeBlocks(producers, 'json')
    const { hooks } = JSON.parse(settings) as { hooks: Record<string, { hooks: { command: string }[] }[]> }
    const shown = Object.entries(hooks).map(([event, [entry]]) => [event, entry?.hooks[0]?.command])
    expect(shown.map(([event]) => event).filter((event) => event !== 'SessionStart')).toEqual(
      SETTINGS.MEMSYNC_HOOK_EVENTS.default.split(','),
    )
    expect(new Set(shown.map(([, command]) => command))).toEqual(new Set(['memsync hook']))
    const input = JSON.stringify({
      hook_event_name: 'Stop',
      session_id: 'docs',
      last_assistant_message: 'done',
    })
    await waitFor('it is stored', async () => {
      run(process.execPath, [MEMSYNC, 'hook'], input)
      return (
        ((await http.ask('GET', '/v1/memories?prefix=agent/docs/')).json.memories as unknown[]).length > 0
      )
    })
  })
})

describe('the tables', () => {
  it('of fields is the README’s', () => {
    const rows = (document: string) => tableBelow(document, '<!-- table: wire -->')
    expect(rows(contract)).toEqual(rows(readDocument('README.md')))
  })

  it('of routes: every one', () => {
    expect(
      tableBelow(
        contract,
        '`curl --unix-socket /run/user/1000/memsync.sock http://localhost/v1/status`.',
      ).map(({ Route }) => Route),
    ).toEqual(ROUTES.map(({ method, path }) => `${method} ${path}`))
  })

  it('of tools: every one, in the words of its name', () => {
    const rows = tableBelow(
      producers,
      '{ "mcpServers": { "memsync": { "command": "memsync", "args": ["mcp"] } } }',
    )
    expect(rows.map(({ Tool }) => Tool).toSorted()).toEqual(Object.keys(TOOLS).toSorted())
  })

  it('of the hook’s settings: their defaults', () => {
    for (const { Setting = '', Default } of tableBelow(producers, '## A hook').slice(0, 4)) {
      expect(SETTINGS[Setting as keyof typeof SETTINGS], Setting).toMatchObject({ default: Default })
    }
  })
})

it('every link leads somewhere', () => {
  for (const document of [contract, producers]) {
    for (const target of fileLinks(document))
      expect(existsSync(join(ROOT, 'docs', target)), target).toBe(true)
  }
})
