/** Invariants 4, 6 and 7: an outage is waited out, lanes do not wait for each other, and the remote converges. */
import { readFileSync } from 'node:fs'
import { afterEach, describe, expect, it } from 'vitest'
import { MemsyncError } from '../../src/errors.ts'
import { openSqliteStore } from '../../src/infrastructure/memory/sqlite.ts'
import { contentOf } from '../../src/infrastructure/remote/content.ts'
import { openRemote } from '../../src/infrastructure/remote/index.ts'
import type { Remote, RemoteKind } from '../../src/infrastructure/remote/port.ts'
import { startFakeHttpRemote } from '../support/fakeHttpRemote.ts'
import { startFakeLegacy } from '../support/fakeLegacy.ts'
import { startFakeMem0 } from '../support/fakeMem0.ts'
import { startFakeMem0Platform } from '../support/fakeMem0Platform.ts'
import type { FaultyHttp } from '../support/faultyHttp.ts'
import { type PushMachine, startPushMachine } from '../support/pushMachine.ts'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

const KEY = 'a-key-of-the-remote'

const SERVERS: Record<RemoteKind, { start: () => Promise<FaultyHttp>; writes: string[] }> = {
  mem0: { start: () => startFakeMem0({ apiKey: KEY }), writes: ['POST /memories', 'PUT /memories/:id'] },
  'mem0-platform': {
    start: () => startFakeMem0Platform({ apiKey: KEY }),
    writes: ['POST /v3/memories/add/', 'PUT /v1/memories/:id/'],
  },
  legacy: { start: () => startFakeLegacy(), writes: ['POST /memory'] },
  http: {
    start: async () =>
      startFakeHttpRemote({ store: await openSqliteStore(`${tempDir()}/remote.db`, {}), token: KEY }),
    writes: ['PUT /v1/memory'],
  },
}

let machine: PushMachine
let server: FaultyHttp
let remote: Remote

afterEach(async () => {
  await machine.close()
  await server.close()
})

async function start(kind: RemoteKind): Promise<void> {
  server = await SERVERS[kind].start()
  remote = openRemote(kind, {
    url: server.url,
    ...(kind === 'legacy' ? {} : { key: KEY }),
    connectTimeoutMs: 500,
    callTimeoutMs: 1000,
    probeTimeoutMs: 500,
  })
  machine = await startPushMachine(remote, { remoteKind: kind, remoteUrl: server.url })
}

function countWrites(kind: RemoteKind): number {
  return SERVERS[kind].writes.reduce((sum, route) => sum + (server.calls.get(route) ?? 0), 0)
}

/** Reads the remote back: every key once, each with the content of the store's newest. */
async function expectConverged(): Promise<void> {
  const held = new Map<string, string[]>()
  for await (const page of remote.readAll(['default'], AbortSignal.timeout(20_000))) {
    for (const memory of page.memories) {
      if (memory.key !== undefined)
        held.set(memory.key, [...(held.get(memory.key) ?? []), memory.contentHash])
    }
  }
  const memories = await machine.memories()
  expect(held.size).toBe(memories.length)
  for (const { key, value, metadata } of memories) {
    expect(held.get(key)).toEqual([contentOf(value ?? null, metadata).contentHash])
  }
}

