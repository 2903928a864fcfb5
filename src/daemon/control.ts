/**
 * The daemon's own socket in the data folder, for the commands of this program: one JSON request a line, one
 * JSON answer a line. It needs no library on either end, so that `memsync enqueue` starts fast.
 *
 * Requests: `{ op: 'status' }` and `{ op: 'enqueue', ... }` (`enqueueRequest.ts`). Answers: `{ ok: true, ... }`, or
 * `{ ok: false, code, message }`.
 */
import { chmod, mkdir, rm } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { dirname } from 'node:path'
import { MemsyncError, toMemsyncError } from '../errors.ts'
import type { Logger } from '../logger.ts'

/** Answers one request; what it throws is sent as the answer. */
export type ControlHandler = (request: Record<string, unknown>) => Promise<Record<string, unknown>>

export class ControlServer {
  private readonly path: string
  private readonly maxLineBytes: number
  private readonly handle: ControlHandler
  private readonly logger: Logger
  private readonly sockets = new Set<Socket>()
  private server: Server | undefined

  constructor(path: string, maxLineBytes: number, handle: ControlHandler, logger: Logger) {
    this.path = path
    this.maxLineBytes = maxLineBytes
    this.handle = handle
    this.logger = logger
  }

  /** To be called while the data folder's lock is held: it removes the socket a killed daemon left. */
  async start(): Promise<void> {
    await mkdir(dirname(this.path), { recursive: true, mode: 0o700 })
    await rm(this.path, { force: true })
    const server = createServer((socket) => this.accept(socket))
    this.server = server
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(this.path, resolve)
    })
    await chmod(this.path, 0o600)
  }

  async stop(): Promise<void> {
    const server = this.server
    this.server = undefined
    for (const socket of this.sockets) socket.destroy()
    if (server) await new Promise((resolve) => server.close(resolve))
  }

  private accept(socket: Socket): void {
    this.sockets.add(socket)
    socket.on('close', () => this.sockets.delete(socket))
    // A client that went away is no event of ours; `close` follows.
    socket.on('error', (error) => this.logger.debug({ reason: error.name }, 'control client lost'))
    let buffered: Buffer[] = []
    let size = 0
    socket.on('data', (chunk: Buffer) => {
      let rest = chunk
      for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
        const line = Buffer.concat([...buffered, rest.subarray(0, end)])
        buffered = []
        size = 0
        rest = rest.subarray(end + 1)
        void this.answer(socket, line)
      }
      size += rest.length
      if (size > this.maxLineBytes) {
        const error = new MemsyncError(
          'MEMSYNC_VALUE_TOO_LARGE',
          `a request is longer than ${this.maxLineBytes} bytes`,
        )
        socket.end(`${JSON.stringify(refusal(error))}\n`)
        return
      }
      buffered.push(rest)
    })
  }

  private async answer(socket: Socket, line: Buffer): Promise<void> {
    let answer: Record<string, unknown>
    try {
      answer = { ok: true, ...(await this.handle(parseRequest(line))) }
    } catch (thrown) {
      answer = refusal(toMemsyncError(thrown, 'MEMSYNC_HANDLER_FAILED'))
    }
    if (socket.writable) socket.write(`${JSON.stringify(answer)}\n`)
  }
}

function parseRequest(line: Buffer): Record<string, unknown> {
  let parsed: unknown
  try {
    parsed = JSON.parse(line.toString('utf8'))
  } catch {
    // The parser's own message would quote the text.
    throw new MemsyncError('MEMSYNC_BAD_USAGE', 'a request is not JSON')
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw new MemsyncError('MEMSYNC_BAD_USAGE', 'a request is not a JSON object')
  }
  return parsed as Record<string, unknown>
}

function refusal(error: MemsyncError): Record<string, unknown> {
  return { ok: false, code: error.code, message: error.message }
}
