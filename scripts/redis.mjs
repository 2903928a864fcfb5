/** A Redis server for this machine: found on the PATH, or installed by the machine's own package manager. */
import { accessSync, constants, readFileSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, join } from 'node:path'
import { capture, fail, say } from './process.mjs'

// A package that starts or enables a service is told not to: the daemon runs a server of its own, and a second one on
// the default port is nobody's wish. A policy that was there before is left alone and never removed.
const APT_INSTALL = `
set -e
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
mark='temporary, by the set-up of memsyncd'
if { [ ! -e "$policy" ] && [ ! -L "$policy" ]; } || grep -qs "$mark" "$policy"; then
  trap 'rm -f "$policy"' EXIT
  trap 'exit 1' INT TERM HUP
  printf '#!/bin/sh\\n# %s\\nexit 101\\n' "$mark" > "$policy"
  chmod 755 "$policy"
fi
install() { apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=120 redis-server; }
apt-cache show redis-server >/dev/null 2>&1 || apt-get update -q
install || { apt-get update -q && install; }
if command -v systemctl >/dev/null; then systemctl disable redis-server >/dev/null 2>&1 || true; fi
`

/** In the order they are looked for; `script` installs without a question, `command` is what a person would run. */
const MANAGERS = [
  { name: 'apt-get', command: 'apt-get install redis-server', script: APT_INSTALL },
  {
    name: 'dnf',
    command: 'dnf install redis',
    script: 'dnf install -y -q redis || dnf install -y -q valkey',
  },
  { name: 'apk', command: 'apk add redis', script: 'apk add -q redis || apk add -q valkey' },
  {
    name: 'pacman',
    command: 'pacman -S valkey',
    script: 'pacman -S --noconfirm --needed valkey || pacman -S --noconfirm --needed redis',
  },
  // Homebrew refuses to run as root, and needs no root.
  { name: 'brew', command: 'brew install redis', script: 'brew install -q redis', asUser: true },
]

/**
 * Makes sure of a `redis-server` or `valkey-server` on the PATH, or ends the process with one line that says what to run.
 * @param acceptUrl whether a REDIS_URL, in the environment or the settings file, will do instead
 */
export async function ensureRedis({ acceptUrl }) {
  if (isOnPath('redis-server') || isOnPath('valkey-server')) return
  if (acceptUrl && hasRedisUrl()) return
  const manager = MANAGERS.find(({ name }) => isOnPath(name))
  const instead = acceptUrl ? ', or set REDIS_URL' : ''
  if (manager === undefined) fail(`install redis-server or valkey-server${instead}`)

  const isRoot = process.getuid?.() === 0
  const byHand = manager.asUser || isRoot ? manager.command : `sudo ${manager.command}`
  const prefix = await privilege(manager, isRoot)
  if (prefix === undefined) fail(`there is no redis-server or valkey-server; run: ${byHand}${instead}`)

  say(`installing a Redis server (${manager.command})`)
  const [program, ...args] = [...prefix, 'sh', '-c', manager.script]
  const { code, output, errors } = await capture(program, args)
  if (code === 0 && (isOnPath('redis-server') || isOnPath('valkey-server'))) return
  const reason = (errors.trim() || output.trim()).split('\n').at(-1)
  fail(`the Redis server could not be installed (${reason}); run: ${byHand}${instead}`)
}

/** What to put before a command so that it may install; undefined where that would take a password. */
async function privilege(manager, isRoot) {
  if (manager.asUser) return isRoot ? undefined : []
  if (isRoot) return []
  return isOnPath('sudo') && (await capture('sudo', ['-n', 'true'])).code === 0 ? ['sudo', '-n'] : undefined
}

function isOnPath(name) {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK)
      return folder !== '' && statSync(join(folder, name)).isFile()
    } catch {
      // Missing or closed to us: either way it cannot be run.
      return false
    }
  })
}

/** As src/config.ts finds it: the environment, then the settings file. */
function hasRedisUrl() {
  if (process.env.REDIS_URL) return true
  const configHome = process.env.XDG_CONFIG_HOME || join(homedir(), '.config')
  const file = process.env.MEMSYNC_CONFIG || join(configHome, 'memsyncd', 'memsync.env')
  try {
    return /^\s*(export\s+)?REDIS_URL\s*=\s*["']?[^\s"']/m.test(
      readFileSync(file.replace(/^~(?=\/)/, homedir()), 'utf8'),
    )
  } catch {
    // No such file. One that cannot be read is reported by the daemon, which names the setting.
    return false
  }
}
