/** The lane between BullMQ and a handler: gates, stalls, acknowledgements that Redis refuses, and stops. */
import { once } from 'node:events'
import type { Job } from 'bullmq'
import { afterEach, describe, expect, it } from 'vitest'
import { MemsyncError } from '../../src/errors.ts'
import type { Store } from '../../src/infrastructure/memory/port.ts'
import { BUILT_IN_HANDLERS } from '../../src/queue/index.ts'
import type { Handlers } from '../../src/queue/syncWorker.ts'
import { bareLaneOn, connectionTo } from '../support/bareLane.ts'
import { type Machine, startMachine } from '../support/machine.ts'
import { expectPrompt } from '../support/promptness.ts'
import { waitFor } from '../support/waitFor.ts'

let machine: Machine
afterEach(() => machine.close())

type Handle = NonNullable<Handlers['MEMORY_SYNC']>
const handlersWith = (handle: Handle): Handlers => ({ ...BUILT_IN_HANDLERS, MEMORY_SYNC: handle })

async function stateOf(job: Job): Promise<{ state: string; attemptsMade: number }> {
  const now = await machine.queue.getJob(job.id ?? '')
  return { state: (await now?.getState()) ?? 'gone', attemptsMade: now?.attemptsMade ?? Number.NaN }
}

function memory(key: string, value: unknown = 1, opts = {}) {
  return machine.queue.add('MEMORY_SYNC', { key, value }, opts)
}

describe('the gate', () => {
  it('shut and opened within one turn of promises, whatever the worker is doing, never wedges it', async () => {
    machine = await startMachine()
    const inHand = { release: () => undefined as unknown, taken: Promise.withResolvers<void>() }
    let whenDone: () => void = () => undefined
    const { lane, close } = await bareLaneOn(machine, {
      process: () => {
        const { promise, resolve } = Promise.withResolvers<void>()
        inHand.release = resolve
        inHand.taken.resolve()
        return promise
      },
      onSuccess: () => whenDone(),
    })
    lane.start()
    // BullMQ's loop ends some turns after the last job of a lane that is shut; each of them is tried.
    for (let turns = 0; turns < 40; turns++) {
      inHand.taken = Promise.withResolvers()
      const done = lane.finishedCount
      await memory('k')
      await inHand.taken.promise
      lane.setConcurrency(0)
      await new Promise(setImmediate)
      const opened = Promise.withResolvers<void>()
      whenDone = async () => {
        for (let turn = 0; turn < turns; turn++) await undefined
        lane.setConcurrency(0)
        lane.setConcurrency(5)
        opened.resolve()
      }
      inHand.release()
      await opened.promise
      await waitFor('it is done', () => lane.finishedCount > done, { intervalMs: 1 })
      whenDone = () => undefined
    }
    await close()
  })

  it('shut before the first job lets none through until it opens', async () => {
    machine = await startMachine()
    const { lane, close } = await bareLaneOn(machine, { concurrency: 0 })
    lane.start()
    const job = await memory('k')
    lane.setConcurrency(0)
    await new Promise(setImmediate)
    expect((await stateOf(job)).state).toBe('waiting')
    lane.setConcurrency(5)
    await waitFor('it is done', () => lane.finishedCount === 1)
    await close()
  })

  it('opens a lane that was made shut and never told to shut', async () => {
    machine = await startMachine()
    const { lane, close } = await bareLaneOn(machine, { concurrency: 0 })
    lane.start()
    await memory('k')
    await new Promise(setImmediate)
    lane.setConcurrency(5)
    await waitFor('it is done', () => lane.finishedCount === 1)
    await close()
  })
})

it('knows which jobs its worker holds, and that a rebuilt one holds none of the old', async () => {
  machine = await startMachine()
  const hangs = Promise.withResolvers<void>()
  const { lane, close } = await bareLaneOn(machine, { process: () => hangs.promise })
  lane.start()
  await memory('a')
  await memory('b')
  await waitFor('both are in hand', () => lane.heldCount === 2)
  lane.rebuild()
  expect(lane.heldCount).toBe(0)
  expect(await machine.queue.getActiveCount()).toBe(2)
  await memory('c')
  // The old one may take the word that there is a job with it; the new one then looks by itself a little later.
  await waitFor('the new worker has one', () => lane.heldCount === 1, { timeoutMs: 25_000 })
  hangs.resolve()
  await waitFor('it is done', () => lane.heldCount === 0)
  await close()
})

