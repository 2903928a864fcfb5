/** What a guest of the queue says of memories that Redis refused. */
import { afterEach, expect, it } from 'vitest'
import { GuestQueue } from '../../src/queue/guestQueue.ts'
import { type Machine, startMachine } from '../support/machine.ts'

let machine: Machine
afterEach(() => machine.close())

const LATER_MS = 10_000

it('one that Redis refuses is not taken; of many, some may be', async () => {
  machine = await startMachine()
  const { config, redis, queue } = machine
  const guest = new GuestQueue(config)
  const memories = Array.from({ length: 200 }, (_, n) => ({
    memory: { key: `k${n}`, value: 'x'.repeat(20_000) },
    acceptedAtMs: Date.now(),
  }))
  const usedBytes = Number(/used_memory:(\d+)/.exec(await redis.info('memory'))?.[1])
  // Room for some of them, and for none of those after.
  await redis.config('SET', 'maxmemory', String(usedBytes + 1_500_000))
  expect(await guest.add(memories, LATER_MS)).toMatchObject({
    error: { code: 'MEMSYNC_QUEUE_REFUSED' },
    mayBeTaken: true,
  })
  expect(await queue.getWaitingCount()).toBeGreaterThan(0)
  await redis.config('SET', 'maxmemory', '1')
  expect(await guest.add(memories.slice(0, 1), LATER_MS)).toMatchObject({
    error: { code: 'MEMSYNC_QUEUE_REFUSED' },
    mayBeTaken: false,
  })
  guest.close()
  await redis.config('SET', 'maxmemory', '0')
})
