/** Invariant 7: what is wrong on the remote is found, told apart from what is on its way, and repaired. */
import { randomUUID } from 'node:crypto'
import { afterEach, describe, expect, it } from 'vitest'
import type { Store } from '../../src/infrastructure/memory/port.ts'
import { openSqliteStore } from '../../src/infrastructure/memory/sqlite.ts'
import { contentOf } from '../../src/infrastructure/remote/content.ts'
import { openRemote } from '../../src/infrastructure/remote/index.ts'
import type { Remote, RemoteMemory } from '../../src/infrastructure/remote/port.ts'
import { planRepair, repair } from '../../src/infrastructure/remote/reconcile.ts'
import {
  type Finding,
  type VerifyProgress,
  type VerifySummary,
  verify,
} from '../../src/infrastructure/remote/verify.ts'
import type { Version } from '../../src/jobs/version.ts'
import { at, deleteOf, setOf } from '../contract/writes.ts'
import { startFakeHttpRemote } from '../support/fakeHttpRemote.ts'
import { startFakeMem0 } from '../support/fakeMem0.ts'
import { startFakeMem0Platform } from '../support/fakeMem0Platform.ts'
import type { FaultyHttp } from '../support/faultyHttp.ts'
import { type PushMachine, startPushMachine } from '../support/pushMachine.ts'
import { tempDir } from '../support/tempDir.ts'

const KEY = 'a-key-of-the-remote'
const signal = new AbortController().signal
const FAR: Version = { epoch: 50, sequence: 7, index: 0 }

type Records = Map<string, { id: string; memory: string; metadata: Record<string, unknown> }>

/** A remote, and how it goes wrong without anybody telling us. */
interface Damaged {
  server: FaultyHttp
  lose(key: string): Promise<void>
  change(key: string): Promise<void>
  /** Undefined where a key cannot be there twice. */
  repeat: ((key: string) => void) | undefined
}

function damageRecords(server: FaultyHttp & { records: Map<string, unknown> }): Damaged {
  const records = server.records as Records
  const recordOf = (key: string) => {
    const found = [...records.values()].find(({ metadata }) => metadata.sync_key === key)
    if (!found) throw new Error(`no record of ${key}`)
    return found
  }
  return {
    server,
    lose: async (key) => void records.delete(recordOf(key).id),
    change: async (key) => {
      recordOf(key).memory += ' edited there'
    },
    repeat: (key) => {
      const id = randomUUID()
      records.set(id, { ...recordOf(key), id })
    },
  }
}

const KINDS: Record<'mem0' | 'mem0-platform' | 'http', () => Promise<Damaged>> = {
  mem0: async () => damageRecords(await startFakeMem0({ apiKey: KEY })),
  'mem0-platform': async () => damageRecords(await startFakeMem0Platform({ apiKey: KEY })),
  http: async () => {
    const store = await openSqliteStore(`${tempDir()}/remote.db`, {})
    return {
      server: await startFakeHttpRemote({ store, token: KEY }),
      lose: async (key) => void (await store.apply([deleteOf(key, FAR)])),
      change: async (key) => void (await store.apply([setOf(key, 'edited there', FAR)])),
      repeat: undefined,
    }
  },
}

let machine: PushMachine | undefined
let damaged: Damaged
let remote: Remote

afterEach(async () => {
  await machine?.close()
  await damaged.server.close()
  machine = undefined
})

function open(kind: keyof typeof KINDS): Remote {
  return openRemote(kind, { url: damaged.server.url, key: KEY, connectTimeoutMs: 500, callTimeoutMs: 2000 })
}

async function start(kind: keyof typeof KINDS): Promise<PushMachine> {
  damaged = await KINDS[kind]()
  return startMachineFor(kind)
}

async function startMachineFor(kind: keyof typeof KINDS): Promise<PushMachine> {
  remote = open(kind)
  machine = await startPushMachine(open(kind), { remoteKind: kind, remoteUrl: damaged.server.url })
  return machine
}

async function look(
  store: Store,
  options: { namespaces?: string[] } = {},
): Promise<{ summary: VerifySummary; findings: Finding[]; progress: VerifyProgress }> {
  const findings: Finding[] = []
  let progress: VerifyProgress | undefined
  const summary = await verify({
    ...{ store, remote, concurrency: 4, signal, ...options },
    onFinding: (finding) => findings.push(finding),
    onProgress: (told) => {
      progress = { ...told }
    },
  })
  if (!progress) throw new Error('it told nothing')
  return { summary, findings, progress }
}

const found = (findings: Finding[]) => findings.map(({ problem, key }) => `${problem} ${key}`).sort()

