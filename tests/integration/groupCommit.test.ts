/** Group commit: jobs in flight share a transaction, and each learns what became of its own write. */
import { afterEach, beforeEach, expect, it } from 'vitest'
import { memorySyncHandler } from '../../src/handlers/memorySync.ts'
import type { Commit } from '../../src/queue/groupCommit.ts'
import type { Handler } from '../../src/queue/syncWorker.ts'
import { type Machine, startMachine } from '../support/machine.ts'
import { waitFor } from '../support/waitFor.ts'

const IN_FLIGHT = 50

let machine: Machine
beforeEach(async () => {
  machine = await startMachine({ concurrency: IN_FLIGHT })
})
afterEach(() => machine.close())

const keys = Array.from({ length: IN_FLIGHT }, (_, n) => `k${n}`)

function addAll(): Promise<unknown> {
  return machine.queue.addBulk(
    keys.map((key) => ({ name: 'MEMORY_SYNC', data: { key, value: key }, opts: { attempts: 1 } })),
  )
}

/** Holds all jobs back until the last of them is in flight. */
function together(handler: Handler<'MEMORY_SYNC'>): Handler<'MEMORY_SYNC'> {
  const all = Promise.withResolvers<void>()
  let arrived = 0
  return async (payload, context) => {
    if (++arrived === IN_FLIGHT) all.resolve()
    await all.promise
    return handler(payload, context)
  }
}

it('writes what is in flight at the same time in one transaction', async () => {
  const commits: Commit[] = []
  await addAll()
  await machine.startWorker({
    handlers: { MEMORY_SYNC: together(memorySyncHandler) },
    onCommit: (commit) => commits.push(commit),
  })
  await machine.drained()
  expect(commits.map(({ writes }) => writes.length)).toEqual([IN_FLIGHT])
  expect((await machine.store.totals()).synced).toBe(IN_FLIGHT)
})

it('a write that the store cannot take fails alone, and all others of its transaction are applied once', async () => {
  await addAll()
  const worker = await machine.startWorker({
    handlers: {
      MEMORY_SYNC: together(async (payload, context) => {
        // A set without its value is refused within the transaction.
        if (payload.key === 'k7')
          await context.commit({ op: 'set', namespace: 'default', key: 'k7', embed: false })
        return memorySyncHandler(payload, context)
      }),
    },
  })
  await waitFor('it is a dead letter', async () => (await worker.deadLetters.count()) === 1)
  const [entry] = await Array.fromAsync(worker.deadLetters.list())
  expect(entry).toMatchObject({ data: { key: 'k7' }, code: 'MEMSYNC_HANDLER_FAILED', stage: 'persist' })
  await machine.drained()
  expect(await machine.store.totals()).toMatchObject({
    synced: IN_FLIGHT - 1,
    superseded: 0,
    keys: IN_FLIGHT - 1,
  })
  const { memories } = await machine.store.list({ limit: IN_FLIGHT })
  expect(memories.map(({ value }) => value).toSorted()).toEqual(keys.filter((key) => key !== 'k7').toSorted())
})
