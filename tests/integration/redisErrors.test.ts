/** The table of Redis errors against what a real server, ioredis and BullMQ really throw. */
import { rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { Queue } from 'bullmq'
import { Redis, type RedisOptions } from 'ioredis'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { MemsyncError } from '../../src/errors.ts'
import { classifyRedisError } from '../../src/queue/redisErrors.ts'
import { startTestRedis, type TestRedis } from '../support/redis.ts'
import { waitFor } from '../support/waitFor.ts'

const SECRET = 'a-value-that-must-not-leak'
const SET = "return redis.call('set', KEYS[1], ARGV[1])"

type Options = Omit<RedisOptions, 'replyMapping'>

const ends: (() => unknown)[] = []
let server: TestRedis
let events: Error[]

beforeEach(() => {
  events = []
})
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

async function serve(options: Parameters<typeof startTestRedis>[0] = {}): Promise<void> {
  server = await startTestRedis({ persist: false, ...options })
  ends.push(() => server.stop())
}

/** Fails a command after its first reconnection, and keeps what it emits. */
function connect(options: Options = {}, endpoint = server.socketPath): Redis {
  const redis = new Redis(endpoint, { maxRetriesPerRequest: 0, retryStrategy: () => 20, ...options })
  redis.on('error', (error) => events.push(error))
  ends.push(() => redis.disconnect())
  return redis
}

function bullQueue(connection: Redis): Queue {
  const queue = new Queue('q', { connection, skipVersionCheck: true })
  queue.on('error', (error) => events.push(error))
  return queue
}

async function thrownBy(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise
  } catch (error) {
    return error
  }
  throw new Error('nothing was thrown')
}

async function classified(promise: Promise<unknown>): Promise<MemsyncError> {
  const thrown = await thrownBy(promise)
  const error = classifyRedisError(thrown)
  if (!error) throw new Error(`unclassified: ${inspect(thrown)}`)
  expect(inspect(error, { depth: null, showHidden: true })).not.toContain(SECRET)
  return error
}

/** What the call fails with, once it does. */
function meets(call: () => Promise<unknown>): Promise<MemsyncError> {
  return waitFor('a refusal', async () => {
    const thrown = await call().then(
      () => undefined,
      (error: unknown) => error,
    )
    return thrown === undefined ? undefined : classifyRedisError(thrown)
  })
}

/** A write by itself, in a script, in a transaction, in a pipeline, and as a job. */
async function expectRefused(redis: Redis, word: string, errorClass = 'outage'): Promise<void> {
  const queue = bullQueue(redis)
  const pipelined = async () => {
    const results = await redis.pipeline().set('k', SECRET).exec()
    throw results?.[0]?.[0]
  }
  const writes = {
    command: redis.set('k', SECRET),
    script: redis.eval(SET, 1, 'k', SECRET),
    transaction: redis.multi().set('k', SECRET).exec(),
    pipeline: pipelined(),
    job: queue.add('job', { value: SECRET }),
    jobs: queue.addBulk([{ name: 'job', data: { value: SECRET } }]),
  }
  for (const [how, write] of Object.entries(writes)) {
    const { code, class: given, message } = await classified(write)
    expect({ how, code, class: given, message }).toEqual({
      how,
      code: 'MEMSYNC_QUEUE_REFUSED',
      class: errorClass,
      message: expect.stringContaining(`(${word})`),
    })
  }
}

async function expectUnavailable(promise: Promise<unknown>, why: string): Promise<void> {
  const error = await classified(promise)
  expect(error).toMatchObject({
    code: 'MEMSYNC_QUEUE_UNAVAILABLE',
    class: 'outage',
    message: `Redis does not answer (${why})`,
  })
}

/** The code of what the connection emitted, once it emitted it. */
async function expectEmitted(why: string): Promise<void> {
  await waitFor(`${why} is emitted`, () =>
    events.some((error) => classifyRedisError(error)?.message === `Redis does not answer (${why})`),
  )
}

