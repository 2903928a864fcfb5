/** Invariant 3, its foundation: every process agrees on the life of the queue, and none sees a new one that is none. */
import { afterEach, describe, expect, it } from 'vitest'
import { openStore } from '../../src/infrastructure/memory/index.ts'
import { SYNC_QUEUE } from '../../src/jobs/index.ts'
import { connectRedis, redisEndpoint, waitUntilReady } from '../../src/queue/connection.ts'
import { EpochTracker, vouchWindowMs } from '../../src/queue/epoch.ts'
import { BUILT_IN_HANDLERS } from '../../src/queue/index.ts'
import { type Machine, startMachine } from '../support/machine.ts'
import { keysOf } from '../support/producer.ts'
import { waitFor } from '../support/waitFor.ts'

const PROCESSES = 4

let machine: Machine
const cleanUps: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0)) await cleanUp()
  await machine.close()
})

/** As a process of its own would have it: its own connection, its own handle on the store. */
async function processOf(nowMs?: () => number) {
  const store = await openStore(machine.config)
  const redis = connectRedis(redisEndpoint(machine.config), 'worker')
  redis.on('error', () => undefined)
  await waitUntilReady(redis, 5000)
  cleanUps.push(
    () => redis.disconnect(),
    () => store.close(),
  )
  const epochs = new EpochTracker(redis, store, machine.config.queuePrefix, SYNC_QUEUE, nowMs)
  /** Checks and commits, as each transaction does; resolves with the epochs it committed under. */
  const commit = async (times: number) => {
    const seen: number[] = []
    for (let time = 0; time < times; time++) {
      const { life, record } = await epochs.check()
      await store.apply([], record)
      seen.push(life.epoch)
    }
    return seen
  }
  return { store, redis, epochs, commit }
}

async function processes() {
  const all = await Promise.all(Array.from({ length: PROCESSES }, () => processOf()))
  return async (times: number) => new Set((await Promise.all(all.map(({ commit }) => commit(times)))).flat())
}

describe('processes that share a Redis and a store', () => {
  it('begin one life together, and nothing but a loss ends it', async () => {
    machine = await startMachine()
    const commitAll = await processes()
    expect(await commitAll(250)).toEqual(new Set([1]))
  })

  it('agree on the next life after each flush, though all see the need at once', async () => {
    machine = await startMachine()
    const commitAll = await processes()
    expect(await commitAll(2)).toEqual(new Set([1]))
    for (let epoch = 2; epoch <= 20; epoch++) {
      await machine.redis.flushall()
      expect(await commitAll(3)).toEqual(new Set([epoch]))
    }
  })

  it('keep the last writer the winner on hot keys, each on its own handle of the store', async () => {
    machine = await startMachine()
    const stores = await Promise.all([processOf(), processOf()])
    const workers = await Promise.all(stores.map(({ store }) => machine.startWorker({ store })))
    const keys = keysOf('k', 10)
    for (let round = 0; round < 200; round++) {
      await machine.queue.addBulk(
        keys.map((key) => ({ name: 'MEMORY_SYNC', data: { key, value: round }, opts: { attempts: 1 } })),
      )
    }
    await machine.drained()
    for (const key of keys) expect((await machine.store.find(key))?.value).toBe(199)
    const totals = await machine.store.totals()
    expect(totals.synced + totals.superseded).toBe(2000)
    for (const worker of workers) expect(worker.lane.finishedCount).toBeGreaterThan(0)
    expect((await machine.store.readEpoch()).epoch).toBe(1)
  })
})

describe('commits without a check of their own', () => {
  it('are made for no longer than a new life would need to overtake the old one', () => {
    expect([0, 100, 5000, 10_000, 1e9].map(vouchWindowMs)).toEqual([0, 1, 50, 100, 100])
  })

  it('need ids that grow, of the life that was checked, soon after the check and on the same connection', async () => {
    machine = await startMachine()
    let nowMs = 1000
    await machine.redis.set(machine.queue.toKey('id'), 1e8)
    const { store, redis, epochs } = await processOf(() => nowMs)
    const arrival = (sequence: number, arrivedUnder = epochs.life) => [
      { job: { id: String(sequence), timestamp: 0 }, arrivedUnder },
    ]
    const check = async () => store.apply([], (await epochs.check()).record)
    await check()
    expect(epochs.vouches(arrival(5000))).toBe(false)
    await check()
    expect(epochs.vouches(arrival(5001))).toBe(true)
    expect(epochs.vouches(arrival(5001))).toBe(false)
    expect(epochs.vouches(arrival(5002, { epoch: 9, token: 't', boundaryMs: 0, epochBefore: 8 }))).toBe(false)
    expect(epochs.vouches([{ job: { id: 'spool-1-1-0', timestamp: 0 }, arrivedUnder: epochs.life }])).toBe(
      false,
    )
    nowMs += vouchWindowMs(5002) + 1
    expect(epochs.vouches(arrival(5003))).toBe(false)
    // That began a check ahead of need.
    let id = 5004
    await waitFor('the check is answered', async () => epochs.vouches(arrival(id++)))
    const ended = new Promise((resolve) => redis.once('close', resolve))
    redis.disconnect(true)
    await ended
    expect(epochs.vouches(arrival(1e7))).toBe(false)
  })

  it('never let a write of the old life stand above one of the new, however many come in both', async () => {
    machine = await startMachine()
    await machine.startWorker()
    const keys = keysOf('k', 20)
    const add = (value: string) =>
      machine.queue.addBulk(
        keys.map((key) => ({ name: 'MEMORY_SYNC', data: { key, value }, opts: { attempts: 1 } })),
      )
    for (let epoch = 1; epoch <= 6; epoch++) {
      for (let round = 0; round < 150; round++) await add(`old ${epoch} ${round}`)
      await waitFor(
        'commits go without a check',
        async () => (await machine.store.totals()).synced > 1500 * epoch,
      )
      await machine.redis.flushall()
      for (let round = 0; round < 20; round++) await add(`new ${epoch} ${round}`)
      await machine.drained()
      for (const key of keys) expect((await machine.store.find(key))?.value).toBe(`new ${epoch} 19`)
    }
  })
})

