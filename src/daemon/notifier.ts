/**
 * Telling the operator what is worth knowing, once per change: through a command, a URL, both or neither. It
 * never delays or fails what it tells about, and leaves no command behind that hangs.
 */
import { spawn } from 'node:child_process'
import { hostname } from 'node:os'
import type { Config } from '../config.ts'
import { toMemsyncError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { DAEMON_VERSION } from '../release.ts'

const TIMEOUT_MS = 10_000
/** At the end of the process: long enough for what works, and short beside the time a supervisor gives. */
const CLOSE_GRACE_MS = 1_000

/** What is told. No value, no key of a memory, no secret. */
export type Notice =
  | { event: 'remote-down'; reason: string; downForMs: number }
  | { event: 'remote-back'; downForMs: number; waiting: number | null }
  | { event: 'credentials-refused'; reason: string }
  | { event: 'first-dead-letter'; lane: string; code: string; deadLetter: string }
  | { event: 'lane-stalled'; lane: string; reason: string }

/** Tells one text, or throws why it could not. */
type Deliver = (text: string, signal: AbortSignal) => Promise<void>

export class Notifier {
  private readonly logger: Logger
  /** Each with the last delivery it was given: one at a time, so that they arrive in order. */
  private readonly channels: { deliver: Deliver; last: Promise<void> }[]
  private readonly closing = new AbortController()

  constructor({ notifyCommand, notifyUrl }: Pick<Config, 'notifyCommand' | 'notifyUrl'>, logger: Logger) {
    this.logger = logger
    const deliveries: Deliver[] = []
    if (notifyCommand !== undefined)
      deliveries.push((text, signal) => runCommand(notifyCommand, text, signal))
    if (notifyUrl !== undefined) deliveries.push((text, signal) => post(notifyUrl, text, signal))
    this.channels = deliveries.map((deliver) => ({ deliver, last: Promise.resolve() }))
  }

  /** Returns at once; a failure is logged and nothing else. */
  tell(notice: Notice): void {
    const text = JSON.stringify({
      ...notice,
      at: new Date().toISOString(),
      host: hostname(),
      program: `memsyncd ${DAEMON_VERSION}`,
    })
    for (const channel of this.channels) {
      channel.last = channel.last.then(() => this.send(notice, text, channel.deliver))
    }
  }

  /** Resolves once what was told is delivered or given up, soon either way. */
  async close(): Promise<void> {
    const late = setTimeout(() => this.closing.abort(), CLOSE_GRACE_MS)
    await Promise.all(this.channels.map(({ last }) => last))
    clearTimeout(late)
  }

  private async send(notice: Notice, text: string, deliver: Deliver): Promise<void> {
    const signal = AbortSignal.any([this.closing.signal, AbortSignal.timeout(TIMEOUT_MS)])
    try {
      signal.throwIfAborted()
      await deliver(text, signal)
    } catch (thrown) {
      const { message } = toMemsyncError(thrown, 'MEMSYNC_HANDLER_FAILED')
      this.logger.warn({ event: notice.event, reason: message }, 'the operator could not be told')
    }
  }
}

async function post(url: string, text: string, signal: AbortSignal): Promise<void> {
  let response: Response
  try {
    response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: text,
      signal,
      redirect: 'manual',
    })
  } catch (thrown) {
    // Its own message may hold the URL, which may hold a token.
    throw new Error(`MEMSYNC_NOTIFY_URL did not answer (${thrown instanceof Error ? thrown.name : 'error'})`)
  }
  await response.body?.cancel()
  if (!response.ok) throw new Error(`MEMSYNC_NOTIFY_URL answered ${response.status}`)
}

function runCommand(command: string, text: string, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    // A group of its own, so that what the shell started ends with it.
    const child = spawn(command, { shell: true, detached: true, stdio: ['pipe', 'ignore', 'ignore'] })
    const cut = () => killGroup(child.pid)
    signal.addEventListener('abort', cut, { once: true })
    child.once('error', () => reject(new Error('MEMSYNC_NOTIFY_COMMAND could not be run')))
    child.once('exit', (code, by) => {
      signal.removeEventListener('abort', cut)
      if (code === 0) resolve()
      else if (signal.aborted) reject(new Error('MEMSYNC_NOTIFY_COMMAND did not end in time'))
      else reject(new Error(`MEMSYNC_NOTIFY_COMMAND ended with ${by ?? `exit code ${code}`}`))
    })
    // A command that does not read is no failure.
    child.stdin.on('error', () => undefined)
    child.stdin.end(text)
  })
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch (error) {
    // It ended by itself a moment ago.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
