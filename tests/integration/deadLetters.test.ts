/** Invariants 2 and 5: a job ends in exactly one place, and poison stands aside with everything a person needs. */
import { UnrecoverableError, Worker } from 'bullmq'
import { afterEach, describe, expect, it } from 'vitest'
import type { DeadLetter } from '../../src/queue/deadLetters.ts'
import { redriveJobId } from '../../src/queue/epoch.ts'
import { BUILT_IN_HANDLERS } from '../../src/queue/index.ts'
import type { SyncWorker } from '../../src/queue/syncWorker.ts'
import { type Machine, startMachine } from '../support/machine.ts'
import { waitFor } from '../support/waitFor.ts'

let machine: Machine
afterEach(() => machine.close())

async function deadLetters(worker: SyncWorker, count: number): Promise<DeadLetter[]> {
  return waitFor(`there are ${count} dead letters`, async () => {
    const entries = await Array.fromAsync(worker.deadLetters.list())
    return entries.length === count ? entries : undefined
  })
}

/** Fails for the keys named, and persists the rest. */
function failing(keys: string[], error = new Error('of its own reason')) {
  return {
    ...BUILT_IN_HANDLERS,
    MEMORY_SYNC: (...[payload, context]: Parameters<typeof BUILT_IN_HANDLERS.MEMORY_SYNC>) => {
      if (keys.includes(payload.key)) return Promise.reject(error)
      return BUILT_IN_HANDLERS.MEMORY_SYNC(payload, context)
    },
  }
}

const quick = { attempts: 3, backoff: { type: 'fixed', delay: 1 } }

