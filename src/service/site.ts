/**
 * What is to be installed on this machine: which unit file, where, filled in with what, and what the person who
 * installs it should know. It looks at the machine and changes nothing.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, realpathSync } from 'node:fs'
import { homedir, userInfo } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { type Config, loadConfig } from '../config.ts'
import { MemsyncError } from '../errors.ts'
import { privateRedisSocket } from '../queue/privateRedis.ts'
import { findRedisServer } from '../queue/redisProcess.ts'
import { LEAST_NODE } from '../runtime.ts'
import type { SettingName } from '../settings.ts'
import { isRunOnce, stableNode, stableProgram } from './stablePath.ts'
import { PACKAGE_ROOT, PROGRAM, PROGRAM_FILE, type ServiceKind, type UnitValues } from './template.ts'

/** The settings of the command that installs. */
export interface Given {
  config: Config
  sources: ReturnType<typeof loadConfig>['sources']
}

export interface SiteOptions {
  system?: boolean
  /** Whose service it is, with `system`. */
  runAs?: string
}

export interface ServiceSite {
  kind: ServiceKind
  unitPath: string
  values: UnitValues
  /** Whom folders and files that are made belong to; undefined: whoever makes them. */
  owner: { uid: number; gid: number } | undefined
  /** What the person should know, each in one line. */
  notices: string[]
}

export const LAUNCHD_LABEL = 'com.memsyncd.daemon'
export const SYSTEMD_UNIT = 'memsyncd.service'

/** Where programs are on any such machine. */
const USUAL_PATH = {
  darwin: ['/opt/homebrew/bin', '/usr/local/bin', '/usr/bin', '/bin', '/usr/sbin', '/sbin'],
  linux: ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'],
}

/** Settings that the unit file names itself, or that have no meaning for a service. */
const NOT_FOR_A_SERVICE: SettingName[] = [
  'MEMSYNC_CONFIG',
  'MEMSYNC_DATA_DIR',
  'WORKER_JOB',
  'WORKER_PAYLOAD',
]

/** @throws MEMSYNC_BAD_USAGE on a machine without a service manager that is known here */
export function serviceKind(options: SiteOptions, platform: NodeJS.Platform = process.platform): ServiceKind {
  if (platform === 'darwin') {
    if (!options.system) return 'launchd'
    throw new MemsyncError(
      'MEMSYNC_BAD_USAGE',
      '--system: only with systemd; on macOS it is an agent of a user',
    )
  }
  if (platform === 'linux') return options.system ? 'systemd-system' : 'systemd-user'
  throw new MemsyncError('MEMSYNC_BAD_USAGE', `there is no service manager known here for ${platform}`)
}

/** Where the unit file of this kind stands. */
export function unitPathOf(kind: ServiceKind): string {
  if (kind === 'launchd') return join(homedir(), 'Library', 'LaunchAgents', `${LAUNCHD_LABEL}.plist`)
  if (kind === 'systemd-system') return join('/etc/systemd/system', SYSTEMD_UNIT)
  return join(process.env.XDG_CONFIG_HOME || join(homedir(), '.config'), 'systemd', 'user', SYSTEMD_UNIT)
}

/**
 * @throws MEMSYNC_BAD_USAGE, MEMSYNC_BAD_SETTING, also for settings with which the service could not start
 */
export function surveySite(given: Given, options: SiteOptions, kind = serviceKind(options)): ServiceSite {
  const notices: string[] = []
  const person = kind === 'systemd-system' ? findPerson(options.runAs) : undefined
  if (options.runAs !== undefined && !person) {
    throw new MemsyncError('MEMSYNC_BAD_USAGE', '--run-as goes with --system')
  }
  const { configFile, dataDir } = person ? placesOf(person, given) : given.config
  const config = settingsOfService(configFile, dataDir)
  const path = servicePath(process.env.PATH)
  const program = chooseProgram(notices)
  const node = chooseNode(path, notices)
  noteSettings(given, configFile, notices)
  if (config.redisUrl === undefined && findRedisServer(path) === undefined) {
    notices.push(
      'no redis-server is on the PATH and REDIS_URL is not in the settings file: install one of the two',
    )
  }
  if (kind === 'systemd-system') refuseHidden(dataDir)
  return {
    kind,
    unitPath: unitPathOf(kind),
    values: {
      ...{ node, program, path, configFile, dataDir },
      errorLog: join(dataDir, 'service.err.log'),
      user: person?.name ?? userInfo().username,
      writableFolders: writableFolders(config),
    },
    owner: person,
    notices,
  }
}

interface Person {
  name: string
  uid: number
  gid: number
  home: string
}

/** A user of the machine: the named one, or whoever called sudo. */
function findPerson(runAs: string | undefined): Person {
  const wanted = runAs ?? process.env.SUDO_USER
  if (!wanted) {
    throw new MemsyncError(
      'MEMSYNC_BAD_USAGE',
      '--run-as: say whose service it is, for example --run-as alice',
    )
  }
  let line: string
  try {
    line = execFileSync('getent', ['passwd', wanted], { encoding: 'utf8' })
  } catch (cause) {
    throw new MemsyncError('MEMSYNC_BAD_USAGE', `--run-as: there is no user ${JSON.stringify(wanted)}`, {
      cause,
    })
  }
  const [name = '', , uid, gid, , home = ''] = line.trimEnd().split(':')
  return { name, uid: Number(uid), gid: Number(gid), home }
}

