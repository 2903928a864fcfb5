/**
 * A proxy between a client and a server that makes the link's faults: slow, half-open, cut, refused.
 *
 * pass ⇄ delay ⇄ blackHole    what happens to bytes, of live connections and new ones alike
 * up ⇄ down                   whether new connections are taken at all
 */
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'

type Endpoint = { port: number; host?: string } | { path: string }

export interface TcpProxy {
  /** The loopback port clients connect to; stays the same through `down` and `up`. 0 when it listens on a path. */
  readonly port: number
  /** Live connections. */
  readonly connections: number
  /** Bytes go through; what a black hole held back is delivered. */
  pass(): void
  /** Bytes go through, each chunk `delayMs` later. */
  delay(delayMs: number): void
  /** Connections stay open and are accepted, and nothing goes through in either direction: a half-open link. */
  blackHole(): void
  /** Ends every live connection: with a reset (TCP only), or in order. */
  cut(how?: 'reset' | 'close'): void
  /** Resets every connection, and refuses new ones until `up`. */
  down(): Promise<void>
  up(): Promise<void>
  close(): Promise<void>
}

type Mode = { kind: 'pass' } | { kind: 'delay'; delayMs: number } | { kind: 'blackHole' }

/** One direction of a connection: chunks and the end in order, sent as the mode allows. */
class Flow {
  private readonly held: (Buffer | 'end')[] = []
  private readonly timers = new Set<NodeJS.Timeout>()
  private readonly to: Socket
  private readonly mode: () => Mode

  constructor(from: Socket, to: Socket, mode: () => Mode) {
    this.to = to
    this.mode = mode
    from.on('data', (chunk: Buffer) => this.take(chunk))
    from.on('end', () => this.take('end'))
  }

  private take(chunk: Buffer | 'end'): void {
    const mode = this.mode()
    this.held.push(chunk)
    if (mode.kind === 'blackHole') return
    if (mode.kind === 'pass') {
      this.flush()
      return
    }
    const timer = setTimeout(() => {
      this.timers.delete(timer)
      if (this.mode().kind !== 'blackHole') this.sendNext()
    }, mode.delayMs)
    this.timers.add(timer)
  }

  private sendNext(): void {
    const next = this.held.shift()
    if (next === 'end') this.to.end()
    else if (next) this.to.write(next)
  }

  /** Delivers what was held, for a link that works again. */
  flush(): void {
    this.stopTimers()
    while (this.held.length > 0) this.sendNext()
  }

  get isHolding(): boolean {
    return this.held.length > 0
  }

  drop(): void {
    this.stopTimers()
    this.held.length = 0
  }

  private stopTimers(): void {
    for (const timer of this.timers) clearTimeout(timer)
    this.timers.clear()
  }
}

/** Listens on a loopback port the system chooses, or on the unix socket `listen`, and carries to `upstream`. */
export async function startTcpProxy(upstream: Endpoint, listen?: string): Promise<TcpProxy> {
  let mode: Mode = { kind: 'pass' }
  const links = new Map<Socket, { server: Socket; flows: Flow[] }>()
  let port = 0

  const onConnection = (client: Socket) => {
    const server = connect({ ...upstream, allowHalfOpen: true })
    const there = new Flow(client, server, () => mode)
    const back = new Flow(server, client, () => mode)
    const flows = [there, back]
    links.set(client, { server, flows })
    for (const [socket, flow, other] of [
      [client, there, server],
      [server, back, client],
    ] as const) {
      // A broken socket closes next, which is what counts here.
      socket.on('error', () => socket.destroy())
      socket.on('close', (broken) => {
        // A half-open link hides that the server hung up; a slow one first delivers what it still holds.
        if (socket === server && (mode.kind === 'blackHole' || (flow.isHolding && !broken))) return
        for (const each of flows) each.drop()
        other.destroy()
        links.delete(client)
      })
    }
  }

  const change = (next: Mode) => {
    mode = next
    if (mode.kind === 'blackHole') return
    for (const [client, { server, flows }] of links) {
      for (const flow of flows) flow.flush()
      // The server hung up while the link was half-open; now the client learns it.
      if (server.destroyed) client.destroy()
    }
  }

  const open = async (): Promise<Server> => {
    const server = createServer({ allowHalfOpen: true }, onConnection)
    if (listen === undefined) server.listen(port, '127.0.0.1')
    else server.listen(listen)
    await once(server, 'listening')
    const address = server.address()
    if (address !== null && typeof address === 'object') port = address.port
    return server
  }

  const cut = (how: 'reset' | 'close' = 'reset') => {
    for (const [client, { server }] of links) {
      if (how === 'reset' && listen === undefined) client.resetAndDestroy()
      else client.end(() => client.destroy())
      server.destroy()
    }
  }
  const shut = async (listener: Server) => {
    const closed = once(listener, 'close')
    listener.close()
    cut()
    for (const [client, { server }] of links) {
      client.destroy()
      server.destroy()
    }
    await closed
    if (listen !== undefined) rmSync(listen, { force: true })
  }

  let listener: Server | undefined = await open()
  const down = async () => {
    const closing = listener
    listener = undefined
    if (closing) await shut(closing)
  }
  return {
    get port() {
      return port
    },
    get connections() {
      return links.size
    },
    pass: () => change({ kind: 'pass' }),
    delay: (delayMs) => change({ kind: 'delay', delayMs }),
    blackHole: () => change({ kind: 'blackHole' }),
    cut,
    down,
    async up() {
      listener ??= await open()
    },
    close: down,
  }
}
