/**
 * What a restore means: the memories are as they were, whatever comes later is newer, and the remote follows. With a real
 * Redis, a real queue, a real push lane and the real memory server, which refuses what is older than it holds.
 */
import { rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { storePath, vectorsPath } from '../../src/infrastructure/memory/index.ts'
import type { MemoryName, Store } from '../../src/infrastructure/memory/port.ts'
import { openSqliteStore } from '../../src/infrastructure/memory/sqlite.ts'
import { laterLife } from '../../src/infrastructure/memory/sqliteMerge.ts'
import { openVectorStore } from '../../src/infrastructure/memory/vectors.ts'
import { openHttp } from '../../src/infrastructure/remote/http.ts'
import type { Remote } from '../../src/infrastructure/remote/port.ts'
import { verify } from '../../src/infrastructure/remote/verify.ts'
import { compareVersions } from '../../src/jobs/version.ts'
import { startFakeHttpRemote } from '../support/fakeHttpRemote.ts'
import { type PushMachine, startPushMachine } from '../support/pushMachine.ts'
import { startTestRedis, type TestRedis } from '../support/redis.ts'
import {
  contents,
  restore,
  type SnapshotTestSettings,
  snapshotOf,
  snapshotSettings,
  withStore,
  write,
  writeOf,
} from '../support/snapshots.ts'
import { tempDir } from '../support/tempDir.ts'

// Seconds on a machine that does nothing else.
vi.setConfig({ testTimeout: 120_000 })

const TOKEN = 'a-token-that-is-long-enough'
const cleanUps: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp()
})

/** The memory server, and machines on one data folder that push to it, one after the other. */
async function world() {
  const serverStore = await openSqliteStore(join(tempDir(), 'server.db'))
  const server = await startFakeHttpRemote({ store: serverStore, token: TOKEN })
  const open = (): Remote => openHttp({ url: server.url, key: TOKEN })
  const settings = snapshotSettings()
  let redis: TestRedis = await startTestRedis()
  let machine: PushMachine | undefined
  cleanUps.push(
    () => serverStore.close(),
    () => server.close(),
    () => redis.stop(),
    () => machine?.close(),
  )
  return {
    settings,
    get redis() {
      return redis
    },
    async start(): Promise<PushMachine> {
      const config = { remoteKind: 'http', remoteUrl: server.url, remoteKey: TOKEN } as const
      machine = await startPushMachine(open(), { ...config, dataDir: settings.dataDir }, {}, redis)
      return machine
    },
    async stop() {
      await machine?.close()
      machine = undefined
    },
    async loseRedis() {
      await redis.stop()
      redis = await startTestRedis()
    },
    /** Key to value, as the server has them. */
    async held(): Promise<Record<string, unknown>> {
      const { memories } = await serverStore.list({ limit: 10_000 })
      return Object.fromEntries(memories.map(({ key, value }) => [key, value]))
    },
    async problems(store: Store): Promise<string[]> {
      const found: string[] = []
      const remote = open()
      const onFinding = ({ problem, key }: MemoryName & { problem: string }) =>
        found.push(`${problem} ${key}`)
      const { waiting } = await verify({
        ...{ store, remote, concurrency: 4, onFinding },
        signal: new AbortController().signal,
      }).finally(() => remote.close())
      return waiting > 0 ? [...found, `${waiting} waiting`] : found
    },
  }
}

const FIRST: [string, unknown][] = [
  ['same', 1],
  ['changed', 'old'],
  ['deleted since', 'old'],
  ['deleted before', 'x'],
]

/** Writes, a snapshot, and then what the restore is to undo; everything pushed. */
async function history(of: Awaited<ReturnType<typeof world>>): Promise<Record<string, unknown>> {
  const machine = await of.start()
  await machine.write(FIRST)
  await machine.queue.add('MEMORY_SYNC', { key: 'deleted before', op: 'delete' })
  await machine.drained()
  await machine.pushed()
  const then = await contents(of.settings)
  await snapshotOf(of.settings)
  await machine.write([
    ['changed', 'new'],
    ['changed', 'newest'],
    ['written since', 1],
    ['deleted before', 'again'],
  ])
  await machine.queue.add('MEMORY_SYNC', { key: 'deleted since', op: 'delete' })
  await machine.drained()
  await machine.pushed()
  expect(await of.held()).toEqual({
    same: 1,
    changed: 'newest',
    'written since': 1,
    'deleted before': 'again',
  })
  await of.stop()
  return then
}

