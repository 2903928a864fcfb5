/**
 * What the errors of Redis, as ioredis and BullMQ hand them on, mean to us: one table.
 *
 * Only errors that came from a call to Redis belong here; a handler's own ECONNRESET would look the same.
 */
import { type ErrorClass, type ErrorCode, MemsyncError } from '../errors.ts'

interface Row {
  /** The first word of an error reply of the server. */
  reply?: readonly string[]
  /** `error.code` of the operating system or the resolver. */
  system?: readonly string[]
  /** The same, where only `connect` makes it an error of Redis: any file may be missing. */
  connect?: readonly string[]
  /** The error's name. */
  name?: readonly string[]
  /** The start of the message of an error that has neither. */
  message?: readonly string[]
  code: ErrorCode
  class?: ErrorClass
  /** Our message, completed by what matched. */
  says: string
}

const UNAVAILABLE = { code: 'MEMSYNC_QUEUE_UNAVAILABLE', says: 'Redis does not answer' } as const
const REFUSED = 'MEMSYNC_QUEUE_REFUSED'

const TABLE: readonly Row[] = [
  { reply: ['OOM'], code: REFUSED, says: 'Redis takes no writes: it is out of memory' },
  { reply: ['READONLY', 'UNBLOCKED'], code: REFUSED, says: 'Redis takes no writes: it is a replica' },
  { reply: ['MISCONF'], code: REFUSED, says: 'Redis takes no writes: it cannot persist to its disk' },
  { reply: ['LOADING'], code: REFUSED, says: 'Redis takes no commands yet: it is loading its data' },
  { reply: ['BUSY'], code: REFUSED, says: 'Redis takes no commands: a script is running' },
  {
    reply: ['MASTERDOWN'],
    code: REFUSED,
    says: 'Redis takes no commands: it is a replica without its primary',
  },
  { reply: ['NOREPLICAS'], code: REFUSED, says: 'Redis takes no writes: it has too few replicas' },
  { reply: ['CLUSTERDOWN'], code: REFUSED, says: 'Redis takes no commands: its cluster is down' },
  { message: ['ERR max number of clients'], code: REFUSED, says: 'Redis takes no more connections' },
  {
    reply: ['NOAUTH', 'WRONGPASS', 'NOPERM'],
    code: REFUSED,
    class: 'credentials',
    says: 'Redis refuses this user: check the user and password in REDIS_URL and what they may do',
  },
  { system: ['ECONNREFUSED', 'ECONNRESET', 'ECONNABORTED', 'EPIPE', 'ETIMEDOUT'], ...UNAVAILABLE },
  { system: ['EHOSTUNREACH', 'EHOSTDOWN', 'ENETUNREACH', 'ENETDOWN', 'EADDRNOTAVAIL'], ...UNAVAILABLE },
  { system: ['ENOTFOUND', 'EAI_AGAIN', 'EAI_FAIL'], ...UNAVAILABLE },
  // A unix socket that is missing, closed to this user, or has a full backlog.
  { connect: ['ENOENT', 'EACCES', 'EPERM', 'EAGAIN'], ...UNAVAILABLE },
  { name: ['MaxRetriesPerRequestError', 'ConnectionClosedError'], ...UNAVAILABLE },
  { message: ['Connection is closed.', 'Command aborted due to connection close'], ...UNAVAILABLE },
  { message: ["Stream isn't writeable"], ...UNAVAILABLE },
  { message: ['Socket timeout.', 'Command timed out'], ...UNAVAILABLE },
]

/** Before Redis 7, a reply that a script met stood inside this one. */
const WITHIN_SCRIPT = /^ERR Error running script.*?: -(?=[A-Z]+ )/s
const WITHIN_EXEC = /^EXECABORT Transaction discarded because of: /

interface Thrown {
  name?: unknown
  message?: unknown
  code?: unknown
  syscall?: unknown
  previousErrors?: unknown
}

/**
 * The error as one of ours, or undefined where it says nothing about Redis being usable.
 *
 * MEMSYNC_QUEUE_UNAVAILABLE where there is no working connection, MEMSYNC_QUEUE_REFUSED where the server answers
 * with a refusal, of class `credentials` where it refuses the user. The message is constant but for the name of
 * what matched. The original is not kept as the cause: an ioredis error carries the command's arguments, and
 * those hold values.
 */
export function classifyRedisError(thrown: unknown): MemsyncError | undefined {
  if (typeof thrown !== 'object' || thrown === null) return undefined
  const error: Thrown = thrown
  for (const row of TABLE) {
    const matched = match(row, error)
    if (matched === undefined) continue
    return new MemsyncError(row.code, `${row.says} (${matched})`, row.class && { class: row.class })
  }
  // A transaction names its reason only in what its commands were answered before.
  const previous = Array.isArray(error.previousErrors) ? error.previousErrors : []
  return previous.map(classifyRedisError).find((classified) => classified !== undefined)
}

/** What of the error the row names, for a person to read. */
function match(row: Row, error: Thrown): string | undefined {
  const message = String(error.message ?? '')
    .replace(WITHIN_SCRIPT, '')
    .replace(WITHIN_EXEC, '')
  return (
    row.reply?.find((word) => message.startsWith(`${word} `)) ??
    row.system?.find((code) => error.code === code) ??
    (error.syscall === 'connect' ? row.connect?.find((code) => error.code === code) : undefined) ??
    row.name?.find((name) => error.name === name) ??
    row.message?.find((start) => message.startsWith(start))?.replace(/\.$/, '')
  )
}
