/** The metrics from the outside: the built daemon with every lane at work, over HTTP, over its socket, and without it. */
import { Queue } from 'bullmq'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { SYNC_QUEUE } from '../../src/jobs/index.ts'
import { METRICS } from '../../src/metrics/catalogue.ts'
import { commandLine, MEMSYNC, runProgram } from '../support/cli.ts'
import { expectRefusal } from '../support/httpDaemon.ts'
import {
  EMBEDDER_KEY,
  type OperatedDaemon,
  REMOTE_KEY,
  startOperatedDaemon,
} from '../support/operatedDaemon.ts'
import { type ReadMetrics, readMetrics } from '../support/promText.ts'
import { HAS_PROMTOOL, promtool, WITHOUT_PROMTOOL } from '../support/promtool.ts'
import { waitFor } from '../support/waitFor.ts'

const SECRET = 'sEcReT'
let scene: OperatedDaemon

beforeAll(async () => {
  scene = await startOperatedDaemon({ MEMSYNC_EMBED_DAILY_TOKENS: '1000000' })
})
afterAll(() => scene.stop())

async function scrape(): Promise<ReadMetrics & { text: string }> {
  const { status, text } = await scene.http.ask('GET', '/metrics')
  expect(status, text).toBe(200)
  return { ...readMetrics(text), text }
}

const outcome = (read: ReadMetrics, lane: string, name: string) =>
  read.value('memsync_outcomes_total', { lane, outcome: name })

