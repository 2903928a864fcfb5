/**
 * A session of the real daemon with everything on that it has, in which a secret of its own stands in every setting that
 * is one: what all of it printed, answered and left on disk, for tests that look for what must not be there.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { controlSocket } from '../../src/daemon/controlClient.ts'
import { tokenPath } from '../../src/producers/httpToken.ts'
import { newSpoolFileName } from '../../src/producers/spoolFile.ts'
import { MEMSYNC, runProgram, WORKER } from './cli.ts'
import { isolatedEnvironment, spawnDaemon } from './daemon.ts'
import { startFakeMem0 } from './fakeMem0.ts'
import { startFakeOpenai } from './fakeOpenai.ts'
import { startFaultyHttp } from './faultyHttp.ts'
import { JSON_TYPE, send } from './httpDaemon.ts'
import { tempDir } from './tempDir.ts'
import { waitFor } from './waitFor.ts'

/** What stands in each setting that is a secret; REDIS_URL has its own where there is a Redis with a password. */
export const PLANTED = {
  REDIS_URL: 'planted-redis-password',
  MEMSYNC_REMOTE_KEY: 'planted-remote-key',
  OPENAI_API_KEY: 'planted-openai-key',
  MEMSYNC_NOTIFY_URL: 'planted-notify-path',
  MEMSYNC_SERVE_TOKEN: 'planted-serve-token',
  MEMSYNC_OTLP_HEADERS: 'planted-trace-header',
  WORKER_PAYLOAD: 'planted-payload',
} as const
/** What stands in every value and every piece of metadata. */
export const PLANTED_VALUE = 'planted-value'

interface Said {
  /** Who said it: a command line, a route, the daemon. */
  by: string
  text: string
  /** Whether it may show a value: it was asked for one. */
  mayShowValues: boolean
}

export interface FullSession {
  dataDir: string
  /** Further folders that the program made. */
  otherFolders: string[]
  said: Said[]
  httpToken: string
}

const MEMORY = JSON.stringify({ text: PLANTED_VALUE })
/** Commands whose answer is a value, or may be. */
const SHOWS_VALUES = /^(get|history|list|search|dlq|import|hook|enqueue|mcp|GET \/v1|verify|reconcile)/

