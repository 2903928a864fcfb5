/**
 * What the README says is what the code does: its tables of settings, errors, commands, fields and dependencies, both
 * ways, and every command, script, link and snippet it shows. `npm run docs` writes the generated tables anew.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { describe, expect, it } from 'vitest'
import { describeCommands } from '../../src/cli/commands.ts'
import { exitCodeOf } from '../../src/cli/failure.ts'
import { STALLED_EXIT_CODE } from '../../src/daemon/watchdog.ts'
import { ERROR_CODES, type ErrorCode } from '../../src/errors.ts'
import { DEAD_LETTER_QUEUE, SYNC_QUEUE } from '../../src/jobs/index.ts'
import { SETTINGS } from '../../src/settings.ts'
import { commandLine } from '../support/cli.ts'
import { codeBlocks, fileLinks, ROOT, readDocument, tableBelow } from './markdown.ts'

const readme = readDocument('README.md')
const packageJson = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  scripts: Record<string, string>
  dependencies: Record<string, string>
}
const HINT = 'run `npm run docs`, which writes the tables anew'

describe('the tables', () => {
  it('of settings: every one, with its default and meaning', () => {
    const rows = tableBelow(readme, '<!-- table: settings -->')
    expect(
      rows.map(({ Setting }) => Setting),
      HINT,
    ).toEqual(Object.keys(SETTINGS))
    for (const { Setting = '', Default, Meaning } of rows) {
      const setting: { default?: string; description: string } = SETTINGS[Setting as keyof typeof SETTINGS]
      expect(Meaning, `${Setting}: ${HINT}`).toBe(setting.description)
      if (!['MEMSYNC_DATA_DIR', 'MEMSYNC_CONFIG'].includes(Setting))
        expect(Default, `${Setting}: ${HINT}`).toBe(setting.default ?? '')
    }
  })

  it('of settings: the default places are those that `memsync config` shows', async () => {
    const home = homedir()
    const { document } = await commandLine().json(['config'], { env: { HOME: home, MEMSYNC_DATA_DIR: '' } })
    const rows = tableBelow(readme, '<!-- table: settings -->')
    for (const name of ['MEMSYNC_DATA_DIR', 'MEMSYNC_CONFIG']) {
      const documented = rows.find(({ Setting }) => Setting === name)?.Default ?? ''
      const { value, source } = document[name] as { value: string; source: string }
      expect(source).toBe('default')
      expect(documented.replaceAll('~', home)).toContain(`${value}`)
    }
  })

  it('of errors: every one, with its class, exit code, meaning and hint', () => {
    const rows = tableBelow(readme, '<!-- table: errors -->')
    const codes = Object.keys(ERROR_CODES) as ErrorCode[]
    expect(rows, HINT).toEqual(
      codes.map((code) => ({
        Code: code,
        Class: ERROR_CODES[code].class,
        Exit: String(exitCodeOf(code)),
        Meaning: ERROR_CODES[code].meaning,
        'What to do': ERROR_CODES[code].hint,
      })),
    )
  })

  it('of commands: those that `memsync --help` lists, with what it says of them', async () => {
    const { run } = commandLine()
    const listed = async (...path: string[]) => {
      const { stdout } = await run([...path, '--help'], { env: { COLUMNS: '200' } })
      const section = /^Commands:\n((?: {2}.*\n)+)/m.exec(stdout)?.[1] ?? ''
      return [...section.matchAll(/^ {2}(\S+).*? {2,}(\S.*)$/gm)]
        .filter(([, name]) => name !== 'help')
        .map(([, name, summary]) => [['memsync', ...path, name].join(' '), summary])
    }
    const top = await listed()
    expect(top.length).toBeGreaterThan(10)
    const documented = tableBelow(readme, '<!-- table: commands -->').map((row) => [
      row.Command?.replace(/ [<[].*$/, ''),
      row['What it does'],
    ])
    const nested = await Promise.all(top.map(([name = '']) => listed(...name.split(' ').slice(1))))
    expect(documented.toSorted(), HINT).toEqual([...top, ...nested.flat()].toSorted())
  })

  it('of the wire: the fields that `memsync schema` prints', async () => {
    const { stdout } = await commandLine().run(['schema'])
    const { MEMORY_SYNC } = JSON.parse(stdout)
    const rows = tableBelow(readme, '<!-- table: wire -->')
    expect(
      rows.map(({ Field }) => Field),
      HINT,
    ).toEqual(Object.keys(MEMORY_SYNC.properties))
    for (const { Field = '', Type, Default, Meaning } of rows) {
      const field = MEMORY_SYNC.properties[Field]
      expect(Meaning, `${Field}: ${HINT}`).toBe(field.description)
      const required = MEMORY_SYNC.required.includes(Field)
      const fallback = field.default === undefined ? '' : JSON.stringify(field.default)
      expect(Default, `${Field}: ${HINT}`).toBe(required ? 'required' : fallback)
      for (const choice of field.enum ?? []) expect(Type).toContain(`"${choice}"`)
      if (!field.enum) expect(Type).toBe(field.type ?? 'any JSON')
    }
    expect(readme).toContain(`the queue \`${SYNC_QUEUE}\``)
    expect(readme).toContain(DEAD_LETTER_QUEUE)
  })

  it('of exit codes: what the commands and the daemon end with', async () => {
    const rows = tableBelow(readme, '### Exit codes')
    const codesOf = (column: string) =>
      rows.filter((row) => row[column]).flatMap(({ Code }) => Code?.split(', '))
    expect(codesOf('Of a command')).toEqual(['0', '1', '2'])
    expect(codesOf('Of the daemon')).toEqual(['0', '1', '2', String(STALLED_EXIT_CODE), '129', '130', '143'])
    const { run } = commandLine()
    expect((await run(['status'])).code).toBe(0)
    expect((await run(['has', 'nothing'])).code).toBe(1)
    expect((await run(['get', 'nothing'])).code).toBe(1)
    expect((await run(['nonsense'])).code).toBe(2)
    expect((await run(['config'], { env: { MEMSYNC_CONCURRENCY: 'many' } })).code).toBe(2)
    expect((await run(['daemon'], { env: { MEMSYNC_CONCURRENCY: 'many' } })).code).toBe(2)
  })

  it('of dependencies: each package with its version and a reason', () => {
    const rows = tableBelow(readme, '### Dependencies')
    const documented = rows.map(({ Package = '', Why }) => {
      expect(Why, Package).toMatch(/\w{3}/)
      const [, name, version] = /^`(\S+)` (\S+)$/.exec(Package) ?? []
      return [name, version]
    })
    expect(Object.fromEntries(documented)).toEqual(packageJson.dependencies)
  })

  it('of folders: each is there', () => {
    for (const { Folder = '' } of tableBelow(readme, '### Where things are')) {
      for (const name of Folder.replaceAll('`', '').split(', '))
        expect(existsSync(join(ROOT, name)), name).toBe(true)
    }
  })
})

describe('what it shows', () => {
  const documents = { README: readme, CONTRIBUTING: readDocument('CONTRIBUTING.md') }

  it('every npm script it names exists, and every one that exists is named', () => {
    const all = Object.values(documents).join('\n')
    const named = new Set([...all.matchAll(/npm run ([\w:]+)/g)].map(([, name = '']) => name))
    for (const [, name = ''] of all.matchAll(/npm (start|test)\b/g)) named.add(name)
    expect([...named].toSorted()).toEqual(Object.keys(packageJson.scripts).toSorted())
  })

  it('every command line it shows is one that the program takes', () => {
    const program = new Command('memsync')
    describeCommands(
      program,
      () => async () => undefined,
      () => async () => undefined,
    )
    const global = ['--help', '--json', '--data-dir', '--redis-url', '--config', '--version']
    const shown = [
      ...codeBlocks(readme, 'sh')
        .join('')
        .matchAll(/\bmemsync ([^#\n|]+)/g),
      ...readme.matchAll(/`memsync ([^`]+)`/g),
    ].map(([, line = '']) => line)
    let checked = 0
    for (const line of shown) {
      const [name = '', ...rest] = line.split(/\s+/)
      const command = program.commands.find((candidate) => candidate.name() === name)
      expect(command, `memsync ${line}`).toBeDefined()
      const sub = command?.commands.find((candidate) => candidate.name() === rest[0])
      if (command?.commands.length && rest[0]?.match(/^[a-z]+$/)) expect(sub, `memsync ${line}`).toBeDefined()
      const known = [...global, ...((sub ?? command)?.options ?? []).map(({ long }) => long)]
      for (const option of rest.filter((word) => word.startsWith('--'))) {
        expect(known, `memsync ${line}`).toContain(option)
      }
      checked++
    }
    expect(checked).toBeGreaterThan(20)
  })

  it('every snippet of TypeScript stands in an example that the tests run', () => {
    const folder = join(ROOT, 'examples')
    const lines = new Set(
      readdirSync(folder).flatMap((name) => readFileSync(join(folder, name), 'utf8').split('\n')),
    )
    const snippets = codeBlocks(readme, 'ts')
    expect(snippets.length).toBeGreaterThan(0)
    for (const line of snippets.join('').split('\n')) expect(lines).toContain(line)
  })

  it('every example and every founding name is there', () => {
    for (const name of readdirSync(join(ROOT, 'examples'))) expect(readme).toContain(`examples/${name}`)
    for (const name of [
      'WORKER_JOB',
      'WORKER_PAYLOAD',
      'MEMORY_SYNC',
      'memorySyncHandler',
      'TypedWorkerQueue',
    ]) {
      expect(readme).toContain(name)
    }
  })

  it('every link leads somewhere', () => {
    for (const [name, text] of Object.entries(documents)) {
      for (const target of fileLinks(text))
        expect(existsSync(join(ROOT, target)), `${name}: ${target}`).toBe(true)
    }
    // Source files are named in text, too.
    for (const [, path = ''] of readme.matchAll(/`((?:src|prove|bench|tests|scripts)\/[\w./-]+)`/g)) {
      expect(existsSync(join(ROOT, path)), path).toBe(true)
    }
  })

  it('the changelog has the version of the package, and what is not released yet', () => {
    const { version } = JSON.parse(readDocument('package.json')) as { version: string }
    expect(readDocument('CHANGELOG.md')).toContain(`## [${version}]`)
  })
})
