/**
 * `memsync status --watch`: the status again and again. On a terminal it is one screen of its own that redraws in place,
 * follows the terminal's size, ends with q or Ctrl-C and leaves the terminal as it was; anywhere else it is one block of
 * text, or one JSON document a line, each time.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Status } from '../daemon/status.ts'
import { onStopSignals } from '../daemon/stopSignals.ts'
import { visibleWidth } from './layout.ts'
import { endSoon, paintStdout, print, printJson } from './output.ts'
import { renderStatus } from './statusText.ts'
import { flowOf, type LaneFlow, type LaneName, remember, type Sample, sampleOf } from './watchFigures.ts'
import { HISTORY_MS, renderWatch } from './watchText.ts'

/** Enters a screen of its own without a cursor, and gives both back. Lines that are too long are cut, not wrapped. */
const ENTER = '\u001b[?1049h\u001b[?25l\u001b[?7l'
const LEAVE = '\u001b[?7h\u001b[?25h\u001b[?1049l'
/** Shown as a whole: a terminal that knows this draws nothing in between. */
const BEGIN_FRAME = '\u001b[?2026h\u001b[H'
const END_FRAME = '\u001b[?2026l'
const ERASE_BELOW = '\r\n\u001b[J'
const ERASE_REST = '\u001b[K'
/** q, Q, Ctrl-C, Ctrl-D; a terminal in raw mode sends no signal. */
const QUIT = ['q', 'Q', '\u0003', '\u0004']

export interface WatchOptions {
  json: boolean
  intervalMs: number
  look: () => Promise<Status>
}

/** What is shown after each look. */
interface Moment {
  status: Status
  samples: Sample[]
  flows: Record<LaneName, LaneFlow>
}

/** Resolves with the exit code once it is told to stop. */
export async function watch(options: WatchOptions): Promise<number> {
  const stop = new AbortController()
  const listenNoMore = onStopSignals(
    () => stop.abort(),
    () => process.exit(130),
  )
  const onTerminal = process.stdout.isTTY === true && !options.json
  try {
    await (onTerminal ? watchOnScreen(options, stop) : watchInBlocks(options, stop.signal))
  } finally {
    listenNoMore()
  }
  await endSoon()
  return 0
}

/** Calls `show` after each look, the first at once, until the signal; a look under way is then not waited for. */
async function look(
  { look, intervalMs }: WatchOptions,
  signal: AbortSignal,
  show: (moment: Moment) => Promise<void> | void,
): Promise<void> {
  const { promise: stopped, resolve } = Promise.withResolvers<undefined>()
  signal.addEventListener('abort', () => resolve(undefined), { once: true })
  let samples: Sample[] = []
  while (!signal.aborted) {
    const status = await Promise.race([look(), stopped])
    if (!status) return
    const nowMs = performance.now()
    samples = remember(samples, sampleOf(status, nowMs), HISTORY_MS)
    const flows = {
      sync: flowOf(samples, 'sync'),
      embed: flowOf(samples, 'embed'),
      push: flowOf(samples, 'push'),
    }
    await show({ status, samples, flows })
    // It ends early where the signal comes, which the loop sees.
    await sleep(intervalMs, undefined, { signal }).catch(() => undefined)
  }
}

async function watchInBlocks(options: WatchOptions, signal: AbortSignal): Promise<void> {
  await look(options, signal, async ({ status, flows }) => {
    const at = new Date()
    if (options.json) await printJson({ at: at.toISOString(), ...status, flows })
    else await print(`${at.toISOString()}\n${renderStatus(status, at.getTime(), paintStdout, { flows })}\n`)
  })
}

async function watchOnScreen(options: WatchOptions, stop: AbortController): Promise<void> {
  const { stdin, stdout } = process
  let last: Moment | undefined
  const draw = () => {
    if (!last) return
    // Some terminals do not know, and say 0.
    const [columns, rows] = [stdout.columns || 80, stdout.rows || 24]
    const lines = renderWatch({ ...last, nowMs: Date.now(), columns, rows, paint: paintStdout })
    // At the end of a full line the cursor stands on its last character, which would be erased.
    const whole = lines.map((line) => (visibleWidth(line) < columns ? line + ERASE_REST : line))
    const below = lines.length < rows ? ERASE_BELOW : ''
    stdout.write(BEGIN_FRAME + whole.join('\r\n') + below + END_FRAME)
  }
  const onKey = (keys: Buffer) => {
    const typed = keys.toString('latin1')
    if (QUIT.some((key) => typed.includes(key))) stop.abort()
  }
  const restore = () => stdout.write(LEAVE)
  stdout.write(ENTER)
  // Also where something throws.
  process.once('exit', restore)
  stdout.on('resize', draw)
  if (stdin.isTTY) {
    stdin.setRawMode(true)
    stdin.on('data', onKey)
  }
  try {
    await look(options, stop.signal, (moment) => {
      last = moment
      draw()
    })
  } finally {
    stdout.off('resize', draw)
    if (stdin.isTTY) {
      stdin.off('data', onKey)
      stdin.setRawMode(false)
      stdin.pause()
    }
    process.off('exit', restore)
    restore()
  }
}
