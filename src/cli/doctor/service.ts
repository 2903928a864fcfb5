/**
 * The service: whether one is installed, and is what would be installed now. Where its file is and what it should hold is
 * the service's own business; this module only compares.
 */
import { existsSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { SettingName } from '../../config.ts'
import type { Finding, Say } from './finding.ts'
import type { ReadSettings } from './settings.ts'

const INSTALL = 'memsync service install'
/** These a service gets from its own file, or has no use for. */
const NAMED_BY_THE_UNIT: readonly SettingName[] = [
  'MEMSYNC_CONFIG',
  'MEMSYNC_DATA_DIR',
  'WORKER_JOB',
  'WORKER_PAYLOAD',
]

export interface InstalledService {
  kind: 'launchd' | 'systemd-user' | 'systemd-system'
  path: string
  text: string
}

/** Where `memsync service install` puts its file: the user's own first, then the system's. */
function servicePlaces(): Pick<InstalledService, 'kind' | 'path'>[] {
  if (process.platform === 'darwin') {
    const path = join(homedir(), 'Library', 'LaunchAgents', 'com.memsyncd.daemon.plist')
    return [{ kind: 'launchd', path }]
  }
  const configHome = process.env.XDG_CONFIG_HOME || join(homedir(), '.config')
  return [
    { kind: 'systemd-user', path: join(configHome, 'systemd', 'user', 'memsyncd.service') },
    { kind: 'systemd-system', path: '/etc/systemd/system/memsyncd.service' },
  ]
}

export function findService(): InstalledService | undefined {
  for (const place of servicePlaces()) {
    try {
      return { ...place, text: readFileSync(place.path, 'utf8') }
    } catch (thrown) {
      const { code } = thrown as NodeJS.ErrnoException
      if (code !== 'ENOENT' && code !== 'ENOTDIR') throw thrown
    }
  }
  return undefined
}

/** @param drift how it differs from what would be installed now, each in one line, where somebody knows */
export function checkService(
  say: Say,
  installed: InstalledService | undefined,
  drift: readonly string[],
  { sources, path: settingsPath }: Pick<ReadSettings, 'sources' | 'path'>,
): Finding[] {
  if (!installed) return [say.warning('none is installed, so no daemon starts at boot', INSTALL)]
  const { path, text } = installed
  const findings = missingPrograms(text).map((program) =>
    say.failure(`${path} starts ${program}, which is not there`, INSTALL),
  )
  if (findings.length === 0) {
    findings.push(...drift.map((line) => say.warning(`${path}: ${line}`, INSTALL)))
  }
  // A service sees nothing of a shell.
  const here = [...sources]
    .filter(([name, { source }]) => source === 'environment' && !NAMED_BY_THE_UNIT.includes(name))
    .map(([name]) => name)
  if (here.length > 0) {
    findings.push(
      say.warning(
        `the service does not see what only this shell sets: ${here.join(', ')}`,
        `set it in ${settingsPath}`,
      ),
    )
  }
  return findings.length > 0 ? findings : [say.ok(`installed: ${path}`)]
}

/** The absolute paths it starts that do not exist: a Node that was upgraded away, a checkout that moved. */
function missingPrograms(text: string): string[] {
  const commands = [...text.matchAll(/^ExecStart=(.*)$/gm)].map(([, command = '']) => command.split(/\s+/))
  const items = /<key>ProgramArguments<\/key>\s*<array>(.*?)<\/array>/s.exec(text)?.[1] ?? ''
  commands.push([...items.matchAll(/<string>(.*?)<\/string>/gs)].map(([, item = '']) => item))
  return commands
    .flat()
    .map((word) => word.replace(/^["'!@:+-]+|["']$/g, ''))
    .filter((word) => word.startsWith('/') && !existsSync(word))
}
