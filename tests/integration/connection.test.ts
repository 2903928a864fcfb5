/** What a connection makes of many commands at once, on a real Redis. */
import { once } from 'node:events'
import type { Redis } from 'ioredis'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { connectRedis, openRedis, waitUntilReady } from '../../src/queue/connection.ts'
import { startTestRedis, type TestRedis } from '../support/redis.ts'
import { waitFor } from '../support/waitFor.ts'

let server: TestRedis
let redis: Redis
beforeEach(async () => {
  server = await startTestRedis({ persist: false })
  redis = await openRedis({ kind: 'socket', path: server.socketPath }, 'worker', 5_000)
})
afterEach(async () => {
  redis.disconnect()
  await server.stop()
})

const reads = async () =>
  Number(/total_reads_processed:(\d+)/.exec(await redis.info('stats'))?.[1] ?? Number.NaN)

/** Of one turn of promises, as jobs that end together are acknowledged; with work in between for so long. */
function increments(count: number, workMs: number): Promise<number[]> {
  const increment = () => {
    const until = performance.now() + workMs
    while (performance.now() < until);
    return redis.incr('count')
  }
  return Promise.all(Array.from({ length: count }, () => Promise.resolve().then(increment)))
}

it('the commands of one turn reach Redis in one read, and are answered in their order', async () => {
  const before = await reads()
  // Time enough for Redis to read each of them alone.
  const answers = await increments(100, 1)
  expect(answers).toEqual(Array.from({ length: 100 }, (_, index) => index + 1))
  // One is the look before.
  expect((await reads()) - before).toBe(2)
})

it('a command alone is not held back', async () => {
  for (let count = 1; count <= 10; count++) expect(await redis.incr('count')).toBe(count)
})

it('what a connection that breaks in the same turn did not send is sent by the next one', async () => {
  const answers = increments(50, 0)
  await Promise.resolve()
  redis.stream.destroy()
  expect((await answers).toSorted((a, b) => a - b).at(-1)).toBe(50)
})

it('commands asked for before the first connect are sent once it stands', async () => {
  const late = connectRedis({ kind: 'socket', path: server.socketPath }, 'worker')
  const answer = late.incr('count')
  await waitUntilReady(late, 5_000)
  expect(await answer).toBe(1)
  late.disconnect()
})

it('one that cannot be had leaves nothing open', async () => {
  server.freeze()
  await expect(openRedis({ kind: 'socket', path: server.socketPath }, 'producer', 100)).rejects.toMatchObject(
    {
      code: 'MEMSYNC_QUEUE_UNAVAILABLE',
    },
  )
  server.thaw()
  // Answered after whoever else connected meanwhile was taken in.
  for (let exchange = 0; exchange < 3; exchange++) await redis.ping()
  await waitFor('only the one of this test is left', async () => {
    const clients = String(await redis.client('LIST'))
    return clients.trim().split('\n').length === 1
  })
})

it('an error of a connection that nobody waits for does not end the process', async () => {
  const error = once(redis, 'error')
  await server.kill()
  redis.stream.destroy(new Error('gone'))
  await error
  await server.restart()
  expect(await redis.ping()).toBe('PONG')
})
