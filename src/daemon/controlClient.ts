/**
 * Asking the daemon over its socket. Only Node's own modules: the command's fast path loads this file.
 */
import { createConnection } from 'node:net'
import { ERROR_CODES, type ErrorCode, MemsyncError } from '../errors.ts'
import { socketPathIn } from './socketPath.ts'

/** Where the daemon of this data folder listens. */
export function controlSocket(dataDir: string): string {
  return socketPathIn(dataDir, 'control.sock')
}

/**
 * One request, one answer.
 * @returns undefined where no daemon listens
 * @throws what the daemon refused it with; MEMSYNC_QUEUE_UNAVAILABLE where it took the request and no answer came
 *   within `timeoutMs`
 */
export async function askDaemon(
  dataDir: string,
  request: Record<string, unknown>,
  timeoutMs: number,
): Promise<Record<string, unknown> | undefined> {
  const line = await exchange(controlSocket(dataDir), `${JSON.stringify(request)}\n`, timeoutMs)
  if (line === undefined) return undefined
  const answer = JSON.parse(line) as { ok: boolean; code?: string; message?: string }
  if (answer.ok) return answer
  const code = answer.code !== undefined && Object.hasOwn(ERROR_CODES, answer.code) ? answer.code : undefined
  throw new MemsyncError(
    (code as ErrorCode) ?? 'MEMSYNC_HANDLER_FAILED',
    answer.message ?? 'the daemon refused',
  )
}

function exchange(path: string, text: string, timeoutMs: number): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let connected = false
    const socket = createConnection(path, () => {
      connected = true
      socket.write(text)
    })
    socket.setTimeout(timeoutMs, () => fail(`the daemon did not answer within ${timeoutMs} ms`))
    socket.on('data', (chunk) => {
      chunks.push(chunk)
      if (!chunk.includes(10)) return
      socket.destroy()
      resolve(Buffer.concat(chunks).toString('utf8'))
    })
    // Nothing there, or what a killed daemon left: nobody took the request.
    socket.on('error', () => (connected ? fail('the connection to the daemon was lost') : resolve(undefined)))
    socket.on('close', () => fail('the daemon closed the connection without an answer'))

    function fail(message: string): void {
      socket.destroy()
      reject(new MemsyncError('MEMSYNC_QUEUE_UNAVAILABLE', message))
    }
  })
}
