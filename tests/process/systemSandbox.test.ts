/**
 * The daemon in what the system unit leaves of a machine (its filter of system calls and of address families, a
 * read-only disk, a /tmp of its own, another user): it runs its private Redis, writes its data folder, speaks over
 * the network and with systemd. Namespaces and filters are the kernel's own; the manager is not.
 */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { askDaemon } from '../../src/daemon/controlClient.ts'
import type { Status } from '../../src/daemon/status.ts'
import { readTemplate } from '../../src/service/template.ts'
import { WORKER } from '../support/cli.ts'
import { startFakeMem0 } from '../support/fakeMem0.ts'
import { HAS_NOTIFY, openNotifySocket } from '../support/notifySocket.ts'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

const SANDBOX = join(import.meta.dirname, '..', 'support', 'systemSandbox.py')
const NOBODY = 65_534
const KEY = 'a-key-of-the-remote'

const cleanUps: (() => unknown)[] = []
afterEach(async () => {
  for (let cleanUp = cleanUps.pop(); cleanUp; cleanUp = cleanUps.pop()) await cleanUp()
})

/** The unit's own values of a key. */
const valuesOf = (key: string) =>
  [...readTemplate('systemd-system').matchAll(new RegExp(`^${key}=(.*)$`, 'gm'))].map(
    ([, value = '']) => value,
  )

function inSandbox(dataDir: string, command: string[]): string[] {
  const families = valuesOf('RestrictAddressFamilies').join(' ')
  const filters = valuesOf('SystemCallFilter').join('|')
  return ['--mount', 'python3', SANDBOX, dataDir, String(NOBODY), families, filters, ...command]
}

/** A data folder of that user, which only that user's view of the disk leads to. */
function folderOfNobody(): string {
  const dataDir = join(tempDir(), 'data')
  mkdirSync(dataDir)
  chownSync(dataDir, NOBODY, NOBODY)
  chmodSync(dataDir, 0o700)
  return dataDir
}

/** Root, on Linux, with what the sandbox is made of; the checkout must be readable to others. */
const canShutOff = (() => {
  if (process.platform !== 'linux' || process.getuid?.() !== 0 || !HAS_NOTIFY) return false
  const dataDir = folderOfNobody()
  if (!dataDir.startsWith('/tmp/')) return false
  return spawnSync('unshare', inSandbox(dataDir, [process.execPath, '--check', WORKER])).status === 0
})()

describe.skipIf(!canShutOff)('in the sandbox of the system unit', () => {
  it('the daemon does all its work', async () => {
    const remote = await startFakeMem0({ apiKey: KEY })
    cleanUps.push(() => remote.close())
    const dataDir = folderOfNobody()
    const notifySocket = join(dataDir, 'notify.sock')
    const systemd = await openNotifySocket(notifySocket)
    cleanUps.push(() => systemd.close())
    chownSync(notifySocket, NOBODY, NOBODY)
    const daemon = spawn('unshare', inSandbox(dataDir, [process.execPath, WORKER]), {
      env: {
        PATH: process.env.PATH,
        MEMSYNC_DATA_DIR: dataDir,
        MEMSYNC_REMOTE_KIND: 'mem0',
        // A name, so that it is looked up.
        MEMSYNC_REMOTE_URL: remote.url.replace('127.0.0.1', 'localhost'),
        MEMSYNC_REMOTE_KEY: KEY,
        NOTIFY_SOCKET: notifySocket,
        WATCHDOG_USEC: '2000000',
      },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    cleanUps.push(() => daemon.kill('SIGKILL'))
    daemon.stdout.resume()
    const ended = once(daemon, 'exit')
    await waitFor('systemd hears that it is ready', () => systemd.told().includes('READY=1'), {
      timeoutMs: 20_000,
    })
    const memory = { op: 'enqueue', job: 'MEMORY_SYNC', data: { key: 'k', value: 'v' } }
    expect(await askDaemon(dataDir, memory, 5000)).toHaveProperty('jobId')
    await waitFor('it is stored and pushed', async () => {
      const answer = await askDaemon(dataDir, { op: 'status' }, 5000)
      const totals = (answer?.status as Status | undefined)?.totals
      return totals?.synced === 1 && totals.pushed === 1
    })
    await waitFor('the watchdog is fed', () => systemd.told().includes('WATCHDOG=1'))
    expect(statSync(join(dataDir, 'redis', 'redis.sock')).uid).toBe(NOBODY)
    daemon.kill('SIGTERM')
    expect(await ended).toEqual([0, null])
    expect(systemd.told()).toContain('STOPPING=1')
    expect(readFileSync(join(dataDir, 'memsync.log'), 'utf8')).toContain('"msg":"stopped"')
    expect(existsSync(join(dataDir, 'redis', 'redis.sock'))).toBe(false)
  })

  it('what the unit forbids is forbidden: the sandbox is one', () => {
    const attempt = (script: string) =>
      spawnSync('unshare', inSandbox(folderOfNobody(), [process.execPath, '--eval', script]), {
        encoding: 'utf8',
      })
    expect(attempt(`require('node:fs').writeFileSync('/var/tmp/memsyncd-test', '')`).stderr).toMatch(
      /EROFS|EACCES/,
    )
    expect(attempt(`require('node:os').setPriority(5)`).stderr).toContain('EPERM')
    expect(attempt(`require('node:fs').chownSync(process.cwd(), 0, 0)`).stderr).toMatch(/EPERM|EROFS/)
  })
})
