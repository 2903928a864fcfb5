/**
 * memsyncd as a service of this machine: its unit file is written, read back and removed here, and the rest is the
 * manager's. Folders and files that are made belong to whose service it is.
 */
import {
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { loadConfig } from '../config.ts'
import { MemsyncError } from '../errors.ts'
import { LaunchdManager } from './launchd.ts'
import type { ServiceManager } from './manager.ts'
import { LAUNCHD_LABEL, type ServiceSite, SYSTEMD_UNIT } from './site.ts'
import { SystemdManager } from './systemd.ts'
import { PROGRAM_FILE, readBack, renderUnit, type ServiceKind, type UnitText } from './template.ts'

const NEW_SETTINGS_FILE = `# The settings of memsyncd, one NAME=value a line; \`memsync config\` shows what there is and what is in force.
# After a change: memsync service restart
`

export function serviceManager(kind: ServiceKind, unitPath: string): ServiceManager {
  if (kind !== 'launchd') return new SystemdManager(SYSTEMD_UNIT, kind === 'systemd-system')
  return new LaunchdManager({ label: LAUNCHD_LABEL, plistPath: unitPath, userId: process.getuid?.() ?? 0 })
}

/**
 * Writes the unit file, and makes the settings file and the data folder where they are missing.
 * @throws MEMSYNC_SERVICE_FAILED where that may not be written, MEMSYNC_BAD_SETTING for a path that cannot stand there
 */
export function writeUnit({ kind, unitPath, values, owner }: ServiceSite): void {
  const text = renderUnit(kind, values)
  try {
    // The folder of unit files is the user's or the system's, as the unit itself.
    mkdirSync(dirname(unitPath), { recursive: true })
    makeFolder(values.dataDir, owner)
    makeFolder(dirname(values.configFile), owner)
    if (!existsSync(values.configFile)) {
      writeFileSync(values.configFile, NEW_SETTINGS_FILE, { mode: 0o600 })
      give(values.configFile, owner)
    }
    const next = `${unitPath}.new`
    writeFileSync(next, text, { mode: 0o644 })
    renameSync(next, unitPath)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    const hint = kind === 'systemd-system' ? ' (a system service is installed with sudo)' : ''
    throw new MemsyncError('MEMSYNC_SERVICE_FAILED', `${reason}${hint}`, { cause })
  }
}

/** Removes the unit file; whether there was one. */
export function removeUnit(unitPath: string): boolean {
  if (!existsSync(unitPath)) return false
  rmSync(unitPath)
  return true
}

function makeFolder(path: string, owner: ServiceSite['owner']): void {
  if (existsSync(path)) return
  makeFolder(dirname(path), owner)
  mkdirSync(path, { mode: 0o700 })
  give(path, owner)
}

function give(path: string, owner: ServiceSite['owner']): void {
  if (owner && process.getuid?.() === 0) chownSync(path, owner.uid, owner.gid)
}

export interface Installed {
  unitPath: string
  /** What it was filled in with; undefined where another release or a person wrote it. */
  values: UnitText | undefined
  /** What is wrong with it by now, each in one line; `memsync service install` mends it. */
  drift: string[]
}

/** The unit file as it is installed; undefined where none is. */
export function inspectUnit(kind: ServiceKind, unitPath: string): Installed | undefined {
  if (!existsSync(unitPath)) return undefined
  const values = readBack(kind, readFileSync(unitPath, 'utf8'))
  const drift = values ? driftOf(values) : ['it was not made by this release, or was edited since']
  return { unitPath, values, drift }
}

/** The Node and the PATH of whoever asks play no part: another shell has others. */
function driftOf({ node = '', program = '', configFile = '', dataDir = '' }: UnitText): string[] {
  const drift: string[] = []
  if (!existsSync(node)) drift.push(`Node is gone: ${node}`)
  if (!existsSync(program)) drift.push(`the program is gone: ${program}`)
  else if (realpathSync(program) !== realpathSync(PROGRAM_FILE)) drift.push(`it runs another one: ${program}`)
  if (!existsSync(configFile)) {
    drift.push(`the settings file is gone: ${configFile}`)
    return drift
  }
  const { config, sources } = loadConfig({ MEMSYNC_CONFIG: configFile }, {})
  if (sources.get('MEMSYNC_DATA_DIR')?.source === 'file' && config.dataDir !== dataDir) {
    drift.push(`the settings file names the data folder ${config.dataDir}, and it uses ${dataDir}`)
  }
  return drift
}