describe('a job whose process dies', () => {
  /** What that leaves: the job in flight, without anybody's lock, the given number of times. */
  async function leaveInFlight(job: Job, stalls: number): Promise<void> {
    await machine.redis
      .multi()
      .lrem(machine.queue.toKey('wait'), 1, job.id ?? '')
      .lpush(machine.queue.toKey('active'), job.id ?? '')
      .hset(machine.queue.toKey(job.id ?? ''), 'stc', stalls)
      .exec()
  }

  it('runs again the 25th time, and is a dead letter MEMSYNC_STALLED the 26th', async () => {
    machine = await startMachine()
    const [survivor, poison] = [await memory('survivor'), await memory('poison')]
    await leaveInFlight(survivor, 24)
    await leaveInFlight(poison, 25)
    const worker = await machine.startWorker()
    const entry = await waitFor('the poison is a dead letter', async () => {
      const [first] = await Array.fromAsync(worker.deadLetters.list())
      return first
    })
    expect(entry).toMatchObject({
      data: { key: 'poison' },
      code: 'MEMSYNC_STALLED',
      class: 'permanent',
      stalls: 26,
    })
    await machine.drained()
    expect((await machine.store.find('survivor'))?.value).toBe(1)
    expect(await worker.deadLetters.count()).toBe(1)
  })
})

describe('an acknowledgement that Redis refuses', () => {
  it('is no failure of the job that was done, though it has but one attempt', async () => {
    machine = await startMachine()
    const redis = await connectionTo(machine)
    const refused = Promise.withResolvers<void>()
    await machine.startWorker({
      redis,
      onRedisChange: ({ state }) => state === 'up' && refused.resolve(),
      handlers: handlersWith(async (payload, context) => {
        const result = await BUILT_IN_HANDLERS.MEMORY_SYNC(payload, context)
        await redis.replicaof('127.0.0.1', 1)
        // Behind the acknowledgement on the same connection, and before whatever its refusal leads to.
        setImmediate(() => void redis.replicaof('NO', 'ONE'))
        return result
      }),
    })
    const job = await memory('k', 1, { attempts: 1 })
    await refused.promise
    expect(await stateOf(job)).toEqual({ state: 'active', attemptsMade: 0 })
    // Nobody has it any more, so the stalled check brings it to its end; that is not waited for here.
    await machine.redis.del(`${machine.queue.toKey(job.id ?? '')}:lock`)
    redis.disconnect()
  })
})

describe('a store that turns out corrupt', () => {
  it('is waited for like one that is away: no job becomes a dead letter', async () => {
    machine = await startMachine()
    const corrupt = new MemsyncError('MEMSYNC_STORE_CORRUPT', 'the file: malformed')
    const store = Object.assign(Object.create(machine.store) as Store, {
      readEpoch: () => machine.store.readEpoch(),
      readHead: () => machine.store.readHead(),
      async apply(...[writes, epoch]: Parameters<Store['apply']>) {
        if (writes.length > 0) throw corrupt
        return machine.store.apply(writes, epoch)
      },
    })
    const reasons: MemsyncError[] = []
    const worker = await machine.startWorker({ store, onDependencyFailure: (error) => reasons.push(error) })
    const job = await memory('k', 1, { attempts: 1 })
    await waitFor('it was given back', () => reasons.length > 0)
    expect(reasons[0]).toMatchObject({ code: 'MEMSYNC_STORE_CORRUPT', class: 'outage' })
    await waitFor('it waits', async () => (await stateOf(job)).state === 'delayed')
    expect((await stateOf(job)).attemptsMade).toBe(0)
    expect(await worker.deadLetters.count()).toBe(0)
  })
})

describe('a stop', () => {
  it('finishes what is in flight', async () => {
    machine = await startMachine()
    const begun = Promise.withResolvers<void>()
    const released = Promise.withResolvers<void>()
    const worker = await machine.startWorker({
      handlers: handlersWith(async (payload, context) => {
        begun.resolve()
        await released.promise
        return BUILT_IN_HANDLERS.MEMORY_SYNC(payload, context)
      }),
    })
    const job = await memory('k')
    await begun.promise
    const stopping = worker.stop(20_000)
    released.resolve()
    await stopping
    expect((await stateOf(job)).state).toBe('completed')
  })

  it('ends at its deadline with a handler that hangs, and gives back unpenalised what heeds its signal', async () => {
    machine = await startMachine()
    let begun = 0
    const worker = await machine.startWorker({
      handlers: handlersWith(async (payload, { signal }) => {
        begun++
        if (payload.key === 'heeds') await once(signal, 'abort').then(() => signal.throwIfAborted())
        return new Promise(() => undefined)
      }),
    })
    const [heeds, hangs] = [
      await memory('heeds', 1, { attempts: 1 }),
      await memory('hangs', 1, { attempts: 1 }),
    ]
    await waitFor('both are in flight', () => begun === 2)
    const askedAt = performance.now()
    await worker.stop(300)
    expectPrompt(performance.now() - askedAt, 1800)
    expect(await stateOf(heeds)).toEqual({ state: 'delayed', attemptsMade: 0 })
    expect(await stateOf(hangs)).toEqual({ state: 'active', attemptsMade: 0 })
  })
})
