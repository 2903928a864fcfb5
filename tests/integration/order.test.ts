/** Invariant 3: last writer wins per key by order of acceptance, whatever happens in between. */
import { randomInt } from 'node:crypto'
import { afterEach, describe, expect, it } from 'vitest'
import { MemsyncError } from '../../src/errors.ts'
import { memorySyncHandler } from '../../src/handlers/memorySync.ts'
import { formatVersion } from '../../src/jobs/version.ts'
import { BUILT_IN_HANDLERS } from '../../src/queue/index.ts'
import { type Machine, startMachine } from '../support/machine.ts'
import { waitFor } from '../support/waitFor.ts'

let machine: Machine
afterEach(() => machine.close())

const set = (key: string, value: unknown) => ({ name: 'MEMORY_SYNC', data: { key, value } })

async function storedValue(key: string): Promise<unknown> {
  return (await machine.store.find(key))?.value
}

describe('order of acceptance', () => {
  it('survives random failures, retries and concurrency on shared keys', async () => {
    const seed = randomInt(2 ** 31)
    console.log(`order seed ${seed}`)
    let state = seed
    const random = () => {
      state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff
      return state / 0x7fffffff
    }
    machine = await startMachine()
    const jobs = []
    for (let round = 0; round < 20; round++) {
      for (let key = 0; key < 50; key++) {
        jobs.push({ ...set(`k${key}`, round), opts: { attempts: 30, backoff: { type: 'fixed', delay: 1 } } })
      }
    }
    await machine.queue.addBulk(jobs)
    await machine.startWorker({
      handlers: {
        ...BUILT_IN_HANDLERS,
        MEMORY_SYNC: async (payload, context) => {
          if (random() < 0.2) throw new Error('random failure')
          return memorySyncHandler(payload, context)
        },
      },
    })
    await machine.drained()
    for (let key = 0; key < 50; key++) expect(await storedValue(`k${key}`)).toBe(19)
    const totals = await machine.store.totals()
    expect(totals.synced + totals.superseded).toBe(1000)
    expect(totals.superseded).toBeGreaterThan(0)
  })

  it('a superseded write is a success that says so in its result', async () => {
    machine = await startMachine()
    const older = await machine.queue.add('MEMORY_SYNC', { key: 'k', value: 'older' }, { delay: 3_600_000 })
    await machine.queue.add('MEMORY_SYNC', { key: 'k', value: 'newer' })
    const worker = await machine.startWorker()
    await waitFor('the newer write is applied', async () => (await storedValue('k')) === 'newer')
    await older.promote()
    const done = await waitFor('the older write ends', async () => {
      const job = await worker.lane.queue.getJob(older.id ?? '')
      return job?.finishedOn ? job : undefined
    })
    expect(done.returnvalue).toEqual({ status: 'success', key: 'k', superseded: true })
    expect(await storedValue('k')).toBe('newer')
    expect(await machine.store.totals()).toMatchObject({ synced: 1, superseded: 1 })
  })

  it('an older write does not bring a deleted key back', async () => {
    machine = await startMachine()
    const older = await machine.queue.add('MEMORY_SYNC', { key: 'k', value: 1 }, { delay: 3_600_000 })
    await machine.queue.add('MEMORY_SYNC', { key: 'k', op: 'delete' })
    await machine.startWorker()
    await waitFor('the delete is applied', async () => (await machine.store.find('k'))?.deleted)
    await older.promote()
    await waitFor(
      'the older write is superseded',
      async () => (await machine.store.totals()).superseded === 1,
    )
    expect((await machine.store.find('k'))?.deleted).toBe(true)
  })

  it('a job that ran twice counts once', async () => {
    machine = await startMachine()
    const worker = await machine.startWorker()
    const job = await machine.queue.add('MEMORY_SYNC', { key: 'k', value: 1 })
    await waitFor('it is applied', async () => (await storedValue('k')) === 1)
    await machine.drained()
    const again = await machine.queue.getJob(job.id ?? '')
    await again?.retry('completed')
    await waitFor('it ran again', () => worker.lane.finishedCount === 2)
    expect(await machine.store.totals()).toMatchObject({ synced: 1, superseded: 0 })
  })
})

