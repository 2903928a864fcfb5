/** `memsync snapshot` and the sleep window as their users meet them: real commands, real daemons. */
import {
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { storePath } from '../../src/infrastructure/memory/index.ts'
import { openSqliteStore } from '../../src/infrastructure/memory/sqlite.ts'
import { Spool } from '../../src/producers/spool.ts'
import { claimedName } from '../../src/producers/spoolFile.ts'
import { listSnapshots } from '../../src/snapshot/folder.ts'
import { commandLine, HAS_TERMINAL, runOnTerminal } from '../support/cli.ts'
import { spawnDaemon, startDaemon } from '../support/daemon.ts'
import { contents, snapshotOf, snapshotSettings, write, writeOf } from '../support/snapshots.ts'
import { waitFor } from '../support/waitFor.ts'

/** Of a few daemons, one after the other, on a machine that does other things. */
const LONG_MS = 60_000
vi.setConfig({ testTimeout: 2 * LONG_MS })

const LONG_AGO = JSON.stringify({ night: '2020-01-01' })
/** A window that is over, or lasts half a day from now on, by the clock of the machine. */
function windowFrom(hours: number): string {
  const at = (ms: number) => new Date(ms).toISOString().slice(11, 16)
  const startMs = Date.now() + hours * 3_600_000
  return `${at(startMs)}-${at(startMs + 3_600_000)}`
}
const nightsOf = (dataDir: string) =>
  listSnapshots({ dataDir, snapshotDir: undefined }).map(({ head }) => head?.night)

describe('memsync snapshot', () => {
  it('backs up beside a daemon that runs, refuses to restore there, and restores when it has stopped', async () => {
    const cli = commandLine()
    const daemon = await startDaemon(cli.dataDir, { MEMSYNC_SLEEP_WINDOW: 'off' })
    await cli.run(['enqueue', 'a', 'one', '--wait'])
    const { code, document } = await cli.json(['snapshot', 'create'])
    expect({ code, keys: document.keys, night: document.night }).toEqual({ code: 0, keys: 1, night: null })
    await cli.run(['enqueue', 'a', 'two', '--wait'])
    await cli.run(['enqueue', 'b', 'two', '--wait'])
    const { lastSnapshot } = await daemon.status()
    expect(lastSnapshot).toBe(document.createdAt)
    expect((await cli.run(['status'])).stdout).toMatch(/^snapshot {6}\d+ m?s ago$/m)
    expect(await cli.run(['snapshot', 'restore', 'latest'])).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringContaining(
        `a daemon runs on ${cli.dataDir}: stop it, then restore (MEMSYNC_ALREADY_RUNNING)`,
      ),
    })
    daemon.kill('SIGTERM')
    await daemon.ended
    const restored = await cli.json(['snapshot', 'restore', 'latest'])
    expect(restored).toMatchObject({
      code: 0,
      document: { memories: 1, changed: 1, removed: 1, dryRun: false },
    })
    expect(existsSync(String(restored.document.keptAs))).toBe(true)
    expect((await cli.run(['list'])).stdout).toBe('a\n')
    expect((await cli.run(['get', 'a'])).stdout).toBe('one\n')
    // The queue goes on where it was.
    const next = await startDaemon(cli.dataDir, { MEMSYNC_SLEEP_WINDOW: 'off' })
    await cli.run(['enqueue', 'a', 'three', '--wait'])
    expect((await cli.run(['get', 'a'])).stdout).toBe('three\n')
    next.kill('SIGTERM')
    await next.ended
  })

  it('says what it would do and does nothing, with --dry-run', async () => {
    const cli = commandLine()
    const settings = snapshotSettings(cli.dataDir)
    await write(settings, [writeOf('a', 1, 1)])
    const { snapshot } = await snapshotOf(settings)
    await write(settings, [writeOf('a', 2, 2), writeOf('b', 2, 3)], 2)
    const told = await cli.run(['snapshot', 'restore', snapshot.name, '--dry-run'])
    expect(told).toMatchObject({ code: 0, stderr: '' })
    expect(told.stdout).toContain('1 go back to what they were, 1 written since are deleted')
    expect(await contents(settings)).toEqual({ a: 2, b: 2 })
    expect(readdirSync(cli.dataDir).filter((name) => /restoring|replaced/.test(name))).toEqual([])
  })

  it('does not replace a store that another process has open', async () => {
    const cli = commandLine()
    const settings = snapshotSettings(cli.dataDir)
    await write(settings, [writeOf('a', 1, 1)])
    await snapshotOf(settings)
    await write(settings, [writeOf('a', 2, 2)], 2)
    for (const readOnly of [true, false]) {
      const open = await openSqliteStore(storePath(settings), { readOnly })
      await open.find('a')
      expect(await cli.json(['snapshot', 'restore', 'latest'])).toMatchObject({
        code: 1,
        document: {
          error: { code: 'MEMSYNC_STORE_IN_USE', message: expect.stringContaining('in another process') },
        },
      })
      expect((await open.find('a'))?.value).toBe(2)
      await open.close()
    }
    expect(await cli.run(['snapshot', 'restore', 'latest'])).toMatchObject({ code: 0 })
    expect(await contents(settings)).toEqual({ a: 1 })
  })

  it('lists, verifies and keeps as many as it is told, and never takes a damaged one for a good one', async () => {
    const cli = commandLine()
    expect(await cli.run(['snapshot', 'create'])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('there is no store yet (MEMSYNC_NOT_FOUND)'),
    })
    await write(snapshotSettings(cli.dataDir), [writeOf('a', 'x'.repeat(5000), 1)])
    const env = { MEMSYNC_SNAPSHOT_KEEP: '3' }
    const made: string[] = []
    for (let count = 0; count < 4; count++) {
      made.unshift(String((await cli.json(['snapshot', 'create'], { env })).document.name))
    }
    const listed = (await cli.run(['snapshot', 'list', '--json'])).stdout.trimEnd().split('\n')
    expect(listed.map((line) => JSON.parse(line).name)).toEqual(made.slice(0, 3))
    const [newest = '', second = ''] = made.map((name) => join(cli.dataDir, 'snapshots', name))
    const bytes = readFileSync(newest)
    bytes[bytes.length - 20] = (bytes[bytes.length - 20] ?? 0) ^ 1
    writeFileSync(newest, bytes)
    writeFileSync(second, readFileSync(second).subarray(0, -1))
    const verified = await cli.run(['snapshot', 'verify'])
    expect(verified.code).toBe(1)
    expect(verified.stdout.match(/^(ok|bad)/gm)).toEqual(['bad', 'bad', 'ok'])
    expect(await cli.run(['snapshot', 'restore', made[0] as string])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('MEMSYNC_SNAPSHOT_DAMAGED'),
    })
    expect((await cli.run(['snapshot', 'list'])).stdout).toMatch(
      /damaged: it has \d+ bytes and should have \d+/,
    )
    expect(await cli.run(['snapshot', 'restore', 'nonsense'])).toMatchObject({ code: 1 })
    expect(await cli.run(['get', 'a'])).toMatchObject({ stdout: `${'x'.repeat(5000)}\n` })
  })

  it('restores on another machine, from a path, into a folder that is not there yet', async () => {
    const settings = snapshotSettings()
    await write(settings, [writeOf('a', 1, 1)])
    const { snapshot } = await snapshotOf(settings)
    const cli = commandLine()
    const dataDir = join(cli.dataDir, 'new')
    const args = ['--data-dir', dataDir]
    expect(await cli.run([...args, 'snapshot', 'restore', snapshot.path])).toMatchObject({ code: 0 })
    expect((await cli.run([...args, 'get', 'a'])).stdout).toBe('1\n')
    expect(statSync(dataDir).mode & 0o777).toBe(0o700)
  })

  it.runIf(HAS_TERMINAL)('asks on a terminal, and changes nothing without a yes', async () => {
    const cli = commandLine()
    const settings = snapshotSettings(cli.dataDir)
    await write(settings, [writeOf('a', 1, 1)])
    await snapshotOf(settings)
    await write(settings, [writeOf('a', 2, 2)], 2)
    const no = runOnTerminal(['snapshot', 'restore', 'latest'], cli.dataDir, { typed: 'n\n' })
    expect(no).toMatchObject({
      code: 1,
      shown: expect.stringContaining('Put it in the place of the store? [y/N]'),
    })
    expect(await contents(settings)).toEqual({ a: 2 })
    expect(runOnTerminal(['snapshot', 'restore', 'latest'], cli.dataDir, { typed: 'y\n' }).code).toBe(0)
    expect(await contents(settings)).toEqual({ a: 1 })
  })
})

