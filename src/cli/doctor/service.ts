/**
 * The service: whether one is installed, and is what would be installed now. Where its file is and what it should hold is
 * the service's own business; this module only compares.
 */
import { existsSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { Finding, Say } from './finding.ts'
import type { ReadSettings } from './settings.ts'

const INSTALL = 'memsync service install'

/** Where `memsync service install` puts its file: the user's own first, then the system's. */
function servicePaths(): string[] {
  if (process.platform === 'darwin')
    return [join(homedir(), 'Library', 'LaunchAgents', 'com.memsyncd.daemon.plist')]
  const configHome = process.env.XDG_CONFIG_HOME || join(homedir(), '.config')
  return [join(configHome, 'systemd', 'user', 'memsyncd.service'), '/etc/systemd/system/memsyncd.service']
}

export interface InstalledService {
  path: string
  text: string
}

export function findService(paths = servicePaths()): InstalledService | undefined {
  for (const path of paths) {
    try {
      return { path, text: readFileSync(path, 'utf8') }
    } catch (thrown) {
      const { code } = thrown as NodeJS.ErrnoException
      if (code !== 'ENOENT' && code !== 'ENOTDIR') throw thrown
    }
  }
  return undefined
}

/** @param expected what would be installed at this path now; undefined where nobody knows */
export function checkService(
  say: Say,
  installed: InstalledService | undefined,
  expected: string | undefined,
  { sources, path: settingsPath }: Pick<ReadSettings, 'sources' | 'path'>,
): Finding[] {
  if (!installed) return [say.warning('none is installed, so no daemon starts at boot', INSTALL)]
  const findings: Finding[] = []
  if (expected !== undefined && expected.trim() !== installed.text.trim()) {
    findings.push(say.warning(`${installed.path} is not what this release installs`, INSTALL))
  }
  for (const program of missingPrograms(installed.text)) {
    findings.push(say.failure(`${installed.path} starts ${program}, which is not there`, INSTALL))
  }
  // A service sees nothing of a shell.
  const here = [...sources].filter(([, { source }]) => source === 'environment').map(([name]) => name)
  if (here.length > 0) {
    findings.push(
      say.warning(
        `the service does not see what only this shell sets: ${here.join(', ')}`,
        `set it in ${settingsPath}`,
      ),
    )
  }
  return findings.length > 0 ? findings : [say.ok(`installed: ${installed.path}`)]
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
