/**
 * The daemon as a process: its log, its signals and its exit codes.
 *
 * Exit codes: 0 after an orderly stop, 1 where it cannot start or meets a bug, 2 for a wrong setting (0 under launchd),
 * 70 where it makes no progress, 143 (130 for SIGINT, 129 for SIGHUP) after a second signal.
 */
import { constants } from 'node:os'
import type { Config } from '../config.ts'
import { toMemsyncError } from '../errors.ts'
import { LogFile } from '../logFile.ts'
import { createLogger, type Logger } from '../logger.ts'
import { supervisedExitCode } from './exitCode.ts'
import { Daemon } from './index.ts'
import { pushStallTimeoutMs } from './pushService.ts'
import { onStopSignals } from './stopSignals.ts'
import { SystemdNotify } from './systemdNotify.ts'

/** Beyond the drain: what the parts take to let go of sockets and files. */
const RELEASE_TIMEOUT_MS = 1_500

/** How long a stop takes at most; whoever supervises the process must wait for longer. */
export function stopDeadlineMs({ drainTimeoutMs }: Pick<Config, 'drainTimeoutMs'>): number {
  return drainTimeoutMs + RELEASE_TIMEOUT_MS
}

const NEXT_STEPS = `
  memsyncd is ready. In a second terminal, in this folder:

    npx memsync enqueue hello '"world"'   hand over a memory
    npx memsync get hello                 read it back
    npx memsync status                    see where everything is

  Ctrl-C stops it; what it took is kept.
`

/** Runs the daemon until it is told to stop, and ends the process. */
export async function runDaemon(config: Config): Promise<never> {
  const onTerminal = process.stdout.isTTY === true
  const logger = await createLogger(config.logLevel, onTerminal, openLogFile(config))
  const daemon = new Daemon(config, logger)
  const systemd = new SystemdNotify({ daemon, logger, stallTimeoutMs: pushStallTimeoutMs(config) })
  const stopAsked = Promise.withResolvers<number>()
  const listenNoMore = onStopSignals(
    (signal) => {
      logger.info({ signal, drainTimeoutMs: config.drainTimeoutMs }, 'stopping')
      stopAsked.resolve(0)
    },
    (signal) => {
      logger.warn({ signal }, 'stopping at once')
      process.exit(128 + constants.signals[signal])
    },
  )
  const onBug = (thrown: unknown) => {
    const error = toMemsyncError(thrown, 'MEMSYNC_HANDLER_FAILED')
    const name = thrown instanceof Error ? thrown.name : typeof thrown
    logger.fatal({ code: error.code, error: name, place: placeOf(thrown) }, 'unexpected error: stopping')
    stopAsked.resolve(1)
  }
  process.on('uncaughtException', onBug)
  process.on('unhandledRejection', onBug)
  systemd.start()
  const starting = startAndTell(daemon, logger, () => {
    systemd.ready()
    if (onTerminal) process.stdout.write(`${NEXT_STEPS}\n`)
  })
  const exitCode = await Promise.race([starting, stopAsked.promise, daemon.gaveUp])
  const told = systemd.stopping()
  const inTime = await stopWithin(Promise.all([daemon.stop(), told]), stopDeadlineMs(config))
  listenNoMore()
  logger.info({ inTime }, 'stopped')
  // Not left to what still waits in some library: a daemon that says it stopped must be gone.
  process.exit(supervisedExitCode(exitCode))
}

function openLogFile({ logFile, logMaxBytes, logFiles }: Config): LogFile | undefined {
  if (logFile === undefined) return undefined
  return new LogFile({ path: logFile, maxBytes: logMaxBytes, maxFiles: logFiles })
}

/** The place in the code. A stranger's message may hold a value, over several lines, and its stack begins with it. */
function placeOf(thrown: unknown): string | undefined {
  if (!(thrown instanceof Error) || !thrown.stack) return undefined
  const { message, stack } = thrown
  const frames = stack.slice(stack.indexOf(message) + message.length).split('\n')
  return frames
    .filter((line) => line.startsWith('    at '))
    .slice(0, 5)
    .join('\n')
}

/** Resolves only where the start failed, with the exit code. */
async function startAndTell(daemon: Daemon, logger: Logger, onStarted: () => void): Promise<number> {
  try {
    await daemon.start()
  } catch (thrown) {
    const error = toMemsyncError(thrown, 'MEMSYNC_HANDLER_FAILED')
    if (error.code !== 'MEMSYNC_INTERRUPTED') {
      logger.fatal({ code: error.code, reason: error.message, hint: error.hint }, 'the daemon cannot start')
      return error.code === 'MEMSYNC_BAD_SETTING' ? 2 : 1
    }
  }
  if (!daemon.isStopping) onStarted()
  return new Promise(() => undefined)
}

async function stopWithin(stopped: Promise<unknown>, timeoutMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(resolve, timeoutMs, false)
  })
  const inTime = await Promise.race([stopped.then(() => true), late])
  clearTimeout(timer)
  return inTime
}
