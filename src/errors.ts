/**
 * Every error this program can hand to a person or a caller: one stable code, what it means, and what to do.
 * Match on `code`, never on the class or the message. The README's table of codes is tested against `ERROR_CODES`.
 */

/**
 * What the code that meets an error does with the job in hand:
 * - `permanent`: it cannot succeed without a person, so it is a dead letter now
 * - `transient`: it burns an attempt and is tried again
 * - `outage`: a dependency is away, so the lane's gate shuts and no attempt burns
 * - `credentials`: as `outage`, and the operator is told
 */
export const ERROR_CLASSES = ['permanent', 'transient', 'outage', 'credentials'] as const

export type ErrorClass = (typeof ERROR_CLASSES)[number]

interface ErrorEntry {
  class: ErrorClass
  /** What happened, in a sentence for the README. */
  meaning: string
  /** What the reader does about it. */
  hint: string
}

export const ERROR_CODES = {
  MEMSYNC_BAD_SETTING: {
    class: 'permanent',
    meaning: 'A setting has a value that cannot be used.',
    hint: 'Correct the setting the message names; `memsync config` shows where its value came from.',
  },
  MEMSYNC_BAD_USAGE: {
    class: 'permanent',
    meaning: 'A command was called with arguments it does not take.',
    hint: 'Run the command with --help.',
  },
  MEMSYNC_BAD_REQUEST: {
    class: 'permanent',
    meaning: 'An HTTP request has a route, method, header, query or body that is not taken.',
    hint: 'Correct what the message names; GET /openapi.json describes every route.',
  },
  MEMSYNC_UNAUTHORIZED: {
    class: 'permanent',
    meaning: 'An HTTP request does not carry the bearer token.',
    hint: 'Send `Authorization: Bearer ...` with the content of http-token in the data folder.',
  },
  MEMSYNC_FORBIDDEN: {
    class: 'permanent',
    meaning: 'An HTTP request names a Host or an Origin that is not this machine, as a web page would.',
    hint: 'Ask 127.0.0.1 or localhost directly, and not from a page of another site.',
  },
  MEMSYNC_INVALID_MEMORY: {
    class: 'permanent',
    meaning: 'A memory breaks the contract: a field is missing, unknown, or of the wrong type or size.',
    hint: 'Correct the field the message names; `memsync schema` prints the contract.',
  },
  MEMSYNC_INVALID_VALUE: {
    class: 'permanent',
    meaning:
      'A value is not JSON: it holds undefined, a function, a BigInt, NaN, a class instance or a cycle.',
    hint: 'Convert what stands at the path the message names to plain JSON.',
  },
  MEMSYNC_VALUE_TOO_LARGE: {
    class: 'permanent',
    meaning: 'A value is longer or deeper than the limit.',
    hint: 'Split the value, or raise MEMSYNC_MAX_VALUE_BYTES on every producer and the daemon.',
  },
  MEMSYNC_UNKNOWN_JOB: {
    class: 'permanent',
    meaning: 'A job has a name no handler is registered for, or an id its producer chose.',
    hint: 'Use the job name MEMORY_SYNC and set no job id.',
  },
  MEMSYNC_HANDLER_FAILED: {
    class: 'transient',
    meaning: 'A handler threw an error that no table names.',
    hint: 'Read the cause; the job is tried again until its attempts are used up.',
  },
  MEMSYNC_STALLED: {
    class: 'permanent',
    meaning: 'A job was in flight each time the process died, too often to be tried again.',
    hint: 'Look at the dead letter for what is special about it, then redrive or drop it.',
  },
  MEMSYNC_JOB_LOST: {
    class: 'transient',
    meaning: 'The queue no longer knows a job that was being waited for (Redis was flushed or replaced).',
    hint: 'Read the key back; hand the memory over again if it is not there.',
  },
  MEMSYNC_QUEUE_UNAVAILABLE: {
    class: 'outage',
    meaning: 'Redis does not answer.',
    hint: 'Start it, or check REDIS_URL; `memsync status` says what the daemon sees.',
  },
  MEMSYNC_QUEUE_REFUSED: {
    class: 'outage',
    meaning: 'Redis answers but takes no writes (out of memory, read-only, loading, or failing to persist).',
    hint: 'Read the cause, and mend Redis: free memory or disk, or point REDIS_URL at the primary.',
  },
  MEMSYNC_SPOOL_FULL: {
    class: 'outage',
    meaning: 'The spool holds as much as it may, so it takes no more; what it holds is kept.',
    hint: 'Start the daemon, which empties it, or raise MEMSYNC_SPOOL_MAX_BYTES.',
  },
  MEMSYNC_SPOOL_UNAVAILABLE: {
    class: 'outage',
    meaning: 'The spool cannot be written or read (disk full, read-only, no permission or an I/O error).',
    hint: 'Free space, or make the folder `spool` in MEMSYNC_DATA_DIR writable for this user.',
  },
  MEMSYNC_REDIS_MISSING: {
    class: 'permanent',
    meaning: 'There is no redis-server or valkey-server on the PATH, and REDIS_URL is not set.',
    hint: 'Install one (Debian: apt-get install redis-server; macOS: brew install redis), or set REDIS_URL.',
  },
  MEMSYNC_STORE_UNAVAILABLE: {
    class: 'outage',
    meaning: 'The store cannot be written now (disk full, busy, read-only or an I/O error).',
    hint: 'Free space or mend the disk; a daemon that runs goes on by itself, one that starts is to be started again.',
  },
  MEMSYNC_STORE_CORRUPT: {
    class: 'permanent',
    meaning: 'The store failed its integrity check and was left untouched.',
    hint: 'Restore a snapshot (`memsync snapshot restore latest`); nothing is written until then.',
  },
  MEMSYNC_STORE_IN_USE: {
    class: 'permanent',
    meaning: 'Another process has the store open, which must not be replaced under it.',
    hint: 'End `memsync serve`, the `memsync mcp` of your agents and scripts that use the store; then try again.',
  },
  MEMSYNC_SNAPSHOT_DAMAGED: {
    class: 'permanent',
    meaning: 'A snapshot is damaged, cut short, or not a snapshot of a memory store; nothing was replaced.',
    hint: 'Take another one: `memsync snapshot list` shows them, `memsync snapshot verify` checks them.',
  },
  MEMSYNC_STORE_NEWER: {
    class: 'permanent',
    meaning: 'The store was written by a newer memsyncd, and was left untouched.',
    hint: 'Upgrade this memsyncd, or give it another MEMSYNC_DATA_DIR.',
  },
  MEMSYNC_REMOTE_UNAVAILABLE: {
    class: 'outage',
    meaning: 'The remote cannot be reached, or says that it or what it stands on is away.',
    hint: 'Start it, or check MEMSYNC_REMOTE_URL and MEMSYNC_REMOTE_KIND; the waiting pushes go on by themselves.',
  },
  MEMSYNC_REMOTE_RATE_LIMITED: {
    class: 'outage',
    meaning: 'The remote, or the provider behind it, asks for a slower pace.',
    hint: 'Nothing: the lane waits as long as it was told to. Raise the limit there if this lasts.',
  },
  MEMSYNC_REMOTE_CREDENTIALS: {
    class: 'credentials',
    meaning: "The remote refuses the key or the account, or its own provider's key is refused.",
    hint: 'Correct MEMSYNC_REMOTE_KEY, or the key in the remote (its own settings); the pushes wait.',
  },
  MEMSYNC_REMOTE_FORBIDDEN: {
    class: 'credentials',
    meaning:
      'The remote, or a firewall before it, forbids this (403). Permanent for a memory that stays forbidden while others are taken.',
    hint: 'Give MEMSYNC_REMOTE_KEY the right to write. Where one memory alone is forbidden, look for the firewall rule that it meets, then redrive it.',
  },
  MEMSYNC_REMOTE_REFUSED: {
    class: 'permanent',
    meaning: 'The remote refuses this memory (malformed, empty or too long for it).',
    hint: 'Look at the dead letter, correct the memory, and write it again.',
  },
  MEMSYNC_REMOTE_UNCLEAR: {
    class: 'transient',
    meaning:
      'The remote was asked and did not answer, or not in a way that says whether the memory is stored.',
    hint: 'Nothing: the next try looks first, where the remote can be looked up.',
  },
  MEMSYNC_EMBEDDER_UNAVAILABLE: {
    class: 'outage',
    meaning: 'The embedding server does not answer, answers too slowly, or fails for a reason of its own.',
    hint: 'Nothing, if it comes back: memories wait and are embedded then. Otherwise check OPENAI_BASE_URL.',
  },
  MEMSYNC_EMBEDDER_RATE_LIMITED: {
    class: 'outage',
    meaning: 'The embedding server asks to be called less often.',
    hint: 'Nothing: the lane waits as long as the server asks.',
  },
  MEMSYNC_EMBEDDER_BUDGET: {
    class: 'outage',
    meaning: "The day's token budget for embeddings is used up.",
    hint: 'Nothing: it goes on at midnight of MEMSYNC_TIME_ZONE; or raise MEMSYNC_EMBED_DAILY_TOKENS.',
  },
  MEMSYNC_EMBEDDER_CREDENTIALS: {
    class: 'credentials',
    meaning: 'There is no key for the embedding server, or it refuses the one it was given.',
    hint: 'Set OPENAI_API_KEY to a key that may create embeddings; memories wait until then.',
  },
  MEMSYNC_EMBEDDER_BLOCKED: {
    class: 'credentials',
    meaning: 'The account at the embedding server has no quota or money left.',
    hint: 'Raise the limit or pay the bill there; memories wait until then.',
  },
  MEMSYNC_EMBEDDER_MISCONFIGURED: {
    class: 'credentials',
    meaning: 'The embedding server does not know the model, its dimensions or the address.',
    hint: 'Correct EMBEDDING_MODEL, its dimensions or OPENAI_BASE_URL (it usually ends in /v1); memories wait.',
  },
  MEMSYNC_EMBEDDER_REFUSED: {
    class: 'permanent',
    meaning: 'The embedding server refuses this text, though it takes others.',
    hint: 'Look at the memory the dead letter names; it is stored, only its vector is missing.',
  },
  MEMSYNC_EMBEDDER_BAD_ANSWER: {
    class: 'transient',
    meaning: 'The embedding server answered with vectors that do not match what was asked.',
    hint: 'Tried again by itself; if it stays, the server does not follow the OpenAI embeddings API.',
  },
  MEMSYNC_ALREADY_RUNNING: {
    class: 'permanent',
    meaning: 'Another daemon holds this data folder.',
    hint: 'Stop it first, or give this one its own MEMSYNC_DATA_DIR.',
  },
  MEMSYNC_STALLED_LANE: {
    class: 'permanent',
    meaning: 'Jobs wait, the gate is open, and nothing finishes even after the workers were rebuilt.',
    hint: 'The process exits with code 70 so that its supervisor starts it afresh.',
  },
  MEMSYNC_SERVICE_FAILED: {
    class: 'permanent',
    meaning: 'The service manager (launchd or systemd) is not there, or did not do what it was asked.',
    hint: 'Read what it said; `memsync service logs` shows what the service itself said.',
  },
  MEMSYNC_NOT_FOUND: {
    class: 'permanent',
    meaning: 'There is no such memory, version or dead letter.',
    hint: 'Check the key and the namespace; `memsync list` and `memsync dlq list` show what is there.',
  },
  MEMSYNC_INTERRUPTED: {
    class: 'outage',
    meaning: 'The process is stopping, so the work was given back unpenalised.',
    hint: 'Nothing: it goes on when a daemon runs.',
  },
} as const satisfies Record<string, ErrorEntry>

