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
    })
    expect(parseEnqueueRequest({ ...request, options: { attempts: 5 }, acceptedAtMs: 7 })).toMatchObject({
      options: { attempts: 5 },
      acceptedAtMs: 7,
    })
  })

  it('is refused by the field', () => {
    const cases: [Record<string, unknown>, string][] = [
      [{ job: 'OTHER' }, 'job: '],
      [{ job: 5 }, 'job: '],
      [{ options: null }, 'options: '],
      [{ acceptedAtMs: 0 }, 'acceptedAtMs: '],
      [{ acceptedAtMs: 1.5 }, 'acceptedAtMs: '],
      [{ acceptedAtMs: '5' }, 'acceptedAtMs: '],
    ]
    for (const [change, start] of cases) {
      expect(() => parseEnqueueRequest({ ...request, ...change })).toThrow(start)
    }
  })

  it('that has lain so long that its producer has given up is not taken any more', () => {
    expect(() => refuseLate(undefined, 1_000_000)).not.toThrow()
    expect(() => refuseLate(5_000, 6_000)).not.toThrow()
    expect(() => refuseLate(5_000, 6_001)).toThrow('too late')
  })
})
