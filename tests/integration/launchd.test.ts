/**
 * What is asked of launchd, in which order, and what is made of its answers. launchctl is a stand-in with the manners
 * of the real one: a bootout that returns before the process has ended, and a bootstrap that fails until then.
 */
import { existsSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { LaunchdManager, parseLaunchdState } from '../../src/service/launchd.ts'
import { type StandIns, standIns } from '../support/standIn.ts'

const TARGET = 'gui/501/com.memsyncd.daemon'
const PLIST = '/Users/a/Library/LaunchAgents/com.memsyncd.daemon.plist'

/** `loaded` is there while the agent is; `ending/` holds a file for each look that still finds it draining. */
const LAUNCHCTL = `
drain() { set -- ending/*; [ -e "$1" ] && rm "$1" && return 0; rm -f loaded; return 1; }
case "$1" in
  print)
    if [ -d ending ]; then drain || { rmdir ending; exit 113; }; fi
    [ -e loaded ] || exit 113
    printf '${TARGET} = {\\n\\tstate = running\\n\\n\\tpid = 4242\\n\\tlast exit code = (never exited)\\n}\\n' ;;
  bootout)
    [ -e loaded ] || { echo 'Boot-out failed: 3: No such process' >&2; exit 3; }
    if [ -e slow ]; then mkdir ending; touch ending/1 ending/2; exit 36; fi
    rm loaded ;;
  bootstrap)
    [ -e loaded ] && { echo 'Bootstrap failed: 5: Input/output error' >&2; exit 5; }
    [ -e settling ] && { rm settling; echo 'Bootstrap failed: 37: Operation already in progress' >&2; exit 37; }
    [ -e nosession ] && { echo 'Bootstrap failed: 125: Domain does not support specified action' >&2; exit 125; }
    touch loaded ;;
esac`

let launchctl: StandIns
let manager: LaunchdManager
const path = process.env.PATH

beforeEach(() => {
  launchctl = standIns({ launchctl: LAUNCHCTL })
  process.env.PATH = [launchctl.folder, path].join(delimiter)
  const options = { label: 'com.memsyncd.daemon', plistPath: PLIST, userId: 501, intervalMs: 10 }
  manager = new LaunchdManager(options)
})
afterEach(() => {
  process.env.PATH = path
})

const touch = (name: string) => writeFileSync(join(launchctl.folder, name), '')
const isLoaded = () => existsSync(join(launchctl.folder, 'loaded'))
/** Without the looks. */
const calls = () => launchctl.calls().filter((call) => !call.startsWith('launchctl print'))

it('the first install: enabled, then bootstrapped; never by the legacy load', async () => {
  await manager.activate()
  expect(calls()).toEqual([
    `launchctl bootout ${TARGET}`,
    `launchctl enable ${TARGET}`,
    `launchctl bootstrap gui/501 ${PLIST}`,
  ])
  expect(isLoaded()).toBe(true)
  expect(await manager.state()).toMatchObject({ state: 'running', pid: 4242, lastExitCode: null })
})

it('an upgrade: the old one is out before the new one comes in, however long it drains', async () => {
  for (const name of ['loaded', 'slow', 'settling']) touch(name)
  await manager.activate()
  expect(calls()).toEqual([
    `launchctl bootout ${TARGET}`,
    `launchctl enable ${TARGET}`,
    `launchctl bootstrap gui/501 ${PLIST}`,
    `launchctl bootstrap gui/501 ${PLIST}`,
  ])
  expect(
    launchctl.calls().filter((call) => call.startsWith('launchctl print')).length,
  ).toBeGreaterThanOrEqual(3)
  expect(isLoaded()).toBe(true)
})

it('start, restart and stop', async () => {
  await manager.start()
  expect(calls()).toEqual([`launchctl bootstrap gui/501 ${PLIST}`])
  await manager.start()
  expect(calls().at(-1)).toBe(`launchctl kickstart ${TARGET}`)
  touch('slow')
  await manager.restart()
  expect(calls().slice(-2)).toEqual([`launchctl bootout ${TARGET}`, `launchctl bootstrap gui/501 ${PLIST}`])
  await manager.stop()
  expect(isLoaded()).toBe(false)
  expect((await manager.state()).state).toBe('stopped')
  // Again is no error.
  await manager.stop()
  await manager.deactivate()
})

it('a failure is quoted, at once, with what the user can do', async () => {
  touch('nosession')
  await expect(manager.start()).rejects.toMatchObject({
    code: 'MEMSYNC_SERVICE_FAILED',
    message: expect.stringMatching(/^launchctl bootstrap .*Domain does not support.*logged in at the screen/),
  })
  rmSync(join(launchctl.folder, 'nosession'))
  await manager.start()
})

it.each([
  [
    '\tstate = running\n\tpid = 7\n\tlast exit code = 0\n',
    { state: 'running', pid: 7, lastExitCode: 0, text: null },
  ],
  [
    '\tstate = not running\n\tlast exit code = 70: EX_SOFTWARE\n',
    { state: 'failed', pid: null, lastExitCode: 70 },
  ],
  ['\tstate = not running\n\tlast exit code = 0\n', { state: 'stopped', lastExitCode: 0 }],
  ['\tstate = SIGTERMed\n\tpid = 7\n', { state: 'stopping', pid: 7 }],
  ['\tstate = spawn scheduled\n', { state: 'starting' }],
  ['something else\n', { state: 'unknown', pid: null, lastExitCode: null }],
])('the state that %j tells', (text, state) => {
  expect(parseLaunchdState(text)).toMatchObject(state)
})
