/** A bug behind the HTTP interface: a 500 that tells the client nothing of what the error said, and the log where it is. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, it } from 'vitest'
import { createHttpListener } from '../../src/producers/httpApp.ts'
import type { HttpSources } from '../../src/producers/httpRoutes.ts'
import { expectRefusal, JSON_TYPE, NDJSON_TYPE, send } from '../support/httpDaemon.ts'
import { recordingLogger } from '../support/recordingLogger.ts'

const SECRET = 'sEcReT'

it('is a 500 by its code and place alone', async () => {
  const fail = () => {
    throw new TypeError(SECRET)
  }
  const sources: HttpSources = {
    handOver: async () => fail(),
    search: async () => fail(),
    store: fail,
    status: async () => fail(),
    metrics: async () => fail(),
    isStalled: fail,
    maxValueBytes: 1000,
  }
  const { logger, log } = recordingLogger()
  const server = createServer(createHttpListener(sources, { token: undefined, checkHost: true }, logger))
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  const where = { host: '127.0.0.1', port: (server.address() as AddressInfo).port }
  const body = '{"key":"k","value":1}'
  try {
    for (const path of [
      '/v1/status',
      '/metrics',
      '/v1/memories',
      '/v1/memories/n/k',
      '/v1/search?q=a',
      '/healthz',
      '/readyz',
    ]) {
      const answer = await send(where, 'GET', path)
      expectRefusal(answer, 500, 'MEMSYNC_HANDLER_FAILED', 'a bug')
      expect(answer.text).not.toContain(SECRET)
    }
    for (const [headers, sent] of [
      [JSON_TYPE, body],
      [JSON_TYPE, `[${body}]`],
      [NDJSON_TYPE, body],
    ] as const) {
      const answer = await send(where, 'POST', '/v1/memories', { headers, body: sent })
      expectRefusal(answer, 500, 'MEMSYNC_HANDLER_FAILED', 'a bug')
      expect(answer.text).not.toContain(SECRET)
    }
  } finally {
    server.close()
    server.closeAllConnections()
  }
  expect(JSON.stringify(log)).not.toContain(SECRET)
  expect(log[0]).toMatchObject({
    level: 'error',
    message: 'an HTTP request failed',
    fields: { code: 'MEMSYNC_HANDLER_FAILED', error: 'TypeError', place: expect.stringContaining('httpBug') },
  })
})