/** @param whileRunning called with the session so far when everything is on */
export async function runFullSession({
  commands,
  whileRunning,
}: {
  commands: 'all' | 'few'
  whileRunning: (dataDir: string) => void
}): Promise<FullSession> {
  const dataDir = join(tempDir(), 'data')
  const legacyDir = tempDir()
  const said: Said[] = []
  const say = (by: string, text: string) => said.push({ by, text, mayShowValues: SHOWS_VALUES.test(by) })
  const remote = await startFakeMem0({ apiKey: PLANTED.MEMSYNC_REMOTE_KEY })
  const openai = await startFakeOpenai({ apiKey: PLANTED.OPENAI_API_KEY })
  const receiver = await startFaultyHttp({
    routes: [{ method: 'POST', path: '/:id', answer: () => ({ status: 500 }) }],
  })
  const env = {
    MEMSYNC_LOG_LEVEL: 'trace',
    MEMSYNC_HTTP: '127.0.0.1:0',
    MEMSYNC_REMOTE_KIND: 'mem0',
    MEMSYNC_REMOTE_URL: remote.url,
    MEMSYNC_REMOTE_KEY: PLANTED.MEMSYNC_REMOTE_KEY,
    MEMSYNC_HEALTH_INTERVAL_MS: '50',
    MEMSYNC_PUSH_TIMEOUT_MS: '500',
    OPENAI_BASE_URL: openai.baseUrl,
    OPENAI_API_KEY: PLANTED.OPENAI_API_KEY,
    MEMSYNC_NOTIFY_URL: `${receiver.url}/${PLANTED.MEMSYNC_NOTIFY_URL}`,
    MEMSYNC_NOTIFY_COMMAND: 'cat > /dev/null; exit 3',
    MEMSYNC_NOTIFY_AFTER_MS: '0',
    MEMSYNC_OTLP_ENDPOINT: receiver.url,
    MEMSYNC_OTLP_HEADERS: `authorization=${PLANTED.MEMSYNC_OTLP_HEADERS}`,
    MEMSYNC_LEGACY_DIR: legacyDir,
    MEMSYNC_SERVE_TOKEN: PLANTED.MEMSYNC_SERVE_TOKEN,
  }
  const run = async (args: string[], input = '', more: Record<string, string> = {}) => {
    const { stdout, stderr, code } = await runProgram(MEMSYNC, args, dataDir, {
      input,
      env: { ...env, ...more },
    })
    say(args.join(' '), stdout)
    say(`stderr of ${args.join(' ')}`, stderr)
    return { code, stdout }
  }
  // What waits before the first start: a memory in the spool, a spool file that is damaged, one of the predecessor.
  await run(['enqueue', 'spooled', MEMORY])
  writeFileSync(join(dataDir, 'spool', newSpoolFileName(Date.now(), 1, 1, 1, 7)), 'damaged')
  writeFileSync(
    join(legacyDir, 'mem0_queue.json'),
    JSON.stringify({
      queue: [{ id: 'l', project_id: 'p', content: PLANTED_VALUE, timestamp: 1_764_000_000, retries: 0 }],
      last_100: [],
      failed: [],
      stats: {},
    }),
  )
  const daemon = spawnDaemon(dataDir, env)
  const { address } = await daemon.logged('HTTP listens')
  await daemon.logged('ready')
  const port = Number(new URL(String(address)).port)
  const httpToken = readFileSync(tokenPath(dataDir), 'utf8').trim()
  try {
    await run(['enqueue', 'k', MEMORY, '--embed'])
    await run(
      ['enqueue', '--ndjson', '-'],
      `{"key":"n","value":${MEMORY}}\n{"key":"bad","value":${MEMORY},"extra":1}\n`,
    )
    await run(
      ['hook'],
      JSON.stringify({ hook_event_name: 'UserPromptSubmit', session_id: 's', prompt: PLANTED_VALUE }),
    )
    await waitFor('it is embedded and pushed', async () => {
      const { totals } = await daemon.status()
      return totals.embedded > 0 && totals.pushed > 2
    })
    whileRunning(dataDir)
    await askEveryRoute(port, httpToken, say)
    await askTheSocket(dataDir, say)
    // Everything outside fails, and says in its answers what it was asked with.
    remote.inject({ kind: 'status', status: 401, body: { detail: PLANTED.MEMSYNC_REMOTE_KEY } })
    openai.fail({ status: 401, code: 'invalid_api_key' }, 3)
    await run(['enqueue', 'k', JSON.stringify({ text: `${PLANTED_VALUE} again` }), '--embed'])
    await daemon.logged('the remote refuses our credentials')
    await run(['status'])
    remote.heal()
    const is = async (state: string) => (await daemon.status()).remote.state === state
    await waitFor('the remote is up again', () => is('up'), { timeoutMs: 20_000 })
    await remote.refuse()
    await waitFor('the remote is away', () => is('down'), { timeoutMs: 20_000 })
    await run(['verify'])
    await remote.comeBack()
    openai.heal()
    await inTurns(commands === 'all' ? COMMANDS : COMMANDS.slice(0, 4), run)
    say('status over the socket', JSON.stringify(await daemon.status()))
  } finally {
    daemon.kill('SIGTERM')
    await daemon.ended
    say('the daemon', daemon.output())
    await Promise.all([remote.close(), openai.close(), receiver.close()])
  }
  const serveDir = tempDir()
  if (commands === 'all') {
    await inTurns([['search', 'x'], ['verify']], run)
    // Values that each of them refuses.
    await inTurns(Object.entries(PLANTED), ([name, secret]) =>
      run(['config'], '', { [name]: `\u0001 ${secret} é` }),
    )
    const away = { REDIS_URL: `redis://user:${PLANTED.REDIS_URL}@127.0.0.1:1/0` }
    await inTurns([['status', '--json'], ['config'], ['enqueue', 'k', 'v']], (args) => run(args, '', away))
    for (const payload of [`{"key":"${PLANTED.WORKER_PAYLOAD}"}`, PLANTED.WORKER_PAYLOAD, '{"key":']) {
      const one = { ...env, WORKER_JOB: 'MEMORY_SYNC', WORKER_PAYLOAD: payload }
      const { stdout, stderr } = await runProgram(WORKER, [], dataDir, { env: one })
      say(`one job of ${payload.length} characters`, stdout + stderr)
    }
    say('serve', await serve(serveDir, { ...env, MEMSYNC_SERVE_LISTEN: `unix:${join(serveDir, 's.sock')}` }))
  }
  return {
    dataDir,
    otherFolders: [serveDir, join(dataDir, '.cache')].filter((path) => existsSync(path)),
    said,
    httpToken,
  }
}