describe('a server that refuses', () => {
  it('OOM', async () => {
    await serve()
    const redis = connect()
    await redis.config('SET', 'maxmemory', '1')
    await expectRefused(redis, 'OOM')
  })

  it('READONLY, and UNBLOCKED for who was waiting when it became a replica', async () => {
    await serve()
    const redis = connect()
    const waiting = connect()
    const blocked = classified(waiting.bzpopmin('z', 0))
    await waitFor('it blocks', async () => /blocked_clients:1\b/.test(await redis.info('clients')))
    await redis.replicaof('127.0.0.1', '1')
    expect(await blocked).toMatchObject({
      code: 'MEMSYNC_QUEUE_REFUSED',
      class: 'outage',
      message: 'Redis takes no writes: it is a replica (UNBLOCKED)',
    })
    await expectRefused(redis, 'READONLY')
  })

  it('MASTERDOWN', async () => {
    await serve()
    const redis = connect()
    await redis.config('SET', 'replica-serve-stale-data', 'no')
    await redis.replicaof('127.0.0.1', '1')
    expect(await classified(redis.get('k'))).toMatchObject({
      code: 'MEMSYNC_QUEUE_REFUSED',
      message: expect.stringContaining('(MASTERDOWN)'),
    })
    expect((await classified(bullQueue(redis).add('job', {}))).message).toContain('(MASTERDOWN)')
  })

  it('NOREPLICAS', async () => {
    await serve()
    const redis = connect()
    await redis.config('SET', 'min-replicas-to-write', '1')
    await expectRefused(redis, 'NOREPLICAS')
  })

  it('MISCONF', async () => {
    await serve({ settings: { save: '3600 1' } })
    const redis = connect()
    await redis.set('k', 'v')
    // Its folder is gone, so the snapshot fails.
    rmSync(server.folder, { recursive: true })
    await redis.bgsave()
    await waitFor('the snapshot failed', async () =>
      /rdb_last_bgsave_status:err/.test(await redis.info('persistence')),
    )
    await expectRefused(redis, 'MISCONF')
  })

  it('LOADING', async () => {
    // Two settings of Redis for its own tests: 100 keys then take half a second to load.
    await serve({
      settings: {
        rdbcompression: 'no',
        'key-load-delay': '5000',
        'loading-process-events-interval-bytes': '1024',
      },
    })
    const filling = connect().pipeline()
    for (let i = 0; i < 100; i++) filling.set(`k${i}`, 'x'.repeat(2_000))
    await filling.save().exec()
    await server.kill()
    const restarted = server.restart()
    const redis = connect({ enableReadyCheck: false, maxRetriesPerRequest: null })
    const error = await meets(() => redis.set('k', SECRET))
    expect(error).toMatchObject({
      code: 'MEMSYNC_QUEUE_REFUSED',
      class: 'outage',
      message: 'Redis takes no commands yet: it is loading its data (LOADING)',
    })
    await restarted
  })

  it('BUSY', async () => {
    await serve()
    const redis = connect()
    const scripting = connect()
    await redis.config('SET', 'busy-reply-threshold', '1')
    const killed = thrownBy(scripting.eval('while true do end', 0))
    expect(await meets(() => redis.set('k', SECRET))).toMatchObject({
      code: 'MEMSYNC_QUEUE_REFUSED',
      message: expect.stringContaining('(BUSY)'),
    })
    await redis.script('KILL')
    await killed
  })

  it('CLUSTERDOWN', async () => {
    await serve({ settings: { 'cluster-enabled': 'yes' }, tcp: true })
    const redis = connect()
    expect(await classified(redis.set('k', SECRET))).toMatchObject({
      code: 'MEMSYNC_QUEUE_REFUSED',
      class: 'outage',
      message: expect.stringContaining('(CLUSTERDOWN)'),
    })
  })
})

