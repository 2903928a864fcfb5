/** What a producer asks of the daemon over its socket. */
import { describe, expect, it } from 'vitest'
import { parseEnqueueRequest, refuseLate } from '../../src/daemon/enqueueRequest.ts'

describe('a request to enqueue', () => {
  const request = { op: 'enqueue', job: 'MEMORY_SYNC', data: { key: 'k', value: 1 } }

  it('is taken as it is, with what it may leave out', () => {
    expect(parseEnqueueRequest(request)).toEqual({
      job: 'MEMORY_SYNC',
      data: request.data,
      options: {},
      acceptedAtMs: undefined,
      answerTimeoutMs: undefined,
    })
    const more = { options: { attempts: 5 }, acceptedAtMs: 7, answerTimeoutMs: 25 }
    expect(parseEnqueueRequest({ ...request, ...more })).toMatchObject(more)
  })

  it('is refused by the field', () => {
    const cases: [Record<string, unknown>, string][] = [
      [{ job: 'OTHER' }, 'job: '],
      [{ job: 5 }, 'job: '],
      [{ options: null }, 'options: '],
      [{ acceptedAtMs: 0 }, 'acceptedAtMs: '],
      [{ acceptedAtMs: 1.5 }, 'acceptedAtMs: '],
      [{ acceptedAtMs: '5' }, 'acceptedAtMs: '],
      [{ answerTimeoutMs: 0 }, 'answerTimeoutMs: '],
      [{ answerTimeoutMs: '5' }, 'answerTimeoutMs: '],
    ]
    for (const [change, start] of cases) {
      expect(() => parseEnqueueRequest({ ...request, ...change })).toThrow(start)
    }
  })

  it('that has lain for half the time that its producer waits is not taken any more', () => {
    const asked = { acceptedAtMs: 5_000, answerTimeoutMs: 25 }
    expect(() => refuseLate({ ...asked, answerTimeoutMs: undefined }, 1_000_000)).not.toThrow()
    expect(() => refuseLate(asked, 5_012)).not.toThrow()
    expect(() => refuseLate(asked, 5_013)).toThrow('too late')
    expect(() => refuseLate({ ...asked, answerTimeoutMs: 2_000 }, 6_000)).not.toThrow()
    expect(() => refuseLate({ ...asked, answerTimeoutMs: 2_000 }, 6_001)).toThrow('too late')
  })
})