describe.each(Object.keys(SERVERS) as RemoteKind[])('the push lane to %s', (kind) => {
  it('makes one write of each key of what was written over and over during an outage', async () => {
    await start(kind)
    await waitFor('the remote is up', () => machine.push.remoteStatus.state === 'up')
    await server.refuse()
    const keys = 100
    const writes = Array.from({ length: 10 * keys }, (_, n): [string, string] => [`k${n % keys}`, `v${n}`])
    await machine.write(writes)
    await waitFor('the outage is noticed', () => machine.push.remoteStatus.state === 'down')
    expect(machine.push.gate).toBe('shut')
    expect(countWrites(kind)).toBe(0)
    await server.comeBack()
    await machine.pushed()
    expect(countWrites(kind)).toBe(keys)
    if (remote.can.readBack) await expectConverged()
    expect(await machine.push.worker.deadLetters.count()).toBe(0)
    const attempts = (await machine.push.worker.lane.queue.getCompleted(0, -1)).map((job) => job.attemptsMade)
    expect(new Set(attempts)).toEqual(new Set([1]))
    const told = machine.log.filter(({ message }) => message.startsWith('the remote is'))
    expect(told.map(({ message }) => message)).toEqual(['the remote is away', 'the remote is back'])
  })

  it('one memory that is always refused is a dead letter and delays no other', async () => {
    await start(kind)
    server.inject({ kind: 'status', status: 413 }, { times: 1, route: SERVERS[kind].writes[0] ?? '' })
    await machine.write([['poison', 'p']])
    const [entry] = await waitFor('it is a dead letter', async () => {
      const entries = await Array.fromAsync(machine.push.worker.deadLetters.list())
      return entries.length > 0 ? entries : undefined
    })
    expect(entry).toMatchObject({
      sourceQueue: 'memory-push',
      data: { namespace: 'default', key: 'poison' },
      code: 'MEMSYNC_REMOTE_REFUSED',
      stage: 'push',
    })
    expect(JSON.stringify(entry)).not.toContain('"p"')
    await machine.write([['good', 'g']])
    await machine.pushed()
    // A sweep leaves it to a person, and a redrive brings it there.
    machine.push.worker.requestSweep()
    expect(await machine.push.worker.deadLetters.count()).toBe(1)
    await machine.push.worker.deadLetters.redrive(entry?.id ?? '')
    await waitFor('the redriven memory is pushed', async () => {
      const receipts = await machine.store.receipts('poison')
      return receipts.some(({ lane }) => lane === 'push')
    })
  })
})

