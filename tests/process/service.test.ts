/**
 * `memsync service` as a user calls it. The manager itself cannot run here, so systemctl and its kin are stand-ins that
 * write down their calls; everything else is real.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { parse } from 'plist'
import { describe, expect, it } from 'vitest'
import { askDaemon } from '../../src/daemon/controlClient.ts'
import { readBack, renderUnit, type UnitValues } from '../../src/service/template.ts'
import { commandLine, HAS_TERMINAL, runOnTerminal, WORKER } from '../support/cli.ts'
import { launchdAgent } from '../support/launchdAgent.ts'
import { type StandIns, standIns } from '../support/standIn.ts'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

const SHOW = `ActiveState=active
MainPID=4242
UnitFileState=enabled
StatusText=idle: 0 waiting, 0 in flight
Result=success
ExecMainStatus=0`

/** A home with a manager in it; what `systemctl show` says is in the file `show`. */
function machine({ linger = 'no', systemctl = '' } = {}) {
  const home = tempDir()
  const commands = standIns({
    systemctl: `${systemctl}\ncase "$*" in *" show "*) cat show;; esac`,
    loginctl: `echo ${linger}`,
    journalctl: 'cat journal',
  })
  writeFileSync(join(commands.folder, 'show'), SHOW)
  const cli = commandLine()
  // A data folder of the home, as for a person: the command line of the tests names its own otherwise.
  const env = {
    HOME: home,
    MEMSYNC_DATA_DIR: '',
    PATH: [commands.folder, process.env.PATH].join(delimiter),
  }
  const run = (args: string[], extra: Record<string, string> = {}) =>
    cli.run(['service', ...args], { env: { ...env, ...extra } })
  return {
    home,
    commands,
    env,
    run,
    unit: join(home, '.config', 'systemd', 'user', 'memsyncd.service'),
    settings: join(home, '.config', 'memsyncd', 'memsync.env'),
    dataDir: join(home, '.local', 'share', 'memsyncd'),
  }
}

const modeOf = (path: string) => statSync(path).mode & 0o777
const callsOf = (commands: StandIns, name: string) =>
  commands.calls().filter((call) => call.startsWith(`${name} `))

