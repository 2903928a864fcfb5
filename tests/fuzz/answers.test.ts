/**
 * Answers of a hostile memory server and a hostile embedding server: whatever bytes come, a call settles in its time, with
 * a result or with one of the documented errors, which repeats nothing of the answer. MEMSYNC_FUZZ_FACTOR runs longer,
 * MEMSYNC_TEST_SEED repeats a run.
 */
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Embedder } from '../../src/embedding/embedder.ts'
import { MemsyncError } from '../../src/errors.ts'
import { contentOf } from '../../src/infrastructure/remote/content.ts'
import { openRemote } from '../../src/infrastructure/remote/index.ts'
import type { Remote, RemoteKind } from '../../src/infrastructure/remote/port.ts'
import { createOpenaiEmbedder } from '../../src/infrastructure/sdk/openaiEmbedder.ts'
import { fuzzRuns } from '../support/fuzzRuns.ts'
import { type HostileAnswer, type HostileServer, startHostileServer } from '../support/hostileServer.ts'
import { expectPrompt } from '../support/promptness.ts'
import { printedSeed } from '../support/seed.ts'

const seed = printedSeed('answer fuzz')
const RUNS = fuzzRuns(80)
/** The secret of the test, which the server knows and repeats. */
const KEY = 'k3y-of-the-remote'
const TIMEOUT_MS = 200
/** A call of an adapter makes a few requests, each with a deadline of its own; the machine may be busy. */
const PATIENCE_MS = 10_000

let server: HostileServer
beforeAll(async () => {
  server = await startHostileServer()
})
afterAll(() => server.close())

const name = fc.oneof(
  fc.constantFrom(
    'id',
    'results',
    'memories',
    'memory',
    'data',
    'embedding',
    'index',
    'value',
    'metadata',
    'version',
  ),
  fc.constantFrom(
    'status',
    'outcome',
    'next',
    'error',
    'code',
    'usage',
    'total_tokens',
    '__proto__',
    'user_id',
    'key',
  ),
  fc.string(),
)
const leaf = fc.oneof(
  fc.constantFrom(
    null,
    true,
    0,
    -1,
    1e308,
    KEY,
    '',
    'stored',
    'removed',
    '1-2-0',
    'x'.repeat(5_000),
    '\u0000',
  ),
  fc.integer({ min: -2, max: 3 }),
  fc.string({ unit: 'binary' }),
  fc.constant(Buffer.from(Float32Array.of(1, 0, 0)).toString('base64')),
)
const json = fc.oneof(
  fc
    .letrec((tie) => ({
      node: fc.oneof(
        { depthSize: 'small', withCrossShrink: true },
        leaf,
        fc.array(tie('node'), { maxLength: 4 }),
        fc.dictionary(name, tie('node'), { maxKeys: 5 }),
      ),
    }))
    .node.map((value) => JSON.stringify(value)),
  // As documented, but for what stands in it.
  fc.array(leaf, { maxLength: 3 }).map((values) =>
    JSON.stringify({
      data: values.map((embedding, index) => ({ index, embedding })),
      usage: { total_tokens: -1 },
    }),
  ),
  leaf.map((id) =>
    JSON.stringify({ results: [{ id, memory: id, metadata: { memsync: id, key: id } }], next: null }),
  ),
  fc.constant(`{"memories":[],"results":[],"next":"again"}`),
)
/** Deeper than what walks it by calling itself can go. */
const deep = fc.integer({ min: 1, max: 60_000 }).map((depth) => {
  const nested = '['.repeat(depth) + ']'.repeat(depth)
  return `{"namespace":"n","key":"k","version":"1-1-0","value":${nested},"metadata":{"a":${nested}},"results":${nested},"data":${nested}}`
})
const body = fc.oneof(
  { weight: 1, arbitrary: deep.map((text) => Buffer.from(text)) },
  { weight: 6, arbitrary: json.map((text) => Buffer.from(text)) },
  { weight: 1, arbitrary: json.map((text) => Buffer.from(text).subarray(0, -1)) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)) },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom('', 'null', 'NaN', '"\uD800"', `<html>${KEY}</html>`)
      .map((text) => Buffer.from(text)),
  },
  {
    weight: 1,
    arbitrary: json.map((text) => Buffer.concat([Buffer.from(text), Buffer.from([0xff, 0xc0, 0x80])])),
  },
)
const status = fc.oneof(
  { weight: 5, arbitrary: fc.constant(200) },
  fc.constantFrom(
    100,
    101,
    204,
    205,
    301,
    304,
    400,
    401,
    404,
    412,
    413,
    422,
    429,
    500,
    502,
    503,
    599,
    600,
    999,
  ),
)
const header = fc.constantFrom(
  'content-type: application/json',
  'content-type: text/event-stream',
  'retry-after: 99999999999999999999',
  'retry-after: Thu, 99 Foo 2026 99:99:99 GMT',
  'x-ratelimit-reset-requests: 1000000000h',
  'x-ratelimit-remaining-requests: 0',
  'x-ratelimit-limit-tokens: 1',
  'location: http://127.0.0.1:1/elsewhere',
  `x-request-id: ${KEY}\t`,
  'date: never',
  'connection: close',
  'set-cookie: a=b',
  `x-long: ${'h'.repeat(20_000)}`,
  'no colon at all',
)
/** How the length is told: as it is, too long, too short, not at all, nonsense, in chunks that are none, packed or not. */
const framing = fc.constantFrom(
  'right',
  'right',
  'right',
  'right',
  'long',
  'short',
  'none',
  'nonsense',
  'chunks',
  'gzip',
  'notGzip',
)