describe('the push lane', () => {
  it('unchanged content makes no call, a changed one makes one, a delete travels', async () => {
    await start('mem0')
    await machine.write([['k', { a: 1, b: 2 }]])
    await machine.pushed()
    server.resetCalls()
    await machine.write([['k', { b: 2, a: 1 }]])
    await machine.pushed()
    expect(countWrites('mem0')).toBe(0)
    await machine.write([['k', 'other']])
    await machine.pushed()
    expect(countWrites('mem0')).toBe(1)
    await machine.queue.add('MEMORY_SYNC', { key: 'k', op: 'delete' })
    await machine.drained()
    await machine.pushed()
    await expectConverged()
    expect(server.calls.get('DELETE /memories/:id')).toBe(1)
  })

  it.each(['mem0', 'mem0-platform', 'http'] as const)(
    'an answer lost after %s stored it makes no duplicate',
    async (kind) => {
      await start(kind)
      server.inject({ kind: 'dropAnswer' }, { times: 1, route: SERVERS[kind].writes[0] ?? '' })
      await machine.write([['k', 'once']])
      await machine.pushed()
      await expectConverged()
    },
  )

  it('a memory that is written again after its delete is there once, though the first answer is lost', async () => {
    await start('mem0')
    await machine.write([['k', 'first']])
    await machine.pushed()
    await machine.queue.add('MEMORY_SYNC', { key: 'k', op: 'delete' })
    await machine.drained()
    await machine.pushed()
    server.inject({ kind: 'dropAnswer' }, { times: 1, route: 'POST /memories' })
    await machine.write([['k', 'second']])
    await machine.pushed()
    await expectConverged()
  })

  it('what a lost answer hides is undone, though the receipt names what is there again: a value', async () => {
    await start('mem0')
    await machine.write([['k', 'first']])
    await machine.pushed()
    server.inject({ kind: 'dropAnswer' }, { route: 'PUT /memories/:id' })
    await machine.write([['k', 'second']])
    await waitFor('it is there', () => server.calls.get('PUT /memories/:id'))
    await machine.write([['k', 'first']])
    server.heal()
    await machine.pushed()
    await expectConverged()
  })

  it('the same of a delete', async () => {
    await start('mem0')
    const drop = async () => {
      await machine.queue.add('MEMORY_SYNC', { key: 'k', op: 'delete' })
      await machine.drained()
    }
    await machine.write([['k', 'first']])
    await machine.pushed()
    await drop()
    await machine.pushed()
    server.resetCalls()
    server.inject({ kind: 'dropAnswer' }, { route: 'POST /memories' })
    await machine.write([['k', 'second']])
    await waitFor('it is there', () => server.calls.get('POST /memories'))
    await drop()
    server.heal()
    await machine.pushed()
    await expectConverged()
  })

  it('pushes that waited in a Redis that was wiped all reach the remote', async () => {
    await start('http')
    await waitFor('the remote is up', () => machine.push.remoteStatus.state === 'up')
    await server.refuse()
    await machine.write(Array.from({ length: 1000 }, (_, n): [string, number] => [`k${n}`, n]))
    await waitFor('the outage is noticed', () => machine.push.gate === 'shut')
    await machine.redis.flushall()
    await server.comeBack()
    // The first write of the new life of the queue tells that the old one is lost.
    await machine.write([['one more', 1]])
    await machine.pushed()
    await expectConverged()
  })

  it('local work goes on while the remote hangs', async () => {
    await start('mem0')
    server.inject({ kind: 'hang' })
    await machine.write(Array.from({ length: 500 }, (_, n): [string, number] => [`k${n}`, n]))
    expect((await machine.store.totals()).synced).toBe(500)
    server.heal()
    await machine.pushed(30_000)
  })

  it('refused credentials shut the gate, are told once, and burn no attempt', async () => {
    await start('mem0')
    server.inject({ kind: 'status', status: 401, body: { detail: 'Invalid' } })
    await machine.write([['k', 1]])
    await waitFor('it is noticed', () => machine.push.remoteStatus.state === 'credentials')
    server.heal()
    await machine.pushed()
    const told = machine.log.filter(({ level }) => level === 'error' || level === 'warn')
    expect(told.map(({ message }) => message)).toEqual(['the remote refuses our credentials'])
    expect(await machine.push.worker.deadLetters.count()).toBe(0)
  })

  it('a slower pace that the remote asks for is kept without burning attempts', async () => {
    await start('mem0')
    await waitFor('the remote is up', () => machine.push.remoteStatus.state === 'up')
    server.inject(
      { kind: 'status', status: 429, headers: { 'retry-after': '1' } },
      { times: 1, route: 'POST /memories' },
    )
    const startedAt = performance.now()
    await machine.write([['k', 1]])
    await machine.pushed()
    expect(performance.now() - startedAt).toBeGreaterThan(950)
    expect(countWrites('mem0')).toBe(2)
    const [job] = await machine.push.worker.lane.queue.getCompleted(0, -1)
    expect(job?.attemptsMade).toBe(1)
  })

  it('another remote gets everything, although the first had it', async () => {
    await start('http')
    await machine.write([['k', 1]])
    await machine.pushed()
    expect(await machine.store.adoptRemote('http https://elsewhere.example')).toBe(true)
    expect((await machine.store.behind('push', { limit: 10 })).names).toEqual([
      { namespace: 'default', key: 'k' },
    ])
  })

  it('a stray deduplication key does not silence a memory', async () => {
    await start('http')
    await server.refuse()
    await machine.write([['k', 1]])
    // What an outage of Redis can leave: the key that keeps pointers single, without its job.
    const { queue } = machine.push.worker.lane
    const jobs = await waitFor('a pointer waits', async () => {
      const found = await queue.getJobs(['waiting', 'delayed'])
      return found.length > 0 ? found : undefined
    })
    for (const job of jobs) {
      await machine.redis.del(queue.toKey(job.id ?? ''), queue.toKey('wait'), queue.toKey('delayed'))
    }
    await server.comeBack()
    machine.push.worker.requestSweep()
    await machine.pushed()
  })

  it('rebuilds the workers where nothing ends any more, then gives up and tells the operator', async () => {
    server = await SERVERS.http.start()
    remote = {
      ...openRemote('http', { url: server.url, key: KEY }),
      // Deaf to its deadline and to the signal, as no adapter of ours is.
      push: () => new Promise(() => undefined),
    }
    const told = `${tempDir()}/told`
    const gaveUp = Promise.withResolvers<void>()
    machine = await startPushMachine(
      remote,
      {
        ...{ remoteKind: 'http', remoteUrl: server.url, notifyCommand: `cat > '${told}'` },
        ...{ stallTimeoutMs: 100, pushTimeoutMs: 200, pushConcurrency: 2, drainTimeoutMs: 100 },
      },
      { onStalled: () => gaveUp.resolve() },
    )
    const writtenAt = performance.now()
    await machine.write([
      ['a', 1],
      ['b', 2],
      ['c', 3],
    ])
    await waitFor('the workers are rebuilt', () =>
      machine.log.some(({ message }) => message === 'no progress: the worker is rebuilt'),
    )
    // The new worker takes it now, and the others when the old one's locks expire.
    await machine.write([['d', 4]])
    await gaveUp.promise
    // Twice the five calls that one job may need.
    expect(performance.now() - writtenAt).toBeGreaterThan(1900)
    const said = machine.log.filter(({ fields }) => fields.lane === 'push').map(({ message }) => message)
    expect(said).toEqual(['no progress: the worker is rebuilt', 'no progress even so: exiting'])
    const notice = await waitFor('the operator is told', () => readFileSync(told, 'utf8'))
    expect(JSON.parse(notice)).toMatchObject({ event: 'lane-stalled', lane: 'push' })
  })

  it.each(['unknown', 'provider_unavailable', 'provider_auth_failed'])(
    'an embedder that fails all with %s behind a server that is up is one outage: no dead letter, one line each way',
    async (code) => {
      await start('mem0')
      await waitFor('the remote is up', () => machine.push.remoteStatus.state === 'up')
      const fake = server as Awaited<ReturnType<typeof startFakeMem0>>
      fake.embedderFault = code
      await machine.write(Array.from({ length: 40 }, (_, n): [string, number] => [`k${n}`, n]))
      await waitFor('it is noticed', () => machine.push.remoteStatus.state !== 'up')
      // The probe succeeds all the while, and a job is tried now and then.
      const tried = countWrites('mem0')
      await waitFor('it is tried again', () => countWrites('mem0') > tried + 3)
      expect(machine.push.remoteStatus.state).toBe(code === 'provider_auth_failed' ? 'credentials' : 'down')
      fake.embedderFault = undefined
      await machine.pushed()
      await expectConverged()
      expect(await machine.push.worker.deadLetters.count()).toBe(0)
      expect(fake.records.size).toBe(40)
      const told = machine.log.filter(({ message }) => message.startsWith('the remote '))
      expect(told).toHaveLength(2)
      expect(told[1]?.message).toBe('the remote is back')
    },
  )

  it('makes no more calls at once than it may, and none once the remote is found away', async () => {
    server = await SERVERS.http.start()
    const real = openRemote('http', { url: server.url, key: KEY, callTimeoutMs: 1000, probeTimeoutMs: 500 })
    let [underway, most, begun] = [0, 0, 0]
    let isAway = false
    remote = {
      ...real,
      probe: (signal) =>
        isAway ? Promise.reject(new MemsyncError('MEMSYNC_REMOTE_UNAVAILABLE', 'away')) : real.probe(signal),
      async push(memory, options) {
        begun++
        most = Math.max(most, ++underway)
        try {
          return await real.push(memory, options)
        } finally {
          underway--
        }
      },
    }
    server.inject({ kind: 'slow', delayMs: 30 })
    machine = await startPushMachine(remote, {
      ...{ remoteKind: 'http', remoteUrl: server.url, pushConcurrency: 3 },
    })
    await machine.write(Array.from({ length: 40 }, (_, n): [string, number] => [`k${n}`, n]))
    await machine.pushed()
    expect(most).toBe(3)
    expect(begun).toBe(40)

    server.heal()
    server.inject({ kind: 'hang' })
    await machine.write(Array.from({ length: 40 }, (_, n): [string, number] => [`k${n}`, -n]))
    await waitFor('three calls hang', () => underway === 3)
    isAway = true
    await waitFor('the remote is down', () => machine.push.gate === 'shut')
    await waitFor('the three calls have ended', () => underway === 0)
    expect(begun).toBe(43)
    isAway = false
    server.heal()
    await machine.pushed()
    expect(await machine.push.worker.deadLetters.count()).toBe(0)
  })
})