async function reconcile(store: Store, removeUnknown = false) {
  const shared = { store, remote, concurrency: 4, signal }
  const plan = await planRepair({ ...shared, removeUnknown })
  const { removed } = await repair(plan, shared)
  machine?.push.worker.requestSweep()
  return { plan, removed }
}

/** What another machine, or an earlier life of this one, put there under our stamp. */
async function plant(key: string, value: string, version: Version): Promise<void> {
  await remote.push({ namespace: 'default', key, content: contentOf(value, undefined), version }, { signal })
}

describe.each(Object.keys(KINDS) as (keyof typeof KINDS)[])('verify and reconcile on %s', (kind) => {
  it('find nothing where all is well, and tell a memory on its way from one that is missing', async () => {
    const { write, pushed, store, sync, push } = await start(kind)
    await write(Array.from({ length: 30 }, (_, n): [string, unknown] => [`k${n}`, { n }]))
    await machine?.queue.add('MEMORY_SYNC', { key: 'k7', op: 'delete' })
    await machine?.drained()
    await pushed()
    const all = await look(store)
    expect(all.summary).toMatchObject({ checked: 30, waiting: 0, refused: 0, foreign: 0, partlyListed: [] })
    expect(all.findings).toEqual([])
    expect(all.progress).toMatchObject({ checked: 30, total: 30, found: 0 })
    await push.worker.stop(1000)
    await write([
      ['k1', 'newer, not pushed'],
      ['new', 'not pushed'],
    ])
    const later = await look(store)
    expect(later.summary).toMatchObject({ checked: 31, waiting: 2 })
    expect(later.findings).toEqual([])
    expect(sync.lane.finishedCount).toBeGreaterThan(0)
  })

  it('finds what is lost, changed, repeated, unknown and deleted here, and repairs it beside the daemon', async () => {
    const { write, pushed, store, queue, drained } = await start(kind)
    await write(Array.from({ length: 12 }, (_, n): [string, unknown] => [`k${n}`, `v${n}`]))
    await queue.add('MEMORY_SYNC', { key: 'gone', op: 'delete' })
    await drained()
    await pushed()
    await damaged.lose('k1')
    await damaged.change('k2')
    damaged.repeat?.('k3')
    await plant('stranger', 's', at(1))
    await plant('gone', 'back', FAR)
    const expected = ['missing k1', 'different k2', 'unknown gone', 'unknown stranger']
    if (damaged.repeat) expected.push('duplicate k3')
    const { summary, findings } = await look(store)
    expect(found(findings)).toEqual(expected.sort())
    expect(Object.values(summary.counts).reduce((sum, count) => sum + count, 0)).toBe(expected.length)
    expect(findings.find(({ key }) => key === 'gone')).toMatchObject({ deletedHere: true })
    expect(findings.find(({ key }) => key === 'stranger')).toMatchObject({ deletedHere: false })

    const { plan, removed } = await reconcile(store)
    expect(plan).toMatchObject({ left: 1, remove: [] })
    expect(removed).toBe(0)
    await pushed()
    expect(found((await look(store)).findings)).toEqual(['unknown stranger'])
    expect(await reconcile(store, true)).toMatchObject({ removed: 1 })
    expect((await look(store)).findings).toEqual([])
    // What was removed as unknown can be written here.
    await write([['stranger', 'ours now']])
    await pushed()
    expect(await remote.find({ namespace: 'default', key: 'stranger' }, signal)).toMatchObject([
      { contentHash: contentOf('ours now', undefined).contentHash },
    ])
    expect((await look(store)).findings).toEqual([])
  })

  it('answers the loss of the data folder: the store that is there now wins', async () => {
    const first = await start(kind)
    await first.write(Array.from({ length: 20 }, (_, n): [string, unknown] => [`k${n}`, `first life ${n}`]))
    await first.write([['k0', 'first life, again']])
    await first.pushed()
    await first.close()
    const { write, pushed, store, log } = await startMachineFor(kind)
    await write(Array.from({ length: 10 }, (_, n): [string, unknown] => [`k${n}`, `second life ${n}`]))
    await pushed()
    const told = log.filter(({ message }) => message.startsWith('the remote holds a newer version'))
    expect(told.length).toBe(1)
    const before = await look(store)
    expect(before.findings.some(({ heldNewer }) => heldNewer)).toBe(true)
    expect(before.summary.counts).toMatchObject({ unknown: 10, missing: 0, duplicate: 0 })

    const { plan } = await reconcile(store)
    expect(plan.epochOffset).toBeGreaterThan(0)
    await pushed()
    expect((await look(store)).summary.counts).toEqual({
      missing: 0,
      different: 0,
      duplicate: 0,
      unknown: 10,
    })
    // From now on its writes win by themselves, also those of keys it did not have until now.
    await write([
      ['k3', 'later'],
      ['k15', 'second life after all'],
    ])
    await machine?.queue.add('MEMORY_SYNC', { key: 'k4', op: 'delete' })
    await machine?.drained()
    await pushed()
    const after = await look(store)
    expect(after.summary.counts).toMatchObject({ different: 0, missing: 0 })
    expect(await remote.find({ namespace: 'default', key: 'k4' }, signal)).toEqual([])
    const ids = await remote.find({ namespace: 'default', key: 'k15' }, signal)
    expect(ids.map(({ contentHash }) => contentHash)).toEqual([
      contentOf('second life after all', undefined).contentHash,
    ])
  })

  it('reports nothing that a daemon is changing at this moment', async () => {
    const { write, pushed, store } = await start(kind)
    const keys = Array.from({ length: 40 }, (_, n) => `k${n}`)
    await write(keys.map((key): [string, unknown] => [key, 'first']))
    await pushed()
    let over = false
    const writing = (async () => {
      for (let round = 0; !over; round++) await write(keys.map((key): [string, unknown] => [key, round]))
    })()
    try {
      for (let round = 0; round < 5; round++) expect((await look(store)).findings).toEqual([])
    } finally {
      over = true
      await writing
    }
    await pushed()
    expect((await look(store)).findings).toEqual([])
  })
})

