/** systemd as the service manager: a unit of the user's own manager, or one of the system. systemctl(1), loginctl(1). */
import { userInfo } from 'node:os'
import type { CommandEnd, ServiceManager, ServiceState } from './manager.ts'
import { commandFailure, runCommand } from './manager.ts'

const SHOWN = ['ActiveState', 'MainPID', 'UnitFileState', 'StatusText', 'Result', 'ExecMainStatus']

const NO_USER_MANAGER =
  ' (there is no manager for this user here: log in as the user instead of su or sudo, or `loginctl enable-linger`, ' +
  'or install with --system)'

export class SystemdManager implements ServiceManager {
  private readonly unit: string
  private readonly scope: string[]

  constructor(unit: string, isSystem: boolean) {
    this.unit = unit
    this.scope = isSystem ? [] : ['--user']
  }

  async activate(): Promise<void> {
    await this.ask('daemon-reload')
    await this.ask('enable', this.unit)
    // Not `enable --now`: where an older one runs, it is to give way to what was just installed.
    await this.ask('restart', this.unit)
  }

  async deactivate(): Promise<void> {
    await this.ask('disable', '--now', this.unit)
  }

  async forget(): Promise<void> {
    await this.ask('daemon-reload')
    // Fails where there is nothing to forget.
    await this.run('reset-failed', this.unit)
  }

  start(): Promise<void> {
    return this.ask('start', this.unit)
  }

  stop(): Promise<void> {
    return this.ask('stop', this.unit)
  }

  restart(): Promise<void> {
    return this.ask('restart', this.unit)
  }

  async state(): Promise<ServiceState> {
    const args = ['show', this.unit, `--property=${SHOWN.join(',')}`]
    const end = await this.run(...args)
    if (end.code !== 0) throw this.failure(args, end)
    return parseSystemdState(end.stdout)
  }

  async bootNotice(): Promise<string | undefined> {
    if (this.scope.length === 0) return undefined
    const { username } = userInfo()
    const args = ['show-user', username, '--property=Linger', '--value']
    // Without an answer the notice is still true of most machines.
    const { stdout } = await runCommand('loginctl', args).catch(() => ({ stdout: '' }))
    if (stdout.trim() === 'yes') return undefined
    return `it runs while ${username} is logged in; to start it at boot, and keep it after a logout: loginctl enable-linger ${username}`
  }

  private async ask(...args: string[]): Promise<void> {
    const end = await this.run(...args)
    if (end.code !== 0) throw this.failure(args, end)
  }

  private run(...args: string[]): Promise<CommandEnd> {
    return runCommand('systemctl', [...this.scope, ...args])
  }

  private failure(args: string[], end: CommandEnd) {
    const hint = /connect to (user )?(scope )?bus|XDG_RUNTIME_DIR/i.test(end.stderr) && this.scope.length > 0
    return commandFailure('systemctl', [...this.scope, ...args], end, hint ? NO_USER_MANAGER : '')
  }
}

const STATES: Record<string, ServiceState['state']> = {
  active: 'running',
  reloading: 'running',
  activating: 'starting',
  deactivating: 'stopping',
  inactive: 'stopped',
  failed: 'failed',
}

/** The output of `systemctl show`. Pure. */
function parseSystemdState(text: string): ServiceState {
  const found = Object.fromEntries(
    text.split('\n').map((line) => [line.split('=', 1)[0] ?? '', line.slice(line.indexOf('=') + 1)]),
  )
  const state = STATES[found.ActiveState ?? ''] ?? 'unknown'
  const why = found.Result && found.Result !== 'success' ? found.Result : ''
  return {
    state,
    pid: Number(found.MainPID) || null,
    enabled: found.UnitFileState?.startsWith('enabled') ?? false,
    text: found.StatusText || why || null,
    lastExitCode: state === 'running' || !found.ExecMainStatus ? null : Number(found.ExecMainStatus),
  }
}
