/**
 * A real HTTP server on a free port that misbehaves as told. Routes answer as pure functions; a fault stands
 * between the route and the socket. Calls are counted per route, so that a test can say "500 calls".
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'

export interface TestRequest {
  method: string
  /** Path alone, still encoded. */
  path: string
  query: URLSearchParams
  /** Path and query, as they came. */
  target: string
  headers: IncomingMessage['headers']
  body: string
  /** The parts of the path that the route calls `:id`. */
  params: string[]
}

export interface TestAnswer {
  status: number
  headers?: Record<string, string>
  /** A string goes as it is, anything else as JSON. */
  body?: unknown
}

interface TestRoute {
  method: string
  /** `/memories/:id` */
  path: string
  answer: (request: TestRequest) => TestAnswer | Promise<TestAnswer>
}

export type Fault =
  /** Reads the request and says nothing. */
  | { kind: 'hang' }
  /** Sends the head of an answer, byte by byte, without end. */
  | { kind: 'dripHead' }
  /** Sends a head, of 200 unless given, then its body byte by byte, without end. */
  | { kind: 'dripBody'; status?: number }
  /** Sends a body without end, as fast as it is read. */
  | { kind: 'flood' }
  | { kind: 'status'; status: number; headers?: Record<string, string>; body?: unknown }
  /** 502 with a code, as the self-hosted Mem0 answers. */
  | { kind: 'upstream'; code: string }
  /** Resets the connection before the route is asked. */
  | { kind: 'reset' }
  /** The route does its work, then the connection is reset without an answer. */
  | { kind: 'dropAnswer' }
  /** The route does its work, then half of the answer is sent and the connection is reset. */
  | { kind: 'resetMidBody' }
  | { kind: 'slow'; delayMs: number }
  /** The route does its work, and the answer comes so much later. */
  | { kind: 'lateAnswer'; delayMs: number }

interface FaultScope {
  /** How many requests it befalls; without end unless given. */
  times?: number
  /** `POST /memories`: which route it befalls; every one unless given. */
  route?: string
}

export interface FaultyHttp {
  readonly url: string
  /** Calls since the start or `resetCalls`, by `METHOD /route`; what no route takes is under `other`. */
  readonly calls: ReadonlyMap<string, number>
  /** Every request that came, newest last. */
  readonly requests: readonly TestRequest[]
  /** Connections that are open now. */
  readonly openSockets: number
  resetCalls(): void
  inject(fault: Fault, scope?: FaultScope): void
  /** Ends every fault; requests that hang are cut. */
  heal(): void
  /** Closes the listener and every connection: connects are refused. */
  refuse(): Promise<void>
  /** Listens again on the same port. */
  comeBack(): Promise<void>
  close(): Promise<void>
}

export interface FaultyHttpOptions {
  routes: TestRoute[]
  /** What is answered in place of the route, for instance 401. */
  guard?: (request: TestRequest) => TestAnswer | undefined
  notFound?: TestAnswer
}

interface LiveFault extends FaultScope {
  fault: Fault
}

const DRIP_EVERY_MS = 20

export async function startFaultyHttp(options: FaultyHttpOptions): Promise<FaultyHttp> {
  const sockets = new Set<Socket>()
  const calls = new Map<string, number>()
  const requests: TestRequest[] = []
  let faults: LiveFault[] = []

  const takeFault = (route: string): Fault | undefined => {
    const found = faults.find((live) => live.route === undefined || live.route === route)
    if (found?.times !== undefined && --found.times === 0) faults = faults.filter((live) => live !== found)
    return found?.fault
  }

  const handle = async (incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    const request = await readRequest(incoming)
    const route = matchRoute(options.routes, request)
    const name = route ? `${route.method} ${route.path}` : 'other'
    calls.set(name, (calls.get(name) ?? 0) + 1)
    requests.push(request)
    const respond = async (): Promise<TestAnswer> =>
      options.guard?.(request) ?? (await route?.answer(request)) ?? options.notFound ?? { status: 404 }
    await misbehave(takeFault(name), respond, outgoing)
  }

  const listen = (port: number): Promise<Server> => {
    const server = createServer((incoming, outgoing) => {
      // A client that goes away while its request is read is part of what these tests do.
      handle(incoming, outgoing).catch(() => outgoing.destroy())
    })
    server.on('connection', (socket) => {
      sockets.add(socket)
      socket.on('close', () => sockets.delete(socket))
    })
    const { promise, resolve, reject } = Promise.withResolvers<Server>()
    server.on('error', reject)
    server.listen(port, '127.0.0.1', () => resolve(server))
    return promise
  }
  const stop = async (server: Server): Promise<void> => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()))
    for (const socket of sockets) socket.destroy()
    await closed
  }

  let server: Server | undefined = await listen(0)
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    calls,
    requests,
    get openSockets() {
      return sockets.size
    },
    resetCalls() {
      calls.clear()
      requests.length = 0
    },
    inject: (fault, scope = {}) => void faults.push({ ...scope, fault }),
    heal() {
      faults = []
      for (const socket of sockets) socket.destroy()
    },
    async refuse() {
      if (server) await stop(server)
      server = undefined
    },
    async comeBack() {
      server ??= await listen(port)
    },
    async close() {
      if (server) await stop(server)
      server = undefined
    },
  }
}

