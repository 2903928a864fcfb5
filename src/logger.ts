/**
 * Logs: JSON lines with constant messages and fields; on a terminal a short text for people. Never a value, an
 * embedding or a secret.
 */
import { type Logger as PinoLogger, pino, stdTimeFunctions } from 'pino'

export type Logger = Pick<PinoLogger, 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal'>

/** The process's logger. @param pretty text for a person instead of JSON lines */
export async function createLogger(level: string, pretty: boolean): Promise<PinoLogger> {
  const options = {
    level,
    base: { pid: process.pid },
    timestamp: stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  }
  if (!pretty) return pino(options)
  const { default: pinoPretty } = await import('pino-pretty')
  return pino(
    options,
    pinoPretty({ colorize: true, ignore: 'pid', translateTime: 'SYS:HH:MM:ss', sync: true }),
  )
}

/** For programs that use this one as a library: says nothing. */
export const silentLogger: Logger = pino({ level: 'silent' })