describe('a restore with a remote that refuses older versions', () => {
  it('brings store and remote back, deletes there what was written since, and later writes win', async () => {
    const of = await world()
    const then = await history(of)
    expect(await restore(of.settings)).toMatchObject({
      replaced: 'readable',
      memories: 3,
      changed: 2,
      removed: 2,
    })
    expect(await contents(of.settings)).toEqual(then)
    const machine = await of.start()
    await machine.pushed()
    expect(await of.held()).toEqual(then)
    expect(await of.problems(machine.store)).toEqual([])
    // Not everything was sent again: what did not change kept its receipt.
    const [receipt] = await machine.store.receipts('same')
    expect(compareVersions(receipt?.version as never, { epoch: 1, sequence: 1, index: 0 })).toBe(0)
    await machine.write([
      ['changed', 'after'],
      ['written since', 'after'],
    ])
    await machine.pushed()
    expect(await of.held()).toEqual({ ...then, changed: 'after', 'written since': 'after' })
    // One by one, it can be undone.
    await machine.queue.add('MEMORY_ROLLBACK', { key: 'written since' })
    await machine.queue.add('MEMORY_ROLLBACK', { key: 'written since' })
    await machine.drained()
    expect((await machine.store.history('changed')).map(({ value }) => value)).toEqual([
      ...['after', 'old', 'newest', 'old'],
    ])
  })

  it('and Redis lost too: ids begin anew, and all that is written still wins', async () => {
    const of = await world()
    const then = await history(of)
    await of.loseRedis()
    await restore(of.settings)
    const machine = await of.start()
    await machine.pushed()
    expect(await of.held()).toEqual(then)
    await machine.write([['changed', 'after']])
    await machine.pushed()
    expect(await of.held()).toEqual({ ...then, changed: 'after' })
    expect(await of.problems(machine.store)).toEqual([])
  })

  it('where the store is lost and Redis goes on', async () => {
    const of = await world()
    const then = await history(of)
    truncateSync(storePath(of.settings), 100)
    expect(await restore(of.settings)).toMatchObject({ replaced: 'unreadable', changed: 3 })
    const machine = await of.start()
    await machine.pushed()
    expect(await contents(of.settings)).toEqual(then)
    // What was written since is known to nobody here: it stays there, and `verify` tells of it.
    expect(await of.held()).toEqual({ ...then, 'written since': 1 })
    expect(await of.problems(machine.store)).toEqual(['unknown written since'])
    await machine.write([['changed', 'after']])
    await machine.pushed()
    expect(await of.held()).toMatchObject({ changed: 'after' })
  })

  it('where store, Redis and all but the snapshot are lost, more than once, though epochs were used before', async () => {
    const of = await world()
    const then = await history(of)
    for (const round of [1, 2, 3]) {
      for (const suffix of ['', '-wal', '-shm']) rmSync(`${storePath(of.settings)}${suffix}`, { force: true })
      await of.loseRedis()
      expect(await restore(of.settings)).toMatchObject({ replaced: 'none', keptPath: undefined })
      const machine = await of.start()
      await machine.pushed()
      expect(await of.held()).toEqual({ ...then, 'written since': 1 })
      await machine.write([
        ['changed', `after ${round}`],
        ['same', `after ${round}`],
      ])
      await machine.pushed()
      expect(await of.held()).toMatchObject({ changed: `after ${round}`, same: `after ${round}` })
      await of.stop()
    }
  })

  it('where a new store was begun after the loss, before anybody thought of the snapshot', async () => {
    const of = await world()
    const then = await history(of)
    for (const suffix of ['', '-wal', '-shm']) rmSync(`${storePath(of.settings)}${suffix}`, { force: true })
    await of.loseRedis()
    const accident = await of.start()
    await accident.write([
      ['changed', 'accident'],
      ['only here', 1],
    ])
    await of.stop()
    await restore(of.settings)
    const machine = await of.start()
    await machine.pushed()
    expect(await contents(of.settings)).toEqual(then)
    expect(await of.held()).toEqual({ ...then, 'written since': 1 })
    await machine.write([['changed', 'after']])
    await machine.pushed()
    expect(await of.held()).toMatchObject({ changed: 'after' })
  })
})

