/**
 * `memsync hook`: stores an agent's hook event, and shows its user one line where the protocol has a place for it.
 *
 * Whatever happens (no JSON, no end of it, nothing running, a wrong setting), it ends with exit code 0 within 300 ms of
 * its start, says nothing else on stdout, and puts what went wrong on stderr, which is the agent's debug log. An exit
 * code of 2 would keep a prompt from the agent. It is loaded without the rest of the program.
 */
import { randomBytes } from 'node:crypto'
import { parseArgs } from 'node:util'
import { type Config, loadConfig, type SettingName } from '../config.ts'
import { askDaemon } from '../daemon/controlClient.ts'
import type { Status } from '../daemon/status.ts'
import { MemsyncError } from '../errors.ts'
import { createHandOver } from './handOver.ts'
import { type HookInput, memoryOf } from './hookEvents.ts'

/** From the start of the process; what is left of the 300 ms is for the system to end it. */
const DEADLINE_MS = 240
/** What it gets in any case: where the machine took longer than that to start it, one look is still worth it. */
const LEAST_TIME_MS = 40
const HAND_OVER_TIMEOUT_MS = 60
const STATUS_TIMEOUT_MS = 120
/** The longest event that is looked at: to parse more would take too long. */
const MAX_INPUT_BYTES = 8 * 1024 * 1024

const OPTIONS = {
  events: { type: 'string' },
  key: { type: 'string' },
  namespace: { type: 'string' },
  embed: { type: 'boolean' },
  'data-dir': { type: 'string' },
  'redis-url': { type: 'string' },
  config: { type: 'string' },
  json: { type: 'boolean' },
} as const

/** Each option that is a setting of its own. */
const SETTING_OF = {
  events: 'MEMSYNC_HOOK_EVENTS',
  key: 'MEMSYNC_HOOK_KEY',
  namespace: 'MEMSYNC_HOOK_NAMESPACE',
  'data-dir': 'MEMSYNC_DATA_DIR',
  'redis-url': 'REDIS_URL',
  config: 'MEMSYNC_CONFIG',
} as const satisfies Partial<Record<keyof typeof OPTIONS, SettingName>>

/** Does what the event asks for and ends the process. */
export async function runHook(args: string[]): Promise<never> {
  let input: HookInput | undefined
  const giveUp = (reason: string): never => {
    tell(reason)
    // At most once a turn, and only where something may be lost or is set wrong.
    if (input && isShown(input)) show(`memsync: ${reason}`)
    process.exit(0)
  }
  setTimeout(giveUp, Math.max(LEAST_TIME_MS, DEADLINE_MS - performance.now()), 'not done in time')
  process.on('uncaughtException', (error) => giveUp(`failed (${error.name})`))
  try {
    input = await readInput()
    show(await answer(input, args))
  } catch (thrown) {
    // A stranger's message may hold a value.
    const failed = `failed (${thrown instanceof Error ? thrown.name : typeof thrown})`
    giveUp(thrown instanceof MemsyncError ? `${thrown.message} (${thrown.code})` : failed)
  }
  process.exit(0)
}

/** Whether the agent's user sees what is answered to this event. */
function isShown({ hook_event_name }: HookInput): boolean {
  return hook_event_name === 'SessionStart' || hook_event_name === 'UserPromptSubmit'
}

/** Stores what is to be stored; the line for the user, if there is one. */
async function answer(input: HookInput, args: string[]): Promise<string | undefined> {
  const { config, embed } = readSettings(args)
  const { hookEvents: events, hookKey: key, hookNamespace: namespace, maxValueBytes } = config
  const moment = { nowMs: Date.now(), id: randomBytes(4).toString('hex') }
  const memory = memoryOf(input, { events, key, namespace, embed, maxValueBytes }, moment)
  const handOver = createHandOver(config, HAND_OVER_TIMEOUT_MS)
  const [line] = await Promise.all([
    input.hook_event_name === 'SessionStart' ? lookAtHealth(input, config) : undefined,
    memory && handOver(memory),
  ])
  return line
}

/** @throws MEMSYNC_BAD_USAGE, MEMSYNC_BAD_SETTING */
function readSettings(args: string[]): { config: Config; embed: boolean } {
  try {
    const { values } = parseArgs({ args, options: OPTIONS })
    const flags = Object.entries(SETTING_OF).map(([option, setting]) => [
      setting,
      values[option as keyof typeof SETTING_OF],
    ])
    return { config: loadConfig(Object.fromEntries(flags)).config, embed: values.embed === true }
  } catch (thrown) {
    if (thrown instanceof MemsyncError) throw thrown
    throw new MemsyncError('MEMSYNC_BAD_USAGE', (thrown as Error).message)
  }
}

async function lookAtHealth(input: HookInput, { dataDir }: Config): Promise<string | undefined> {
  const { healthLine } = await import('./hookNotice.ts')
  try {
    const found = await askDaemon(dataDir, { op: 'status' }, STATUS_TIMEOUT_MS)
    return healthLine(input, found?.status as Status | undefined, Date.now())
  } catch (thrown) {
    if (!(thrown instanceof MemsyncError)) throw thrown
    return `memsync: ${thrown.message}; \`memsync status\` says more`
  }
}

/** @throws MEMSYNC_BAD_USAGE where stdin is no event */
async function readInput(): Promise<HookInput> {
  const chunks: Uint8Array[] = []
  let size = 0
  // To its end also where it is too long, as the agent may not expect a pipe that closes early.
  for await (const chunk of process.stdin as AsyncIterable<Uint8Array>) {
    size += chunk.length
    if (size <= MAX_INPUT_BYTES) chunks.push(chunk)
  }
  if (size > MAX_INPUT_BYTES) {
    throw new MemsyncError(
      'MEMSYNC_BAD_USAGE',
      `the event is longer than ${MAX_INPUT_BYTES} bytes and is not stored`,
    )
  }
  let input: unknown
  try {
    input = JSON.parse(Buffer.concat(chunks).toString('utf8'))
  } catch {
    // The parser's own message would quote the text.
  }
  if (
    typeof input === 'object' &&
    input !== null &&
    typeof (input as HookInput).hook_event_name === 'string'
  ) {
    return input as HookInput
  }
  throw new MemsyncError('MEMSYNC_BAD_USAGE', 'stdin is no hook event (JSON with a hook_event_name)')
}

function show(line: string | undefined): void {
  if (line !== undefined) process.stdout.write(`${JSON.stringify({ systemMessage: oneLine(line) })}\n`)
}

function tell(reason: string): void {
  process.stderr.write(`memsync hook: ${oneLine(reason)}\n`)
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ')
}
