import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs'
import { stripTypeScriptTypes } from 'node:module'
import { delimiter, join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { ensureRuntime } from '../../src/runtime.ts'
import { tempDir } from '../support/tempDir.ts'

/** A Node of this machine that is too old, if there is one. */
function findOldNode(): string | undefined {
  return (process.env.PATH ?? '')
    .split(delimiter)
    .map((folder) => join(folder, 'node'))
    .filter((path) => !path.includes('node_modules') && existsSync(path))
    .find((path) => {
      const version = spawnSync(path, ['--version'], { encoding: 'utf8' }).stdout
      const [major = 0, minor = 0] = version.slice(1).split('.').map(Number)
      return major >= 20 && (major < 24 || (major === 24 && minor < 15))
    })
}

const oldNode = findOldNode()
const children = new Set<ChildProcess>()

afterEach(() => {
  for (const child of children) child.kill('SIGKILL')
  children.clear()
})

/** A package as it is installed: an entry that makes sure of its Node, and perhaps a Node of its own. */
function makePackage(entry: string, ownNode: string | undefined): string {
  const root = tempDir()
  mkdirSync(join(root, 'dist'))
  writeFileSync(join(root, 'package.json'), '{"type":"module"}')
  const source = readFileSync(new URL('../../src/runtime.ts', import.meta.url), 'utf8')
  writeFileSync(join(root, 'dist', 'runtime.js'), stripTypeScriptTypes(source))
  writeFileSync(
    join(root, 'dist', 'main.js'),
    `import { ensureRuntime } from './runtime.js'\nawait ensureRuntime()\n${entry}`,
  )
  if (ownNode !== undefined) {
    mkdirSync(join(root, 'node_modules', 'node', 'bin'), { recursive: true })
    symlinkSync(ownNode, join(root, 'node_modules', 'node', 'bin', 'node'))
  }
  return join(root, 'dist', 'main.js')
}

function runToEnd(main: string, args: string[] = [], input = '') {
  const { status, signal, stdout, stderr } = spawnSync(oldNode ?? '', [main, ...args], {
    encoding: 'utf8',
    input,
  })
  return { status, signal, stdout, stderr }
}

it('costs nothing on a Node that is new enough', () => {
  expect(ensureRuntime()).toBeUndefined()
})

const suite =
  oldNode === undefined
    ? 'on an older Node (skipped: this machine has none from 20 to 24.14 on the PATH)'
    : 'on an older Node'

describe.skipIf(oldNode === undefined)(suite, () => {
  const newNode = realpathSync(process.execPath)

  it('goes on under the own Node of the package: same arguments, same streams', () => {
    const entry = `
      process.stdin.on('data', (data) => process.stderr.write('in:' + data))
      console.log(process.version, JSON.stringify(process.argv.slice(2)))`
    expect(runToEnd(makePackage(entry, newNode), ['a b', '--flag', ''], 'text')).toEqual({
      status: 0,
      signal: null,
      stdout: `${process.version} ["a b","--flag",""]\n`,
      stderr: 'in:text',
    })
  })

  it('ends with the exit code, or by the signal, of what it ran', () => {
    expect(runToEnd(makePackage('process.exit(7)', newNode))).toMatchObject({ status: 7, signal: null })
    const killed = runToEnd(makePackage('process.kill(process.pid, "SIGKILL")', newNode))
    expect(killed).toMatchObject({ status: null, signal: 'SIGKILL' })
  })

  it.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)('passes %s on', async (signal) => {
    const entry = `
      process.on('${signal}', () => process.exit(5))
      setInterval(() => {}, 1000)
      console.log('up')`
    const child = spawn(oldNode ?? '', [makePackage(entry, newNode)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    children.add(child)
    await once(child.stdout, 'data')
    child.kill(signal)
    expect(await once(child, 'exit')).toEqual([5, null])
  })

  it('says which Node it needs where the package has none', () => {
    const result = runToEnd(makePackage('console.log("ran")', undefined))
    expect(result).toMatchObject({ status: 2, stdout: '' })
    expect(result.stderr).toMatch(/^memsyncd needs Node 24\.15 or newer: this is Node \d+\.\d+\.\d+\n$/)
  })

  it('ends a hook with 0 even so, as 2 would keep the prompt from the agent', () => {
    const folder = join(makePackage('', undefined), '..')
    mkdirSync(join(folder, 'cli'))
    const entry = stripTypeScriptTypes(
      readFileSync(new URL('../../src/cli/main.ts', import.meta.url), 'utf8'),
    )
    writeFileSync(join(folder, 'cli', 'main.js'), entry.replaceAll(/(\.\.?\/[\w/]+)\.ts'/g, "$1.js'"))
    const run = (...args: string[]) => runToEnd(join(folder, 'cli', 'main.js'), args, '{}')
    expect(run('hook')).toMatchObject({
      status: 0,
      stdout: '',
      stderr: expect.stringContaining('needs Node'),
    })
    expect(run('--data-dir', 'x', 'hook', '--embed')).toMatchObject({ status: 0, stdout: '' })
    expect(run('status')).toMatchObject({ status: 2, stdout: '' })
  })

  it('does not run itself for ever where the own Node is as old', () => {
    expect(runToEnd(makePackage('console.log("ran")', oldNode))).toMatchObject({ status: 2, stdout: '' })
  })
})
