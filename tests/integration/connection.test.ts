/** A connection to a real Redis: when it takes commands, and what it leaves behind. */
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
