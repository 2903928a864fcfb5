/** Tracing from the outside: the built daemon and a real collector. */
import { join } from 'node:path'
import { Queue } from 'bullmq'
import { Redis } from 'ioredis'
import { afterEach, describe, expect, it } from 'vitest'
import { askDaemon } from '../../src/daemon/controlClient.ts'
import { SYNC_QUEUE } from '../../src/jobs/index.ts'
import { type CollectedSpan, type Collector, startCollector } from '../support/collector.ts'
import {
  EMBEDDER_KEY,
  type OperatedDaemon,
  REMOTE_KEY,
  startOperatedDaemon,
} from '../support/operatedDaemon.ts'
import { waitFor } from '../support/waitFor.ts'

const KEY = 'sEcReT-kEy'
const NAMESPACE = 'sEcReT-nAmEsPaCe'
const VALUE = 'sEcReT-vAlUe'

let collector: Collector
let scene: OperatedDaemon

afterEach(async () => {
  await scene.stop()
  await collector.close()
})

async function start(extra: Record<string, string> = {}): Promise<void> {
  collector = await startCollector()
  scene = await startOperatedDaemon({ MEMSYNC_OTLP_ENDPOINT: collector.url, ...extra })
}

/** Resolves once the collector has this span, the newest of its name. */
function collected(name: string): Promise<CollectedSpan> {
  return waitFor(`a span "${name}"`, () => collector.spans.findLast((span) => span.name === name), {
    timeoutMs: 20_000,
  })
}

/** From this span up to the first of its trace. */
function wayUp(span: CollectedSpan): string[] {
  const parent = collector.spans.find(
    ({ traceId, spanId }) => traceId === span.traceId && spanId === span.parentSpanId,
  )
  if (span.parentSpanId && !parent) return [span.name, '(a span that never came)']
  return [span.name, ...(parent ? wayUp(parent) : [])]
}

describe('the trace of a memory', () => {
  it('goes from its acceptance over the commit to the calls of both lanes, and says nothing of what it is', async () => {
    await start({ MEMSYNC_OTLP_HEADERS: 'authorization=Bearer tOkEn, x-tenant=one' })
    const memory = { key: KEY, namespace: NAMESPACE, value: VALUE, embed: true, metadata: { secret: VALUE } }
    expect((await scene.http.post(memory)).status).toBe(202)
    await scene.arrived({ synced: 1, pushed: 1, embedded: 1 })
    const run = await collected('process memory-push')
    const push = await collected('push call')
    const embed = await collected('embed call')
    await collected('process memory-embed')
    expect(wayUp(push)).toEqual([
      ...['push call', 'process memory-push', 'commit', 'process memory-sync', 'addBulk memory-sync'],
    ])
    expect(wayUp(embed)).toEqual([
      ...['embed call', 'process memory-embed', 'commit', 'process memory-sync', 'addBulk memory-sync'],
    ])
    expect(new Set(collector.spans.map(({ traceId }) => traceId))).toEqual(new Set([run.traceId]))

    // What breaks the contract fails with its code and without its words.
    const redis = new Redis(scene.redis.url)
    const queue = new Queue(SYNC_QUEUE, { connection: redis })
    await queue.add(
      'MEMORY_SYNC',
      { key: KEY, namespace: NAMESPACE, [VALUE]: VALUE },
      { jobId: `x-${VALUE}` },
    )
    await queue.add(`name-${VALUE}`, { key: KEY })
    await scene.http.daemon.logged('dead letter')
    const failed = await waitFor('a failed span', () =>
      collector.spans.find(({ attributes }) => attributes.some(({ key }) => key === 'memsync.error.code')),
    )
    expect(failed.name).toBe('process memory-sync')

    // What its producer says of its trace is a stranger's text.
    await queue.add('MEMORY_SYNC', { key: 'odd', value: 1 }, { telemetry: { metadata: `{no JSON ${VALUE}` } })
    await scene.arrived({ synced: 2, pushed: 2 })
    await queue.close()
    redis.disconnect()

    const sent = collector.text()
    for (const secret of [
      KEY,
      NAMESPACE,
      VALUE,
      REMOTE_KEY,
      EMBEDDER_KEY,
      scene.redis.url,
      scene.http.token,
    ]) {
      expect(sent).not.toContain(secret)
    }
    expect(sent).toContain('"memsyncd"')
    expect(collector.requests[0]).toMatchObject({
      path: '/v1/traces',
      headers: { authorization: 'Bearer tOkEn', 'x-tenant': 'one', 'content-type': 'application/json' },
    })
  })

  it('begins at the command too, and is not made where its share is 0', async () => {
    await start()
    // As `memsync enqueue` asks.
    const request = { op: 'enqueue', job: 'MEMORY_SYNC', data: { key: KEY, value: VALUE }, options: {} }
    await askDaemon(scene.http.dataDir, request, 5000)
    expect(wayUp(await collected('push call')).at(-1)).toBe('add memory-sync.MEMORY_SYNC')
    await scene.stop()
    collector.spans.length = 0
    scene = await startOperatedDaemon({ MEMSYNC_OTLP_ENDPOINT: collector.url, MEMSYNC_TRACE_RATIO: '0' })
    expect((await scene.http.post({ key: KEY, value: VALUE })).status).toBe(202)
    await scene.arrived({ pushed: 1 })
    // The stop sends what is left.
    await scene.http.stop()
    expect(collector.spans).toEqual([])
  })
})

it('a collector that fails is told once, when it is back too, and takes nothing from the syncing', async () => {
  await start()
  const { daemon } = scene.http
  collector.answerWith(400)
  expect((await scene.http.post({ key: 'a', value: 1 })).status).toBe(202)
  await scene.arrived({ pushed: 1 })
  await daemon.logged('traces cannot be sent; the syncing goes on')
  const asked = collector.requests.length
  expect((await scene.http.post({ key: 'b', value: 1 })).status).toBe(202)
  await scene.arrived({ pushed: 2 })
  await waitFor('it is asked again', () => collector.requests.length > asked)
  collector.answerWith(200)
  expect((await scene.http.post({ key: 'c', value: 1 })).status).toBe(202)
  await daemon.logged('traces are sent again')
  expect(daemon.log.filter(({ msg }) => msg.startsWith('traces cannot be sent'))).toHaveLength(1)
})

it('costs nothing where it is not set, nor do the metrics before somebody asks for them', async () => {
  collector = await startCollector()
  const hook = join(import.meta.dirname, '..', 'support', 'tellLoaded.mjs')
  scene = await startOperatedDaemon({ NODE_OPTIONS: `--import ${hook}` })
  expect((await scene.http.post({ key: 'a', value: 1, embed: true })).status).toBe(202)
  await scene.arrived({ pushed: 1, embedded: 1 })
  const loaded = (): string[] => scene.http.daemon.output().match(/(?<=^loaded )\S+/gm) ?? []
  expect(loaded()).toEqual([])
  const redis = new Redis(scene.redis.url)
  expect(await redis.hget('bull:memory-sync:1', 'opts')).not.toMatch(/tm|telemetry|traceparent/)
  redis.disconnect()

  expect((await scene.http.ask('GET', '/metrics')).status).toBe(200)
  await waitFor('the loading is told', () => loaded().includes('prom-client'))
  expect(loaded().filter((name) => name.includes('sdk') || name === 'bullmq-otel')).toEqual([])
})
