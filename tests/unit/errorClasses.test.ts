/** What becomes of a job by the error it met: for every error there can be, and of every dependency. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ERROR_CODES, type ErrorClass, type ErrorCode, MemsyncError } from '../../src/errors.ts'
import { classifyStatus } from '../../src/infrastructure/remote/classify.ts'
import { refusalError } from '../../src/infrastructure/sdk/openaiErrors.ts'
import { formatFailedReason, nextFailureNote, parseFailedReason } from '../../src/queue/failure.ts'
import { decideFailure } from '../../src/queue/outcome.ts'
import { classifyRedisError } from '../../src/queue/redisErrors.ts'
import { printedSeed } from '../support/seed.ts'

const seed = printedSeed('error classes')
const MARKER = 'v4lue-of-a-memory'
const codes = Object.keys(ERROR_CODES) as ErrorCode[]
const classes: ErrorClass[] = ['permanent', 'transient', 'outage', 'credentials']

it('only what is the job’s own fault burns an attempt, and only what cannot succeed dies at once', () => {
  fc.assert(
    fc.property(fc.constantFrom(...codes), fc.constantFrom(undefined, ...classes), (code, errorClass) => {
      const error = new MemsyncError(code, 'm', errorClass && { class: errorClass })
      const expected = {
        permanent: 'dead-letter',
        transient: 'retry',
        outage: 'give-back',
        credentials: 'give-back',
      }
      expect(decideFailure(error)).toBe(expected[error.class])
      expect(error.class).toBe(errorClass ?? ERROR_CODES[code].class)
    }),
    { seed },
  )
})

it('a failure that is written down reads back, and its note keeps the first time of all', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...codes),
      fc.string({ maxLength: 900 }),
      fc.anything(),
      fc.nat(),
      (code, message, before, nowMs) => {
        const error = new MemsyncError(code, message)
        const read = parseFailedReason(formatFailedReason(error))
        expect({ code: read.code, message: read.message }).toEqual({ code, message })
        const note = nextFailureNote(before, error, 'persist', nowMs)
        expect(note.lastFailedAtMs).toBe(nowMs)
        expect(nextFailureNote(note, error, 'push', nowMs + 5).firstFailedAtMs).toBe(note.firstFailedAtMs)
      },
    ),
    { seed, numRuns: 300 },
  )
})

describe('what is thrown by Redis', () => {
  const thrown = fc.oneof(
    fc.anything(),
    fc.record(
      {
        name: fc.oneof(fc.constantFrom('ReplyError', 'MaxRetriesPerRequestError'), fc.string()),
        message: fc
          .tuple(
            fc.constantFrom('', 'OOM ', 'READONLY ', 'ERR ', 'NOAUTH ', 'EXECABORT '),
            fc.constant(MARKER),
          )
          .map((parts) => parts.join('')),
        code: fc.oneof(fc.constantFrom('ECONNREFUSED', 'ENOENT', 'EPIPE'), fc.string(), fc.integer()),
        syscall: fc.constantFrom('connect', 'read', undefined),
        command: fc.record({ args: fc.constant([MARKER]) }),
        previousErrors: fc.array(fc.anything()),
      },
      { requiredKeys: [] },
    ),
  )

  it('is an outage or none of ours, and repeats nothing', () => {
    fc.assert(
      fc.property(thrown, (error) => {
        const classified = classifyRedisError(error)
        if (!classified) return
        expect(['MEMSYNC_QUEUE_UNAVAILABLE', 'MEMSYNC_QUEUE_REFUSED']).toContain(classified.code)
        expect(decideFailure(classified)).toBe('give-back')
        expect(classified.message).not.toContain(MARKER)
        expect(classified.cause).toBeUndefined()
      }),
      { seed, numRuns: 2_000 },
    )
  })
})

describe('what a server answers', () => {
  const status = fc.integer({ min: 300, max: 999 })

  it('of the memory server: a fault of the server, or one of its own knowledge, never kills a memory', () => {
    fc.assert(
      fc.property(status, fc.oneof(fc.string(), fc.anything()), (code, body) => {
        const verdict = classifyStatus(code, body)
        const error = new MemsyncError(verdict.code, 'm', verdict.class && { class: verdict.class })
        if (code >= 500 && code !== 502) expect(error.class).not.toBe('permanent')
        if (error.class === 'permanent') expect([400, 413, 422, 502]).toContain(code)
        expect(verdict.reason).toMatch(/^\d{3}( [a-z_ ]+)?$/)
      }),
      { seed, numRuns: 1_000 },
    )
  })

  it('of the embedding server: likewise, and a wait is bounded', () => {
    const text = fc.oneof(
      fc.constantFrom('insufficient_quota', 'model_not_found', 'model', null, undefined),
      fc.string(),
    )
    const wait = fc.oneof(
      fc.constantFrom('1e9', '99999999999', '-1', '1h2m', '6m0s', 'soon'),
      fc.nat().map(String),
    )
    const headers = fc.dictionary(
      fc.constantFrom(
        'retry-after',
        'retry-after-ms',
        'x-ratelimit-reset-requests',
        'x-ratelimit-reset-tokens',
      ),
      wait,
    )
    fc.assert(
      fc.property(status, text, text, text, headers, (code, first, type, param, given) => {
        const refusal = { status: code, code: first, type, param, headers: new Headers(given) }
        const error = refusalError(refusal, 'host', 0)
        expect(error.code).toMatch(/^MEMSYNC_EMBEDDER_/)
        if (error.class === 'permanent') expect([400, 413, 422]).toContain(code)
        if (code >= 500 && code < 600) expect(decideFailure(error)).toBe('give-back')
        expect(error.retryAfterMs ?? 0).toBeGreaterThanOrEqual(0)
        expect(error.retryAfterMs ?? 0).toBeLessThanOrEqual(3_600_000)
      }),
      { seed, numRuns: 1_000 },
    )
  })
})
