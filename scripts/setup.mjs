/**
 * What every script of a checkout needs first: the dependencies of the lockfile, a Redis server, and the build.
 * Each step looks first and does work only where something is missing or older than its source, so a second run does
 * none. Plain JavaScript for whatever Node is at hand: it runs before anything is installed.
 */
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { chmod, cp, link, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { delimiter, dirname, join, relative, resolve, sep } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { capture, fail, say } from './process.mjs'
import { ensureRedis } from './redis.mjs'

export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const MODULES = join(ROOT, 'node_modules')
const DIST = join(ROOT, 'dist')
const STAMP = join(DIST, '.build')
const PAGE = join('dashboard', 'page')
/** The Node of the lockfile, which everything but the set-up runs on. */
export const NODE = join(MODULES, 'node', 'bin', 'node')

/**
 * Brings the checkout up to date, and makes the checkout's Node and commands the first on the PATH of what runs next.
 * @param redis `'needed'`, `'or-url'` where a REDIS_URL will do instead, or undefined
 */
export async function setUp({ redis } = {}) {
  if (!hasDependencies() || !hasBuild() || !hasCommands()) {
    await alone(async () => {
      if (!hasDependencies()) await installDependencies()
      if (!hasBuild()) await build()
      await linkCommands()
    })
  }
  if (redis !== undefined) await ensureRedis({ acceptUrl: redis === 'or-url' })
  process.chdir(ROOT)
  process.env.PATH = [join(MODULES, '.bin'), process.env.PATH].join(delimiter)
}

/** Whether what npm says it installed last is what the lockfile asks for, and the Node among it arrived. */
function hasDependencies() {
  const wanted = readJson(join(ROOT, 'package-lock.json')).packages
  const installed = readJson(join(MODULES, '.package-lock.json'))?.packages
  if (installed === undefined || !existsSync(NODE)) return false
  const isCurrent = ([path, entry]) =>
    path === '' ||
    installed[path]?.version === entry.version ||
    (entry.optional && installed[path] === undefined)
  return Object.entries(wanted).every(isCurrent) && Object.keys(installed).every((path) => path in wanted)
}

async function installDependencies() {
  say('installing the dependencies (npm ci)')
  // The scripts of an install must not run on the Node that this very install replaces.
  const path = (process.env.PATH ?? '').split(delimiter).filter((folder) => !folder.startsWith(MODULES + sep))
  const { code, output } = await capture(
    'npm',
    ['ci', '--include=dev', '--no-audit', '--no-fund', '--loglevel=error'],
    { cwd: ROOT, env: { ...process.env, PATH: path.join(delimiter) } },
  )
  if (code !== 0) fail(`npm ci failed:\n${output.trim()}`)
  if (!existsSync(NODE)) {
    fail('npm ci ran no install scripts, so Node is missing; run: npm rebuild node --ignore-scripts=false')
  }
}

function hasBuild() {
  try {
    return readFileSync(STAMP, 'utf8') === sourceHash()
  } catch {
    // No build yet.
    return false
  }
}

/** Of everything the build is made from: the sources, the compiler's settings and its version. */
function sourceHash() {
  const hash = createHash('sha256')
  const files = [
    'tsconfig.json',
    'tsconfig.build.json',
    'package.json',
    'node_modules/typescript/package.json',
  ]
  const sources = readdirSync(join(ROOT, 'src'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(ROOT, join(entry.parentPath ?? entry.path, entry.name)))
  for (const file of [...files, ...sources.sort()]) {
    hash
      .update(`${file}\0`)
      .update(readFileSync(join(ROOT, file)))
      .update('\0')
  }
  return hash.digest('hex')
}

/** Builds beside the old build and swaps them, so that a failed build leaves the old one and a removed source no file. */
async function build() {
  say('building (tsc)')
  const stamp = sourceHash()
  const next = join(ROOT, '.dist-next')
  const previous = join(ROOT, '.dist-previous')
  const clear = (folder) => rm(folder, { recursive: true, force: true })
  await Promise.all([clear(next), clear(previous)])
  const { code, output } = await capture(
    NODE,
    [
      join(MODULES, 'typescript', 'bin', 'tsc'),
      ...['-p', join(ROOT, 'tsconfig.build.json'), '--outDir', next],
    ],
    { cwd: ROOT },
  )
  if (code !== 0) fail(`the build failed:\n${output.trim()}`)
  // What browsers are served is as it stands in the sources.
  await cp(join(ROOT, 'src', PAGE), join(next, PAGE), { recursive: true })
  await writeFile(join(next, '.build'), stamp)
  if (existsSync(DIST)) await rename(DIST, previous)
  await rename(next, DIST)
  await clear(previous)
}

/** Each command of the package that is built: its link among the installed commands, and the file it leads to. */
function commands() {
  return Object.entries(readJson(join(ROOT, 'package.json')).bin)
    .map(([name, target]) => ({ link: join(MODULES, '.bin', name), target: join(ROOT, target) }))
    .filter(({ target }) => existsSync(target))
}

function hasCommands() {
  return commands().every(({ link }) => existsSync(link))
}

/** Makes `npx memsync` run this checkout: npm links the commands of what it installs, and not those of the checkout. */
async function linkCommands() {
  for (const { link, target } of commands()) {
    await rm(link, { force: true })
    await chmod(target, 0o755)
    await symlink(relative(dirname(link), target), link)
  }
}

/** Runs `work` while no other set-up of this checkout does. The lock holds a PID, and falls when that is gone. */
async function alone(work) {
  const path = join(ROOT, '.setup.lock')
  for (let told = false; !(await takeLock(path)); await sleep(100)) {
    const holder = existsSync(path) ? readFileSync(path, 'utf8') : ''
    if (!isAlive(Number(holder))) await rm(path, { force: true })
    else if (!told) say(`waiting for another set-up of this checkout (process ${holder})`)
    told = true
  }
  const release = () => rmSync(path, { force: true })
  process.once('exit', release)
  await work()
  process.off('exit', release)
  release()
}

/** Makes the file whole or not at all, so that nobody reads a lock without its holder. */
async function takeLock(path) {
  const own = `${path}.${process.pid}`
  await writeFile(own, String(process.pid))
  try {
    await link(own, path)
    return true
  } catch (error) {
    if (error.code !== 'EEXIST') throw error
    return false
  } finally {
    await rm(own, { force: true })
  }
}

function isAlive(pid) {
  try {
    return pid > 0 && process.kill(pid, 0)
  } catch (error) {
    return error.code === 'EPERM'
  }
}

function readJson(path) {
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : undefined
}
