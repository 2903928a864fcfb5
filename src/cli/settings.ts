/** `memsync config`, `schema` and `version`: what this program is and how it is set. */

import { redactText } from '../jobs/redact.ts'
import { DAEMON_VERSION } from '../release.ts'
import { SETTINGS, type SettingName } from '../settings.ts'
import type { CommandContext } from './context.ts'
import { paintStdout, print, printable, printJson } from './output.ts'

const MASK = '********'

/** A setting in force, as it may be shown to anyone. */
interface ShownSetting {
  name: string
  /** Null where it is unset. */
  value: string | null
  source: string
  description: string
}

export async function config(context: CommandContext): Promise<number> {
  const settings = describeSettings(context.sources)
  if (context.json) {
    await printJson(Object.fromEntries(settings.map(({ name, value, source }) => [name, { value, source }])))
    return 0
  }
  const width = Math.max(...settings.map(({ name }) => name.length))
  for (const { name, value, source, description } of settings) {
    const shown = value === null ? paintStdout('quiet', '(unset)') : printable(value)
    const origin = paintStdout('quiet', `# ${source === 'unset' ? '' : `${source}; `}${description}`)
    await print(`${name.padEnd(width)}  ${shown}  ${origin}\n`)
  }
  return 0
}

function describeSettings(sources: CommandContext['sources']): ShownSetting[] {
  return (Object.keys(SETTINGS) as SettingName[]).map((name) => {
    const { text, source } = sources.get(name) ?? { text: undefined, source: 'unset' as const }
    const { description } = SETTINGS[name]
    if (text === undefined) return { name, value: null, source, description }
    // A command may hold a key as well, and a URL a password.
    const value = 'secret' in SETTINGS[name] ? maskSecret(text) : redactText(text)
    return { name, value, source, description }
  })
}

/**
 * Of a URL only user, password and query are secret, and the path where it is one of the web, which may be all that keeps
 * strangers from using it; anything else is so as a whole. Pure.
 */
export function maskSecret(text: string): string {
  if (!/^[a-z]+:\/\//i.test(text) || !URL.canParse(text)) return MASK
  const url = new URL(text)
  const login = url.username || url.password ? `${MASK}@` : ''
  const path = url.protocol.startsWith('http') && url.pathname !== '/' ? `/${MASK}` : url.pathname
  return `${url.protocol}//${login}${url.host}${path}${url.search ? `?${MASK}` : ''}`
}

export async function schema(): Promise<number> {
  const { publishedSchema } = await import('../jobs/index.ts')
  await print(`${JSON.stringify(publishedSchema(), null, process.stdout.isTTY ? 2 : undefined)}\n`)
  return 0
}

export async function version(context: CommandContext): Promise<number> {
  if (context.json) await printJson({ version: DAEMON_VERSION, node: process.versions.node })
  else await print(`memsyncd ${DAEMON_VERSION}\n`)
  return 0
}