const COMMANDS = [
  ['status'],
  ['config'],
  ['config', '--json'],
  ['get', 'k'],
  ['history', 'k', '--json'],
  ['search', 'planted'],
  ['embed', '--all', '--dry-run'],
  ['verify', '--json'],
  ['dlq', 'list'],
  ['dlq', 'show', 'none', '--json'],
  ['has', 'k'],
  ['list', '--all'],
  ['reconcile'],
  ['dlq', 'redrive', 'none'],
  ['rollback', 'k'],
  ['delete', 'n'],
  ['schema'],
  ['version'],
  ['no-such-command'],
]

/** A few at a time. */
async function inTurns<T>(items: readonly T[], work: (item: T) => Promise<unknown>): Promise<void> {
  const left = [...items]
  const worker = async () => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await work(item)
  }
  await Promise.all([worker(), worker(), worker()])
}

async function askEveryRoute(
  port: number,
  token: string,
  say: (by: string, text: string) => void,
): Promise<void> {
  const where = { host: '127.0.0.1', port }
  const document = await send(where, 'GET', '/openapi.json')
  const paths = document.json.paths as Record<string, Record<string, unknown>>
  for (const [path, methods] of Object.entries(paths)) {
    for (const method of Object.keys(methods).map((name) => name.toUpperCase())) {
      const target = path.replace('{namespace}', 'default').replace('{key}', 'k')
      const bodies =
        method === 'GET' ? [undefined] : [`{"key":"h","value":${MEMORY}}`, `{"key":"${PLANTED_VALUE}`]
      for (const authorization of [`Bearer ${token}`, 'Bearer wrong-token-of-somebody', `Basic ${token}`]) {
        for (const body of bodies) {
          const headers = { authorization, ...(body === undefined ? {} : JSON_TYPE) }
          const answer = await send(where, method, `${target}?q=planted`, {
            headers,
            ...(body === undefined ? {} : { body }),
          })
          say(`${method} ${path}`, JSON.stringify(answer.headers) + answer.text)
        }
      }
    }
  }
}

async function askTheSocket(dataDir: string, say: (by: string, text: string) => void): Promise<void> {
  const requests = [
    '{"op":"status"}',
    `{"op":"enqueue","job":"MEMORY_SYNC","data":{"key":"s","value":${MEMORY}}}`,
    `{"op":"enqueue","job":"MEMORY_SYNC","data":{"key":"s","value":${MEMORY},"extra":"${PLANTED_VALUE}"}}`,
    `{"op":"enqueue","job":"${PLANTED_VALUE}"}`,
    `{"op":"${PLANTED_VALUE}"}`,
    `{"op": ${PLANTED_VALUE}}`,
    '[]',
  ]
  const socket = connect(controlSocket(dataDir))
  let text = ''
  socket.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
  })
  socket.write(`${requests.join('\n')}\n`)
  await waitFor('each request is answered', () => text.split('\n').length > requests.length)
  socket.destroy()
  say('the control socket', text)
}

/** The memory server, from its start over a refusal and an answer to its end. */
async function serve(dataDir: string, env: Record<string, string>): Promise<string> {
  const child = spawn(process.execPath, [MEMSYNC, 'serve'], {
    env: isolatedEnvironment(dataDir, env),
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let text = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
    })
  }
  const ended = once(child, 'close')
  await waitFor('it serves', () => text.includes('"serving"'))
  const socketPath = String(env.MEMSYNC_SERVE_LISTEN).slice('unix:'.length)
  for (const token of [PLANTED.MEMSYNC_SERVE_TOKEN, 'another-token-of-somebody']) {
    const answer = await send({ socketPath }, 'GET', '/health', {
      headers: { authorization: `Bearer ${token}` },
    })
    text += answer.text + JSON.stringify(answer.headers)
  }
  child.kill('SIGTERM')
  await ended
  return text
}

/** Every file below the folder. */
export function filesBelow(folder: string): string[] {
  mkdirSync(folder, { recursive: true })
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
}
