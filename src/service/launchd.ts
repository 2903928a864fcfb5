/**
 * launchd as the service manager: an agent of the user's graphical session (`gui/UID`), taken in and out by bootstrap
 * and bootout. launchctl(1).
 *
 * A bootout returns before the process has ended, and until then a bootstrap of the same label fails (5, "Input/output
 * error", or 37, "Operation already in progress"): so the end is waited for, and the bootstrap tried again.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { MemsyncError } from '../errors.ts'
import { commandFailure, runCommand, type ServiceManager, type ServiceState } from './manager.ts'

/** There is no such service (ESRCH of bootout; print and kickstart). */
const NOT_LOADED = [3, 113]
/** The service before it is not quite gone. */
const BUSY = [5, 36, 37]
/** Longer than ExitTimeOut of the agent. */
const GONE_TIMEOUT_MS = 90_000
const BOOTSTRAP_TIMEOUT_MS = 20_000

const NO_SESSION = ' (an agent needs its user to be logged in at the screen)'

interface LaunchdOptions {
  label: string
  plistPath: string
  userId: number
  /** Between two looks, in milliseconds (250). */
  intervalMs?: number
}

export class LaunchdManager implements ServiceManager {
  private readonly domain: string
  private readonly target: string
  private readonly plistPath: string
  private readonly intervalMs: number

  constructor({ label, plistPath, userId, intervalMs = 250 }: LaunchdOptions) {
    this.domain = `gui/${userId}`
    this.target = `${this.domain}/${label}`
    this.plistPath = plistPath
    this.intervalMs = intervalMs
  }

  async activate(): Promise<void> {
    await this.bootOut()
    // A label that was ever disabled stays so, and its bootstrap fails.
    await this.ask('enable', this.target)
    await this.bootstrap()
  }

  async deactivate(): Promise<void> {
    await this.bootOut()
  }

  async forget(): Promise<void> {
    // launchd keeps nothing of an agent that is out and whose file is gone.
  }

  async start(): Promise<void> {
    if (await this.isLoaded()) await this.ask('kickstart', this.target)
    else await this.bootstrap()
  }

  /** Out of the session, as a mere signal would leave it to be started again. The next login takes it in again. */
  async stop(): Promise<void> {
    await this.bootOut()
  }

  async restart(): Promise<void> {
    await this.bootOut()
    await this.bootstrap()
  }

  async state(): Promise<ServiceState> {
    const end = await runCommand('launchctl', ['print', this.target])
    if (end.code === 0) return parseLaunchdState(end.stdout)
    return { state: 'stopped', pid: null, enabled: true, text: null, lastExitCode: null }
  }

  async bootNotice(): Promise<string | undefined> {
    return 'it starts when you log in: macOS runs the agents of a user while that user is logged in'
  }

  private async isLoaded(): Promise<boolean> {
    return (await runCommand('launchctl', ['print', this.target])).code === 0
  }

  private async bootOut(): Promise<void> {
    const args = ['bootout', this.target]
    const end = await runCommand('launchctl', args)
    if (NOT_LOADED.includes(end.code)) return
    if (end.code !== 0 && !BUSY.includes(end.code)) throw commandFailure('launchctl', args, end)
    const deadline = performance.now() + GONE_TIMEOUT_MS
    while (await this.isLoaded()) {
      if (performance.now() > deadline) {
        throw new MemsyncError('MEMSYNC_SERVICE_FAILED', `${this.target} does not end`)
      }
      await sleep(this.intervalMs)
    }
  }

  private async bootstrap(): Promise<void> {
    const args = ['bootstrap', this.domain, this.plistPath]
    const deadline = performance.now() + BOOTSTRAP_TIMEOUT_MS
    for (;;) {
      const end = await runCommand('launchctl', args)
      if (end.code === 0) return
      if (!BUSY.includes(end.code) || performance.now() > deadline) {
        throw commandFailure('launchctl', args, end, NO_SESSION)
      }
      await sleep(this.intervalMs)
    }
  }

  private async ask(...args: string[]): Promise<void> {
    const end = await runCommand('launchctl', args)
    if (end.code !== 0) throw commandFailure('launchctl', args, end)
  }
}

/** The output of `launchctl print`, which Apple does not promise to keep: what is not found is unknown. Pure. */
export function parseLaunchdState(text: string): ServiceState {
  const field = (name: string) => new RegExp(`^\\t${name} = (.+)$`, 'm').exec(text)?.[1]
  const state = field('state')
  const exitCode = Number.parseInt(field('last exit code') ?? '', 10)
  const lastExitCode = Number.isNaN(exitCode) ? null : exitCode
  return {
    state: stateOf(state, lastExitCode),
    pid: Number(field('pid')) || null,
    enabled: true,
    text: state === 'running' ? null : (state ?? null),
    lastExitCode,
  }
}

function stateOf(state: string | undefined, lastExitCode: number | null): ServiceState['state'] {
  if (state === undefined) return 'unknown'
  if (state === 'running') return 'running'
  if (/^SIG|exiting/.test(state)) return 'stopping'
  if (/^(spawn|xpcproxy)/.test(state)) return 'starting'
  return lastExitCode === null || lastExitCode === 0 ? 'stopped' : 'failed'
}
