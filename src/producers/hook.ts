/**
 * `memsync hook`: stores an agent's hook event, and shows its user one line where the protocol has a place for it.
 *
 * Whatever happens (no JSON, no end of it, nothing running, a wrong setting), it ends with exit code 0 within 300 ms of
 * its start (MEMSYNC_HOOK_TIMEOUT_MS), says nothing else on stdout, and puts what went wrong on stderr, which is the agent's debug log. An exit
 * code of 2 would keep a prompt from the agent. It is loaded without the rest of the program.
 */
import { randomBytes } from 'node:crypto'
import { parseArgs } from 'node:util'
import { type Config, loadConfig } from '../config.ts'
import { askDaemon } from '../daemon/controlClient.ts'
import type { Status } from '../daemon/status.ts'
import { MemsyncError } from '../errors.ts'
import type { MemoryInput } from '../jobs/index.ts'
import { checkJsonValue } from '../jobs/jsonValue.ts'
import { findTextProblem, MAX_KEY_BYTES, MAX_NAMESPACE_BYTES } from '../jobs/key.ts'
import type { SettingName } from '../settings.ts'
import { createHandOver } from './handOver.ts'
import { type HookInput, memoryOf } from './hookEvents.ts'

const DEFAULT_TIMEOUT_MS = 300
/** What the system takes to start and to end a process, beyond what the process sees of its own time. */
const SYSTEM_MS = 60
/** What it gets in any case: where the machine took longer than that to start it, one look is still worth it. */
const LEAST_TIME_MS = 40
/** What the daemon gets of the time: to take the memory, before the spool does, and to tell its status. */
const HAND_OVER_SHARE = 0.2
const STATUS_SHARE = 0.4
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
  const endBy = (timeoutMs: number) =>
    setTimeout(giveUp, Math.max(LEAST_TIME_MS, timeoutMs - SYSTEM_MS - performance.now()), 'not done in time')
  const preliminary = endBy(DEFAULT_TIMEOUT_MS)
  process.on('uncaughtException', (error) => giveUp(`failed (${error.name})`))
  try {
    const settings = trySettings(args)
    if ('config' in settings) {
      endBy(settings.config.hookTimeoutMs)
      clearTimeout(preliminary)
    }
    input = await readInput()
    if ('error' in settings) throw settings.error
    show(await answer(input, settings))
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
async function answer(input: HookInput, { config, embed }: Settings): Promise<string | undefined> {
  const { hookEvents: events, hookKey: key, hookNamespace: namespace, maxValueBytes } = config
  const moment = { nowMs: Date.now(), id: randomBytes(4).toString('hex') }
  const memory = memoryOf(input, { events, key, namespace, embed, maxValueBytes }, moment)
  if (memory) checkMemory(memory, maxValueBytes)
  const handOver = createHandOver(config, Math.round(config.hookTimeoutMs * HAND_OVER_SHARE))
  const [line] = await Promise.all([
    input.hook_event_name === 'SessionStart' ? lookAtHealth(input, config) : undefined,
    memory && handOver(memory),
  ])
  return line
}

/** What a setting can still make wrong of a memory. @throws MEMSYNC_INVALID_MEMORY, MEMSYNC_VALUE_TOO_LARGE */
function checkMemory({ key, namespace, value }: MemoryInput, maxValueBytes: number): void {
  const problem = findTextProblem(key, MAX_KEY_BYTES) ?? findTextProblem(namespace, MAX_NAMESPACE_BYTES)
  if (problem) throw new MemsyncError('MEMSYNC_INVALID_MEMORY', `key or namespace: ${problem}`)
  checkJsonValue(value, maxValueBytes)
}

interface Settings {
  config: Config
  embed: boolean
}

/** What is wrong with them is said once it is known whether somebody sees it. */
function trySettings(args: string[]): Settings | { error: unknown } {
  try {
    return readSettings(args)
  } catch (error) {
    return { error }
  }
}

/** @throws MEMSYNC_BAD_USAGE, MEMSYNC_BAD_SETTING */
function readSettings(args: string[]): Settings {
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

async function lookAtHealth(
  input: HookInput,
  { dataDir, hookTimeoutMs }: Config,
): Promise<string | undefined> {
  const { healthLine } = await import('./hookNotice.ts')
  try {
    const found = await askDaemon(dataDir, { op: 'status' }, Math.round(hookTimeoutMs * STATUS_SHARE))
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
