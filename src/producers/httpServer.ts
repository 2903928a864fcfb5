/**
 * An HTTP server that stands beside the syncing: it listens on a unix socket or a loopback port, and nothing that goes
 * wrong with it stops anything else. An address that is taken is told once and tried again until it is free.
 */
import { lstat, rm } from 'node:fs/promises'
import { createServer, type RequestListener, type Server } from 'node:http'
import { type AddressInfo, createConnection, type ListenOptions, type Socket } from 'node:net'
import { MemsyncError, toMemsyncError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import type { ListenAddress } from '../settingFormats.ts'
import { badRequest, errorBody } from './httpErrors.ts'

const RETRY_MS = 2_000
const HEADERS_TIMEOUT_MS = 10_000
/** A stream of NDJSON may last, but not in silence. */
const IDLE_TIMEOUT_MS = 60_000
const MAX_CONNECTIONS = 256
/** How long the requests in flight get at the stop. */
const CLOSE_TIMEOUT_MS = 1_000

export interface HttpServerOptions {
  /** What the log calls it. */
  name: string
  endpoint: ListenAddress
  logger: Logger
  /** Asked at each attempt to listen. */
  createListener(): Promise<RequestListener>
}

export class HttpServer {
  private readonly options: HttpServerOptions
  private server: Server | undefined
  private retry: NodeJS.Timeout | undefined
  private isStopped = false
  private hasToldTrouble = false

  constructor(options: HttpServerOptions) {
    this.options = options
  }

  /** Where it listens, as a URL; undefined while it does not. */
  get address(): string | undefined {
    return this.server && describe(this.options.endpoint, this.server)
  }

  /** Resolves after the first attempt, whether or not it listens then. Never rejects. */
  async start(): Promise<void> {
    const { name, endpoint, logger } = this.options
    try {
      await this.open()
      if (this.address !== undefined) logger.info({ address: this.address }, `${name} listens`)
    } catch (thrown) {
      const error = toMemsyncError(thrown, 'MEMSYNC_BAD_SETTING')
      if (!this.hasToldTrouble) {
        const facts = { address: describe(endpoint), reason: error.message, retryEveryMs: RETRY_MS }
        logger.warn(facts, `${name} cannot listen yet; it is tried again, and the syncing goes on`)
      }
      this.hasToldTrouble = true
      if (this.isStopped) return
      this.retry = setTimeout(() => void this.start(), RETRY_MS)
      this.retry.unref()
    }
  }

  /** @throws MEMSYNC_BAD_SETTING where it cannot listen */
  async open(): Promise<void> {
    const server = await this.listen().catch((thrown: unknown) => {
      throw toMemsyncError(thrown, 'MEMSYNC_BAD_SETTING')
    })
    if (this.isStopped) return closeServer(server)
    this.server = server
  }

  /** Idempotent. */
  async stop(): Promise<void> {
    this.isStopped = true
    clearTimeout(this.retry)
    const { server } = this
    this.server = undefined
    if (server) await closeServer(server)
  }

  private async listen(): Promise<Server> {
    const { endpoint, createListener } = this.options
    const server = createServer(
      { headersTimeout: HEADERS_TIMEOUT_MS, requestTimeout: 0, keepAliveTimeout: 5_000 },
      await createListener(),
    )
    server.maxConnections = MAX_CONNECTIONS
    server.timeout = IDLE_TIMEOUT_MS
    server.on('clientError', refuseUnparsable)
    if (endpoint.kind === 'socket') await removeAbandoned(endpoint.path)
    await bind(
      server,
      endpoint.kind === 'socket' ? { path: endpoint.path } : { host: endpoint.host, port: endpoint.port },
    )
    return server
  }
}

/** For this user alone from its first moment: the socket is made within `listen`, with this mask. */
function bind(server: Server, where: ListenOptions): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', reject)
  const previous = process.umask(0o177)
  try {
    server.listen(where, () => {
      server.off('error', reject)
      resolve()
    })
  } finally {
    process.umask(previous)
  }
  return promise
}

/**
 * Removes the socket that a killed daemon left; nothing else that stands there.
 * @throws MEMSYNC_BAD_SETTING where something else does, or somebody listens
 */
async function removeAbandoned(path: string): Promise<void> {
  const found = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  if (!found) return
  if (!found.isSocket()) throw new MemsyncError('MEMSYNC_BAD_SETTING', `${path} is there and is no socket`)
  if (await isAnswered(path))
    throw new MemsyncError('MEMSYNC_BAD_SETTING', `another process listens on ${path}`)
  await rm(path, { force: true })
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(path)
    const end = (answered: boolean) => {
      socket.destroy()
      resolve(answered)
    }
    socket.on('connect', () => end(true))
    socket.on('error', (error: NodeJS.ErrnoException) => end(error.code !== 'ECONNREFUSED'))
  })
}

function describe(endpoint: ListenAddress, server?: Server): string {
  if (endpoint.kind === 'socket') return `unix:${endpoint.path}`
  const host = endpoint.host.includes(':') ? `[${endpoint.host}]` : endpoint.host
  // Port 0 means whichever is free, so what counts is the one that was given.
  const port = server ? (server.address() as AddressInfo).port : endpoint.port
  return `http://${host}:${port}`
}

/** What is no HTTP gets the same body as any other refusal, where its client still reads. */
function refuseUnparsable(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return
  const tooLong = error.code === 'HPE_HEADER_OVERFLOW'
  const late = error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
  const [status, problem] = tooLong
    ? ['431 Request Header Fields Too Large', 'the URL and the headers are longer than 16 KiB']
    : late
      ? ['408 Request Timeout', 'the headers did not arrive in time']
      : ['400 Bad Request', 'this is not HTTP']
  const body = JSON.stringify(errorBody(badRequest(problem)))
  const head = `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close`
  socket.end(`HTTP/1.1 ${status}\r\n${head}\r\n\r\n${body}`)
}

async function closeServer(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => {
    server.close(() => resolve())
  })
  server.closeIdleConnections()
  const timer = setTimeout(() => server.closeAllConnections(), CLOSE_TIMEOUT_MS)
  await closed
  clearTimeout(timer)
}
