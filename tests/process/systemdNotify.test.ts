/** What the real daemon tells systemd, over a real socket of its protocol. */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { afterEach, describe, expect, it } from 'vitest'
import { SystemdNotify } from '../../src/daemon/systemdNotify.ts'
import { commandLine } from '../support/cli.ts'
import { spawnDaemon, startDaemon, type TestDaemon } from '../support/daemon.ts'
import { HAS_NOTIFY, type NotifySocket, openNotifySocket } from '../support/notifySocket.ts'
import { recordingLogger } from '../support/recordingLogger.ts'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

const HANGING_HANDLER = pathToFileURL(join(import.meta.dirname, '..', 'support', 'hangingHandler.mjs')).href

const cleanUps: (() => unknown)[] = []
afterEach(async () => {
  for (let cleanUp = cleanUps.pop(); cleanUp; cleanUp = cleanUps.pop()) await cleanUp()
})

async function socketAt(address: string): Promise<NotifySocket> {
  const socket = await openNotifySocket(address)
  cleanUps.push(() => socket.close())
  return socket
}

function endingWith(daemon: TestDaemon): TestDaemon {
  cleanUps.push(async () => {
    daemon.kill('SIGKILL')
    await daemon.ended
  })
  return daemon
}

const feeds = (socket: NotifySocket) => socket.told().filter((text) => text === 'WATCHDOG=1').length

describe.skipIf(!HAS_NOTIFY)('the daemon under systemd', () => {
  it.each([
    { kind: 'a path', addressIn: (folder: string) => join(folder, 'notify.sock') },
    { kind: 'an abstract name', addressIn: () => `@memsyncd-test-${randomBytes(6).toString('hex')}` },
  ])('over a socket of $kind: ready, what it does, progress, and that it stops', async ({ addressIn }) => {
    const address = addressIn(tempDir())
    const socket = await socketAt(address)
    const { dataDir } = commandLine()
    const daemon = endingWith(
      await startDaemon(dataDir, { NOTIFY_SOCKET: address, WATCHDOG_USEC: '1000000' }),
    )
    const message = await waitFor('readiness is told', () =>
      socket.messages.find((assignments) => assignments.includes('READY=1')),
    )
    expect(message).toContain('WATCHDOG=1')
    // The unit's one second is shorter than the daemon's own patience (150 s for a push), so it asks for more.
    expect(message).toContain('WATCHDOG_USEC=180000000')
    await waitFor('its state is told', () =>
      socket.told().some((text) => /^STATUS=(idle|waiting|working): /.test(text)),
    )
    await waitFor('the watchdog is fed again', () => feeds(socket) >= 3)
    expect(socket.told().filter((text) => text === 'READY=1')).toHaveLength(1)
    daemon.kill('SIGTERM')
    expect(await daemon.ended).toEqual({ code: 0, signal: null })
    expect(socket.messages.at(-1)).toEqual(expect.arrayContaining(['STOPPING=1', 'STATUS=stopping']))
    expect(daemon.output()).not.toContain('systemd could not be told')
  })

  it('that makes no progress is fed no more, until it ends by itself', async () => {
    const address = join(tempDir(), 'notify.sock')
    const socket = await socketAt(address)
    const cli = commandLine()
    const daemon = endingWith(
      await startDaemon(cli.dataDir, {
        NOTIFY_SOCKET: address,
        WATCHDOG_USEC: '400000',
        NODE_OPTIONS: `--import ${HANGING_HANDLER}`,
        MEMSYNC_STALL_TIMEOUT_MS: '1500',
        MEMSYNC_DRAIN_TIMEOUT_MS: '200',
      }),
    )
    await waitFor('it is fed while it is well', () => feeds(socket) >= 2)
    expect((await cli.run(['enqueue', 'k', '1'])).code).toBe(0)
    await daemon.logged('no progress: the worker is rebuilt')
    await waitFor('systemd is told that it is stalled', () =>
      socket.told().some((text) => text.startsWith('STATUS=stalled')),
    )
    const fed = feeds(socket)
    expect(await daemon.ended).toEqual({ code: 70, signal: null })
    expect(feeds(socket)).toBe(fed)
    expect(socket.messages.at(-1)).toContain('STOPPING=1')
  })

  it('with a wrong setting says nothing, and ends with 2: with 0 where launchd supervises it', async () => {
    const address = join(tempDir(), 'notify.sock')
    const socket = await socketAt(address)
    const wrong = { NOTIFY_SOCKET: address, MEMSYNC_CONCURRENCY: 'many' }
    const { dataDir } = commandLine()
    expect(await spawnDaemon(dataDir, wrong).ended).toEqual({ code: 2, signal: null })
    const underLaunchd = spawnDaemon(dataDir, { ...wrong, MEMSYNC_SUPERVISOR: 'launchd' })
    expect(await underLaunchd.ended).toEqual({ code: 0, signal: null })
    expect(underLaunchd.output()).toContain('MEMSYNC_CONCURRENCY')
    // One that only shows once it starts: the data folder is a file.
    const late = { MEMSYNC_DATA_DIR: '/dev/null', MEMSYNC_SUPERVISOR: 'launchd', REDIS_URL: '' }
    expect(await spawnDaemon(dataDir, { ...late, MEMSYNC_SUPERVISOR: '' }).ended).toMatchObject({ code: 2 })
    expect(await spawnDaemon(dataDir, late).ended).toMatchObject({ code: 0 })
    expect(socket.messages).toEqual([])
  })

  it('whose start waits (for Redis) is ready after a while, and says what it waits for', async () => {
    const address = join(tempDir(), 'notify.sock')
    const socket = await socketAt(address)
    const notify = new SystemdNotify({
      daemon: { isStalled: () => false, describe: async () => 'starting; redis is away: refused' },
      logger: recordingLogger().logger,
      stallTimeoutMs: 1000,
      patienceMs: 50,
      intervalMs: 50,
      env: { ...process.env, NOTIFY_SOCKET: address },
    })
    notify.start()
    await waitFor('it is ready', () => socket.messages.length > 0)
    // Without WATCHDOG_USEC nobody waits to be fed, and what has not changed is not told again.
    await sleep(400)
    expect(socket.messages).toEqual([['READY=1', 'STATUS=starting; redis is away: refused']])
    notify.ready()
    await notify.stopping()
    expect(socket.messages.slice(1)).toEqual(
      [['STOPPING=1', 'STATUS=stopping']].map((m) => expect.arrayContaining(m)),
    )
    notify.ready()
    await notify.stopping()
    expect(socket.messages).toHaveLength(2)
  })
})

it('without systemd-notify, or with nobody listening, the daemon works, and the log says so once', async () => {
  const { dataDir } = commandLine()
  const daemon = endingWith(
    await startDaemon(dataDir, { NOTIFY_SOCKET: join(tempDir(), 'nobody.sock'), WATCHDOG_USEC: '400000' }),
  )
  await daemon.logged('systemd could not be told')
  await sleep(500)
  daemon.kill('SIGTERM')
  expect(await daemon.ended).toEqual({ code: 0, signal: null })
  expect(daemon.log.filter(({ msg }) => msg === 'systemd could not be told')).toHaveLength(1)
})
