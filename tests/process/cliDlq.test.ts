/** `memsync dlq` on real dead letters: jobs that a smaller limit on values refused, and jobs nobody can run. */
import { Queue } from 'bullmq'
import type { Redis } from 'ioredis'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { connectRedis, redisEndpoint } from '../../src/queue/connection.ts'
import { type CommandLine, commandLine, HAS_TERMINAL, runOnTerminal } from '../support/cli.ts'
import { startDaemon } from '../support/daemon.ts'
import { startTestRedis, type TestRedis } from '../support/redis.ts'

let redis: TestRedis
let connection: Redis
let queue: Queue
let cli: CommandLine
let env: Record<string, string>
beforeAll(async () => {
  redis = await startTestRedis()
  connection = connectRedis(redisEndpoint({ redisUrl: redis.url, dataDir: '' }), 'worker')
  queue = new Queue('memory-sync', { connection })
})
afterAll(async () => {
  await queue.close()
  connection.disconnect()
  await redis.stop()
})
beforeEach(async () => {
  await connection.flushall()
  cli = commandLine()
  env = { REDIS_URL: redis.url }
})

const big = 'x'.repeat(100)
const run = (...args: string[]) => cli.run(args, { env })
const json = async (...args: string[]) => (await cli.json(args, { env })).document
const listed = async (...args: string[]) => {
  const { stdout } = await run('dlq', 'list', '--json', ...args)
  const entries = stdout.split('\n').filter(Boolean)
  // They died in the same moment, in whatever order.
  return entries.map((line) => JSON.parse(line)).sort((a, b) => (a.id < b.id ? -1 : 1))
}

/** Leaves a dead letter for each of the keys (too large for that worker) and one for a job that has no handler. */
async function makeDeadLetters(...keys: string[]): Promise<void> {
  for (const key of keys) await queue.add('MEMORY_SYNC', { key, value: big })
  await queue.add('NO_SUCH_JOB', { key: 'nameless' })
  const small = { ...env, MEMSYNC_MAX_VALUE_BYTES: '50' }
  const { code } = await cli.run(['enqueue', 'after', '1', '--wait'], { env: small })
  expect(code).toBe(0)
}

