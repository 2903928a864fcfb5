/** The settings as far as they can be used: one that is wrong is a finding and is left out, so that the rest is still looked at. */
import { readFileSync, statSync } from 'node:fs'
import { devNull } from 'node:os'
import { parseEnv } from 'node:util'
import {
  type LoadedConfig,
  loadConfig,
  parseSetting,
  type SettingSource,
  settingsFile,
  type Texts,
} from '../../config.ts'
import { MemsyncError } from '../../errors.ts'
import { SETTINGS, type SettingName } from '../../settings.ts'
import type { Finding, Say } from './finding.ts'

interface Problem {
  says: string
  fix: string
}

export interface ReadSettings extends LoadedConfig {
  /** Of the settings file, whether or not there is one. */
  path: string
  problems: Problem[]
  /** The texts of settings that were left out: who knows what stands in them. */
  withheld: string[]
}

/** Never throws for what a setting says; `problems` is empty exactly where the daemon would start with the same. */
export function readSettings(flags: Texts, env: Texts): ReadSettings {
  const { path } = settingsFile(flags, env)
  try {
    return { ...loadConfig(flags, env), path, problems: [], withheld: [] }
  } catch (thrown) {
    if (!(thrown instanceof MemsyncError)) throw thrown
    return salvage(flags, env, thrown)
  }
}

function salvage(flags: Texts, env: Texts, first: MemsyncError): ReadSettings {
  const { path, isGiven } = settingsFile(flags, env)
  const { file, problems } = readFile(path, isGiven)
  const good = new Map<SettingName, { text: string; source: SettingSource }>()
  const bad = new Map<SettingName, string>()
  for (const name of Object.keys(SETTINGS) as SettingName[]) {
    const found = findText(name, flags, env, file)
    if (!found) continue
    try {
      parseSetting(name, found.text, found.source)
      good.set(name, found)
    } catch (thrown) {
      bad.set(name, found.text)
      problems.push({ says: messageOf(thrown), fix: correctionOf(name, found.source, path) })
    }
  }
  const loaded = loadGood(good, (message) => {
    // What is missing because it was left out has been told.
    if ([...bad.keys()].some((name) => message.startsWith(`${name}:`))) return
    const name = /^[A-Z_]+/.exec(message)?.[0] ?? 'MEMSYNC_REMOTE_KIND'
    problems.push({ says: message, fix: `set ${name} in ${path}` })
  })
  if (problems.length === 0) problems.push({ says: first.message, fix: first.hint })
  return { ...loaded, path, problems, withheld: [...bad.values()] }
}

function readFile(path: string, isGiven: boolean): { file: Texts; problems: Problem[] } {
  let content: string
  try {
    content = readFileSync(path, 'utf8')
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException
    if (code === 'ENOENT' && !isGiven) return { file: {}, problems: [] }
    const fix =
      code === 'ENOENT' ? `make ${path}, or unset MEMSYNC_CONFIG` : `make ${path} a file this user can read`
    return { file: {}, problems: [{ says: `the settings file ${path} cannot be read (${code})`, fix }] }
  }
  const file = parseEnv(content)
  const problems = Object.keys(file)
    .filter((name) => !Object.hasOwn(SETTINGS, name))
    .map((name) => ({
      says: `${name} in ${path}: there is no such setting`,
      fix: `remove it from ${path}; memsync config lists those there are`,
    }))
  return { file, problems }
}

function findText(
  name: SettingName,
  flags: Texts,
  env: Texts,
  file: Texts,
): { text: string; source: SettingSource } | undefined {
  if (flags[name] !== undefined) return { text: flags[name], source: 'flag' }
  if (env[name]) return { text: env[name], source: 'environment' }
  return file[name] ? { text: file[name], source: 'file' } : undefined
}

/** Each setting is right by itself; where they do not fit together, it is the remote's that do not. */
function loadGood(
  good: Map<SettingName, { text: string; source: SettingSource }>,
  tell: (message: string) => void,
): LoadedConfig {
  const texts: Texts = Object.fromEntries([...good].map(([name, { text }]) => [name, text]))
  const load = () => {
    const loaded = loadConfig({ MEMSYNC_CONFIG: devNull }, texts)
    for (const [name, found] of good) if (texts[name] !== undefined) loaded.sources.set(name, found)
    return loaded
  }
  try {
    return load()
  } catch (thrown) {
    tell(messageOf(thrown))
    delete texts.MEMSYNC_REMOTE_KIND
    return load()
  }
}

function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown)
}

function correctionOf(name: SettingName, source: SettingSource, path: string): string {
  return source === 'file'
    ? `correct ${name} in ${path}`
    : `correct ${name} where it is set, or unset ${name}`
}

/** What there is to say of them. */
export function checkSettings(say: Say, { sources, path, problems }: ReadSettings): Finding[] {
  const findings = problems.map(({ says, fix }) => say.failure(says, fix))
  const set = [...sources].filter(([, { source }]) => source !== 'default' && source !== 'unset')
  const mode = statSync(path, { throwIfNoEntry: false })?.mode
  const holdsSecret = set.some(([name, { source }]) => source === 'file' && 'secret' in SETTINGS[name])
  if (mode !== undefined && (mode & 0o077) !== 0 && holdsSecret) {
    findings.push(
      say.warning(`other users of this machine may read the secrets in ${path}`, `chmod 600 ${path}`),
    )
  }
  if (findings.length > 0) return findings
  const where = mode === undefined ? `there is no file ${path}` : path
  return [say.ok(`${set.length === 0 ? 'all defaults' : `${set.length} set`}; ${where}`)]
}
