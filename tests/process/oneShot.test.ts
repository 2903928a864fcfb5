/** One-shot mode of the worker process, as the documents name it: one job, one JSON line, an exit code. */
import { describe, expect, it } from 'vitest'
import { commandLine, privateRedisPid, runProgram, WORKER } from '../support/cli.ts'
import { startDaemon } from '../support/daemon.ts'

function oneShot(
  dataDir: string,
  job: string,
  payload: string | undefined,
  extra: Record<string, string> = {},
) {
  const env = { WORKER_JOB: job, ...(payload === undefined ? {} : { WORKER_PAYLOAD: payload }), ...extra }
  return runProgram(WORKER, [], dataDir, { env })
}
const SUCCESS = { code: 0, stdout: '{"status":"success","key":"test"}\n', stderr: '' }

describe('one job', () => {
  it('runs without a daemon, and leaves nothing running', async () => {
    const cli = commandLine()
    expect(await oneShot(cli.dataDir, 'MEMORY_SYNC', '{"key":"test","value":"data"}')).toEqual(SUCCESS)
    expect((await cli.json(['get', 'test'])).document.value).toBe('data')
    expect(await privateRedisPid(cli.dataDir)).toBe(undefined)
    expect(await oneShot(cli.dataDir, 'MEMORY_ROLLBACK', '{"key":"test"}')).toEqual({
      code: 0,
      stdout: '{"status":"rolled_back","key":"test"}\n',
      stderr: '',
    })
    expect(await cli.run(['has', 'test'])).toMatchObject({ code: 1 })
  })

  it('runs beside a daemon, which goes on', async () => {
    const cli = commandLine()
    const daemon = await startDaemon(cli.dataDir)
    expect(await oneShot(cli.dataDir, 'MEMORY_SYNC', '{"key":"test","value":{"a":[1]}}')).toEqual(SUCCESS)
    expect((await cli.json(['get', 'test'])).document.value).toEqual({ a: [1] })
    expect((await daemon.status()).daemon.running).toBe(true)
    daemon.kill('SIGTERM')
    expect(await daemon.ended).toEqual({ code: 0, signal: null })
  })
})

describe('a job that cannot be run', () => {
  const { dataDir } = commandLine()
  it.each([
    ['MEMORY_SINK', '{"key":"test","value":1}', /WORKER_JOB: .*"MEMORY_SINK".*MEMORY_SYNC/],
    ['MEMORY_SYNC', undefined, /WORKER_PAYLOAD: missing/],
    ['MEMORY_SYNC', '{"key":', /WORKER_PAYLOAD: is not JSON/],
    ['MEMORY_SYNC', '[]', /MEMSYNC_INVALID_MEMORY/],
    ['MEMORY_SYNC', '{"key":"","value":1}', /key: is empty/],
    ['MEMORY_SYNC', '{"key":"test","value":1,"secret":2}', /unknown field "secret"/],
    ['MEMORY_SYNC', '{"key":"test","value":12345678901234567890}', /MEMSYNC_INVALID_VALUE/],
  ])('%s %s: exit code 2, named on stderr, nothing on stdout', async (job, payload, problem) => {
    const { code, stdout, stderr } = await oneShot(dataDir, job, payload)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toMatch(problem)
    expect(stderr.trimEnd().split('\n')).toHaveLength(2)
  })

  it('for a reason that may pass: exit code 1, and no payload in what it says', async () => {
    const { code, stdout, stderr } = await oneShot(
      dataDir,
      'MEMORY_SYNC',
      '{"key":"test","value":"hunter2"}',
      {
        REDIS_URL: `unix://${dataDir}/none.sock`,
      },
    )
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(/^memsync: .* \(MEMSYNC_QUEUE_UNAVAILABLE\)\n/)
    expect(stderr).not.toContain('hunter2')
  })
})
