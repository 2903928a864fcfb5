/** The unit files as they are installed: read by the rules of their manager, and held against the program's own deadlines. */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'plist'
import { describe, expect, it } from 'vitest'
import { exitCodeOf } from '../../src/cli/failure.ts'
import { loadConfig } from '../../src/config.ts'
import { supervisedExitCode } from '../../src/daemon/exitCode.ts'
import { pushStallTimeoutMs } from '../../src/daemon/pushService.ts'
import { stopDeadlineMs } from '../../src/daemon/run.ts'
import { watchdogTimeoutMs } from '../../src/daemon/systemdNotify.ts'
import { inspectUnit, removeUnit, writeUnit } from '../../src/service/index.ts'
import type { ServiceSite } from '../../src/service/site.ts'
import { readBack, readTemplate, renderUnit, type UnitValues } from '../../src/service/template.ts'
import { SETTINGS } from '../../src/settings.ts'
import { launchdAgent } from '../support/launchdAgent.ts'
import { tempDir } from '../support/tempDir.ts'

const SYSTEMD_KINDS = ['systemd-user', 'systemd-system'] as const
const KINDS = ['launchd', ...SYSTEMD_KINDS] as const

/** The longest drain that can be set: where the setting's own check ends. */
const longestDrainMs = (() => {
  const { parse: accept } = SETTINGS.MEMSYNC_DRAIN_TIMEOUT_MS
  expect(() => accept('60001')).toThrow()
  return accept('60000')
})()

/** Beyond the deadline of a stop: a machine that is busy shutting down. */
const MARGIN_MS = 5_000

/** Paths with every sign that one of the notations takes for something else; Node and program are there. */
function hostileValues(): UnitValues {
  const root = tempDir()
  const folder = join(root, `a "b" 'c' %h \\ & <d> ü;#`)
  // Of the executable systemd itself takes neither quotes nor backslashes.
  const bin = join(root, 'a %h & <d> ü;#')
  for (const path of [folder, bin]) mkdirSync(path)
  symlinkSync(process.execPath, join(bin, 'node'))
  writeFileSync(join(folder, 'program.js'), '')
  return {
    node: join(bin, 'node'),
    program: join(folder, 'program.js'),
    path: '/usr/local/bin:/usr/bin:/bin',
    configFile: join(folder, '$x memsync.env'),
    dataDir: join(folder, 'data'),
    errorLog: join(folder, 'data', 'service.err.log'),
    user: 'daemon',
    writableFolders: [join(folder, 'data'), '/var/log/memsyncd'],
  }
}

type Unit = Map<string, string[]>

