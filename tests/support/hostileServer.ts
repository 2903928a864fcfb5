/** A server that sends back the bytes it is given, whatever was asked, and then closes, or keeps the connection open. */
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'

export interface HostileAnswer {
  bytes: Uint8Array
  /** Whether the connection stays open, so that the client waits for what is missing. */
  staysOpen: boolean
}

export interface HostileServer {
  url: string
  /** Each request from here on is answered with this. */
  answer: HostileAnswer
  close(): Promise<void>
}

export async function startHostileServer(): Promise<HostileServer> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    // A client that cuts off what is too much is what this is for.
    socket.on('error', () => undefined)
    socket.on('data', (chunk) => {
      // A body may come in a chunk of its own; it is part of the request that was answered.
      if (!/^[A-Z]+ \//.test(chunk.subarray(0, 20).toString('latin1'))) return
      const { bytes, staysOpen } = hostile.answer
      socket.write(bytes)
      if (!staysOpen) socket.end()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const hostile: HostileServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    answer: { bytes: new Uint8Array(), staysOpen: false },
    close: async () => {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
  return hostile
}