describe('list and show', () => {
  it('tell each one with its id, key and reason, filtered, and show it whole', async () => {
    await makeDeadLetters('a\u001b[2J', 'user-1')
    const entries = await listed()
    expect(entries.map(({ code }) => code)).toEqual([
      'MEMSYNC_VALUE_TOO_LARGE',
      'MEMSYNC_VALUE_TOO_LARGE',
      'MEMSYNC_UNKNOWN_JOB',
    ])
    const { stdout } = await run('dlq', 'list')
    const lines = stdout.trimEnd().split('\n')
    expect(lines).toHaveLength(3)
    expect(lines.sort()[0]).toMatch(
      /^1-1-0-0 +\d+ m?s +a\\u001b\[2J +permanent MEMSYNC_VALUE_TOO_LARGE value is /,
    )
    expect(stdout).not.toContain(big)

    const keys = async (...filter: string[]) => (await listed(...filter)).map(({ data }) => data.key)
    expect(await keys('--key-prefix', 'user-')).toEqual(['user-1'])
    expect(await keys('--class', 'transient')).toEqual([])
    expect(await keys('--older-than', '1h')).toEqual([])
    expect(await keys('--older-than', '1ms', '--class', 'permanent')).toHaveLength(3)

    const whole = await json('dlq', 'show', entries[1].id)
    expect(whole).toEqual(entries[1])
    expect(whole.data).toEqual({ key: 'user-1', value: big })
    expect(await cli.json(['dlq', 'show', '9-9-9-9'], { env })).toMatchObject({
      code: 1,
      document: { error: { code: 'MEMSYNC_NOT_FOUND' } },
    })
  })
})

describe('redrive', () => {
  it('without a daemon runs them itself: redriven, superseded, failed again, each with its version', async () => {
    await makeDeadLetters('old', 'kept')
    await run('enqueue', 'old', 'newer', '--wait')
    const planned = await json('dlq', 'redrive', '--all', '--dry-run')
    expect({ ...planned, ids: (planned.ids as string[]).sort() }).toEqual({
      dryRun: true,
      count: 3,
      ids: ['1-1-0-0', '1-2-0-0', '1-3-0-0'],
    })
    expect(await listed()).toHaveLength(3)

    const { code, stdout, stderr } = await run('dlq', 'redrive', '--all')
    expect({ code, stdout }).toEqual({ code: 1, stdout: 'redriven 1, superseded 1, failed again 1\n' })
    expect(stderr).toBe('memsync: 1-3-0-0: there is no job "NO_SUCH_JOB" (MEMSYNC_UNKNOWN_JOB)\n')
    expect((await json('get', 'old')).value).toBe('newer')
    expect(await json('get', 'kept')).toMatchObject({ value: big, version: '1-2-0' })
    expect((await listed()).map(({ id, redrives }) => [id, redrives])).toEqual([['1-3-0-1', 1]])
  })

  it('beside a daemon waits for what that makes of them, at the rate asked for', async () => {
    await makeDeadLetters('a', 'b', 'c')
    const daemon = await startDaemon(cli.dataDir, env)
    const before = performance.now()
    const { code, document } = await cli.json(
      ['dlq', 'redrive', '1-1-0-0', '1-2-0-0', '1-3-0-0', '--rate', '2'],
      {
        env,
      },
    )
    expect(performance.now() - before).toBeGreaterThan(1000)
    expect(code).toBe(0)
    expect(document).toMatchObject({ redriven: 3, superseded: 0, failed: 0, refused: 0 })
    expect((await json('get', 'c')).value).toBe(big)

    const unknown = await cli.json(['dlq', 'redrive', '7-7-0-0'], { env })
    expect(unknown).toMatchObject({
      code: 1,
      document: { redriven: 0, refused: 1, failures: [{ id: '7-7-0-0', code: 'MEMSYNC_NOT_FOUND' }] },
    })
    daemon.kill('SIGTERM')
    await daemon.ended
  })

  it('with --no-wait only puts them back', async () => {
    await makeDeadLetters('later')
    expect(await run('dlq', 'redrive', '--key-prefix', 'later', '--no-wait')).toEqual({
      code: 0,
      stdout: 'put back 1\n',
      stderr: '',
    })
    expect(await run('has', 'later')).toMatchObject({ code: 1 })
    await run('enqueue', 'after', '2', '--wait')
    expect((await json('get', 'later')).value).toBe(big)
  })
})

describe('drop', () => {
  it('deletes those that were named or filtered, and tells which are not there', async () => {
    await makeDeadLetters('a', 'b')
    expect(await run('dlq', 'drop', '--key-prefix', 'a', '--dry-run')).toMatchObject({
      code: 0,
      stdout: '1-1-0-0\n1 would be dropped\n',
    })
    const { code, stdout, stderr } = await run('dlq', 'drop', '1-1-0-0', '8-8-0-0', '--yes')
    expect({ code, stdout }).toEqual({ code: 1, stdout: 'dropped 1\n' })
    expect(stderr).toContain('8-8-0-0')
    expect((await listed()).map(({ id }) => id)).toEqual(['1-2-0-0', '1-3-0-0'])
    expect(await json('dlq', 'drop', '--all', '--yes')).toEqual({ dropped: 2, notFound: [] })
    expect(await listed()).toEqual([])
  })

  it.runIf(HAS_TERMINAL)('asks on a terminal, and drops nothing without a yes', async () => {
    await makeDeadLetters('a')
    const answer = (typed: string) => runOnTerminal(['dlq', 'drop', '--all'], cli.dataDir, { env, typed })
    const no = answer('n\n')
    expect(no.shown).toContain('Drop 2 dead letters for good? [y/N]')
    expect(no.code).toBe(1)
    expect(await listed()).toHaveLength(2)
    expect(answer('y\n').shown).toContain('dropped 2')
    expect(await listed()).toEqual([])
  })
})
