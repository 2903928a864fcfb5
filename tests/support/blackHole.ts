/** A port on which connections are never accepted: its SYNs are dropped, as by a firewall that says nothing. */
import { connect, type Socket } from 'node:net'
import { Worker } from 'node:worker_threads'

const LISTENER = `
  const { parentPort } = require('node:worker_threads')
  const server = require('node:net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
    parentPort.postMessage(server.address().port)
    setImmediate(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0))
  })`

/** The listener's thread stands still, and its backlog is filled, so that the kernel takes no more. */
export async function openBlackHole(): Promise<{ url: string; close(): Promise<void> }> {
  const worker = new Worker(LISTENER, { eval: true })
  const port = await new Promise<number>((resolve, reject) => {
    worker.once('message', resolve)
    worker.once('error', reject)
  })
  const fillers: Socket[] = []
  // The backlog is full once a connection is left waiting.
  for (let waiting = false; !waiting && fillers.length < 100; ) {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => socket.destroy())
    fillers.push(socket)
    waiting = await new Promise<boolean>((resolve) => {
      const timer = setTimeout(resolve, 200, true)
      socket.once('connect', () => {
        clearTimeout(timer)
        resolve(false)
      })
    })
  }
  return {
    url: `http://127.0.0.1:${port}`,
    async close() {
      for (const socket of fillers) socket.destroy()
      await worker.terminate()
    },
  }
}
