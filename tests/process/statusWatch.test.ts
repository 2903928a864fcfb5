/** `memsync status --watch` as it is used: in a pipe, and on a terminal that is left as it was. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { describe, expect, it } from 'vitest'
import { commandLine, HAS_TERMINAL, MEMSYNC } from '../support/cli.ts'
import { isolatedEnvironment } from '../support/daemon.ts'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

function watching(command: string, args: string[], env: Record<string, string> = {}) {
  const dataDir = tempDir()
  const child = spawn(command, args, {
    env: isolatedEnvironment(dataDir, { TERM: 'xterm-256color', ...env }),
  })
  let shown = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    shown += chunk
  })
  return { child, shown: () => shown, ended: once(child, 'close') }
}

describe('where stdout is no terminal', () => {
  it('prints a block of text each time, and ends in order on SIGINT', async () => {
    const { child, shown, ended } = watching(process.execPath, [
      MEMSYNC,
      'status',
      '--watch',
      '--interval',
      '100ms',
    ])
    await waitFor('two blocks came', () => shown().split('total synced').length > 2, { timeoutMs: 20_000 })
    child.kill('SIGINT')
    expect(await ended).toEqual([0, null])
    expect(shown()).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z\nmemsyncd .* 1 problem\n/)
    // Nothing of a screen: no colour, no cursor.
    expect(shown()).not.toContain('\u001b')
  })

  it('prints a document a line with --json, with the time and the flow of each lane', async () => {
    const args = [MEMSYNC, 'status', '--watch', '--json', '--interval', '100ms']
    const { child, shown, ended } = watching(process.execPath, args)
    await waitFor('three lines came', () => shown().split('\n').length > 3, { timeoutMs: 20_000 })
    child.kill('SIGTERM')
    expect(await ended).toEqual([0, null])
    const documents = shown()
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(documents[1]).toMatchObject({
      at: expect.stringMatching(/Z$/),
      daemon: { running: false },
      flows: { sync: { perSecond: 0, shrinksPerSecond: null, drainMs: null } },
    })
  })

  it('refuses an interval that is none, or goes with nothing', async () => {
    const { run } = commandLine()
    for (const [args, problem] of [
      [['--interval', '3s'], '--interval goes with --watch'],
      [['--watch', '--interval', '1ms'], 'is not from 100ms to 1h'],
      [['--watch', '--interval', 'often'], 'is not a span of time'],
    ] as const) {
      const { code, stderr } = await run(['status', ...args])
      expect(code).toBe(2)
      expect(stderr).toContain(problem)
    }
  })
})

describe.skipIf(!HAS_TERMINAL)('on a terminal', () => {
  const onTerminal = (env: Record<string, string> = {}) =>
    watching(
      'script',
      ['-qec', `'${process.execPath}' '${MEMSYNC}' status --watch --interval 100ms`, '/dev/null'],
      env,
    )

  it.each(['q', '\u0003'])('draws in place and ends with %j, the terminal as it was', async (key) => {
    const { child, shown, ended } = onTerminal()
    await waitFor('two frames were drawn', () => shown().split('\u001b[H').length > 2, { timeoutMs: 20_000 })
    child.stdin.write(key)
    expect((await ended)[0]).toBe(0)
    const [enter, leave] = ['\u001b[?1049h\u001b[?25l\u001b[?7l', '\u001b[?7h\u001b[?25h\u001b[?1049l']
    expect(shown()).toContain('\u001b[31mstopped\u001b[39m')
    expect(shown().startsWith(enter)).toBe(true)
    expect(shown().trimEnd().endsWith(leave)).toBe(true)
    // No flicker: nothing is cleared before it is drawn again.
    expect(shown()).not.toContain('\u001b[2J')
  })

  it('is readable without colour: NO_COLOR is honoured', async () => {
    const { child, shown, ended } = onTerminal({ NO_COLOR: '1' })
    await waitFor('a frame was drawn', () => shown().includes('\u001b[?2026l'), { timeoutMs: 20_000 })
    child.stdin.write('q')
    await ended
    expect(shown()).toContain('stopped')
    expect(shown()).not.toMatch(/\[\d+m/)
  })
})
