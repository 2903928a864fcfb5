/** The contract of `Embedder`, run on every adapter against a server that follows the real one's wire contract. */
import { afterEach, describe, expect, it } from 'vitest'
import type { Embedder } from '../../src/embedding/embedder.ts'
import type { ErrorCode, MemsyncError } from '../../src/errors.ts'
import {
  type FakeOpenai,
  type FakeOpenaiOptions,
  type Fault,
  fakeVector,
  startFakeOpenai,
} from '../support/fakeOpenai.ts'
import { expectPrompt } from '../support/promptness.ts'
import { waitFor } from '../support/waitFor.ts'

const KEY = 'sk-very-secret'
const TEXTS = ['the first secret text', 'the second', 'and a third 😀']
/** Where the server is not to answer; elsewhere a busy machine has all the time it needs. */
const SHORT_TIMEOUT_MS = 300

interface Made {
  baseUrl: string
  apiKey: string | undefined
  model: string
  dimensions: number | undefined
  timeoutMs: number
}

/** How long a refusal asks to wait, for each way of saying so. */
const WAITS: [string, Record<string, string>, number][] = [
  ['seconds', { 'retry-after': '7' }, 7000],
  ['milliseconds', { 'retry-after-ms': '250', 'retry-after': '9' }, 250],
  [
    'the later of two resets',
    { 'x-ratelimit-reset-requests': '20ms', 'x-ratelimit-reset-tokens': '6m1.5s' },
    361_500,
  ],
  ['an absurd time', { 'retry-after': '999999999' }, 3_600_000],
  ['a date gone by', { 'retry-after': 'Wed, 21 Oct 2015 07:28:00 GMT' }, 0],
]

const REFUSALS: [string, Extract<Fault, object>, ErrorCode][] = [
  ['a wrong key', { status: 401, code: 'invalid_api_key' }, 'MEMSYNC_EMBEDDER_CREDENTIALS'],
  ['a key without the right', { status: 403 }, 'MEMSYNC_EMBEDDER_CREDENTIALS'],
  ['payment due', { status: 402 }, 'MEMSYNC_EMBEDDER_BLOCKED'],
  ['no quota, by its code', { status: 429, code: 'insufficient_quota' }, 'MEMSYNC_EMBEDDER_BLOCKED'],
  ['no quota, by its type', { status: 429, type: 'insufficient_quota' }, 'MEMSYNC_EMBEDDER_BLOCKED'],
  ['too many requests', { status: 429, code: 'rate_limit_exceeded' }, 'MEMSYNC_EMBEDDER_RATE_LIMITED'],
  ['an unknown model', { status: 404, code: 'model_not_found' }, 'MEMSYNC_EMBEDDER_MISCONFIGURED'],
  ['dimensions the model has not', { status: 400, param: 'dimensions' }, 'MEMSYNC_EMBEDDER_MISCONFIGURED'],
  ['an address of something else', { status: 405 }, 'MEMSYNC_EMBEDDER_MISCONFIGURED'],
  ['a text', { status: 400 }, 'MEMSYNC_EMBEDDER_REFUSED'],
  ['a text that does not validate', { status: 422 }, 'MEMSYNC_EMBEDDER_REFUSED'],
  ['too many tokens', { status: 400, code: 'max_tokens_per_request' }, 'MEMSYNC_EMBEDDER_REFUSED'],
  ['too many bytes', { status: 413 }, 'MEMSYNC_EMBEDDER_REFUSED'],
  ['its own failure', { status: 500 }, 'MEMSYNC_EMBEDDER_UNAVAILABLE'],
  ['overload', { status: 503, headers: { 'x-should-retry': 'true' } }, 'MEMSYNC_EMBEDDER_UNAVAILABLE'],
]

const BAD_ANSWERS: Fault[] = [
  'short',
  'long',
  'duplicateIndex',
  'indexOutOfRange',
  'noIndex',
  'wrongDimensions',
  'oneWrongDimension',
  'notNumbers',
  'notFinite',
  'zeroVector',
]

const BROKEN: Fault[] = ['hang', 'drip', 'dripError', 'cut', 'html', 'noData']

