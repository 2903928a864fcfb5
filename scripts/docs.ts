/**
 * `npm run docs`: writes the tables of the README and of docs/metrics.md anew from the code that they describe. A table
 * stands between `<!-- table: NAME -->` and `<!-- end -->`; everything else is written by hand.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Command } from 'commander'
import { describeCommands } from '../src/cli/commands.ts'
import { exitCodeOf } from '../src/cli/failure.ts'
import { ERROR_CODES, type ErrorCode } from '../src/errors.ts'
import { publishedSchema } from '../src/jobs/index.ts'
import { METRICS } from '../src/metrics/catalogue.ts'
import { SETTINGS } from '../src/settings.ts'

const ROOT = join(import.meta.dirname, '..')

/** Defaults that depend on the machine. */
const PLACES: Record<string, string> = {
  MEMSYNC_DATA_DIR: '`~/.local/share/memsyncd`; on macOS `~/Library/Application Support/memsyncd`',
  MEMSYNC_CONFIG: '`~/.config/memsyncd/memsync.env`',
}

function table(head: string[], rows: string[][]): string {
  const line = (cells: string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [line(head), `|${'---|'.repeat(head.length)}`, ...rows.map(line)].join('\n')
}

function settings(): string {
  const rows = Object.entries(SETTINGS).map(([name, setting]) => {
    const fallback = 'default' in setting ? `\`${setting.default}\`` : (PLACES[name] ?? '')
    return [`\`${name}\``, fallback, setting.description]
  })
  return table(['Setting', 'Default', 'Meaning'], rows)
}

function errors(): string {
  const rows = (Object.keys(ERROR_CODES) as ErrorCode[]).map((code) => {
    const { class: errorClass, meaning, hint } = ERROR_CODES[code]
    return [`\`${code}\``, errorClass, String(exitCodeOf(code)), meaning, hint]
  })
  return table(['Code', 'Class', 'Exit', 'Meaning', 'What to do'], rows)
}

function commands(): string {
  const program = new Command('memsync')
  describeCommands(
    program,
    () => async () => undefined,
    () => async () => undefined,
  )
  const rows = (parent: Command, path: string): string[][] =>
    parent.commands.flatMap((command) => {
      const usage = command.registeredArguments.map((argument) => {
        const text = `${argument.name()}${argument.variadic ? '...' : ''}`
        return argument.required ? `<${text}>` : `[${text}]`
      })
      const own = [`\`${[path, command.name(), ...usage].join(' ')}\``, command.summary()]
      return [own, ...rows(command, `${path} ${command.name()}`)]
    })
  return table(['Command', 'What it does'], rows(program, 'memsync'))
}

interface FieldSchema {
  type?: string
  enum?: string[]
  default?: unknown
  description?: string
}

function wire(): string {
  const schema = publishedSchema().MEMORY_SYNC as {
    properties: Record<string, FieldSchema>
    required: string[]
  }
  const rows = Object.entries(schema.properties).map(([name, field]) => {
    const type = field.enum?.map((choice) => `\`"${choice}"\``).join(' or ') ?? field.type ?? 'any JSON'
    const fallback = field.default === undefined ? '' : `\`${JSON.stringify(field.default)}\``
    return [
      `\`${name}\``,
      type,
      schema.required.includes(name) ? 'required' : fallback,
      field.description ?? '',
    ]
  })
  return table(['Field', 'Type', 'Default', 'Meaning'], rows)
}

function metrics(): string {
  const rows = Object.entries(METRICS).map(([name, { type, help, ...rest }]) => {
    const labels = 'labels' in rest ? Object.entries<string>(rest.labels) : []
    return [`\`${name}\``, type, labels.map(([label, values]) => `\`${label}\`: ${values}`).join('; '), help]
  })
  return table(['Metric', 'Type', 'Labels', 'Meaning'], rows)
}

const TABLES: Record<string, () => string> = { settings, errors, commands, wire, metrics }

for (const name of ['README.md', 'docs/metrics.md']) {
  const path = join(ROOT, name)
  const text = readFileSync(path, 'utf8')
  writeFileSync(
    path,
    text.replace(/(<!-- table: (\w+) -->\n)[\s\S]*?(<!-- end -->)/g, (_, start, table, end) => {
      const render = TABLES[table]
      if (!render) throw new Error(`${name} asks for a table ${table}; there are ${Object.keys(TABLES)}`)
      return `${start}${render()}\n${end}`
    }),
  )
}
