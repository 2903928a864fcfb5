/** `memsync logs`: the daemon's log, for a person on a terminal, and as the JSON lines it is to everything else. */
import { once } from 'node:events'
import { parseDurationMs } from '../duration.ts'
import { MemsyncError } from '../errors.ts'
import type { CommandContext } from './context.ts'
import { badUsage } from './failure.ts'
import { LogReader } from './logFiles.ts'
import { isWanted, LOG_LEVELS, type LogFilter, linePrinter } from './logLines.ts'
import { notice, print } from './output.ts'

export interface LogsOptions {
  follow?: boolean
  lines?: string
  level?: string
  since?: string
  key?: string
}

const DEFAULT_LINES = 100

export async function logs(context: CommandContext, options: LogsOptions): Promise<number> {
  const { logFile } = context.config
  const filter = parseFilter(options, Date.now())
  const limit = parseLimit(options)
  if (logFile === undefined) {
    throw new MemsyncError('MEMSYNC_BAD_SETTING', 'MEMSYNC_LOG_FILE: is none, so there is no log to read')
  }
  await showLog(logFile, { filter, limit, follow: options.follow === true, raw: context.json })
  return 0
}

interface Showing {
  filter: LogFilter
  /** Undefined: all there are. */
  limit: number | undefined
  follow: boolean
  /** JSON lines also on a terminal. */
  raw: boolean
}

/** Prints the lines of a log that are wanted, and with `follow` those that come, until Ctrl-C. */
export async function showLog(path: string, { filter, limit, follow, raw }: Showing): Promise<void> {
  const isTerminal = process.stdout.isTTY === true
  const toText =
    isTerminal && !raw ? await linePrinter(process.stdout.hasColors()) : (line: string) => `${line}\n`
  const wanted = (line: string) => isWanted(line, filter)
  const reader = new LogReader(path)
  let shown = 0
  for (const line of reader.kept(wanted, {
    ...(filter.sinceMs === undefined ? {} : { sinceMs: filter.sinceMs }),
    ...(limit === undefined ? {} : { limit }),
  })) {
    await print(toText(line))
    shown++
  }
  if (!follow) {
    reader.close()
    if (shown === 0) notice(`no such line in ${path}`)
    return
  }
  const interrupted = new AbortController()
  void once(process, 'SIGINT').then(() => interrupted.abort())
  for await (const line of reader.follow(wanted, interrupted.signal)) await print(toText(line))
}

function parseFilter({ level, since, key }: LogsOptions, nowMs: number): LogFilter {
  const known = LOG_LEVELS.find((name) => name === level)
  if (level !== undefined && known === undefined)
    throw badUsage(`--level: is not one of ${LOG_LEVELS.join(', ')}`)
  return {
    ...(known === undefined ? {} : { level: known }),
    ...(since === undefined ? {} : { sinceMs: parseSince(since, nowMs) }),
    ...(key === undefined ? {} : { key }),
  }
}

/** A span of time before now, or a moment as ISO 8601 writes it. */
export function parseSince(text: string, nowMs: number): number {
  if (/^\d{4}-\d{2}-\d{2}/.test(text)) {
    // A date alone is midnight here, as a person means it; Date takes it for midnight in Greenwich.
    const atMs = Date.parse(text.length === 10 ? `${text}T00:00` : text)
    if (!Number.isNaN(atMs)) return atMs
  }
  return nowMs - parseDurationMs(text, '--since')
}

/** As many as were asked for; with --since all, otherwise the last 100. */
export function parseLimit({ lines, since }: Pick<LogsOptions, 'lines' | 'since'>): number | undefined {
  if (lines === undefined) return since === undefined ? DEFAULT_LINES : undefined
  if (!/^\d{1,9}$/.test(lines)) throw badUsage('--lines: is not a whole number')
  return Number(lines)
}
