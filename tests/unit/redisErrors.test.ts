/** The forms that the Redis of the integration tests does not send, and what must not be taken for Redis at all. */
import { describe, expect, it } from 'vitest'
import { classifyRedisError } from '../../src/queue/redisErrors.ts'

const system = (code: string, syscall: string) =>
  Object.assign(new Error(`${syscall} ${code}`), { code, syscall })

describe('classifyRedisError', () => {
  it.each([
    // Redis 5 and 6 wrap what a script was answered.
    [
      "ERR Error running script (call to f_5ab4): @user_script:589: @user_script: 589: -OOM command not allowed when used memory > 'maxmemory'.",
      'Redis takes no writes: it is out of memory (OOM)',
    ],
    [
      "ERR Error running script (call to f_5ab4): @user_script:1: -READONLY You can't write against a read only replica.",
      'Redis takes no writes: it is a replica (READONLY)',
    ],
    [
      'EXECABORT Transaction discarded because of: MISCONF Redis is configured to save RDB snapshots, but',
      'Redis takes no writes: it cannot persist to its disk (MISCONF)',
    ],
    ['ERR max number of clients reached', 'Redis takes no more connections (ERR max number of clients)'],
  ])('refusal: %s', (message, says) => {
    expect(classifyRedisError(new Error(message))).toMatchObject({
      code: 'MEMSYNC_QUEUE_REFUSED',
      class: 'outage',
      message: says,
    })
  })

  it.each([
    ['EHOSTUNREACH', 'connect'],
    ['ENETUNREACH', 'connect'],
    ['ENETDOWN', 'read'],
    ['ETIMEDOUT', 'read'],
    ['EPIPE', 'write'],
    ['ECONNABORTED', 'write'],
    ['EAI_AGAIN', 'getaddrinfo'],
    ['ENOTFOUND', 'getaddrinfo'],
    ['EACCES', 'connect'],
    ['EAGAIN', 'connect'],
  ])('no connection: %s of %s', (code, syscall) => {
    expect(classifyRedisError(system(code, syscall))).toMatchObject({
      code: 'MEMSYNC_QUEUE_UNAVAILABLE',
      class: 'outage',
      message: `Redis does not answer (${code})`,
    })
  })

  it.each([
    undefined,
    null,
    'READONLY as a string',
    42,
    {},
    new Error(''),
    new Error('boom'),
    new Error('BUSYGROUP Consumer Group name already exists'),
    new Error('OOMPH is not a reply'),
    new Error('a value that says READONLY somewhere'),
    new Error('WRONGTYPE Operation against a key holding the wrong kind of value'),
    new Error('Missing lock for job 7. moveToFinished'),
    system('ENOENT', 'open'),
    system('EACCES', 'open'),
    Object.assign(new Error('EXECABORT Transaction discarded because of previous errors.'), {
      previousErrors: [new Error('ERR syntax error')],
    }),
  ])('says nothing about %o', (thrown) => {
    expect(classifyRedisError(thrown)).toBeUndefined()
  })
})
