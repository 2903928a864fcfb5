/**
 * `memsync serve` as a process: the server of the `http` remote over this machine's store, beside a daemon or
 * without.
 *
 * It speaks plain http, as TLS is the business of a proxy in front of it, and serves nobody without the token. The
 * log has one line per request at the level `debug`, with method, route, status and request id: no key, no value.
 * Exit codes as the daemon's: 0 after an orderly stop, 1 where it cannot start, 2 for a wrong setting, 143 (130,
 * 129) after a second signal.
 */
import { once } from 'node:events'
import { chmodSync, lstatSync, rmSync } from 'node:fs'
import { createServer, type Server, type ServerOptions } from 'node:http'
import { connect } from 'node:net'
import { constants } from 'node:os'
import type { Config } from '../config.ts'
import { MemsyncError } from '../errors.ts'
import { openStore } from '../infrastructure/memory/index.ts'
import { HEALTH_PATH, LIST_PATH, MEMORY_PATH } from '../infrastructure/remote/httpWire.ts'
import { memoryListener } from '../infrastructure/remote/memoryServer.ts'
import { createLogger, type Logger } from '../logger.ts'
import { DAEMON_VERSION } from '../release.ts'
import { isLoopback, type ListenAddress } from '../settingFormats.ts'
import { onStopSignals } from './stopSignals.ts'

/** A client that is slow on purpose holds a connection no longer than this. */
const SERVER_LIMITS: ServerOptions = {
  headersTimeout: 10_000,
  requestTimeout: 60_000,
  connectionsCheckingInterval: 2_000,
}

const ROUTES = [MEMORY_PATH, LIST_PATH, HEALTH_PATH]

/**
 * Serves until it is told to stop; resolves with the exit code.
 * @throws MEMSYNC_BAD_SETTING, and what the store cannot be opened with
 */
export async function runServer(config: Config): Promise<number> {
  const { serveToken: token, serveListen, maxValueBytes } = config
  if (token === undefined) {
    throw new MemsyncError(
      'MEMSYNC_BAD_SETTING',
      'MEMSYNC_SERVE_TOKEN: missing, and nobody is served without one; for example ' +
        'MEMSYNC_SERVE_TOKEN=$(openssl rand -hex 32)',
    )
  }
  const logger = await createLogger(config.logLevel, process.stdout.isTTY === true)
  const store = await openStore(config)
  const answer = memoryListener({
    ...{ store, token, maxValueBytes },
    onError: ({ code, message }, requestId) =>
      logger.error({ requestId, code, reason: message }, 'a request failed here'),
  })
  const server = createServer(SERVER_LIMITS, (incoming, outgoing) => {
    const startedAt = performance.now()
    outgoing.once('finish', () => {
      const { statusCode: status } = outgoing
      const path = incoming.url?.split('?')[0] ?? ''
      const route = ROUTES.includes(path) ? path : 'other'
      const durationMs = Math.round(performance.now() - startedAt)
      const requestId = outgoing.getHeader('x-request-id')
      logger.debug({ requestId, method: incoming.method, route, status, durationMs }, 'request')
    })
    answer(incoming, outgoing)
  })
  try {
    await listen(server, serveListen)
    const where = addressText(server, serveListen)
    logger.info({ version: DAEMON_VERSION, listen: where, dataDir: config.dataDir }, 'serving')
    if (serveListen.kind === 'tcp' && !isLoopback(serveListen.host)) {
      logger.warn(
        { listen: where },
        'it speaks plain http to other machines: put a proxy with TLS in front of it',
      )
    }
    await untilStopped(logger)
    await drain(server, config.drainTimeoutMs)
    logger.info('stopped')
    return 0
  } finally {
    await store.close()
  }
}

async function listen(server: Server, address: ListenAddress): Promise<void> {
  if (address.kind === 'socket') await removeStaleSocket(address.path)
  const listening = once(server, 'listening')
  if (address.kind === 'tcp') server.listen(address.port, address.host)
  else server.listen(address.path)
  try {
    await listening
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    const problem =
      code === 'EADDRINUSE' ? 'something listens there already' : `it cannot listen there (${code})`
    throw new MemsyncError('MEMSYNC_BAD_SETTING', `MEMSYNC_SERVE_LISTEN: ${problem}`, { cause })
  }
  // Who may use the socket is said by the folder it is in and by the token; others of this machine need neither.
  if (address.kind === 'socket') chmodSync(address.path, 0o660)
}

/** What a killed server left behind; one that lives answers. */
async function removeStaleSocket(path: string): Promise<void> {
  if (!lstatSync(path, { throwIfNoEntry: false })?.isSocket()) return
  const socket = connect(path)
  const isAlive = await new Promise<boolean>((resolve) => {
    socket.once('connect', () => resolve(true))
    socket.once('error', () => resolve(false))
  })
  socket.destroy()
  if (!isAlive) rmSync(path, { force: true })
}

function addressText(server: Server, configured: ListenAddress): string {
  const address = server.address()
  if (configured.kind === 'socket' || address === null || typeof address === 'string')
    return `unix:${address}`
  return address.family === 'IPv6'
    ? `[${address.address}]:${address.port}`
    : `${address.address}:${address.port}`
}

async function untilStopped(logger: Logger): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  onStopSignals(
    (signal) => {
      logger.info({ signal }, 'stopping')
      resolve()
    },
    (signal) => {
      logger.warn({ signal }, 'stopping at once')
      process.exit(128 + constants.signals[signal])
    },
  )
  await promise
}

/** Takes no more requests and lets those in flight end, for as long as there is time. */
async function drain(server: Server, drainTimeoutMs: number): Promise<void> {
  const closed = once(server, 'close')
  server.close()
  server.closeIdleConnections()
  const late = setTimeout(() => server.closeAllConnections(), drainTimeoutMs)
  await closed
  clearTimeout(late)
}