/** Flags and the environment as they are; else the places of that user, and what the settings file there says. */
function placesOf(person: Person, { config, sources }: Given): { configFile: string; dataDir: string } {
  const isGiven = (name: SettingName) => ['flag', 'environment'].includes(sources.get(name)?.source ?? '')
  const configFile = isGiven('MEMSYNC_CONFIG')
    ? config.configFile
    : join(person.home, '.config', 'memsyncd', 'memsync.env')
  if (isGiven('MEMSYNC_DATA_DIR')) return { configFile, dataDir: config.dataDir }
  const file = existsSync(configFile) ? loadConfig({ MEMSYNC_CONFIG: configFile }, {}) : undefined
  return file?.sources.get('MEMSYNC_DATA_DIR')?.source === 'file'
    ? { configFile, dataDir: file.config.dataDir }
    : { configFile, dataDir: join(person.home, '.local', 'share', 'memsyncd') }
}

/** As the service will see them: the file and nothing of this shell. */
function settingsOfService(configFile: string, dataDir: string): Config {
  const file = existsSync(configFile) ? { MEMSYNC_CONFIG: configFile } : {}
  return loadConfig({ ...file, MEMSYNC_DATA_DIR: dataDir }, {}).config
}

/** With the folders of redis-server and systemd-notify as they are found now, should they be unusual ones. */
function servicePath(searchPath: string | undefined): string {
  const usual = USUAL_PATH[process.platform === 'darwin' ? 'darwin' : 'linux']
  const folders = [
    ...usual,
    ...(searchPath ?? '').split(delimiter).filter((folder) => folder.startsWith('/')),
  ]
  const redis = findRedisServer(folders.join(delimiter))
  const found = [
    redis === undefined ? undefined : dirname(redis),
    folders.find((folder) => existsSync(join(folder, 'systemd-notify'))),
  ]
  const unusual = found.filter((folder) => folder !== undefined && !usual.includes(folder))
  return [...new Set(unusual), ...usual].join(delimiter)
}

function chooseProgram(notices: string[]): string {
  const entry = PROGRAM_FILE
  if (!existsSync(entry)) {
    throw new MemsyncError('MEMSYNC_BAD_USAGE', `${entry} is missing: run npm run build:workers first`)
  }
  if (isRunOnce(entry)) {
    throw new MemsyncError(
      'MEMSYNC_BAD_USAGE',
      'it runs from a cache that is cleared now and then: install the package (npm install --global memsyncd) first',
    )
  }
  const { path, isStable } = stableProgram(entry, process.argv[1] ?? '', PROGRAM, realPath)
  if (!isStable) notices.push(`${path} may be gone after an upgrade: run memsync service install again then`)
  return path
}

function chooseNode(path: string, notices: string[]): string {
  const own = join(PACKAGE_ROOT, 'node_modules', 'node', 'bin', 'node')
  const { path: node, isStable } = stableNode({
    running: process.execPath,
    ownNode: existsSync(own) ? own : undefined,
    searchPath: (process.env.PATH ?? '').split(delimiter),
    realPath,
    isUsable: (candidate) => isNewEnough(candidate, path),
  })
  if (!isStable)
    notices.push(`${node} may be gone after an upgrade of Node: run memsync service install again then`)
  return node
}

function realPath(path: string): string | undefined {
  return existsSync(path) ? realpathSync(path) : undefined
}

/** Started as a service would start it. */
function isNewEnough(node: string, path: string): boolean {
  if (!existsSync(node)) return false
  try {
    const options = { encoding: 'utf8', timeout: 5_000, env: { PATH: path, HOME: homedir() } } as const
    const printed = execFileSync(node, ['--version'], { ...options, stdio: ['ignore', 'pipe', 'ignore'] })
    const [major = 0, minor = 0] = printed.trim().replace(/^v/, '').split('.').map(Number)
    return major > LEAST_NODE[0] || (major === LEAST_NODE[0] && minor >= LEAST_NODE[1])
  } catch {
    // Not a Node, or one that needs a shell's environment: not one for a service.
    return false
  }
}

function noteSettings({ sources }: Given, configFile: string, notices: string[]): void {
  const unseen = [...sources]
    .filter(
      ([name, { source }]) => ['flag', 'environment'].includes(source) && !NOT_FOR_A_SERVICE.includes(name),
    )
    .map(([name]) => name)
  if (unseen.length === 0) return
  const subject = unseen.length === 1 ? 'is set in this shell, which' : 'are set in this shell, which'
  notices.push(`${unseen.join(', ')} ${subject} the service does not see: put it into ${configFile}`)
}

/** What a daemon that may write nowhere else has to write. */
function writableFolders({ dataDir, logFile, legacyDir, snapshotDir, http }: Config): string[] {
  const folders = [
    dataDir,
    ...(logFile === undefined ? [] : [dirname(logFile)]),
    ...(legacyDir === undefined ? [] : [legacyDir]),
    ...(snapshotDir === undefined ? [] : [snapshotDir]),
    ...(http?.kind === 'socket' ? [dirname(http.path)] : []),
  ]
  return [...new Set(folders)]
}

/** A system service has a /tmp of its own, in which no producer finds its sockets. */
function refuseHidden(dataDir: string): void {
  if (!/^\/(var\/)?tmp\//.test(`${dataDir}/`) && !privateRedisSocket(dataDir).startsWith('/tmp/')) return
  throw new MemsyncError(
    'MEMSYNC_BAD_SETTING',
    `MEMSYNC_DATA_DIR: ${dataDir} is in /tmp or its path is too long for a socket, and a system service has a /tmp of its own`,
  )
}