export function describeEmbedder(name: string, make: (settings: Made) => Embedder): void {
  const fakes = new Set<FakeOpenai>()

  afterEach(async () => {
    await Promise.all(Array.from(fakes, (fake) => fake.close()))
    fakes.clear()
  })

  async function setup(options: FakeOpenaiOptions = {}, changes: Partial<Made> = {}) {
    const fake = await startFakeOpenai({ apiKey: KEY, ...options })
    fakes.add(fake)
    const embedder = make({
      baseUrl: fake.baseUrl,
      apiKey: KEY,
      model: 'text-embedding-3-large',
      dimensions: 16,
      timeoutMs: 20_000,
      ...changes,
    })
    return { fake, embedder, signal: new AbortController().signal }
  }

  async function failure(promise: Promise<unknown>): Promise<MemsyncError> {
    const error = await promise.then(
      () => undefined,
      (thrown: MemsyncError) => thrown,
    )
    expect(error?.name).toBe('MemsyncError')
    const seen = JSON.stringify([error?.message, error?.stack, error?.cause ?? null])
    for (const secret of [KEY, 'sk-', ...TEXTS]) expect(seen).not.toContain(secret)
    return error as MemsyncError
  }

  describe(`${name}: embedding`, () => {
    it.each([{}, { shuffled: true }, { floatsOnly: true }, { shuffled: true, floatsOnly: true }])(
      'gives each text its own vector, with the tokens it cost: %j',
      async (options) => {
        const { fake, embedder, signal } = await setup(options)
        const answer = await embedder.embed(TEXTS, signal)
        expect(answer.vectors).toEqual(TEXTS.map((text) => fakeVector(text, 16)))
        expect(answer.tokens).toBe(fake.tokens)
        expect(answer.tokens).toBeGreaterThan(TEXTS.length)
        expect(answer.pauseMs).toBe(0)
        expect(fake.calls).toBe(1)
        expect(fake.requests[0]?.body).toMatchObject({ dimensions: 16, input: TEXTS })
      },
    )

    it('takes the length of the model where none is asked for, and holds it to that', async () => {
      const { fake, embedder, signal } = await setup({ dimensions: 24 }, { dimensions: undefined })
      const { vectors } = await embedder.embed(TEXTS, signal)
      expect(vectors.map((vector) => vector.length)).toEqual([24, 24, 24])
      expect(fake.requests[0]?.body).not.toHaveProperty('dimensions')
      fake.fail('wrongDimensions')
      expect((await failure(embedder.embed(TEXTS, signal))).code).toBe('MEMSYNC_EMBEDDER_BAD_ANSWER')
    })

    it.each(BAD_ANSWERS)('fails the request whose answer does not match: %s', async (fault) => {
      const { fake, embedder, signal } = await setup()
      fake.fail(fault)
      const error = await failure(embedder.embed(TEXTS, signal))
      expect([error.code, error.class]).toEqual(['MEMSYNC_EMBEDDER_BAD_ANSWER', 'transient'])
      expect((await embedder.embed(TEXTS, signal)).vectors).toHaveLength(3)
    })

    it.each(REFUSALS)('tells what a server that refuses means: %s', async (_what, fault, code) => {
      const { fake, embedder, signal } = await setup()
      fake.fail(fault)
      const error = await failure(embedder.embed(TEXTS, signal))
      expect([error.code, error.message]).toEqual([code, expect.stringContaining(String(fault.status))])
      expect(fake.calls).toBe(1)
    })

    it.each(WAITS)('passes on how long to wait: %s', async (_what, headers, expectedMs) => {
      const { fake, embedder, signal } = await setup()
      fake.fail({ status: 429, headers })
      expect((await failure(embedder.embed(TEXTS, signal))).retryAfterMs).toBe(expectedMs)
    })

    it('passes on a date to wait for, and nothing where nothing sensible is said', async () => {
      const { fake, embedder, signal } = await setup()
      const inOneMinute = new Date(Date.now() + 60_000).toUTCString()
      fake.fail({ status: 503, headers: { 'retry-after': inOneMinute } })
      const { retryAfterMs } = await failure(embedder.embed(TEXTS, signal))
      expect(retryAfterMs).toBeGreaterThan(55_000)
      expect(retryAfterMs).toBeLessThanOrEqual(60_000)
      fake.fail({ status: 429, headers: { 'retry-after': 'soon', 'x-ratelimit-reset-tokens': '5 parsecs' } })
      expect((await failure(embedder.embed(TEXTS, signal))).retryAfterMs).toBeUndefined()
    })

    it('asks for a pause where the account has nothing left in this minute', async () => {
      const headers = {
        'x-ratelimit-remaining-requests': '9',
        'x-ratelimit-reset-requests': '1h0m0s',
        'x-ratelimit-remaining-tokens': '0',
        'x-ratelimit-reset-tokens': '1.25s',
      }
      const { embedder, signal } = await setup({ headers })
      expect((await embedder.embed(TEXTS, signal)).pauseMs).toBe(1250)
    })

    it('learns the tokens a minute of the account, which no request may exceed', async () => {
      const { fake, embedder, signal } = await setup()
      expect(embedder.maxRequestTokens).toBe(300_000)
      fake.fail({ status: 429, headers: { 'x-ratelimit-limit-tokens': '40000' } })
      await failure(embedder.embed(TEXTS, signal))
      expect(embedder.maxRequestTokens).toBe(40_000)
      fake.fail({ status: 429, headers: { 'x-ratelimit-limit-tokens': '1000000' } })
      await failure(embedder.embed(TEXTS, signal))
      expect(embedder.maxRequestTokens).toBe(300_000)
    })

    it.each(BROKEN)('counts as away what does not answer in time or in kind: %s', async (fault) => {
      const { fake, embedder, signal } = await setup({}, { timeoutMs: SHORT_TIMEOUT_MS })
      fake.fail(fault)
      const started = performance.now()
      const error = await failure(embedder.embed(TEXTS, signal))
      expect([error.code, error.class]).toEqual(['MEMSYNC_EMBEDDER_UNAVAILABLE', 'outage'])
      expectPrompt(performance.now() - started, SHORT_TIMEOUT_MS + 2000)
      expect(fake.calls).toBe(1)
    })

    it('counts as away a server that is not there', async () => {
      const { fake, embedder, signal } = await setup()
      await fake.close()
      const error = await failure(embedder.embed(TEXTS, signal))
      expect(error.code).toBe('MEMSYNC_EMBEDDER_UNAVAILABLE')
      expect(error.message).toContain('ECONNREFUSED')
    })

    it.each(['hang', 'drip'] as const)('stops at once when it is told to: %s', async (fault) => {
      const { fake, embedder } = await setup()
      fake.fail(fault)
      const stop = new AbortController()
      const embedding = failure(embedder.embed(TEXTS, stop.signal))
      await waitFor('the server has the call', () => fake.calls === 1)
      stop.abort()
      expect((await embedding).code).toBe('MEMSYNC_INTERRUPTED')
    })

    it('sends a server of one’s own no key where there is none', async () => {
      const fake = await startFakeOpenai()
      fakes.add(fake)
      const { embedder, signal } = await setup({}, { baseUrl: fake.baseUrl, apiKey: undefined })
      await embedder.embed(TEXTS, signal)
      expect(fake.requests[0]?.headers.authorization).toBeUndefined()
    })

    it('says that there is no key, for the server that needs one, before anything is sent', async () => {
      const { embedder, signal } = await setup(
        {},
        { baseUrl: 'https://api.openai.com/v1', apiKey: undefined },
      )
      for (const call of [() => embedder.embed(TEXTS, signal), () => embedder.probe(signal)]) {
        const error = await failure(call())
        expect(error.code).toBe('MEMSYNC_EMBEDDER_CREDENTIALS')
        expect(error.message).toContain('OPENAI_API_KEY')
      }
    })
  })

  describe(`${name}: probing`, () => {
    it('costs nothing while the models call can tell', async () => {
      const { fake, embedder, signal } = await setup()
      await embedder.probe(signal)
      expect([fake.modelCalls, fake.calls, fake.tokens]).toEqual([1, 0, 0])
    })

    it.each(['hang', 'drip', { status: 500 }] as Fault[])(
      'fails while the server is away: %j',
      async (fault) => {
        const { fake, embedder, signal } = await setup({}, { timeoutMs: SHORT_TIMEOUT_MS })
        fake.failModels(fault)
        expect((await failure(embedder.probe(signal))).code).toBe('MEMSYNC_EMBEDDER_UNAVAILABLE')
        expect(fake.calls).toBe(0)
        await embedder.probe(signal)
      },
    )

    it('fails with a wrong key and with an unknown model', async () => {
      const wrongKey = await setup({}, { apiKey: 'sk-wrong' })
      const refused = await failure(wrongKey.embedder.probe(wrongKey.signal))
      expect(refused.code).toBe('MEMSYNC_EMBEDDER_CREDENTIALS')
      const wrongModel = await setup({}, { model: 'text-embedding-9' })
      const unknown = await failure(wrongModel.embedder.probe(wrongModel.signal))
      expect(unknown.code).toBe('MEMSYNC_EMBEDDER_MISCONFIGURED')
    })

    it('embeds a word where the server has no models call, or does not let this key read it', async () => {
      const without = await setup({ withoutModels: true })
      await without.embedder.probe(without.signal)
      expect(without.fake.calls).toBe(1)
      const restricted = await setup()
      restricted.fake.failModels({ status: 401 })
      await restricted.embedder.probe(restricted.signal)
      expect(restricted.fake.calls).toBe(1)
    })

    it('is not fooled by a free call while the account has no quota', async () => {
      const { fake, embedder, signal } = await setup()
      fake.fail({ status: 429, code: 'insufficient_quota' }, 3)
      expect((await failure(embedder.embed(TEXTS, signal))).code).toBe('MEMSYNC_EMBEDDER_BLOCKED')
      expect((await failure(embedder.probe(signal))).code).toBe('MEMSYNC_EMBEDDER_BLOCKED')
      expect((await failure(embedder.probe(signal))).code).toBe('MEMSYNC_EMBEDDER_BLOCKED')
      await embedder.probe(signal)
      const calls = fake.calls
      await embedder.probe(signal)
      expect([fake.calls, fake.modelCalls]).toEqual([calls, 1])
    })
  })
}