/** Every value of every key, in order. */
function parseUnit(text: string): Unit {
  const unit: Unit = new Map()
  for (const line of text.split('\n')) {
    if (line === '' || /^[#[]/.test(line)) continue
    const [, key = '', value = ''] = /^(\w+)=(.*)$/.exec(line) ?? []
    expect(key, line).not.toBe('')
    unit.set(key, [...(unit.get(key) ?? []), value])
  }
  return unit
}

const secondsOf = (unit: Unit, key: string) => Number(unit.get(key)?.[0])

describe.each(KINDS)('the unit file of %s', (kind) => {
  it('is filled in wholly, and read back as it was filled in, whatever the paths hold', () => {
    const values = hostileValues()
    const unit = renderUnit(kind, values)
    expect(unit.replace(/^[#<]?.*double braces.*$/gm, '')).not.toMatch(/\{\{|\}\}/)
    const found = readBack(kind, unit)
    const names = [...readTemplate(kind).matchAll(/\{\{(\w+)\}\}/g)].map(([, name = '']) => name)
    expect(names.length).toBeGreaterThan(4)
    for (const name of new Set(names)) {
      if (name !== 'writableFolders')
        expect(found, name).toHaveProperty(name, values[name as keyof UnitValues])
    }
  })

  it('that someone edited is known as such', () => {
    const unit = renderUnit(kind, hostileValues())
    expect(readBack(kind, unit.replace('75', '5'))).toBeUndefined()
    expect(readBack(kind, `${unit}\n`)).toBeUndefined()
  })

  it('refuses a path that it cannot hold', () => {
    expect(() => renderUnit(kind, { ...hostileValues(), dataDir: '/a\nExecStart=/bin/false' })).toThrow(
      expect.objectContaining({ code: 'MEMSYNC_BAD_SETTING' }),
    )
    if (kind === 'launchd') return
    for (const wrong of [{ node: '/a"b/node' }, { node: '/a$b/node' }, { program: '/a$b/worker.js' }]) {
      expect(() => renderUnit(kind, { ...hostileValues(), ...wrong })).toThrow(
        expect.objectContaining({ code: 'MEMSYNC_BAD_SETTING' }),
      )
    }
  })

  it('holds no setting, so no secret: those stand in the settings file', () => {
    const named = readTemplate(kind).match(/(MEMSYNC|OPENAI|REDIS)_\w+/g) ?? []
    const settings = named.filter((name) => name in SETTINGS)
    expect(new Set(settings)).toEqual(
      new Set(['MEMSYNC_CONFIG', 'MEMSYNC_DATA_DIR', 'MEMSYNC_DRAIN_TIMEOUT_MS']),
    )
  })
})

describe.each(SYSTEMD_KINDS)('the unit of %s', (kind) => {
  const unit = parseUnit(renderUnit(kind, hostileValues()))
  const { config } = loadConfig({}, {})

  it('waits longer for a stop than any drain takes', () => {
    const deadlineMs = stopDeadlineMs({ drainTimeoutMs: longestDrainMs })
    expect(secondsOf(unit, 'TimeoutStopSec') * 1000).toBeGreaterThanOrEqual(deadlineMs + MARGIN_MS)
  })

  it('has a watchdog that outlasts the verdict of the daemon, by default and by what the daemon then asks for', () => {
    const watchdogMs = secondsOf(unit, 'WatchdogSec') * 1000
    const stallMs = pushStallTimeoutMs(config)
    expect(watchdogMs).toBeGreaterThan(stallMs)
    expect(watchdogTimeoutMs(watchdogMs, stallMs)).toBe(watchdogMs)
    const patient = pushStallTimeoutMs({ ...config, stallTimeoutMs: 3_600_000 })
    expect(watchdogTimeoutMs(watchdogMs, patient)).toBeGreaterThan(patient)
  })

  it('restarts after a failure, for ever and not at once, and not after a wrong setting or a stop', () => {
    expect(unit.get('Restart')).toEqual(['on-failure'])
    expect(secondsOf(unit, 'RestartSec')).toBeGreaterThanOrEqual(1)
    expect(unit.get('StartLimitIntervalSec')).toEqual(['0'])
    expect(unit.get('RestartPreventExitStatus')).toEqual([String(exitCodeOf('MEMSYNC_BAD_SETTING'))])
    expect(supervisedExitCode(exitCodeOf('MEMSYNC_BAD_SETTING'), 'systemd')).toBe(2)
    expect(unit.get('SuccessExitStatus')).toEqual(['129 130 143'])
  })

  it('is told of readiness by systemd-notify, and leaves the private Redis to the daemon', () => {
    expect(unit.get('Type')).toEqual(['notify'])
    expect(unit.get('NotifyAccess')).toEqual(['all'])
    expect(unit.get('KillMode')).toEqual(['mixed'])
  })
})

const HAS_ANALYZE = spawnSync('systemd-analyze', ['--version']).status === 0

describe.skipIf(!HAS_ANALYZE)('systemd itself', () => {
  /** The unit in a file of its name. */
  const write = (kind: (typeof SYSTEMD_KINDS)[number]) => {
    const path = join(tempDir(), 'memsyncd.service')
    writeFileSync(path, renderUnit(kind, hostileValues()))
    return path
  }
  const analyze = (...args: string[]) => {
    // A user's manager has a folder of its own there, and none is running here.
    const env = { ...process.env, XDG_RUNTIME_DIR: tempDir() }
    const { status, stdout, stderr } = spawnSync('systemd-analyze', args, { encoding: 'utf8', env })
    return { status, stdout, stderr }
  }

  it.each(SYSTEMD_KINDS)('finds nothing to say about the unit of %s', (kind) => {
    const scope = kind === 'systemd-user' ? ['--user'] : []
    expect(analyze(...scope, 'verify', write(kind))).toEqual({ status: 0, stdout: '', stderr: '' })
  })

  it('would say what is wrong, so that its silence means something', () => {
    const path = write('systemd-system')
    const unit = readFileSync(path, 'utf8')
    writeFileSync(
      path,
      unit.replace('RestartSec=5', 'RestartSecs=5').replace(/^ExecStart="[^"]*"/m, 'ExecStart="/no/node"'),
    )
    const { stderr } = analyze('verify', path)
    expect(stderr).toContain('RestartSecs')
    expect(stderr).toContain('/no')
  })

  it('rates the exposure of the system unit 2.0 or lower', () => {
    const { status, stdout } = analyze(
      'security',
      '--offline=true',
      '--threshold=20',
      write('systemd-system'),
    )
    const [, level] = /Overall exposure level for memsyncd\.service: (\d+\.\d)/.exec(stdout) ?? []
    expect(Number(level)).toBeLessThanOrEqual(2)
    expect(status).toBe(0)
  })
})

describe('the agent of launchd', () => {
  const text = renderUnit('launchd', hostileValues())

  it('is what launchd takes, with the paths as they are', () => {
    const values = hostileValues()
    const agent = launchdAgent.parse(parse(renderUnit('launchd', values)))
    expect(agent.ProgramArguments).toEqual([values.node, values.program])
    expect(agent.EnvironmentVariables).toEqual({
      PATH: values.path,
      MEMSYNC_CONFIG: values.configFile,
      MEMSYNC_DATA_DIR: values.dataDir,
      MEMSYNC_SUPERVISOR: 'launchd',
    })
    expect(agent.StandardErrorPath).toBe(values.errorLog)
    expect(agent.Umask).toBe(0o077)
  })

  it('waits longer for a stop than any drain takes', () => {
    const { ExitTimeOut } = launchdAgent.parse(parse(text))
    const deadlineMs = stopDeadlineMs({ drainTimeoutMs: longestDrainMs })
    expect(ExitTimeOut * 1000).toBeGreaterThanOrEqual(deadlineMs + MARGIN_MS)
  })

  it('starts again after a failure, not at once, and not after a wrong setting, which ends with 0 under it', () => {
    const agent = launchdAgent.parse(parse(text))
    expect(agent.KeepAlive).toEqual({ SuccessfulExit: false })
    expect(agent.ThrottleInterval).toBeGreaterThanOrEqual(10)
    const supervisor = agent.EnvironmentVariables.MEMSYNC_SUPERVISOR
    expect(supervisedExitCode(exitCodeOf('MEMSYNC_BAD_SETTING'), supervisor)).toBe(0)
    expect(supervisedExitCode(exitCodeOf('MEMSYNC_REDIS_MISSING'), supervisor)).toBe(1)
    expect(supervisedExitCode(70, supervisor)).toBe(70)
  })

  it.each<[string, string | RegExp, string]>([
    ['an unknown key', '<key>RunAtLoad</key>', '<key>RunAtBoot</key><true/><key>RunAtLoad</key>'],
    ['a key written wrong', '<key>KeepAlive</key>', '<key>KeepAlve</key>'],
    [
      'the legacy OnDemand beside KeepAlive',
      '<key>KeepAlive</key>',
      '<key>OnDemand</key><false/><key>KeepAlive</key>',
    ],
    ['a word for a boolean', /<key>RunAtLoad<\/key>\s*<true\/>/, '<key>RunAtLoad</key><string>true</string>'],
    ['a text for a number', '<integer>75</integer>', '<string>75</string>'],
    ['a stop that is never cut short', '<integer>75</integer>', '<integer>0</integer>'],
    ['no throttle', '<integer>10</integer>', '<integer>0</integer>'],
    ['a umask as text', '<integer>63</integer>', '<string>077</string>'],
    ['a program to be found on a PATH', /<array>\s*<string>[^<]*/, '<array><string>node'],
    ['a program under ~', /(<array>\s*<string>[^<]*<\/string>\s*<string>)[^<]*/, '$1~/memsyncd/main.js'],
    ['no program', /<\/string>\s*<string>[^<]*<\/string>\s*<\/array>/, '</string></array>'],
    ['a log at a relative path', /(<key>StandardErrorPath<\/key>\s*<string>)[^<]*/, '$1service.log'],
    ['a variable in the PATH', '<string>/usr/local/bin:', '<string>$HOME/bin:/usr/local/bin:'],
    ['a label with a space', '<string>com.memsyncd.daemon', '<string>com.memsyncd daemon'],
    ['always kept alive', /<dict>\s*<key>SuccessfulExit<\/key>\s*<false\/>\s*<\/dict>/, '<true/>'],
    ['what nobody filled in', /<array>\s*<string>[^<]*/, '<array><string>{{node}}'],
  ])('with %s is refused', (_, wanted, replacement) => {
    const wrong = text.replace(wanted, replacement)
    expect(wrong).not.toBe(text)
    expect(launchdAgent.safeParse(parse(wrong)).success).toBe(false)
  })
})

describe('what install makes', () => {
  const isRoot = process.getuid?.() === 0
  const owner = isRoot ? { uid: 65_534, gid: 65_534 } : undefined

  it.each([true, false])(
    'belongs to whose service it is, closed to others (settings there already: %s)',
    (there) => {
      const root = tempDir()
      const values = {
        ...hostileValues(),
        configFile: join(root, 'home', '.config', 'memsyncd', 'memsync.env'),
        dataDir: join(root, 'home', '.local', 'share', 'memsyncd'),
      }
      if (there) {
        mkdirSync(join(values.configFile, '..'), { recursive: true })
        writeFileSync(values.configFile, 'MEMSYNC_CONCURRENCY=7\n', { mode: 0o640 })
      }
      const unitPath = join(root, 'etc', 'systemd', 'system', 'memsyncd.service')
      const site: ServiceSite = { kind: 'systemd-system', unitPath, values, owner, notices: [] }
      writeUnit(site)
      writeUnit(site)
      const seen = (path: string) => {
        const { mode, uid } = statSync(path)
        return { mode: mode & 0o777, uid }
      }
      const uid = owner?.uid ?? process.getuid?.()
      for (const path of [values.dataDir, join(values.dataDir, '..')])
        expect(seen(path)).toEqual({ mode: 0o700, uid })
      // What was there already is left as it was.
      if (there) expect(readFileSync(values.configFile, 'utf8')).toBe('MEMSYNC_CONCURRENCY=7\n')
      else expect(seen(values.configFile)).toEqual({ mode: 0o600, uid })
      expect(seen(unitPath)).toEqual({ mode: 0o644, uid: process.getuid?.() })
      expect(readFileSync(unitPath, 'utf8')).toBe(renderUnit('systemd-system', values))
      expect(inspectUnit('systemd-system', unitPath)?.values).toMatchObject({
        dataDir: values.dataDir,
        user: 'daemon',
      })
      expect(readdirSync(join(unitPath, '..'))).toEqual(['memsyncd.service'])
      expect(removeUnit(unitPath)).toBe(true)
      expect(removeUnit(unitPath)).toBe(false)
      expect(inspectUnit('systemd-system', unitPath)).toBeUndefined()
    },
  )

  it('where it may not be written is one clear error', () => {
    const values = { ...hostileValues(), dataDir: '/dev/null/data' }
    const unitPath = join(tempDir(), 'u')
    const site: ServiceSite = { kind: 'systemd-system', unitPath, values, owner, notices: [] }
    expect(() => writeUnit(site)).toThrow(expect.objectContaining({ code: 'MEMSYNC_SERVICE_FAILED' }))
  })
})

it('both folders of templates are in the package', () => {
  const packed = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
    cwd: join(import.meta.dirname, '..', '..'),
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const report = JSON.parse(packed) as
    | Record<string, { files: { path: string }[] }>
    | { files: { path: string }[] }[]
  const paths = Object.values(report)[0]?.files.map(({ path }) => path) ?? []
  for (const path of [
    'launchd/com.memsyncd.daemon.plist',
    'systemd/memsyncd.service',
    'systemd/memsyncd-system.service',
  ]) {
    expect(paths).toContain(path)
  }
})