describe('what still waits in the queue', () => {
  it('is applied to the restored store: it was accepted, and is newer than all of it', async () => {
    for (const lost of [false, true]) {
      const of = await world()
      await history(of)
      const { Queue } = await import('bullmq')
      const queue = new Queue('memory-sync', { connection: { path: of.redis.socketPath } })
      await queue.add('MEMORY_SYNC', { key: 'changed', value: 'waited' })
      await queue.add('MEMORY_SYNC', { key: 'brand new', value: 'waited' })
      await queue.close()
      if (lost) rmSync(storePath(of.settings))
      await restore(of.settings)
      const machine = await of.start()
      await machine.drained()
      await machine.pushed()
      expect(await contents(of.settings)).toEqual({
        ...{ same: 1, changed: 'waited', 'brand new': 'waited', 'deleted since': 'old' },
      })
      expect(await of.held()).toMatchObject({ changed: 'waited', 'brand new': 'waited' })
      for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp()
    }
  })
})

describe('versions after a restore', () => {
  const one = async (settings: SnapshotTestSettings, key: string) =>
    withStore(settings, async (store) => (await store.find(key))?.value)

  it('leave what is older than the restore behind, and let everything later win', async () => {
    const settings = snapshotSettings()
    await write(settings, [writeOf('a', 'one', 1), writeOf('b', 'one', 2)])
    await snapshotOf(settings)
    await write(settings, [writeOf('a', 'two', 10), writeOf('c', 'two', 11)], 2)
    await restore(settings)
    // A job of before that is run again, a retry that was overtaken, a dead letter of a key that is gone.
    await write(settings, [writeOf('a', 'two', 10), writeOf('a', 'late', 5), writeOf('c', 'late', 7)], 3)
    expect(await contents(settings)).toEqual({ a: 'one', b: 'one' })
    await write(
      settings,
      [writeOf('a', 'three', 12), writeOf('c', 'three', 13), writeOf('b', 'three', 14)],
      4,
    )
    expect(await contents(settings)).toEqual({ a: 'three', b: 'three', c: 'three' })
  })

  it('keep what is written in-process newer than all of it', async () => {
    const settings = snapshotSettings()
    await write(settings, [writeOf('a', 'one', 1)])
    await snapshotOf(settings)
    await write(settings, [writeOf('a', 'two', 2)], 2)
    await restore(settings)
    await withStore(settings, async (store) => {
      const version = await store.nextLocalVersion()
      await store.apply([{ ...writeOf('a', 'local', 9), version }])
    })
    expect(await one(settings, 'a')).toBe('local')
  })

  it('hold through a restore of a restore, back and forth', async () => {
    const settings = snapshotSettings()
    await write(settings, [writeOf('a', 1, 1), writeOf('b', 1, 2)])
    const first = (await snapshotOf(settings)).snapshot.name
    await write(settings, [writeOf('a', 2, 3), writeOf('c', 2, 4)], 2)
    const second = (await snapshotOf(settings)).snapshot.name
    for (let round = 0; round < 3; round++) {
      await restore(settings, first)
      expect(await contents(settings)).toEqual({ a: 1, b: 1 })
      await restore(settings, second)
      expect(await contents(settings)).toEqual({ a: 2, b: 1, c: 2 })
    }
    await write(settings, [writeOf('a', 9, 5), writeOf('c', undefined, 6)], 9)
    expect(await contents(settings)).toEqual({ a: 9, b: 1 })
    await withStore(settings, async (store) => {
      expect((await store.totals()).keys).toBe(2)
      const sequences = (await store.history('a')).map(({ version }) => version)
      expect(sequences).toEqual(sequences.toSorted((x, y) => compareVersions(y, x)))
    })
  })

  it('go on with the later life of the queue, or with another past from the snapshot on', () => {
    const life = (epoch: number, token: string, batch: number) => ({ epoch, token, batch })
    expect(laterLife(life(2, 'b', 1), life(1, 'a', 9), 0)).toEqual(life(2, 'b', 1))
    expect(laterLife(life(1, 'a', 9), life(1, 'a', 3), 0)).toEqual(life(1, 'a', 9))
    expect(laterLife(life(1, 'x', 9), life(1, 'a', 3), 0)).toEqual(life(1, 'a', 3))
    expect(laterLife(life(1, 'x', 9), life(4, 'a', 3), 0)).toEqual(life(4, 'a', 3))
    expect(laterLife(undefined, life(4, 'a', 3), 4)).toEqual(life(4, 'a', 3))
    expect(laterLife(undefined, life(4, 'a', 3), 6)).toEqual(life(6, '', 0))
  })
})

