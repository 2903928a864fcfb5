/**
 * The unit files of this package's folders launchd/ and systemd/: filled in to be installed, and read back to see with
 * what an installed one was filled in. Pure but for reading the template.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { MemsyncError } from '../errors.ts'

/** The folder of package.json. */
export const PACKAGE_ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** What the service runs, from the folder of package.json. */
export const PROGRAM = ['dist', 'workers', 'memorySync-worker.js']
export const PROGRAM_FILE = join(PACKAGE_ROOT, ...PROGRAM)

export type ServiceKind = 'launchd' | 'systemd-user' | 'systemd-system'

/** What stands in a unit file: paths, absolute; `user` and `writableFolders` in a system unit, `errorLog` in an agent. */
export interface UnitValues {
  node: string
  program: string
  /** The PATH of the process. */
  path: string
  configFile: string
  dataDir: string
  errorLog: string
  user: string
  writableFolders: string[]
}

/** What an installed unit file was filled in with, lists left out. */
export type UnitText = Partial<Record<Exclude<keyof UnitValues, 'writableFolders'>, string>>

const TEMPLATES: Record<ServiceKind, string[]> = {
  launchd: ['launchd', 'com.memsyncd.daemon.plist'],
  'systemd-user': ['systemd', 'memsyncd.service'],
  'systemd-system': ['systemd', 'memsyncd-system.service'],
}

/** What systemd does not take in a command, however it is written. */
const IN_A_COMMAND: Record<string, RegExp> = { node: /["'\\$]/, program: /\$/ }
const UNUSABLE: Partial<Record<ServiceKind, Record<string, RegExp>>> = {
  'systemd-user': IN_A_COMMAND,
  'systemd-system': IN_A_COMMAND,
}

const PLACEHOLDER = /\{\{(\w+)\}\}/

/** The template's text. */
export function readTemplate(kind: ServiceKind): string {
  return readFileSync(join(PACKAGE_ROOT, ...TEMPLATES[kind]), 'utf8')
}

/**
 * The unit file to be installed.
 * @throws MEMSYNC_BAD_SETTING where a path holds a character that a unit file cannot
 */
export function renderUnit(kind: ServiceKind, values: UnitValues): string {
  return readTemplate(kind)
    .split(PLACEHOLDER)
    .map((part, at) => (at % 2 === 0 ? part : renderValue(kind, part, values)))
    .join('')
}

function renderValue(kind: ServiceKind, name: string, values: UnitValues): string {
  const value: string | string[] | undefined = values[name as keyof UnitValues]
  if (value === undefined) throw new Error(`the template of ${kind} asks for ${name}`)
  for (const text of [value].flat()) {
    if (!/\p{Cc}/u.test(text) && !UNUSABLE[kind]?.[name]?.test(text)) continue
    throw new MemsyncError(
      'MEMSYNC_BAD_SETTING',
      `${name}: ${JSON.stringify(text)} has a sign that cannot stand in a unit file`,
    )
  }
  const { encode } = NOTATIONS[kind === 'launchd' ? 'xml' : 'systemd']
  // A dash: a folder that is not there yet is no reason not to start.
  if (typeof value !== 'string') return value.map((item) => `"-${encode(item)}"`).join(' ')
  return encode(value)
}

/** Undefined where the unit file was not made from this release's template. */
export function readBack(kind: ServiceKind, unit: string): UnitText | undefined {
  const parts = readTemplate(kind).split(PLACEHOLDER)
  const pattern = parts.map((part, at) => (at % 2 === 0 ? RegExp.escape(part) : '(.*)')).join('')
  const found = new RegExp(`^${pattern}$`).exec(unit)
  if (!found) return undefined
  const { decode } = NOTATIONS[kind === 'launchd' ? 'xml' : 'systemd']
  const names = parts.filter((_, at) => at % 2 === 1)
  return Object.fromEntries(
    names
      .map((name, at) => [name, decode(found[at + 1] ?? '')])
      .filter(([name]) => name !== 'writableFolders'),
  )
}

interface Notation {
  encode(text: string): string
  decode(text: string): string
}

const XML_ENTITIES = { '&': '&amp;', '<': '&lt;', '>': '&gt;' } as const

const NOTATIONS: Record<'xml' | 'systemd', Notation> = {
  xml: {
    encode: (text) => text.replace(/[&<>]/g, (sign) => XML_ENTITIES[sign as keyof typeof XML_ENTITIES]),
    decode: (text) =>
      text.replace(/&(amp|lt|gt);/g, (entity) => (entity === '&amp;' ? '&' : entity === '&lt;' ? '<' : '>')),
  },
  // Within double quotes: systemd.syntax(7), and % as in systemd.unit(5), "Specifiers".
  systemd: {
    encode: (text) => text.replace(/["\\]/g, '\\$&').replaceAll('%', '%%'),
    decode: (text) => text.replaceAll('%%', '%').replace(/\\(.)/g, '$1'),
  },
}
