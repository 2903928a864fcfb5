/** What this program asks of a service manager, and how its commands are run. */
import { execFile } from 'node:child_process'
import { MemsyncError } from '../errors.ts'

export interface ServiceState {
  state: 'running' | 'starting' | 'stopping' | 'stopped' | 'failed' | 'unknown'
  pid: number | null
  /** Whether it starts by itself, at boot or at login. */
  enabled: boolean
  /** What the daemon says of itself, or the manager of it; null where nothing is said. */
  text: string | null
  /** How the last process ended; null where none has, or that is not known. */
  lastExitCode: number | null
}

/** Every command throws MEMSYNC_SERVICE_FAILED with what the manager said. */
export interface ServiceManager {
  /** Takes the unit file that was just written into use: from now on at boot, and at once. */
  activate(): Promise<void>
  /** The opposite, before the unit file is removed. Without effect where it is not active. */
  deactivate(): Promise<void>
  /** After the unit file was removed. */
  forget(): Promise<void>
  start(): Promise<void>
  stop(): Promise<void>
  restart(): Promise<void>
  state(): Promise<ServiceState>
  /** What keeps it from starting at boot, and the command that changes that; undefined where nothing does. */
  bootNotice(): Promise<string | undefined>
}

export interface CommandEnd {
  code: number
  stdout: string
  stderr: string
}

/** A stop may take as long as the unit says (75 s), and a start waits for a store to be checked. */
const COMMAND_TIMEOUT_MS = 660_000

/**
 * Runs a command of the manager to its end, whatever its exit code.
 * @throws MEMSYNC_SERVICE_FAILED where it cannot be run
 */
export function runCommand(command: string, args: string[]): Promise<CommandEnd> {
  return new Promise((resolve, reject) => {
    const options = { encoding: 'utf8', timeout: COMMAND_TIMEOUT_MS } as const
    execFile(command, args, options, (error, stdout, stderr) => {
      if (error && typeof error.code !== 'number') {
        const problem = (error.code as string | undefined) === 'ENOENT' ? 'is not on the PATH' : error.message
        reject(new MemsyncError('MEMSYNC_SERVICE_FAILED', `${command} ${problem}`, { cause: error }))
      } else {
        resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr })
      }
    })
  })
}

/** What a command that failed said, in one line. */
export function commandFailure(command: string, args: string[], end: CommandEnd, hint = ''): MemsyncError {
  const said = (end.stderr.trim() || end.stdout.trim() || `exit code ${end.code}`).replace(/\s*\n\s*/g, '; ')
  return new MemsyncError('MEMSYNC_SERVICE_FAILED', `${[command, ...args].join(' ')}: ${said}${hint}`)
}
