/** A logger whose lines a test can read. */
import type { Logger } from '../../src/logger.ts'

export interface LoggedLine {
  level: string
  message: string
  fields: Record<string, unknown>
}

export function recordingLogger(): { logger: Logger; log: LoggedLine[] } {
  const log: LoggedLine[] = []
  const record = (level: string) => (first: unknown, second?: unknown) => {
    const [fields, message] =
      typeof first === 'string' ? [{}, first] : [first as Record<string, unknown>, second]
    log.push({ level, message: String(message), fields })
  }
  const levels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const
  return {
    logger: Object.fromEntries(levels.map((level) => [level, record(level)])) as unknown as Logger,
    log,
  }
}