describe('a new life of the queue', () => {
  it('ids that start over after a flush are newer than all before it, with the worker running', async () => {
    machine = await startMachine()
    await machine.startWorker()
    await machine.queue.addBulk(Array.from({ length: 50 }, (_, round) => set('k', `before ${round}`)))
    await machine.drained()
    await machine.redis.flushall()
    await machine.queue.add('MEMORY_SYNC', { key: 'k', value: 'after' })
    await waitFor('the write after the flush is applied', async () => (await storedValue('k')) === 'after')
    expect((await machine.store.find('k'))?.version).toMatchObject({ epoch: 2, sequence: 1 })
  })

  it('also in the middle of a load, where growing ids stand in for most of the checks', async () => {
    machine = await startMachine()
    const worker = await machine.startWorker()
    const round = (mark: string) => Array.from({ length: 3000 }, (_, n) => set(`k${n % 30}`, `${mark} ${n}`))
    await machine.queue.addBulk(round('before'))
    await waitFor('most of them are done', () => worker.lane.finishedCount > 2000)
    await machine.redis.flushall()
    await machine.queue.addBulk(round('after'))
    await machine.drained()
    for (let key = 0; key < 30; key++) expect(await storedValue(`k${key}`)).toBe(`after ${2970 + key}`)
  })

  it('also after an obliterate, which leaves other keys alone', async () => {
    machine = await startMachine()
    const worker = await machine.startWorker()
    await machine.queue.addBulk(Array.from({ length: 5 }, (_, round) => set('k', round)))
    await machine.drained()
    await worker.stop(1000)
    await machine.queue.obliterate({ force: true })
    await machine.queue.addBulk(Array.from({ length: 20 }, (_, round) => set('k', `after ${round}`)))
    await machine.startWorker()
    await machine.drained()
    expect(await storedValue('k')).toBe('after 19')
  })

  it('also after Redis was replaced by another one that has a past of its own', async () => {
    machine = await startMachine()
    await machine.startWorker()
    await machine.queue.addBulk(Array.from({ length: 30 }, (_, round) => set('k', round)))
    await machine.drained()
    const other = await startMachine({ dataDir: machine.config.dataDir })
    await other.queue.add('MEMORY_SYNC', { key: 'k', value: 'on the other' })
    await other.startWorker()
    await waitFor('the other queue is applied', async () => (await storedValue('k')) === 'on the other')
    await other.close()
  })

  it('notices that Redis came back without its last writes, and keeps old jobs old', async () => {
    machine = await startMachine({}, undefined)
    await machine.startWorker()
    const add = (value: string) => machine.queue.add('MEMORY_SYNC', { key: 'k', value })
    // A Redis whose disk lags behind: its state is kept aside, then more is done, then the old state comes back.
    await machine.queue.add('MEMORY_SYNC', { key: 'k', value: 'waits for long' }, { delay: 2500 })
    await add('first')
    await machine.drained(100).catch(() => undefined)
    await waitFor('first is applied', async () => (await storedValue('k')) === 'first')
    const aside = await keepAside(machine)
    for (let round = 0; round < 10; round++) await add(`lost ${round}`)
    await waitFor('the last is applied', async () => (await storedValue('k')) === 'lost 9')
    await aside.bringBack()
    await add('after')
    await waitFor('the write after the loss is applied', async () => (await storedValue('k')) === 'after')
    await machine.drained()
    expect(await storedValue('k')).toBe('after')
    const version = (await machine.store.find('k'))?.version
    expect(version && formatVersion(version)).toMatch(/^2-/)
  })
})

describe('a job whose producer chose its id', () => {
  it.each(['own-1-999999999-0', 'redrive-9999-1-0-1'])(
    'cannot forge a place in the order with %s',
    async (jobId) => {
      machine = await startMachine()
      const worker = await machine.startWorker()
      await machine.queue.add('MEMORY_SYNC', { key: 'k', value: 'forged' }, { jobId })
      await waitFor('it is a dead letter', async () => (await worker.deadLetters.count()) === 1)
      await machine.queue.add('MEMORY_SYNC', { key: 'k', value: 'honest' })
      await waitFor('the honest write is applied', async () => (await storedValue('k')) === 'honest')
    },
  )

  it('becomes a dead letter that says so, because its place in the order is unknown', async () => {
    machine = await startMachine()
    const worker = await machine.startWorker()
    await machine.queue.add('MEMORY_SYNC', { key: 'k', value: 1 }, { jobId: 'my-own-id' })
    const [entry] = await waitFor('it is a dead letter', async () => {
      const entries = await Array.fromAsync(worker.deadLetters.list())
      return entries.length > 0 ? entries : undefined
    })
    expect(entry).toMatchObject({ jobId: 'my-own-id', code: 'MEMSYNC_UNKNOWN_JOB', version: null })
    expect(await storedValue('k')).toBeUndefined()
    await expect(worker.deadLetters.redrive(entry?.id ?? '')).rejects.toThrow(MemsyncError)
  })
})

/** Copies the server's append-only file, to put it back later as a Redis that lost its last writes. */
async function keepAside(of: Machine): Promise<{ bringBack(): Promise<void> }> {
  const { cpSync, rmSync } = await import('node:fs')
  const { join } = await import('node:path')
  const live = join(of.server.folder, 'appendonlydir')
  const copy = join(of.config.dataDir, 'aside')
  cpSync(live, copy, { recursive: true })
  return {
    async bringBack() {
      await of.server.kill()
      rmSync(live, { recursive: true })
      cpSync(copy, live, { recursive: true })
      await of.server.restart()
    },
  }
}
