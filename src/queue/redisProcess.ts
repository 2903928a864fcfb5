/**
 * Looks at a Redis server from outside, without a client library: does it answer on its socket, and which process
 * is it. The command's fast path may load this file, so it imports node: builtins and errors.ts alone.
 */
import { accessSync, constants, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import { connect } from 'node:net'
import { basename, delimiter, join } from 'node:path'
import { MemsyncError } from '../errors.ts'

const SERVER_NAMES = ['redis-server', 'valkey-server']
const PROBE_TIMEOUT_MS = 1_000

/**
 * - `ready`: takes commands (an error reply counts: the server lives)
 * - `loading`: reads its data and will be ready
 * - `absent`: nobody listens on the socket
 * - `silent`: somebody listens and does not answer in time
 */
type Answer = 'ready' | 'loading' | 'absent' | 'silent'

/** The first server on a PATH (`redis-server` before `valkey-server`), absolute; undefined when there is none. */
export function findRedisServer(pathVariable: string | undefined): string | undefined {
  const folders = (pathVariable ?? '').split(delimiter).filter((folder) => folder !== '')
  return SERVER_NAMES.flatMap((name) => folders.map((folder) => join(folder, name))).find(isExecutable)
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    // Missing or closed to us: either way not a server we can run.
    return false
  }
}

/**
 * Whether a server takes commands on a unix socket.
 * @throws MEMSYNC_QUEUE_UNAVAILABLE when the socket may not be used at all (permissions, not a socket)
 */
export async function probeRedis(socketPath: string): Promise<Answer> {
  try {
    const reply = await askRedis(socketPath, 'PING', PROBE_TIMEOUT_MS)
    if (reply === '') return 'silent'
    return reply.startsWith('-LOADING') ? 'loading' : 'ready'
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code
    if (code === 'ENOENT' || code === 'ECONNREFUSED') return 'absent'
    // A full backlog, or a server that ends this very moment.
    if (code === 'EAGAIN' || code === 'ECONNRESET' || code === 'EPIPE') return 'silent'
    throw new MemsyncError('MEMSYNC_QUEUE_UNAVAILABLE', `${socketPath} cannot be used (${code})`, { cause })
  }
}

/**
 * The one-line reply to an inline command, as the protocol writes it; '' when none came in time.
 * Protocol: https://redis.io/docs/latest/develop/reference/protocol-spec/
 */
export function askRedis(socketPath: string, command: string, timeoutMs: number): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  let reply = ''
  const socket = connect(socketPath)
  const timer = setTimeout(() => socket.destroy(), timeoutMs)
  socket.setEncoding('utf8')
  socket.on('data', (chunk: string) => {
    reply += chunk
    if (reply.endsWith('\r\n')) socket.destroy()
  })
  socket.on('error', reject)
  socket.on('close', () => {
    clearTimeout(timer)
    resolve(reply)
  })
  socket.write(`${command}\r\n`)
  return promise
}

/**
 * The process id of the server that works in `folder` (its real path) or listens on `socketPath`, if one lives; a
 * zombie does not.
 */
export async function findServerProcess(folder: string, socketPath: string): Promise<number | undefined> {
  return process.platform === 'linux' ? findByFolder(folder) : await findByTitle(socketPath)
}

/** By working folder, which Redis makes its data folder: true of every version, whatever title the process shows. */
function findByFolder(folder: string): number | undefined {
  const wanted = [folder, `${folder} (deleted)`]
  const pid = readdirSync('/proc').find((entry) => {
    if (!/^\d+$/.test(entry)) return false
    try {
      // A forked child that rewrites the file has a title of its own (redis-aof-rewrite): not a server.
      const title = readFileSync(`/proc/${entry}/cmdline`, 'utf8').split(/[\0 ]/)[0] ?? ''
      return SERVER_NAMES.includes(basename(title)) && wanted.includes(readlinkSync(`/proc/${entry}/cwd`))
    } catch {
      // The process has ended, or is another user's and so not ours.
      return false
    }
  })
  return pid === undefined ? undefined : Number(pid)
}

/** Where there is no /proc: by the title, in which the server shows the socket it listens on. */
async function findByTitle(socketPath: string): Promise<number | undefined> {
  const { execFileSync } = await import('node:child_process')
  const processes = execFileSync('ps', ['-axo', 'pid=,command='], { encoding: 'utf8' }).split('\n')
  const server = processes.find(
    (line) => /^ *\d+ \S*(redis|valkey)-server /.test(line) && line.includes(socketPath),
  )
  return server === undefined ? undefined : Number.parseInt(server, 10)
}