describe('what waits in the spool', () => {
  it.each([false, true])(
    'is taken in after a restore, and what was claimed too; store and queue lost: %s',
    async (isLost) => {
      const cli = commandLine()
      const env = { MEMSYNC_SLEEP_WINDOW: 'off' }
      const settings = snapshotSettings(cli.dataDir)
      const stop = async (daemon: Awaited<ReturnType<typeof startDaemon>>) => {
        daemon.kill('SIGTERM')
        await daemon.ended
      }
      const daemon = await startDaemon(cli.dataDir, env)
      for (const key of ['a', 'b', 'c']) await cli.run(['enqueue', key, 'one', '--wait'])
      await snapshotOf(settings)
      for (const key of ['a', 'b', 'c']) await cli.run(['enqueue', key, 'two', '--wait'])
      await stop(daemon)
      const spool = new Spool(cli.dataDir, 2 ** 20)
      const record = (key: string) => ({
        uid: key,
        acceptedAtMs: Date.now(),
        memory: { key, value: 'spooled' },
      })
      await spool.write([record('a')])
      // Claimed under a life of the queue that the snapshot knows nothing of.
      const claim = isLost ? { epoch: 7, sequence: 900 } : { epoch: 1, sequence: 7 }
      const [file] = await spool.list()
      if (!file) throw new Error('nothing was spooled')
      renameSync(join(spool.folder, file.name), join(spool.folder, claimedName(file.name, claim)))
      await spool.write([record('b')])
      if (isLost)
        for (const name of ['memory.db', 'redis']) rmSync(join(cli.dataDir, name), { recursive: true })
      expect(await cli.run(['snapshot', 'restore', 'latest'])).toMatchObject({ code: 0 })
      const next = await startDaemon(cli.dataDir, env)
      await waitFor(
        'both are taken in',
        async () => {
          const { a, b } = await contents(settings)
          return a === 'spooled' && b === 'spooled'
        },
        { timeoutMs: LONG_MS },
      )
      expect(await contents(settings)).toEqual({ a: 'spooled', b: 'spooled', c: 'one' })
      for (const key of ['a', 'c']) await cli.run(['enqueue', key, 'three', '--wait'])
      expect(await contents(settings)).toEqual({ a: 'three', b: 'spooled', c: 'three' })
      expect((await next.status()).deadLetters).toBe(0)
      await stop(next)
    },
  )
})

