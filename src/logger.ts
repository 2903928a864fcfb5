/**
 * Logs: JSON lines with constant messages and fields; on a terminal a short text for people. Never a value, an
 * embedding or a secret. A line that cannot be written is lost, and nothing else is: work does not depend on the log.
 */
import { writeSync } from 'node:fs'
import { Writable } from 'node:stream'
import { type Logger as PinoLogger, pino, stdTimeFunctions } from 'pino'

export type Logger = Pick<PinoLogger, 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal'>

/** Something that takes whole lines, and never throws. */
interface LineSink {
  write(line: string): unknown
}

/**
 * The process's logger.
 * @param pretty text for a person instead of JSON lines
 * @param file gets the JSON lines as well
 */
export async function createLogger(level: string, pretty: boolean, file?: LineSink): Promise<PinoLogger> {
  const options = {
    level,
    base: { pid: process.pid },
    timestamp: stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  }
  const stdout = new StandardOutput()
  const shown = pretty ? await prettyStream(stdout) : stdout
  if (!file) return pino(options, shown)
  return pino(options, {
    write: (line: string) => {
      file.write(line)
      shown.write(line)
    },
  })
}

async function prettyStream(destination: Writable): Promise<LineSink> {
  const { default: pinoPretty } = await import('pino-pretty')
  return pinoPretty({ colorize: true, ignore: 'pid', translateTime: 'SYS:HH:MM:ss', destination })
}

const STDOUT = 1
/** How long a reader that lets its pipe run full can hold up a line. */
const FULL_PIPE_MS = 1_000
const PAUSE_MS = 5

/**
 * pino's own destination ends the process where the disk is full or the terminal gone, and does not let it end where
 * that lasts.
 */
class StandardOutput extends Writable {
  private readonly pause = new Int32Array(new SharedArrayBuffer(4))

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    const deadline = performance.now() + FULL_PIPE_MS
    for (let rest = chunk; rest.length > 0; ) {
      try {
        rest = rest.subarray(writeSync(STDOUT, rest))
      } catch (error) {
        const isFull = (error as NodeJS.ErrnoException).code === 'EAGAIN'
        // There is no other place to tell it.
        if (!isFull || performance.now() > deadline) break
        Atomics.wait(this.pause, 0, 0, PAUSE_MS)
      }
    }
    done()
  }
}

/** For programs that use this one as a library: says nothing. */
export const silentLogger: Logger = pino({ level: 'silent' })