describe('verify', () => {
  it('looks every memory up where the server cuts its listing short', async () => {
    damaged = await KINDS.mem0()
    remote = open('mem0')
    const store = await openSqliteStore(`${tempDir()}/memory.db`, {})
    const keys = Array.from({ length: 1200 }, (_, n) => `k${n}`)
    await store.apply(keys.map((key, n) => setOf(key, n, at(n + 1))))
    for (const [n, key] of keys.entries()) {
      await remote.push(
        { namespace: 'default', key, content: contentOf(n, undefined), version: at(n + 1) },
        { signal },
      )
    }
    await store.recordReceipts(
      keys.map((key, n) => ({
        ...{ key, namespace: 'default' },
        receipt: { lane: 'push', version: at(n + 1), contentHash: '', atMs: 0 },
      })),
    )
    await damaged.change('k1100')
    await damaged.lose('k3')
    damaged.repeat?.('k5')
    const { summary, findings } = await look(store)
    expect(found(findings)).toEqual(['different k1100', 'duplicate k5', 'missing k3'])
    expect(summary).toMatchObject({ checked: 1200, partlyListed: ['default'] })
    await store.close()
  })

  it('leaves what others put there alone, and looks at the namespaces it is told', async () => {
    const { write, pushed, store, queue } = await start('mem0')
    await write([['k', 'v']])
    await queue.add('MEMORY_SYNC', { key: 'a', value: 1, namespace: 'alice' })
    await machine?.drained()
    await pushed()
    const records = (damaged.server as unknown as { records: Map<string, unknown> }).records
    records.set('other', {
      id: 'other',
      memory: 'by hand',
      user_id: 'default',
      run_id: undefined,
      metadata: {},
    })
    await damaged.lose('a')
    expect((await look(store)).summary).toMatchObject({ checked: 2, foreign: 1, counts: { missing: 1 } })
    expect((await look(store, { namespaces: ['default'] })).summary).toMatchObject({
      checked: 1,
      counts: { missing: 0 },
    })
    expect(found((await look(store, { namespaces: ['alice', 'alice'] })).findings)).toEqual(['missing a'])
  })

  it('keeps to the pace that the remote asks for, and ends with what is wrong with the remote', async () => {
    const { write, pushed, store } = await start('mem0')
    await write([['k', 'v']])
    await pushed()
    await damaged.lose('k')
    const slower = { kind: 'status', status: 429, headers: { 'retry-after': '0' } } as const
    let listed = 0
    const paced: Pick<Remote, 'find' | 'readAll'> = {
      readAll: remote.readAll,
      find(id, of): Promise<RemoteMemory[]> {
        if (listed++ === 0) damaged.server.inject(slower, { times: 2, route: 'GET /memories' })
        return remote.find(id, of)
      },
    }
    const findings: Finding[] = []
    await verify({
      store,
      remote: paced,
      concurrency: 1,
      signal,
      onFinding: (finding) => findings.push(finding),
    })
    expect(found(findings)).toEqual(['missing k'])
    await damaged.server.refuse()
    await expect(look(store)).rejects.toMatchObject({ class: 'outage' })
  })
})
