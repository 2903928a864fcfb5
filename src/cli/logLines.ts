/** Lines of the daemon's log: which are wanted, and how a person reads them. */
import { printable } from '../printable.ts'

/** As the setting MEMSYNC_LOG_LEVEL names them, least first. */
export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const

export interface LogFilter {
  /** The least that is wanted. */
  level?: (typeof LOG_LEVELS)[number]
  /** Written at this time or later, in milliseconds since the epoch. */
  sinceMs?: number
  /** About the memory of this key. */
  key?: string
}

type LogRecord = Record<string, unknown>

/** Undefined for what is no line of the daemon: what Node printed as it died, or half a line. */
function parseLogLine(line: string): LogRecord | undefined {
  if (!line.startsWith('{')) return undefined
  try {
    return JSON.parse(line) as LogRecord
  } catch {
    // Torn by a full disk or a crash.
    return undefined
  }
}

/** Whether the line is wanted; one that cannot be read is, unless a level or a key is asked for. Pure. */
export function isWanted(line: string, { level, sinceMs, key }: LogFilter): boolean {
  if (line === '') return false
  if (level === undefined && sinceMs === undefined && key === undefined) return true
  const record = parseLogLine(line)
  if (!record) return level === undefined && key === undefined
  if (key !== undefined && record.key !== key) return false
  if (sinceMs !== undefined && Date.parse(String(record.time)) < sinceMs) return false
  return level === undefined || LOG_LEVELS.indexOf(record.level as never) >= LOG_LEVELS.indexOf(level)
}

/** Text for a person, in colours where `colorize`; ends in a newline. */
export async function linePrinter(colorize: boolean): Promise<(line: string) => string> {
  const { prettyFactory } = await import('pino-pretty')
  const pretty = prettyFactory({
    colorize,
    ignore: 'pid',
    // With the date, as a log goes back for days.
    translateTime: 'SYS:yyyy-mm-dd HH:MM:ss',
    singleLine: true,
  })
  return (line) => {
    const record = parseLogLine(line)
    return record ? pretty(harmless(record)) : `${printable(line)}\n`
  }
}

/** What another program said may hold signs that a terminal obeys. */
function harmless(record: LogRecord): LogRecord {
  return Object.fromEntries(
    Object.entries(record).map(([name, value]) => [
      name,
      typeof value === 'string' ? printable(value) : value,
    ]),
  )
}
