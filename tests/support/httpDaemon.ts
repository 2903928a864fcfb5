/** The real daemon with its HTTP interface on a port of its own, and a client that sends just what it is told. */
import { readFileSync } from 'node:fs'
import { Agent, type IncomingHttpHeaders, request } from 'node:http'
import { expect } from 'vitest'
import { tokenPath } from '../../src/producers/httpToken.ts'
import { spawnDaemon, type TestDaemon } from './daemon.ts'
import { tempDir } from './tempDir.ts'

export interface HttpAnswer {
  status: number
  headers: IncomingHttpHeaders
  text: string
  /** The body, where it is JSON. */
  json: Record<string, unknown>
}

export interface Asked {
  headers?: Record<string, string>
  body?: string | Uint8Array
}

export interface HttpDaemon {
  daemon: TestDaemon
  dataDir: string
  port: number
  token: string
  /** With the token, unless the headers say otherwise; the path goes out as it is. */
  ask(method: string, path: string, asked?: Asked): Promise<HttpAnswer>
  post(memories: unknown, asked?: Asked): Promise<HttpAnswer>
  postLines(body: string | Uint8Array): Promise<HttpAnswer>
  stop(): Promise<void>
}

export const JSON_TYPE = { 'content-type': 'application/json' }
export const NDJSON_TYPE = { 'content-type': 'application/x-ndjson' }

export async function startHttpDaemon(
  env: Record<string, string> = {},
  dataDir = tempDir(),
): Promise<HttpDaemon> {
  const daemon = spawnDaemon(dataDir, { MEMSYNC_HTTP: '127.0.0.1:0', ...env })
  const { address } = await daemon.logged('HTTP listens')
  const port = Number(new URL(String(address)).port)
  const token = readFileSync(tokenPath(dataDir), 'utf8').trim()
  const agent = new Agent({ keepAlive: true })
  const ask: HttpDaemon['ask'] = (method, path, { headers = {}, body } = {}) =>
    send({ host: '127.0.0.1', port, agent }, method, path, {
      headers: { authorization: `Bearer ${token}`, ...headers },
      ...(body === undefined ? {} : { body }),
    })
  return {
    daemon,
    dataDir,
    port,
    token,
    ask,
    post: (memories, asked = {}) =>
      ask('POST', '/v1/memories', {
        body: JSON.stringify(memories),
        ...asked,
        headers: { ...JSON_TYPE, ...asked.headers },
      }),
    postLines: (body) => ask('POST', '/v1/memories', { headers: NDJSON_TYPE, body }),
    async stop() {
      agent.destroy()
      daemon.kill('SIGTERM')
      await daemon.ended
    },
  }
}

/** Sends one request, nothing added but what node:http must. */
export function send(
  where: { host?: string; port?: number; socketPath?: string; agent?: Agent },
  method: string,
  path: string,
  asked: Asked = {},
): Promise<HttpAnswer> {
  const { headers = {}, body } = asked
  return new Promise((resolve, reject) => {
    const length = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) }
    const outgoing = request({ ...where, method, path, headers: { ...length, ...headers } }, (incoming) => {
      const chunks: Buffer[] = []
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
      incoming.on('error', reject)
      incoming.on('end', () => {
        const text = Buffer.concat(chunks).toString('utf8')
        const isJson = incoming.headers['content-type']?.startsWith('application/json') ?? false
        const json = isJson && text !== '' ? (JSON.parse(text) as Record<string, unknown>) : {}
        resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, text, json })
      })
    })
    outgoing.on('error', (error: NodeJS.ErrnoException) => {
      // The server closed a connection that was idle for long, and this side had not heard of it yet.
      if (outgoing.reusedSocket && error.code === 'ECONNRESET') resolve(send(where, method, path, asked))
      else reject(error)
    })
    outgoing.end(body)
  })
}

/** That an answer is a refusal as the contract has it, of this status, code and, in part, message. */
export function expectRefusal(
  answer: HttpAnswer,
  status: number,
  code: string,
  message: string | RegExp = '',
): void {
  const says = typeof message === 'string' ? expect.stringContaining(message) : expect.stringMatching(message)
  expect({ status: answer.status, error: answer.json.error }).toEqual({
    status,
    error: { code, message: says, hint: expect.stringMatching(/\w/) },
  })
}