describe('the sleep window of a daemon', () => {
  const stop = async (daemon: Awaited<ReturnType<typeof startDaemon>>) => {
    daemon.kill('SIGTERM')
    await daemon.ended
  }

  it('makes one snapshot for a night that was slept through, and none after a restart', async () => {
    const { dataDir } = commandLine()
    await write(snapshotSettings(dataDir), [writeOf('a', 1, 1)])
    writeFileSync(join(dataDir, 'last-night.json'), LONG_AGO)
    const env = { MEMSYNC_SLEEP_WINDOW: windowFrom(-3), MEMSYNC_TIME_ZONE: 'UTC' }
    const daemon = await startDaemon(dataDir, env)
    await daemon.logged('store tidied')
    expect(nightsOf(dataDir)).toHaveLength(1)
    await stop(daemon)
    const again = await startDaemon(dataDir, env)
    await stop(again)
    expect(again.log.find(({ msg }) => msg === 'snapshot made')).toBeUndefined()
    // Nor where the note of it is lost: the snapshot says which night it was.
    rmSync(join(dataDir, 'last-night.json'))
    await stop(await startDaemon(dataDir, env))
    expect(nightsOf(dataDir)).toHaveLength(1)
  })

  it('makes none before the first night of a new data folder, and none where it is off', async () => {
    const { dataDir } = commandLine()
    for (const window of [windowFrom(-0.5), 'off']) {
      const daemon = await startDaemon(dataDir, { MEMSYNC_SLEEP_WINDOW: window, MEMSYNC_TIME_ZONE: 'UTC' })
      await stop(daemon)
      expect(daemon.log.find(({ msg }) => msg === 'snapshot made')).toBeUndefined()
    }
    expect(nightsOf(dataDir)).toEqual([])
  })

  it('is caught up by the next daemon where this one is killed in the middle, with one snapshot', async () => {
    const { dataDir } = commandLine()
    const many = Array.from({ length: 3000 }, (_, key) => writeOf(`k${key}`, 'x'.repeat(2000), key + 1))
    await write(snapshotSettings(dataDir), many)
    writeFileSync(join(dataDir, 'last-night.json'), LONG_AGO)
    const env = { MEMSYNC_SLEEP_WINDOW: windowFrom(-0.5), MEMSYNC_TIME_ZONE: 'UTC' }
    const first = spawnDaemon(dataDir, env)
    // Or is there already, where this process was held up meanwhile.
    const isBegun = () => existsSync(`${storePath({ dataDir })}.copy`) || nightsOf(dataDir).length > 0
    await waitFor('a snapshot is begun', isBegun, { timeoutMs: LONG_MS })
    first.kill('SIGKILL')
    await first.ended
    const next = await startDaemon(dataDir, env)
    await waitFor('the night is done', () => nightsOf(dataDir).length > 0, { timeoutMs: LONG_MS })
    await stop(next)
    expect(nightsOf(dataDir)).toHaveLength(1)
  })

  it('tells why a snapshot failed, and goes on with everything else', async () => {
    const cli = commandLine()
    writeFileSync(join(cli.dataDir, 'last-night.json'), LONG_AGO)
    writeFileSync(join(cli.dataDir, 'in the way'), '')
    const daemon = await startDaemon(cli.dataDir, {
      MEMSYNC_SLEEP_WINDOW: windowFrom(-0.5),
      MEMSYNC_TIME_ZONE: 'UTC',
      MEMSYNC_SNAPSHOT_DIR: join(cli.dataDir, 'in the way'),
    })
    const told = await daemon.logged("the night's work failed")
    expect(told).toMatchObject({ at: 'snapshot', code: 'MEMSYNC_STORE_UNAVAILABLE' })
    expect((await cli.run(['enqueue', 'a', '1', '--wait'])).code).toBe(0)
    await stop(daemon)
  })

  it('removes what a killed restore left before it opens the store', async () => {
    const { dataDir } = commandLine()
    await write(snapshotSettings(dataDir), [writeOf('a', 1, 1)])
    const half = join(dataDir, 'memory.db.restoring')
    writeFileSync(half, 'half')
    utimesSync(half, 0, 0)
    const daemon = await startDaemon(dataDir)
    expect(existsSync(half)).toBe(false)
    expect(daemon.log.some(({ msg }) => msg.startsWith('a restore did not come to its end'))).toBe(true)
    await stop(daemon)
  })
})