describe('a Redis that came back without its last ids', () => {
  it('hands them out again, to writes that are newer all the same', async () => {
    machine = await startMachine()
    await machine.startWorker()
    const add = (value: number) => machine.queue.add('MEMORY_SYNC', { key: 'k', value })
    for (let id = 1; id <= 10; id++) await add(id)
    await machine.drained()
    // What a power cut between two checks leaves: all that a check wrote, and not the ids since.
    await machine.redis.set(machine.queue.toKey('id'), 5)
    await machine.queue.clean(0, 100, 'completed')
    await machine.server.restart()
    expect((await add(11)).id).toBe('6')
    await waitFor('it is applied', async () => (await machine.store.find('k'))?.value === 11)
    expect((await machine.store.find('k'))?.version).toMatchObject({ epoch: 2, sequence: 6 })
  })
})

describe('a Redis that came back without its last ids, though nobody lives who saw them', () => {
  it('hands them out again, to writes that are newer all the same', async () => {
    machine = await startMachine()
    const worker = await machine.startWorker()
    const add = (value: number) => machine.queue.add('MEMORY_SYNC', { key: 'k', value })
    for (let id = 1; id <= 10; id++) await add(id)
    await machine.drained()
    await worker.stop(1000)
    // What a power cut leaves where the last commits went without a check of their own.
    await machine.redis.set(machine.queue.toKey('id'), 5)
    await machine.queue.clean(0, 100, 'completed')
    await machine.server.restart()
    await machine.startWorker()
    expect((await add(11)).id).toBe('6')
    await waitFor('it is applied', async () => (await machine.store.find('k'))?.value === 11)
    expect((await machine.store.find('k'))?.version).toMatchObject({ epoch: 2, sequence: 6 })
  })
})

describe('commits that wait for a check', () => {
  it('take the first answer to come, whoever asked, and ask at most every few milliseconds', async () => {
    machine = await startMachine()
    let nowMs = 1000
    const { epochs, store } = await processOf(() => nowMs)
    await store.apply([], (await epochs.check()).record)
    const first = epochs.confirm()
    expect(epochs.confirm()).toBe(first)
    nowMs += 5
    expect(epochs.confirm()).toBe(first)
    const { record } = await first
    // That call asked once more, for those to come.
    expect((await epochs.confirm()).record.batch).toBe(record.batch + 1)
    await store.apply([], record)
    expect((await epochs.confirm()).record.batch).toBe(record.batch + 2)
  })

  it('fail with what Redis answers, and the next ask again', async () => {
    machine = await startMachine()
    const { epochs, redis } = await processOf()
    await epochs.check().then(({ record }) => machine.store.apply([], record))
    await machine.redis.config('SET', 'maxmemory', '1')
    await expect(epochs.confirm()).rejects.toThrow(/OOM/)
    await machine.redis.config('SET', 'maxmemory', '0')
    expect((await epochs.confirm()).life.epoch).toBe(1)
    expect(redis.status).toBe('ready')
  })
})

describe('a flush while a job is in hand', () => {
  it.each(['before', 'after'])(
    'its write never beats one accepted since (that is applied %s it)',
    async (order) => {
      machine = await startMachine()
      const inHand = Promise.withResolvers<void>()
      const released = Promise.withResolvers<void>()
      const committed = Promise.withResolvers<string>()
      await machine.startWorker({
        handlers: {
          ...BUILT_IN_HANDLERS,
          MEMORY_SYNC: async (payload, context) => {
            if (payload.value !== 'of the old life') return BUILT_IN_HANDLERS.MEMORY_SYNC(payload, context)
            inHand.resolve()
            await released.promise
            const result = await BUILT_IN_HANDLERS.MEMORY_SYNC(payload, context)
            committed.resolve('superseded' in result ? 'superseded' : 'applied')
            return result
          },
        },
      })
      // Later in the old life than the first id of the new one.
      await machine.queue.addBulk(
        keysOf('other', 5).map((key) => ({ name: 'MEMORY_SYNC', data: { key, value: 1 } })),
      )
      await machine.queue.add('MEMORY_SYNC', { key: 'k', value: 'of the old life' })
      await inHand.promise
      await machine.redis.flushall()
      if (order === 'after') {
        released.resolve()
        expect(await committed.promise).toBe('applied')
      }
      await machine.queue.add('MEMORY_SYNC', { key: 'k', value: 'of the new life' })
      const value = async () => (await machine.store.find('k'))?.value
      await waitFor('the new write is applied', async () => (await value()) === 'of the new life')
      if (order === 'before') {
        released.resolve()
        expect(await committed.promise).toBe('superseded')
      }
      expect(await value()).toBe('of the new life')
      expect((await machine.store.find('k'))?.version).toMatchObject({ epoch: 2, sequence: 1 })
    },
  )
})