describe('with every lane at work', () => {
  it('says what became of each memory, and how long it took', async () => {
    const namespace = `${SECRET}-namespace`
    const memories = ['one', 'two', 'three'].map((text) => ({
      ...{ key: `${SECRET}-${text}`, namespace, value: `${SECRET} ${text}`, embed: true },
    }))
    expect((await scene.http.post(memories)).status).toBe(202)
    await scene.arrived({ synced: 3, pushed: 3, embedded: 3 })
    expect((await scene.http.post({ key: `${SECRET}-one`, namespace, op: 'delete' })).status).toBe(202)
    await scene.arrived({ synced: 4, pushed: 4, embedded: 2 })
    const redis = new Redis(scene.redis.url)
    const queue = new Queue(SYNC_QUEUE, { connection: redis })
    await queue.add('MEMORY_SYNC', { key: SECRET, value: 1, [SECRET]: SECRET })
    await queue.close()
    redis.disconnect()
    await scene.http.daemon.logged('dead letter')

    const read = await waitFor('every job is counted', async () => {
      const now = await scrape()
      const isRemoved = outcome(now, 'push', 'removed') === 1 && outcome(now, 'embed', 'removed') === 1
      return isRemoved && now.value('memsync_dead_letters_waiting') === 1 && now
    })
    expect(outcome(read, 'sync', 'applied')).toBe(4)
    expect(outcome(read, 'push', 'pushed')).toBe(3)
    expect(outcome(read, 'embed', 'embedded')).toBe(3)
    expect(read.value('memsync_dead_letters_total', { lane: 'sync', class: 'permanent' })).toBe(1)
    // On a slow machine a memory may have been handed over twice.
    const writes = 4 + (outcome(read, 'sync', 'repeated') ?? 0)
    expect(read.value('memsync_accept_to_persist_seconds_count')).toBe(writes)
    expect(read.value('memsync_commit_writes_sum')).toBe(writes)
    const calls = (operation: string) =>
      read.value('memsync_push_call_seconds_count', { operation, result: 'ok' })
    expect([calls('push'), calls('remove')]).toEqual([3, 1])
    expect(read.value('memsync_embed_call_seconds_count', { result: 'ok' })).toBe(scene.embedder.calls)
    expect(read.value('memsync_embed_tokens_total')).toBe(scene.embedder.tokens)
    expect(read.value('memsync_embed_cost_dollars_total')).toBeGreaterThan(0)
    expect(read.value('memsync_lane_gate_state', { lane: 'push', state: 'open' })).toBe(1)
    expect(read.value('memsync_remote_state', { state: 'up' })).toBe(1)
    expect(read.value('memsync_store_keys')).toBe(2)
    expect(read.value('process_resident_memory_bytes')).toBeGreaterThan(20e6)
  })

  it('exposes every metric of the table and no other, in the format, without a secret', async () => {
    await scrape()
    const { names, text } = await waitFor(
      'the event loop was looked at',
      async () => {
        const read = await scrape()
        return read.names.includes('memsync_event_loop_lag_max_seconds') && read
        // Each look begins the figure anew.
      },
      { intervalMs: 300 },
    )
    expect(names).toEqual(Object.keys(METRICS))
    const secrets = [SECRET, REMOTE_KEY, EMBEDDER_KEY, scene.http.token, scene.redis.url, scene.remote.url]
    for (const secret of [...secrets, scene.http.dataDir]) expect(text).not.toContain(secret)
  })

  it.skipIf(!HAS_PROMTOOL)(`passes promtool check metrics${WITHOUT_PROMTOOL}`, async () => {
    const { text } = await scrape()
    expect(promtool(['check', 'metrics'], text)).toEqual({ status: 0, said: '' })
  })

  it('is behind the token, with the type that Prometheus asks for', async () => {
    const refused = await scene.http.ask('GET', '/metrics', { headers: { authorization: 'Bearer wrong' } })
    expectRefusal(refused, 401, 'MEMSYNC_UNAUTHORIZED')
    const { headers } = await scene.http.ask('GET', '/metrics')
    expect(headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8')
    expect(headers['cache-control']).toBe('no-store')
  })

  it('is what `memsync metrics` prints, over the socket', async () => {
    const run = (...args: string[]) =>
      runProgram(MEMSYNC, ['metrics', ...args], scene.http.dataDir, { env: scene.env })
    const { code, stdout, stderr } = await run()
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const printed = readMetrics(stdout)
    expect(outcome(printed, 'sync', 'applied')).toBe(4)
    const json = JSON.parse((await run('--json')).stdout) as { metrics: { name: string }[] }
    expect(json.metrics.map(({ name }) => name)).toEqual(expect.arrayContaining(printed.names))
  })
})

describe('when things fail', () => {
  it('counts what is tried again and what is given back', async () => {
    const { remote } = scene
    remote.inject({ kind: 'status', status: 503 })
    expect((await scene.http.post({ key: 'held', value: 1 })).status).toBe(202)
    await waitFor('the outage is counted', async () => {
      const read = await scrape()
      const failed = read.value('memsync_push_call_seconds_count', { operation: 'push', result: 'failed' })
      return (outcome(read, 'push', 'given_back') ?? 0) > 0 && (failed ?? 0) > 0
    })
    await waitFor('the remote is down', async () => {
      const read = await scrape()
      return read.value('memsync_remote_state', { state: 'down' }) === 1
    })
    remote.heal()
    await scene.arrived({ pushed: 5 })
  })

  it('says that Redis is away and what the spool holds, and leaves out what Redis alone knows', async () => {
    await scene.redis.kill()
    await waitFor('it notices', async () => {
      const read = await scrape()
      return read.value('memsync_redis_state', { state: 'down' }) === 1
    })
    expect((await scene.http.post({ key: 'spooled', value: 1 })).status).toBe(202)
    const read = await scrape()
    expect(read.names).not.toContain('memsync_lane_jobs')
    expect(read.names).not.toContain('memsync_dead_letters_waiting')
    expect(read.value('memsync_spool_records')).toBe(1)
    expect(read.value('memsync_spool_bytes')).toBeGreaterThan(0)
    expect(read.value('memsync_store_up')).toBe(1)
  })
})

describe('without a daemon', () => {
  it('prints what can be seen, says so on standard error, and ends with 0', async () => {
    const { run, json } = commandLine()
    const { code, stdout, stderr } = await run(['metrics'])
    const { names, value } = readMetrics(stdout)
    expect(code).toBe(0)
    expect(stderr).toMatch(/^memsync: no daemon runs: only what the store, the spool and Redis show/)
    expect(value('memsync_daemon_running')).toBe(0)
    expect(value('memsync_progress_state', { state: 'stopped' })).toBe(1)
    expect(value('memsync_spool_records')).toBe(0)
    for (const name of ['memsync_outcomes_total', 'memsync_commit_seconds', 'process_cpu_seconds_total'])
      expect(names).not.toContain(name)
    const { document } = await json(['metrics'])
    expect(document.metrics).toHaveLength(names.length)
  })
})