describe('what was embedded', () => {
  const space = { model: 'm', dimensions: undefined }
  const embedded = async (settings: SnapshotTestSettings, key: string, sequence: number) => {
    const vectors = openVectorStore({ path: vectorsPath(settings), space })
    const version = { epoch: 1, sequence, index: 0 }
    await vectors?.save([{ contentHash: `${key}${sequence}`, vector: new Float32Array([1, 0]) }])
    const chunks = [{ contentHash: `${key}${sequence}`, excerpt: key }]
    await vectors?.put([{ namespace: 'default', key, version, chunks }])
    await vectors?.close()
    const receipt = { lane: 'embed', version, contentHash: 'h', atMs: 1 } as const
    await withStore(settings, (store) => store.recordReceipt(key, 'default', receipt))
  }
  const toEmbed = (settings: SnapshotTestSettings) =>
    withStore(settings, async (store) =>
      (await store.behind('embed', { limit: 100 })).names.map(({ key }) => key),
    )
  const put = async (settings: SnapshotTestSettings, key: string) => {
    const version = await withStore(settings, async (store) => (await store.find(key))?.version)
    const vectors = openVectorStore({ path: vectorsPath(settings), space })
    const [outcome] =
      (await vectors?.put([
        {
          namespace: 'default',
          key,
          version: version as never,
          chunks: [{ contentHash: `${key}1`, excerpt: key }],
        },
      ])) ?? []
    await vectors?.close()
    return outcome
  }

  async function embedHistory() {
    const settings = snapshotSettings()
    const embed = (key: string, sequence: number) => ({ ...writeOf(key, sequence, sequence), embed: true })
    await write(settings, [embed('same', 1), embed('changed', 1), writeOf('plain', 1, 2)])
    await embedded(settings, 'same', 1)
    await embedded(settings, 'changed', 1)
    await snapshotOf(settings)
    await write(settings, [embed('changed', 20), embed('plain', 21), embed('new', 22)], 2)
    for (const [key, sequence] of [
      ['changed', 20],
      ['plain', 21],
      ['new', 22],
    ] as const) {
      await embedded(settings, key, sequence)
    }
    expect(await toEmbed(settings)).toEqual([])
    return settings
  }

  it('is embedded again where it differs, from what was paid for already, and taken away where it is gone', async () => {
    const settings = await embedHistory()
    await restore(settings)
    expect(await toEmbed(settings)).toEqual(['changed', 'new', 'plain'])
    // The vector of the first text is still there, and takes the place of the later one.
    expect(await put(settings, 'changed')).toBe('stored')
  })

  it('and where the store was lost, vectors of versions that nobody has any more stop nothing', async () => {
    const settings = await embedHistory()
    truncateSync(storePath(settings), 10)
    await restore(settings)
    expect(await toEmbed(settings)).toEqual(['changed', 'plain'])
    expect(await put(settings, 'changed')).toBe('stored')
  })

  it('and where the vectors were lost with it, all of it is embedded again', async () => {
    const settings = await embedHistory()
    truncateSync(storePath(settings), 10)
    writeFileSync(vectorsPath(settings), 'not a database, whatever its name says'.repeat(100))
    rmSync(`${vectorsPath(settings)}-wal`, { force: true })
    await restore(settings)
    expect(await toEmbed(settings)).toEqual(['changed', 'same'])
  })
})

it('the restored store and the kept one are for their owner alone', async () => {
  const settings = snapshotSettings()
  await write(settings, [writeOf('a', 1, 1)])
  const { snapshot } = await snapshotOf(settings)
  const { keptPath } = await restore(settings)
  for (const path of [snapshot.path, storePath(settings), keptPath ?? '']) {
    expect(statSync(path).mode & 0o777).toBe(0o600)
  }
})
