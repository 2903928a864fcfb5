/** The page on the service says what the code does: its commands, settings, exit codes and figures are the code's own. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { Command } from 'commander'
import { describe, expect, it } from 'vitest'
import { describeCommands } from '../../src/cli/commands.ts'
import { STALLED_EXIT_CODE } from '../../src/daemon/watchdog.ts'
import { readTemplate } from '../../src/service/template.ts'
import { SETTINGS } from '../../src/settings.ts'
import { codeBlocks, fileLinks, ROOT, readDocument, tableBelow } from './markdown.ts'

const page = readDocument('docs/service.md')

describe('the page on the service', () => {
  it('shows commands and options that there are', () => {
    const program = new Command('memsync')
    const action = () => async () => undefined
    describeCommands(program, action, action)
    const shown = [
      ...codeBlocks(page, 'sh')
        .join('')
        .matchAll(/\bmemsync ([^#\n|&]+)/g),
      ...page.matchAll(/`memsync ([^`]+)`/g),
    ]
    expect(shown.length).toBeGreaterThan(12)
    for (const [, line = ''] of shown) {
      const words = line.trim().split(/\s+/)
      const command = program.commands.find((candidate) => candidate.name() === words[0])
      const sub = command?.commands.find((candidate) => candidate.name() === words[1])
      expect(command && (command.commands.length === 0 || sub), `memsync ${line}`).toBeTruthy()
      const known = (sub ?? command)?.options.flatMap(({ long, short }) => [long, short]) ?? []
      for (const word of words.filter((text) => /^-/.test(text)))
        expect(known, `memsync ${line}`).toContain(word)
    }
  })

  it('names settings, folders and files that there are', () => {
    for (const [name] of page.matchAll(/MEMSYNC_[A-Z_]+/g)) expect(Object.keys(SETTINGS)).toContain(name)
    for (const target of fileLinks(page)) expect(existsSync(join(ROOT, target)), target).toBe(true)
    for (const folder of ['launchd', 'systemd']) expect(page).toContain(`\`${folder}/\``)
  })

  it('has the exit codes of the daemon, and which of them are tried again', () => {
    const rows = tableBelow(page, '## Start, stop, restart')
    const codes = rows.flatMap((row) => row['exit code']?.split(', ') ?? [])
    expect(codes).toEqual(['0', '1', '2', String(STALLED_EXIT_CODE), '129', '130', '143', 'killed'])
    const unit = readTemplate('systemd-user')
    for (const row of rows) {
      const again = row['started again?'] ?? ''
      for (const code of row['exit code']?.split(', ') ?? []) {
        const isFinal = new RegExp(`^(RestartPreventExitStatus|SuccessExitStatus)=.*\\b${code}\\b`, 'm').test(
          unit,
        )
        expect(again.startsWith('no'), code).toBe(isFinal || code === '0')
      }
    }
  })

  it('has the figures of the unit files and of the settings', () => {
    const seconds = (key: string) =>
      new RegExp(`^${key}=(\\d+)$`, 'm').exec(readTemplate('systemd-user'))?.[1]
    expect(page).toContain(`wait ${seconds('TimeoutStopSec')} s before they kill`)
    expect(page).toContain(`after ${seconds('WatchdogSec')} s, or`)
    expect(page).toContain(`after ${seconds('RestartSec')} s (systemd)`)
    expect(page).toContain(`At ${Number(SETTINGS.MEMSYNC_LOG_MAX_BYTES.default) / 1024 ** 2} MiB`)
    expect(page).toContain(`${SETTINGS.MEMSYNC_LOG_FILES.default} files are`)
  })
})