describe.skipIf(process.platform !== 'linux')('on Linux', () => {
  it('from nothing to an installed service, and back', async () => {
    const { run, commands, unit, settings, dataDir } = machine()
    expect(await run(['status'])).toMatchObject({
      code: 1,
      stdout: 'it is not installed: memsync service install\n',
    })
    const installed = await run(['install'])
    expect(installed.code).toBe(0)
    expect(installed.stdout).toContain('running (process 4242)')
    expect(installed.stderr).toContain('loginctl enable-linger')
    expect(callsOf(commands, 'systemctl').filter((call) => !call.includes(' show '))).toEqual([
      'systemctl --user daemon-reload',
      'systemctl --user enable memsyncd.service',
      'systemctl --user restart memsyncd.service',
    ])
    const text = readFileSync(unit, 'utf8')
    expect(text).toContain(`"${WORKER}"`)
    expect(text).toContain(`Environment="MEMSYNC_CONFIG=${settings}"`)
    expect(text).toContain(`Environment="MEMSYNC_DATA_DIR=${dataDir}"`)
    expect(/^ExecStart="(.+?)"/m.exec(text)?.[1]).toMatch(/\/node_modules\/node\/bin\/node$/)
    expect({ unit: modeOf(unit), settings: modeOf(settings), data: modeOf(dataDir) }).toEqual({
      unit: 0o644,
      settings: 0o600,
      data: 0o700,
    })
    const status = await run(['status'])
    expect(status).toMatchObject({ code: 0 })
    expect(status.stdout).toContain('idle: 0 waiting, 0 in flight')
    expect(status.stderr).not.toContain('out of date')

    commands.forgetCalls()
    expect(await run(['uninstall'])).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('the memories stay'),
    })
    expect(callsOf(commands, 'systemctl')).toEqual([
      'systemctl --user disable --now memsyncd.service',
      'systemctl --user daemon-reload',
      'systemctl --user reset-failed memsyncd.service',
    ])
    expect({ unit: existsSync(unit), settings: existsSync(settings), data: existsSync(dataDir) }).toEqual({
      unit: false,
      settings: true,
      data: true,
    })
    expect(await run(['uninstall'])).toMatchObject({ code: 0, stdout: 'it is not installed\n' })
  })

  it('--print changes nothing, and prints what install would write', async () => {
    const { run, home, commands, unit } = machine()
    const printed = await run(['install', '--print'])
    expect({ code: printed.code, stderr: besidePlace(printed.stderr) }).toEqual({ code: 0, stderr: '' })
    expect(existsSync(join(home, '.config'))).toBe(false)
    expect(commands.calls()).toEqual([])
    await run(['install'])
    expect(readFileSync(unit, 'utf8')).toBe(printed.stdout)
  })

  it('keeps the settings that are there, and takes the data folder from them', async () => {
    const { run, unit, settings } = machine({ linger: 'yes' })
    const elsewhere = join(tempDir(), 'memories')
    mkdirSync(join(settings, '..'), { recursive: true })
    writeFileSync(settings, `MEMSYNC_DATA_DIR=${elsewhere}\nREDIS_URL=redis://127.0.0.1:1\n`)
    const { code, stderr } = await run(['install'])
    expect({ code, stderr: besidePlace(stderr) }).toEqual({ code: 0, stderr: '' })
    expect(readFileSync(unit, 'utf8')).toContain(`"MEMSYNC_DATA_DIR=${elsewhere}"`)
    expect(readFileSync(settings, 'utf8')).toContain('REDIS_URL=redis://127.0.0.1:1')
  })

  it('tells which settings of the shell the service will not see, and no value of them', async () => {
    const { run, settings } = machine({ linger: 'yes' })
    const { stderr } = await run(['install'], { OPENAI_API_KEY: 'sk-hidden', MEMSYNC_LOG_LEVEL: 'debug' })
    expect(stderr).toContain(`OPENAI_API_KEY, MEMSYNC_LOG_LEVEL are set in this shell`)
    expect(stderr).toContain(settings)
    expect(stderr).not.toContain('sk-hidden')
  })

  it('finds a redis-server in an unusual place, and says where there is none', async () => {
    const { run, commands, unit } = machine({ linger: 'yes' })
    const unusual = tempDir()
    for (const [name, path] of [['node', process.execPath]] as const) symlinkSync(path, join(unusual, name))
    writeFileSync(join(unusual, 'redis-server'), '#!/bin/sh\n', { mode: 0o755 })
    // Where the usual folders have one too, that one is taken.
    const hasUsual = ['/usr/local/bin', '/usr/bin'].some((folder) => existsSync(join(folder, 'redis-server')))
    await run(['install'], { PATH: [commands.folder, unusual, process.env.PATH].join(delimiter) })
    const [, path = ''] = /^Environment="PATH=(.*)"$/m.exec(readFileSync(unit, 'utf8')) ?? []
    expect(path.split(':')).toContain('/usr/bin')
    expect(path.split(':').includes(unusual)).toBe(!hasUsual)
    expect(path.split(':').every((folder) => folder.startsWith('/'))).toBe(true)
  })

  it('refuses settings with which the service could not start, before it changes anything', async () => {
    const { run, commands, settings, unit } = machine()
    mkdirSync(join(settings, '..'), { recursive: true })
    writeFileSync(settings, 'MEMSYNC_REMOTE_KIND=mem0\n')
    // The shell has what is missing, so that the command itself starts.
    const { code, stderr } = await run(['install'], { MEMSYNC_REMOTE_URL: 'https://vps.example:8888' })
    expect(code).toBe(2)
    expect(stderr).toContain('MEMSYNC_REMOTE_URL')
    expect(existsSync(unit)).toBe(false)
    expect(commands.calls()).toEqual([])
  })

  it('start, stop and restart ask the manager, and nobody where nothing is installed', async () => {
    const { run, commands } = machine()
    for (const verb of ['start', 'stop', 'restart']) expect((await run([verb])).code).toBe(1)
    expect(commands.calls()).toEqual([])
    await run(['install'])
    for (const verb of ['start', 'stop', 'restart']) {
      commands.forgetCalls()
      expect(await run([verb])).toMatchObject({ code: 0, stdout: 'running (process 4242)\n' })
      expect(commands.calls()[0]).toBe(`systemctl --user ${verb} memsyncd.service`)
    }
  })

  it('status says what has become of it, and with what it is out of date', async () => {
    const { run, commands, unit, settings } = machine({ linger: 'yes' })
    await run(['install'])
    writeFileSync(
      join(commands.folder, 'show'),
      'ActiveState=failed\nMainPID=0\nUnitFileState=disabled\nStatusText=\nResult=exit-code\nExecMainStatus=2\n',
    )
    const failed = await run(['status', '--json'])
    expect(failed.code).toBe(1)
    expect(JSON.parse(failed.stdout)).toMatchObject({
      ...{ installed: true, state: 'failed', pid: null, enabled: false, lastExitCode: 2, text: 'exit-code' },
      ...{ drift: [], boot: null },
    })
    writeFileSync(settings, 'MEMSYNC_DATA_DIR=/var/lib/elsewhere\n')
    expect((await run(['status'])).stderr).toContain(
      'the settings file names the data folder /var/lib/elsewhere',
    )
    writeFileSync(settings, '')
    const text = readFileSync(unit, 'utf8')
    writeFileSync(unit, text.replaceAll(WORKER, '/opt/memsyncd/worker.js'))
    expect((await run(['status'])).stderr).toContain('the program is gone: /opt/memsyncd/worker.js')
    writeFileSync(unit, text.replace('RestartSec=5', 'RestartSec=1'))
    expect((await run(['status'])).stderr).toContain('was edited since')
    await run(['install'])
    expect((await run(['status'])).stderr).toBe('')
  })

  it('a manager that fails is quoted in one line, with a hint where the user has none', async () => {
    const { run, unit } = machine({
      systemctl: 'echo "Failed to connect to bus: No medium found" >&2; exit 1',
    })
    const { code, stderr } = await run(['install'])
    expect(code).toBe(1)
    const problem = stderr.split('\n').find((line) => line.includes('MEMSYNC_SERVICE_FAILED'))
    expect(problem).toContain(': Failed to connect to bus: No medium found')
    expect(problem).toContain('enable-linger')
    expect(existsSync(unit)).toBe(false)
    const missing = await machine().run(['install'], { PATH: '/nowhere' })
    expect(missing).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('systemctl is not on the PATH'),
    })
  })

  it('--system prints the unit of a user of the machine, whose places it takes', async () => {
    const { run } = machine()
    const nobody = await run(['install', '--system', '--print', '--run-as', 'no-such-user'])
    expect(nobody).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('there is no user "no-such-user"'),
    })
    expect(await run(['install', '--system', '--print'])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--run-as'),
    })
    const { code, stdout } = await run(['install', '--system', '--print', '--run-as', 'daemon'])
    expect(code).toBe(0)
    expect(stdout).toContain('User=daemon\n')
    const [, dataDir] = /"MEMSYNC_DATA_DIR=(.*)"/.exec(stdout) ?? []
    expect(dataDir).toMatch(/\/\.local\/share\/memsyncd$/)
    expect(stdout).toContain(`ReadWritePaths="-${dataDir}"\n`)
    const sudo = await run(['install', '--system', '--print'], { SUDO_USER: 'daemon' })
    expect(sudo.stdout).toBe(stdout)
    const hidden = await run(['install', '--system', '--print', '--run-as', 'daemon', '--data-dir', '/tmp/x'])
    expect(hidden).toMatchObject({ code: 2, stderr: expect.stringContaining('a /tmp of its own') })
    expect(await run(['install', '--run-as', 'daemon'])).toMatchObject({ code: 2 })
  })

  it('logs shows what the journal kept: as it is to a pipe, as text on a terminal', async () => {
    const { run, commands, env } = machine()
    expect((await run(['logs'])).code).toBe(1)
    await run(['install'])
    const journal = '{"level":"info","time":"2026-03-01T12:00:00.000Z","pid":7,"msg":"ready"}\nplain words\n'
    writeFileSync(join(commands.folder, 'journal'), journal)
    expect(await run(['logs', '-n', '7'])).toMatchObject({ code: 0, stdout: journal })
    expect(commands.calls().at(-1)).toBe(
      'journalctl --user-unit memsyncd.service --output=cat --no-pager --lines=7',
    )
    if (!HAS_TERMINAL) return
    const { shown } = runOnTerminal(['service', 'logs', '-f'], tempDir(), { env })
    expect(shown).toMatch(/INFO.*: .*ready/)
    expect(shown).toContain('plain words')
    expect(commands.calls().at(-1)).toContain('--follow')
  })
})