describe('dead letters', () => {
  it('hold the verbatim data and everything about the failure', async () => {
    machine = await startMachine()
    const worker = await machine.startWorker({ handlers: failing(['poison']) })
    const data = { key: 'poison', value: { nested: ['verbatim'] }, metadata: { a: 1 } }
    const before = Date.now()
    const job = await machine.queue.add('MEMORY_SYNC', data, quick)
    const [entry] = await deadLetters(worker, 1)
    expect(entry).toMatchObject({
      sourceQueue: 'memory-sync',
      jobId: job.id,
      name: 'MEMORY_SYNC',
      data,
      version: `1-${job.id}-0`,
      attempts: 3,
      stalls: 0,
      class: 'transient',
      code: 'MEMSYNC_HANDLER_FAILED',
      message: 'of its own reason',
      stage: 'persist',
    })
    expect(entry?.stack).toContain('deadLetters.test')
    expect(entry?.firstFailedAtMs).toBeGreaterThanOrEqual(before)
    expect(entry?.lastFailedAtMs).toBeGreaterThanOrEqual(entry?.firstFailedAtMs ?? Number.NaN)
    expect(entry?.host).not.toBe('')
    expect(entry?.daemonVersion).toMatch(/^\d+\.\d+\.\d+$/)
    await machine.drained()
  })

  it('are made of a job whose progress is not the note of a failure', async () => {
    machine = await startMachine()
    const notes = [
      null,
      'text',
      7,
      { firstFailedAtMs: 'x', class: 'odd', stage: 'odd', code: 'MEMSYNC_HANDLER_FAILED' },
    ]
    await machine.queue.addBulk(
      notes.map((_, n) => ({ name: 'MEMORY_SYNC', data: { key: `k${n}`, value: n } })),
    )
    const connection = machine.redis.duplicate()
    const other = new Worker(
      machine.queue.name,
      async (job) => {
        await job.updateProgress(notes[job.data.value] as object)
        throw new UnrecoverableError('by another worker')
      },
      { connection, prefix: machine.config.queuePrefix },
    )
    await waitFor('all have failed', async () => (await machine.queue.getFailedCount()) === notes.length)
    await other.close()
    connection.disconnect()
    const entries = await deadLetters(await machine.startWorker(), notes.length)
    for (const entry of entries) {
      expect(entry).toMatchObject({
        class: 'transient',
        stage: 'validate',
        firstFailedAtMs: entry.lastFailedAtMs,
      })
    }
  })

  it('come on first sight for a job that breaks the contract, and delay nobody', async () => {
    machine = await startMachine()
    const worker = await machine.startWorker()
    await machine.queue.addBulk([
      { name: 'MEMORY_SYNC', data: { key: 'bad', value: 1, extra: 'field' } },
      { name: 'MEMORY_SYNC', data: 'not an object' },
      { name: 'NO_SUCH_JOB', data: { key: 'k', value: 1 } },
      { name: 'MEMORY_SYNC', data: { key: 'good', value: 1 } },
    ])
    const entries = await deadLetters(worker, 3)
    expect(entries.map((entry) => [entry.code, entry.attempts]).sort()).toEqual([
      ['MEMSYNC_INVALID_MEMORY', 1],
      ['MEMSYNC_INVALID_MEMORY', 1],
      ['MEMSYNC_UNKNOWN_JOB', 1],
    ])
    expect(entries.map((entry) => entry.message).join()).toContain('"extra"')
    expect((await machine.store.find('good'))?.value).toBe(1)
  })

  it('three attempts also for a producer in another language that names none', async () => {
    machine = await startMachine()
    let tries = 0
    const worker = await machine.startWorker({
      handlers: {
        ...BUILT_IN_HANDLERS,
        MEMORY_SYNC: async () => {
          tries++
          throw new Error('no')
        },
      },
    })
    await machine.queue.add('MEMORY_SYNC', { key: 'k', value: 1 }, { backoff: 1, removeOnFail: true })
    const [entry] = await deadLetters(worker, 1)
    expect(tries).toBe(3)
    expect(entry?.attempts).toBe(3)
  })

  it('are collected by the sweep alone where the event was never heard', async () => {
    machine = await startMachine()
    const deaf = await machine.startWorker({ handlers: failing(['a', 'b']), collectDeadLetters: false })
    await machine.queue.add('MEMORY_SYNC', { key: 'a', value: 1 }, quick)
    await machine.queue.add('MEMORY_SYNC', { key: 'b', value: 1 }, quick)
    await waitFor('both failed', async () => (await machine.queue.getFailedCount()) === 2)
    await deaf.stop(100)
    const worker = await machine.startWorker()
    await deadLetters(worker, 2)
    expect(await machine.queue.getFailedCount()).toBe(0)
  })

  it('are collected once, also where a crash came between adding the entry and removing the job', async () => {
    machine = await startMachine()
    const worker = await machine.startWorker({ handlers: failing(['a']), collectDeadLetters: false })
    const { id } = await machine.queue.add('MEMORY_SYNC', { key: 'a', value: 1 }, quick)
    await waitFor('it failed', async () => (await machine.queue.getFailedCount()) === 1)
    const life = () => worker.epochs.check().then((checked) => checked.life)
    // What a crash leaves: the entry is there, and so is the failed job.
    const jobKey = machine.queue.toKey(id ?? '')
    const failedKey = machine.queue.toKey('failed')
    const hash = await machine.redis.dumpBuffer(jobKey)
    const score = await machine.redis.zscore(failedKey, id ?? '')
    const [first] = await worker.deadLetters.collect(life)
    await machine.redis.restore(jobKey, 0, hash ?? '')
    await machine.redis.zadd(failedKey, score ?? 0, id ?? '')
    const again = await worker.deadLetters.collect(life)
    expect(again.map((entry) => entry.id)).toEqual([first?.id])
    expect(await worker.deadLetters.count()).toBe(1)
    expect(await machine.queue.getFailedCount()).toBe(0)
  })

  it('can be redriven: fresh attempts, the first version, and a success in the end', async () => {
    machine = await startMachine()
    const keys = ['k']
    const worker = await machine.startWorker({ handlers: failing(keys) })
    const job = await machine.queue.add('MEMORY_SYNC', { key: 'k', value: 'redriven' }, quick)
    const [entry] = await deadLetters(worker, 1)
    keys.pop()
    await worker.deadLetters.redrive(entry?.id ?? '')
    await waitFor('it is applied', async () => (await machine.store.find('k'))?.value === 'redriven')
    expect((await machine.store.find('k'))?.version).toEqual({ epoch: 1, sequence: Number(job.id), index: 0 })
    expect(await worker.deadLetters.count()).toBe(0)
  })

  it('that are redriven never beat a newer write, and say so', async () => {
    machine = await startMachine()
    const keys = ['k']
    const worker = await machine.startWorker({ handlers: failing(keys) })
    await machine.queue.add('MEMORY_SYNC', { key: 'k', value: 'old' }, quick)
    const [entry] = await deadLetters(worker, 1)
    keys.pop()
    await machine.queue.add('MEMORY_SYNC', { key: 'k', value: 'new' })
    await waitFor('the newer is applied', async () => (await machine.store.find('k'))?.value === 'new')
    const jobId = await worker.deadLetters.redrive(entry?.id ?? '')
    const done = await waitFor('the redriven job ends', async () => {
      const redriven = await machine.queue.getJob(jobId)
      return redriven?.finishedOn ? redriven : undefined
    })
    expect(done.returnvalue).toMatchObject({ superseded: true })
    expect((await machine.store.find('k'))?.value).toBe('new')
  })

  it('that fail again after a redrive are dead letters again, of the same version', async () => {
    machine = await startMachine()
    const worker = await machine.startWorker({ handlers: failing(['k']) })
    await machine.queue.add('MEMORY_SYNC', { key: 'k', value: 1 }, quick)
    const [entry] = await deadLetters(worker, 1)
    await worker.deadLetters.redrive(entry?.id ?? '')
    const again = await waitFor(
      'it failed again',
      async () => {
        const [now] = await Array.fromAsync(worker.deadLetters.list())
        return now && now.redrives === 1 ? now : undefined
      },
      { timeoutMs: 20_000 },
    )
    expect(again.version).toBe(entry?.version)
    expect(again.id).not.toBe(entry?.id)
  })

  it('that fail again after a redrive that was killed before it took the entry away are there once', async () => {
    machine = await startMachine()
    const worker = await machine.startWorker({ handlers: failing(['k']) })
    const { id } = await machine.queue.add('MEMORY_SYNC', { key: 'k', value: 1 }, quick)
    const [entry] = await deadLetters(worker, 1)
    const jobId = redriveJobId(entry?.version ?? '', 1)
    await machine.queue.add('MEMORY_SYNC', { key: 'k', value: 1 }, { ...quick, jobId })
    const ids = async () => (await Array.fromAsync(worker.deadLetters.list())).map((now) => now.id)
    await waitFor('it failed again, and was moved', async () => {
      return (await ids()).includes(`1-${id}-0-1`) && (await machine.queue.getFailedCount()) === 0
    })
    expect(await ids()).toEqual([`1-${id}-0-1`])
  })

  it('can be filtered by class, age and key, and dropped', async () => {
    machine = await startMachine()
    const worker = await machine.startWorker({ handlers: failing(['users/1', 'posts/1']) })
    await machine.queue.add('MEMORY_SYNC', { key: 'users/1', value: 1 }, quick)
    await machine.queue.add('MEMORY_SYNC', { key: 'posts/1', value: 1 }, quick)
    await machine.queue.add('MEMORY_SYNC', { key: '', value: 1 })
    await deadLetters(worker, 3)
    const idsOf = async (filter: Parameters<typeof worker.deadLetters.list>[0]) =>
      (await Array.fromAsync(worker.deadLetters.list(filter))).map(
        (entry) => (entry.data as { key: string }).key,
      )
    expect(await idsOf({ keyPrefix: 'users/' })).toEqual(['users/1'])
    expect(await idsOf({ class: 'permanent' })).toEqual([''])
    expect(await idsOf({ olderThanMs: 3_600_000 })).toEqual([])
    const [user] = await Array.fromAsync(worker.deadLetters.list({ keyPrefix: 'users/' }))
    await worker.deadLetters.drop(user?.id ?? '')
    expect(await worker.deadLetters.count()).toBe(2)
    await expect(worker.deadLetters.show(user?.id ?? '')).rejects.toMatchObject({ code: 'MEMSYNC_NOT_FOUND' })
  })
})
