/**
 * The service: whether one is installed, and is what would be installed now.
 */
import { existsSync, readFileSync } from 'node:fs'
import { inspectUnit } from '../../service/index.ts'
import { unitPathOf } from '../../service/site.ts'
import type { ServiceKind } from '../../service/template.ts'
import type { SettingName } from '../../settings.ts'
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
  path: string
  text: string
  /** How it differs from what would be installed now, each in one line. */
  drift: readonly string[]
}

/** What `memsync service install` left here: the user's own first, then the system's. */
export function findService(): InstalledService | undefined {
  const kinds: ServiceKind[] =
    process.platform === 'darwin' ? ['launchd'] : ['systemd-user', 'systemd-system']
  for (const kind of kinds) {
    const path = unitPathOf(kind)
    const installed = inspectUnit(kind, path)
    if (installed) return { path, text: readFileSync(path, 'utf8'), drift: installed.drift }
  }
  return undefined
}

export function checkService(
  say: Say,
  installed: InstalledService | undefined,
  { sources, path: settingsPath }: Pick<ReadSettings, 'sources' | 'path'>,
): Finding[] {
  if (!installed) return [say.warning('none is installed, so no daemon starts at boot', INSTALL)]
  const { path, text, drift } = installed
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