async function readRequest(incoming: IncomingMessage): Promise<TestRequest> {
  const chunks: Buffer[] = []
  for await (const chunk of incoming) chunks.push(chunk as Buffer)
  const target = incoming.url ?? '/'
  const [path = '/', query = ''] = target.split(/\?(.*)/s)
  return {
    method: incoming.method ?? '',
    path,
    query: new URLSearchParams(query),
    target,
    headers: incoming.headers,
    body: Buffer.concat(chunks).toString('utf8'),
    params: [],
  }
}

/** Also fills in the request's `params`. */
function matchRoute(routes: TestRoute[], request: TestRequest): TestRoute | undefined {
  const parts = request.path.split('/')
  return routes.find((route) => {
    const wanted = route.path.split('/')
    const same =
      route.method === request.method &&
      wanted.length === parts.length &&
      wanted.every((part, at) => (part.startsWith(':') ? parts[at] !== '' : part === parts[at]))
    if (same) request.params = parts.filter((_, at) => wanted[at]?.startsWith(':')).map(decodeURIComponent)
    return same
  })
}

function send(outgoing: ServerResponse, { status, headers = {}, body }: TestAnswer): void {
  const text = typeof body === 'string' ? body : JSON.stringify(body ?? null)
  outgoing.writeHead(status, { 'content-type': 'application/json', ...headers }).end(text)
}

async function misbehave(
  fault: Fault | undefined,
  respond: () => Promise<TestAnswer>,
  outgoing: ServerResponse,
): Promise<void> {
  const { socket } = outgoing
  switch (fault?.kind) {
    case undefined:
      return send(outgoing, await respond())
    case 'hang':
      return
    case 'status':
      return send(outgoing, { body: { detail: 'told to' }, ...fault })
    case 'upstream':
      return send(outgoing, {
        status: 502,
        body: { detail: 'Upstream provider error.', code: fault.code, request_id: 'deadbeef' },
        headers: { 'x-request-id': 'deadbeef' },
      })
    case 'slow':
      await new Promise((resolve) => setTimeout(resolve, fault.delayMs))
      return send(outgoing, await respond())
    case 'lateAnswer': {
      const answer = await respond()
      await new Promise((resolve) => setTimeout(resolve, fault.delayMs))
      return send(outgoing, answer)
    }
    case 'dripHead':
      return drip(socket, 'HTTP/1.1 200 OK\r\nx-drip: ')
    case 'dripBody': {
      const head = `HTTP/1.1 ${fault.status ?? 200} Told\r\ncontent-type: application/json`
      return drip(socket, `${head}\r\ncontent-length: 100000\r\n\r\n"`)
    }
    case 'flood':
      return flood(outgoing)
    case 'reset':
      socket?.resetAndDestroy()
      return
    case 'dropAnswer':
      await respond()
      socket?.resetAndDestroy()
      return
    case 'resetMidBody': {
      const { status, body } = await respond()
      const text = JSON.stringify(body ?? null)
      outgoing.writeHead(status, { 'content-length': String(Buffer.byteLength(text) + 10) })
      outgoing.write(text.slice(0, text.length / 2), () => socket?.resetAndDestroy())
    }
  }
}

function drip(socket: Socket | null, start: string): void {
  if (!socket) return
  socket.write(start)
  const timer = setInterval(() => socket.write('x'), DRIP_EVERY_MS)
  socket.on('close', () => clearInterval(timer))
}

function flood(outgoing: ServerResponse): void {
  const piece = 'x'.repeat(1024 * 1024)
  outgoing.writeHead(200, { 'content-type': 'application/json' })
  const more = () => {
    while (!outgoing.destroyed && outgoing.write(piece));
  }
  outgoing.on('drain', more)
  more()
}