/** Starts what a unit file names, with nothing of this shell, and stops it once it has taken a memory. */
async function runAsManager([command = '', ...args]: string[], env: Record<string, string>): Promise<void> {
  const { MEMSYNC_DATA_DIR: dataDir = '' } = env
  const daemon = spawn(command, args, { env, cwd: '/', stdio: 'ignore' })
  const ended = once(daemon, 'exit')
  try {
    const memory = { op: 'enqueue', job: 'MEMORY_SYNC', data: { key: 'k', value: 1 } }
    await waitFor('it takes a memory', () => askDaemon(dataDir, memory, 5000), { timeoutMs: 20_000 })
    // As the settings file says, at the level of debug.
    await waitFor('it is stored', () =>
      readFileSync(join(dataDir, 'memsync.log'), 'utf8').includes('"msg":"memory done"'),
    )
  } finally {
    daemon.kill('SIGTERM')
  }
  expect(await ended).toEqual([0, null])
  rmSync(join(dataDir, 'memsync.log'))
}

/** Without the notice on a checkout that stands in a temporary folder. */
function besidePlace(stderr: string): string {
  return stderr.replace(/^memsync: \S+ may be gone after an upgrade: .*\n/gm, '')
}

describe('what the unit file names', () => {
  it.skipIf(process.platform !== 'linux')(
    'is all that the daemon needs to run, its Redis among it: no shell, no HOME, from /',
    async () => {
      const { run, unit, settings } = machine({ linger: 'yes' })
      await run(['install'])
      writeFileSync(settings, 'MEMSYNC_LOG_LEVEL=debug\n')
      const text = readFileSync(unit, 'utf8')
      const [, node = '', program = ''] = /^ExecStart="(.*)" "(.*)"$/m.exec(text) ?? []
      const variables = [...text.matchAll(/^Environment="(\w+)=(.*)"$/gm)].map(([, name, value]) => [
        name,
        value,
      ])
      await runAsManager([node, program], Object.fromEntries(variables))

      // The agent of launchd, filled in with the same.
      const values = {
        errorLog: '',
        user: '',
        writableFolders: [],
        ...readBack('systemd-user', text),
      } as UnitValues
      const agent = launchdAgent.parse(parse(renderUnit('launchd', { ...values, errorLog: '/dev/null' })))
      await runAsManager(agent.ProgramArguments, agent.EnvironmentVariables)
    },
  )
})
