/**
 * The set-up of a checkout, run as a person runs it, in a small copy: the scripts themselves, a daemon of a few lines,
 * this checkout's node_modules, and a PATH with nothing on it but what a test puts there.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join, resolve } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

const CHECKOUT = resolve(import.meta.dirname, '..', '..')
const DAEMON = 'src/workers/memorySync-worker.ts'

const children = new Set<ChildProcess>()

afterEach(() => {
  for (const child of children) child.kill('SIGKILL')
  children.clear()
})

class Copy {
  readonly root = join(tempDir(), 'checkout')
  readonly bin = tempDir()
  readonly env: Record<string, string> = { PATH: this.bin, HOME: tempDir() }

  constructor({ redis = true } = {}) {
    cpSync(join(CHECKOUT, 'scripts'), join(this.root, 'scripts'), { recursive: true })
    for (const file of ['tsconfig.json', 'tsconfig.build.json', 'package-lock.json']) {
      cpSync(join(CHECKOUT, file), join(this.root, file))
    }
    // Without commands, which the set-up would link into the node_modules that is shared here.
    this.write('package.json', '{"type":"module","bin":{}}')
    this.write('src/dashboard/page/index.html', '')
    this.write(DAEMON, "console.log('daemon', process.version, process.argv.slice(2).join())\n")
    this.shareModules()
    symlinkSync(realpathSync(process.execPath), join(this.bin, 'node'))
    symlinkSync('/bin/sh', join(this.bin, 'sh'))
    if (redis) this.command('redis-server', 'exit 0')
  }

  shareModules(): void {
    symlinkSync(join(CHECKOUT, 'node_modules'), join(this.root, 'node_modules'))
  }

  path(file: string): string {
    return join(this.root, file)
  }

  write(file: string, text: string): void {
    mkdirSync(join(this.path(file), '..'), { recursive: true })
    writeFileSync(this.path(file), text)
  }

  /** Puts a command on the PATH. */
  command(name: string, script: string): void {
    writeFileSync(join(this.bin, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
  }

  run(script = 'start', args: string[] = []) {
    const result = spawnSync(process.execPath, [this.path(`scripts/${script}.mjs`), ...args], {
      env: this.env,
      encoding: 'utf8',
    })
    return { code: result.status, signal: result.signal, stdout: result.stdout, stderr: result.stderr }
  }

  start(): ChildProcess {
    const child = spawn(process.execPath, [this.path('scripts/start.mjs')], {
      env: this.env,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    children.add(child)
    return child
  }
}

describe('npm start', () => {
  it('builds at first, says so, and runs the daemon with its arguments', () => {
    const copy = new Copy()
    expect(copy.run('start', ['--flag', 'x'])).toEqual({
      code: 0,
      signal: null,
      stdout: `daemon ${process.version} --flag,x\n`,
      stderr: 'memsyncd: building (tsc)\n',
    })
  })

  it('does no set-up work the second time', () => {
    const copy = new Copy()
    copy.run()
    const built = statSync(copy.path('dist')).ino
    expect(copy.run()).toMatchObject({ code: 0, stderr: '' })
    expect(statSync(copy.path('dist')).ino).toBe(built)
  })

  it('ends with the exit code of the daemon', () => {
    const copy = new Copy()
    copy.write(DAEMON, 'process.exit(70)\n')
    expect(copy.run()).toMatchObject({ code: 70, signal: null })
  })

  it('dies as the daemon dies', () => {
    const copy = new Copy()
    copy.write(DAEMON, "process.kill(process.pid, 'SIGKILL')\n")
    expect(copy.run()).toMatchObject({ code: null, signal: 'SIGKILL' })
  })

  it.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)('passes %s on', async (signal) => {
    const copy = new Copy()
    copy.write(
      DAEMON,
      `process.on('${signal}', () => process.exit(5))\nsetInterval(() => {}, 1000)\nconsole.log('up')\n`,
    )
    copy.run('build')
    const child = copy.start()
    await once(child.stdout ?? child, 'data')
    child.kill(signal)
    expect(await once(child, 'exit')).toEqual([5, null])
  })
})

describe('the build', () => {
  it('is made again when a source has changed, and holds nothing of a source that is gone', () => {
    const copy = new Copy()
    copy.write('src/gone.ts', 'export const gone = 1\n')
    copy.run('build')
    expect(existsSync(copy.path('dist/gone.js'))).toBe(true)
    rmSync(copy.path('src/gone.ts'))
    copy.write(DAEMON, "console.log('new')\n")
    expect(copy.run()).toMatchObject({ code: 0, stdout: 'new\n', stderr: 'memsyncd: building (tsc)\n' })
    expect(existsSync(copy.path('dist/gone.js'))).toBe(false)
    expect(existsSync(copy.path('.dist-next')) || existsSync(copy.path('.dist-previous'))).toBe(false)
  })

  it('that fails says why, ends with 1, and leaves the last one', () => {
    const copy = new Copy()
    copy.run('build')
    const before = readFileSync(copy.path('dist/workers/memorySync-worker.js'), 'utf8')
    copy.write(DAEMON, "const count: number = 'text'\nconsole.log(count)\n")
    const result = copy.run()
    expect(result).toMatchObject({ code: 1, stdout: '' })
    expect(result.stderr).toContain('the build failed:\nsrc/workers/memorySync-worker.ts(1,7): error TS2322')
    expect(readFileSync(copy.path('dist/workers/memorySync-worker.js'), 'utf8')).toBe(before)
    expect(copy.run().code).toBe(1)
  })

  it('is made once by two set-ups at once', async () => {
    const copy = new Copy()
    const ends = await Promise.all(
      [copy.start(), copy.start()].map(async (child) => {
        let text = ''
        child.stderr?.on('data', (chunk) => {
          text += chunk
        })
        const [code] = await once(child, 'close')
        return { code, text }
      }),
    )
    expect(ends.map((end) => end.code)).toEqual([0, 0])
    expect(
      ends
        .map((end) => end.text)
        .join('')
        .match(/building/g),
    ).toHaveLength(1)
    expect(existsSync(copy.path('.setup.lock'))).toBe(false)
  })

  it('is not kept from being made by a set-up that was killed', () => {
    const copy = new Copy()
    const { pid } = spawnSync('/bin/sh', ['-c', 'exit'])
    copy.write('.setup.lock', String(pid))
    expect(copy.run('build')).toMatchObject({ code: 0, stderr: 'memsyncd: building (tsc)\n' })
  })
})

describe('the dependencies', () => {
  /** As if the lockfile had changed since they were installed. */
  function changeLockfile(copy: Copy): void {
    const lock = JSON.parse(readFileSync(copy.path('package-lock.json'), 'utf8'))
    lock.packages['node_modules/zod'].version = '0.0.1'
    copy.write('package-lock.json', JSON.stringify(lock))
  }

  it('are installed where there are none, on a PATH without the ones that are replaced', () => {
    const copy = new Copy()
    rmSync(copy.path('node_modules'))
    copy.env.PATH = `${copy.path('node_modules/.bin')}:${copy.bin}`
    copy.command('npm', `echo "$PATH $*" > called; /bin/ln -s ${join(CHECKOUT, 'node_modules')} node_modules`)
    expect(copy.run()).toMatchObject({
      code: 0,
      stderr: 'memsyncd: installing the dependencies (npm ci)\nmemsyncd: building (tsc)\n',
    })
    expect(readFileSync(copy.path('called'), 'utf8')).toBe(
      `${copy.bin} ci --include=dev --no-audit --no-fund --loglevel=error\n`,
    )
  })

  it('are installed again when the lockfile asks for others', () => {
    const copy = new Copy()
    changeLockfile(copy)
    copy.command('npm', 'echo "npm error no network" >&2; exit 1')
    expect(copy.run()).toMatchObject({
      code: 1,
      stdout: '',
      stderr:
        'memsyncd: installing the dependencies (npm ci)\nmemsyncd: npm ci failed:\nnpm error no network\n',
    })
  })
})

describe('a Redis server', () => {
  it('that is missing and cannot be installed costs one line that says what to do', () => {
    const copy = new Copy({ redis: false })
    copy.run('build')
    expect(copy.run()).toMatchObject({
      code: 1,
      stderr: 'memsyncd: install redis-server or valkey-server, or set REDIS_URL\n',
    })
  })

  it('is not needed where a REDIS_URL is set, in the environment or the settings file', () => {
    const fromEnvironment = new Copy({ redis: false })
    fromEnvironment.env.REDIS_URL = 'redis://127.0.0.1'
    expect(fromEnvironment.run().code).toBe(0)
    const fromFile = new Copy({ redis: false })
    const file = join(fromFile.env.HOME ?? '', '.config', 'memsyncd', 'memsync.env')
    mkdirSync(join(file, '..'), { recursive: true })
    writeFileSync(file, '# REDIS_URL=redis://commented\n')
    expect(fromFile.run().code).toBe(1)
    writeFileSync(file, 'MEMSYNC_LOG_LEVEL=info\nREDIS_URL="redis://127.0.0.1"\n')
    expect(fromFile.run().code).toBe(0)
  })

  it('may be valkey', () => {
    const copy = new Copy({ redis: false })
    copy.command('valkey-server', 'exit 0')
    expect(copy.run().code).toBe(0)
  })

  it('is installed by the package manager, through sudo where needed and no password is', () => {
    const copy = new Copy({ redis: false })
    const isRoot = process.getuid?.() === 0
    copy.command('apk', `echo "$*" >> ${copy.bin}/calls; /bin/cp ${copy.bin}/sh ${copy.bin}/redis-server`)
    if (!isRoot) copy.command('sudo', 'shift; exec "$@"')
    copy.run('build')
    expect(copy.run()).toMatchObject({
      code: 0,
      stderr: 'memsyncd: installing a Redis server (apk add redis)\n',
    })
    expect(copy.run()).toMatchObject({ code: 0, stderr: '' })
    expect(readFileSync(join(copy.bin, 'calls'), 'utf8')).toBe('add -q redis\n')
  })

  it('that could not be installed: one line with the reason and what to run', () => {
    const copy = new Copy({ redis: false })
    const isRoot = process.getuid?.() === 0
    copy.command('apk', 'echo "Fetching"; echo "ERROR: no network" >&2; exit 1')
    if (!isRoot) copy.command('sudo', 'shift; exec "$@"')
    copy.run('build')
    const command = isRoot ? 'apk add redis' : 'sudo apk add redis'
    expect(copy.run()).toMatchObject({
      code: 1,
      stderr:
        'memsyncd: installing a Redis server (apk add redis)\n' +
        `memsyncd: the Redis server could not be installed (ERROR: no network); run: ${command}, or set REDIS_URL\n`,
    })
  })
})

describe('the count that ends a run of the checks', () => {
  const test = (status: string) => ({ status })
  function count(report: object | undefined, checked = 0, tested = 0) {
    const file = join(tempDir(), 'report.json')
    writeFileSync(file, report === undefined ? '' : JSON.stringify(report))
    const script = join(CHECKOUT, 'scripts', 'count.mjs')
    const { status, stdout } = spawnSync(process.execPath, [script, file, String(checked), String(tested)], {
      encoding: 'utf8',
    })
    return { code: status, lastLine: stdout.trimEnd().split('\n').at(-1) }
  }
  const good = {
    numPassedTests: 2,
    numFailedTests: 0,
    testResults: [{ status: 'passed', assertionResults: [test('passed'), test('passed')] }],
  }

  it('is 0 only when the checks and all tests passed', () => {
    expect(count(good)).toEqual({ code: 0, lastLine: '2 passed, 0 failed' })
    expect(count(good, 1)).toEqual({ code: 1, lastLine: '2 passed, 0 failed' })
    expect(count(good, 0, 1)).toEqual({ code: 1, lastLine: '2 passed, 0 failed' })
    const bad = {
      numPassedTests: 1,
      numFailedTests: 1,
      testResults: [{ status: 'failed', assertionResults: [test('passed'), test('failed')] }],
    }
    expect(count(bad, 0, 1)).toEqual({ code: 1, lastLine: '1 passed, 1 failed' })
  })

  it('counts a file that did not load as a failure, and a run without tests as none', () => {
    const broken = {
      numPassedTests: 2,
      numFailedTests: 0,
      testResults: [...good.testResults, { status: 'failed', assertionResults: [] }],
    }
    expect(count(broken, 0, 1)).toEqual({ code: 1, lastLine: '2 passed, 1 failed' })
    expect(count({ numPassedTests: 0, numFailedTests: 0, testResults: [] })).toEqual({
      code: 1,
      lastLine: '0 passed, 0 failed',
    })
    expect(count(undefined)).toEqual({ code: 1, lastLine: '0 passed, 0 failed' })
  })
})

it('waits for another set-up, and says so once', async () => {
  const copy = new Copy()
  copy.write('.setup.lock', String(process.pid))
  const child = copy.start()
  let text = ''
  child.stderr?.on('data', (chunk) => {
    text += chunk
  })
  await waitFor('it says that it waits', () => text.includes('waiting for another set-up'))
  rmSync(copy.path('.setup.lock'))
  expect((await once(child, 'close'))[0]).toBe(0)
  expect(text.match(/waiting/g)).toHaveLength(1)
})