describe('a server that refuses the user', () => {
  const CREDENTIALS = { code: 'MEMSYNC_QUEUE_REFUSED', class: 'credentials' }

  it.each([2, 3] as const)('NOAUTH and WRONGPASS, in RESP%i', async (protocol) => {
    await serve({ settings: { requirepass: 'right' } })
    // Sent at once, as a command that comes between two tries to log in is told of the closed link only.
    const without = connect({ protocol, maxRetriesPerRequest: 1 }).set('k', SECRET)
    const wrong = connect({ protocol, maxRetriesPerRequest: 1, password: 'wrong' }).set('k', SECRET)
    const answers = await Promise.all([classified(without), classified(wrong)])
    expect(answers).toMatchObject([
      { ...CREDENTIALS, message: expect.stringContaining('(NOAUTH)') },
      { ...CREDENTIALS, message: expect.stringContaining('(WRONGPASS)') },
    ])
  })

  it('NOPERM', async () => {
    await serve()
    const admin = connect()
    await admin.acl('SETUSER', 'reader', 'on', '>pw', '~*', '+ping', '+info', '+client', '+hello', '+multi')
    const redis = connect({ username: 'reader', password: 'pw' })
    expect(await classified(redis.set('k', SECRET))).toMatchObject({
      ...CREDENTIALS,
      message: expect.stringContaining('(NOPERM)'),
    })
    expect(await classified(bullQueue(redis).add('job', { value: SECRET }))).toMatchObject(CREDENTIALS)
  })
})

describe('a server that is not there', () => {
  it('no socket, and a socket nobody listens on', async () => {
    await serve()
    const redis = connect({}, join(server.folder, 'none.sock'))
    await expectUnavailable(redis.set('k', SECRET), 'MaxRetriesPerRequestError')
    await expectEmitted('ENOENT')

    const refusing = connect()
    await refusing.ping()
    await server.kill()
    await expectUnavailable(refusing.set('k', SECRET), 'MaxRetriesPerRequestError')
    await expectEmitted('ECONNREFUSED')
  })

  it('a port nobody listens on', async () => {
    const probe = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => probe.once('listening', resolve))
    const { port } = probe.address() as { port: number }
    await new Promise((resolve) => probe.close(resolve))
    for (const host of ['127.0.0.1', 'localhost']) {
      events = []
      const redis = connect({ retryStrategy: null }, `redis://${host}:${port}`)
      await expectUnavailable(redis.set('k', SECRET), 'Connection is closed')
      await expectEmitted('ECONNREFUSED')
    }
  })

  it('a name that does not resolve', async () => {
    const redis = connect({}, 'redis://no-such-host.invalid:1')
    await expectUnavailable(redis.set('k', SECRET), 'MaxRetriesPerRequestError')
    expect(events.map((error) => classifyRedisError(error)?.message)[0]).toMatch(
      /^Redis does not answer \((ENOTFOUND|EAI_AGAIN)\)$/,
    )
  })

  it('killed with commands, a transaction and jobs in flight', async () => {
    await serve({ tcp: true })
    const redis = connect({}, server.url)
    const queue = bullQueue(redis)
    await queue.add('job', {})
    server.freeze()
    const inFlight = [
      redis.set('k', SECRET),
      redis.eval(SET, 1, 'k', SECRET),
      redis.multi().set('k', SECRET).exec(),
      queue.add('job', { value: SECRET }),
    ].map((write) => expectUnavailable(write, 'MaxRetriesPerRequestError'))
    await server.kill()
    await Promise.all(inFlight)
    await expectEmitted('ECONNRESET')
    await expectUnavailable(queue.add('job', { value: SECRET }), 'MaxRetriesPerRequestError')
  })

  it('frozen: the socket timeout, and the timeout of a command', async () => {
    await serve({ tcp: true })
    const options: Options = { socketTimeout: 150, connectTimeout: 500 }
    const redis = connect(options, server.url)
    const impatient = connect({ commandTimeout: 100 }, server.url)
    await Promise.all([redis.ping(), impatient.ping()])
    server.freeze()
    await expectUnavailable(impatient.set('k', SECRET), 'Command timed out')
    await expectUnavailable(redis.set('k', SECRET), 'MaxRetriesPerRequestError')
    await expectEmitted('Socket timeout')
    // A connection made meanwhile: the kernel accepts it, the server never greets.
    await expectUnavailable(connect(options, server.url).set('k', SECRET), 'MaxRetriesPerRequestError')
  })

  it('without a queue for commands, and after the end of the connection', async () => {
    await serve()
    const eager = connect({ enableOfflineQueue: false })
    await expectUnavailable(eager.set('k', SECRET), "Stream isn't writeable")
    const ended = connect()
    await ended.ping()
    ended.disconnect()
    await expectUnavailable(ended.set('k', SECRET), 'Connection is closed')
  })
})
