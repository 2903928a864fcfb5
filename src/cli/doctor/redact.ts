/** What may leave the machine in a bug report: settings, log lines and text without secrets, keys or the user's name. Pure. */
import { createHmac } from 'node:crypto'
import type { Texts } from '../../config.ts'
import { SETTINGS, type SettingName } from '../../settings.ts'
import type { ReadSettings } from './settings.ts'

const MASK = '********'
/** Text shorter than this is no secret, and would be found in half the words. */
const SHORTEST_SECRET = 4
/** No secret by its kind, but a person may have put one in. */
const MAY_HOLD_SECRET: readonly SettingName[] = ['MEMSYNC_NOTIFY_COMMAND', 'WORKER_JOB']
/** Fields of a log line that name a memory, or that a later release may fill with something of it. */
const NAMING_FIELDS = /^(key|keys|namespace|namespaces|session|project)$/i
const WITHHELD_FIELDS =
  /(value|data|metadata|text|content|embedding|vector|token|secret|password|authorization)$/i

/** Every setting in force; a secret as `MASK`, or by its scheme and host where it is a URL. */
export function maskedSettings({ sources }: Pick<ReadSettings, 'sources'>): Record<string, unknown> {
  const names = Object.keys(SETTINGS) as SettingName[]
  return Object.fromEntries(
    names.map((name) => {
      const { text, source } = sources.get(name) ?? { text: undefined, source: 'unset' }
      const isSecret = 'secret' in SETTINGS[name] || MAY_HOLD_SECRET.includes(name)
      const value = text === undefined ? null : isSecret ? masked(text) : text
      return [name, { value, source }]
    }),
  )
}

/** A webhook's secret is its path, so nothing of that is kept. */
function masked(text: string): string {
  if (!/^[a-z]+:\/\//i.test(text) || !URL.canParse(text)) return MASK
  const { protocol, host } = new URL(text)
  return host === '' ? `${protocol}${MASK}` : `${protocol}//${host}/${MASK}`
}

/** Every text that must not be in the bundle, whoever wrote it there; the longest first. */
export function secretTexts({ sources, withheld }: ReadSettings, env: Texts, more: string[]): string[] {
  const names = (Object.keys(SETTINGS) as SettingName[]).filter(
    (name) => 'secret' in SETTINGS[name] || MAY_HOLD_SECRET.includes(name),
  )
  const given = names.flatMap((name) => [sources.get(name)?.text, env[name]])
  const texts = [...given, ...withheld, ...more].filter((text) => text !== undefined).flatMap(partsOf)
  return [...new Set(texts)]
    .filter((text) => text.length >= SHORTEST_SECRET)
    .sort((a, b) => b.length - a.length)
}

/** A URL also in its parts, as a part may be shown where the whole is not. Its host is no secret. */
function partsOf(text: string): string[] {
  if (!URL.canParse(text)) return [text]
  const { username, password, search, pathname, protocol } = new URL(text)
  const isWeb = protocol.startsWith('http')
  const parts = [password, decodeSafely(password), search.slice(1), ...(isWeb ? [pathname.slice(1)] : [])]
  // The names of users that Redis makes itself say nothing.
  return username === '' || username === 'default' ? parts : [...parts, username]
}

function decodeSafely(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    // A stray percent sign: then it is written as it is.
    return text
  }
}

/** The text without what is secret, and with `~` for the home folder, whose name is the user's. */
export function scrub(text: string, secrets: readonly string[], home: string): string {
  let scrubbed = text
  for (const secret of secrets) scrubbed = scrubbed.replaceAll(secret, MASK)
  return home.length > 1 ? scrubbed.replaceAll(home, '~') : scrubbed
}

/**
 * Lines of the JSON log, newest last; names of memories as hashes that are the same throughout one bundle, and whatever is
 * not JSON left out, as nobody knows what it is.
 * @param salt of this bundle alone, so that no hash can be looked up
 */
export function redactLog(lines: readonly string[], salt: string): string[] {
  return lines.flatMap((line) => {
    const parsed = parseObject(line)
    return parsed ? [JSON.stringify(redactFields(parsed, salt))] : []
  })
}

function parseObject(line: string): Record<string, unknown> | undefined {
  try {
    const parsed: unknown = JSON.parse(line)
    return typeof parsed === 'object' && parsed !== null ? (parsed as Record<string, unknown>) : undefined
  } catch {
    // Left out.
    return undefined
  }
}

function redactFields(fields: Record<string, unknown>, salt: string): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [name, redactField(name, value, salt)]),
  )
}

function redactField(name: string, value: unknown, salt: string): unknown {
  if (NAMING_FIELDS.test(name)) return hashName(JSON.stringify(value), salt)
  if (WITHHELD_FIELDS.test(name) && typeof value !== 'number') return MASK
  if (Array.isArray(value)) return value.map((item) => redactField('', item, salt))
  if (typeof value === 'object' && value !== null) return redactFields(value as Record<string, unknown>, salt)
  return value
}

export function hashName(name: string, salt: string): string {
  return `#${createHmac('sha256', salt).update(name).digest('hex').slice(0, 12)}`
}