export type ErrorCode = keyof typeof ERROR_CODES

interface ErrorOptions {
  cause?: unknown
  /** Overrides the code's own class, where the same code can be either. */
  class?: ErrorClass
  /** The least time to wait before the next try, in milliseconds, as the dependency asked. */
  retryAfterMs?: number
}

/** The one error class of this program. Its message never holds a value or a secret. */
export class MemsyncError extends Error {
  readonly code: ErrorCode
  readonly class: ErrorClass
  readonly retryAfterMs: number | undefined

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'MemsyncError'
    this.code = code
    this.class = options.class ?? ERROR_CODES[code].class
    this.retryAfterMs = options.retryAfterMs
  }

  /** The same error of another class, where what is known beside it decides. */
  as(errorClass: ErrorClass): MemsyncError {
    const { code, message, cause, retryAfterMs } = this
    return new MemsyncError(code, message, {
      class: errorClass,
      ...(cause === undefined ? {} : { cause }),
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    })
  }

  /** What the reader does about it. */
  get hint(): string {
    return ERROR_CODES[this.code].hint
  }
}

/** The error as one, whatever was thrown: what is not ours becomes `fallback` with the original as its cause. */
export function toMemsyncError(thrown: unknown, fallback: ErrorCode): MemsyncError {
  if (thrown instanceof MemsyncError) return thrown
  const message = thrown instanceof Error ? thrown.message : String(thrown)
  return new MemsyncError(fallback, message, { cause: thrown })
}