const answer: fc.Arbitrary<HostileAnswer> = fc.oneof(
  {
    weight: 9,
    arbitrary: fc
      .record({ status, headers: fc.array(header, { maxLength: 3 }), body, framing, stays: fc.nat(9) })
      .map(({ status: code, headers, body: content, framing: how, stays }) => {
        const packed = how === 'gzip' ? gzipSync(content) : content
        const lengths: Record<string, string[]> = {
          long: [`content-length: ${packed.length + 10}`],
          short: [`content-length: ${Math.max(0, packed.length - 2)}`],
          none: [],
          nonsense: ['content-length: -5x'],
          chunks: ['transfer-encoding: chunked'],
          gzip: ['content-encoding: gzip', `content-length: ${packed.length}`],
          notGzip: ['content-encoding: gzip', `content-length: ${packed.length}`],
        }
        const head = [
          `HTTP/1.1 ${code} ${KEY}`,
          ...headers,
          ...(lengths[how] ?? [`content-length: ${packed.length}`]),
        ]
        const bytes = Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`), packed])
        // A few only: each costs its deadline.
        return { bytes, staysOpen: how === 'right' || stays === 0 }
      }),
  },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 200 }).map((bytes) => ({ bytes, staysOpen: false })) },
)

/** Makes the call and holds it to what is promised of it. */
async function settle(call: () => Promise<unknown>, isAllowed: (code: string) => boolean): Promise<void> {
  const startedAt = performance.now()
  try {
    await call()
  } catch (error) {
    if (!(error instanceof MemsyncError)) throw error
    expect(isAllowed(error.code), `${error.code}: ${error.message}`).toBe(true)
    expect(error.message).not.toContain(KEY)
    expect(error.message.length).toBeLessThan(400)
    expect(error.retryAfterMs ?? 0).toBeLessThanOrEqual(3_600_000)
    expect(error.retryAfterMs ?? 0).toBeGreaterThanOrEqual(0)
  }
  expectPrompt(performance.now() - startedAt, PATIENCE_MS)
}

describe.each(['mem0', 'mem0-platform', 'legacy', 'http'] as const)(
  'a hostile memory server that should speak %s',
  (kind) => {
    const id = { namespace: 'n', key: 'k' }
    const version = { epoch: 1, sequence: 1, index: 0 }
    const content = contentOf({ a: 1 }, { m: true })
    const calls = (remote: Remote, signal: AbortSignal): (() => Promise<unknown>)[] => [
      () => remote.probe(signal),
      () => remote.push({ ...id, content, version }, { signal }),
      () => remote.push({ ...id, content, version }, { signal, lookupFirst: true, remoteId: 'r' }),
      () => remote.remove({ ...id, version }, { signal, remoteId: 'r' }),
      () => remote.remove({ ...id, version }, { signal, lookupFirst: true }),
      () => remote.find(id, signal),
      () => Array.fromAsync(remote.readAll(['n'], signal)),
    ]

    it('gets no further than an error', async () => {
      const timeouts = { connectTimeoutMs: TIMEOUT_MS, callTimeoutMs: TIMEOUT_MS, probeTimeoutMs: TIMEOUT_MS }
      const remote = openRemote(kind as RemoteKind, { url: server.url, key: KEY, ...timeouts })
      await fc.assert(
        fc.asyncProperty(answer, fc.nat(6), async (given, which) => {
          server.answer = given
          const stop = new AbortController()
          const call = calls(remote, stop.signal)[which]
          if (call)
            await settle(
              call,
              (code) =>
                code.startsWith('MEMSYNC_REMOTE_') || (code === 'MEMSYNC_BAD_USAGE' && !remote.can.readBack),
            )
        }),
        { seed, numRuns: RUNS, endOnFailure: true },
      )
      remote.close()
    })
  },
)

describe('a hostile embedding server', () => {
  const embedderOf = (): Embedder =>
    createOpenaiEmbedder({
      space: { model: 'm', dimensions: 3 },
      apiKey: KEY,
      baseUrl: `${server.url}/v1`,
      timeoutMs: TIMEOUT_MS,
      probeTimeoutMs: TIMEOUT_MS,
    })

  it('gets no further than an error, and no vector that is none', async () => {
    await fc.assert(
      fc.asyncProperty(answer, fc.boolean(), async (given, isProbe) => {
        server.answer = given
        const { signal } = new AbortController()
        const embedder = embedderOf()
        const call = async () => {
          if (isProbe) return embedder.probe(signal)
          const { vectors, pauseMs } = await embedder.embed(['a', 'b'], signal)
          expect(vectors.map((vector) => vector.length)).toEqual([3, 3])
          expect(vectors.flatMap((vector) => [...vector]).every(Number.isFinite)).toBe(true)
          expect(pauseMs).toBeLessThanOrEqual(3_600_000)
        }
        await settle(call, (code) => code.startsWith('MEMSYNC_EMBEDDER_'))
      }),
      { seed, numRuns: RUNS, endOnFailure: true },
    )
  })
})
