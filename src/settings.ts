/**
 * Every setting: how its text is read, what it is unless set, and what a user is told of it. The README's table is
 * made of this one. No schema library here: the command's fast path loads this file.
 */
import {
  eventNames,
  fileOrNone,
  folder,
  headers,
  integer,
  listenAddress,
  loopbackAddress,
  loopbackPort,
  oneOf,
  ratio,
  sleepWindow,
  template,
  text,
  token,
  url,
  word,
  yesOrNo,
} from './settingFormats.ts'

export interface Setting {
  /** Checks and converts; throws a plain Error that says what is wrong with the value. */
  parse: (text: string) => unknown
  /** As it would be written; undefined where there is none. */
  default?: string
  example: string
  description: string
  secret?: true
}

function timeZone(name: string): string {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone
  } catch {
    // Its RangeError says the same less plainly.
    throw new Error('is not a time zone')
  }
}

export const SETTINGS = {
  REDIS_URL: {
    parse: url('redis', 'rediss', 'unix'),
    example: 'redis://127.0.0.1:6379',
    description: 'The Redis to use. Unset: a private one in the data folder, on a unix socket.',
    secret: true,
  },
  MEMSYNC_DATA_DIR: {
    parse: folder,
    example: '/var/lib/memsyncd',
    description: 'Where the store, the private Redis and the lock live; made with mode 0700.',
  },
  MEMSYNC_CONFIG: {
    parse: folder,
    example: '/etc/memsyncd/memsync.env',
    description: 'The settings file: lines of NAME=value.',
  },
  MEMSYNC_QUEUE_PREFIX: {
    parse: word,
    default: 'bull',
    example: 'bull',
    description: 'The prefix of the BullMQ keys; every producer must use the same.',
  },
  MEMSYNC_CONCURRENCY: {
    parse: integer(1, 1000),
    default: '200',
    example: '200',
    description: 'Jobs in flight at once; what is in flight is written in one transaction.',
  },
  MEMSYNC_MAX_VALUE_BYTES: {
    parse: integer(1, 64 * 1024 * 1024),
    default: String(1024 * 1024),
    example: '1048576',
    description: 'The longest value taken, in bytes of JSON.',
  },
  MEMSYNC_REDACT: {
    parse: oneOf('off', 'mask'),
    default: 'off',
    example: 'mask',
    description:
      'With `mask`, keys and tokens of well-known shapes in values and metadata are replaced by `[redacted]` before ' +
      'they are persisted.',
  },
  MEMSYNC_SPOOL_MAX_BYTES: {
    parse: integer(4096, 1024 ** 4),
    default: String(256 * 1024 * 1024),
    example: '268435456',
    description:
      'The most the spool may take on disk, in bytes; each hand-over counts as whole blocks of 4,096. Beyond it, ' +
      'memories are refused.',
  },
  MEMSYNC_LEGACY_DIR: {
    parse: folder,
    example: '~/.claude',
    description:
      "The folder of the predecessor's files (mem0_queue.json); its entries are taken in as they come.",
  },
  MEMSYNC_HISTORY_VERSIONS: {
    parse: integer(2, 1000),
    default: '10',
    example: '10',
    description: 'Writes kept per key, the current one included.',
  },
  MEMSYNC_DRAIN_TIMEOUT_MS: {
    parse: integer(0, 60_000),
    default: '8000',
    example: '8000',
    description: 'How long a stop waits for the jobs in flight, in milliseconds.',
  },
  MEMSYNC_STALL_TIMEOUT_MS: {
    parse: integer(1000, 3_600_000),
    default: '30000',
    example: '30000',
    description:
      'How long jobs may wait with nothing finishing before the workers are rebuilt; then again, the exit.',
  },
  MEMSYNC_REMOTE_KIND: {
    parse: oneOf('none', 'mem0', 'mem0-platform', 'legacy', 'http'),
    default: 'none',
    example: 'mem0',
    description: 'What the memory server speaks; `none` keeps every memory on this machine.',
  },
  MEMSYNC_REMOTE_URL: {
    parse: url('http', 'https'),
    example: 'https://vps.example:8888',
    description: 'Where the memory server is. Not needed for `mem0-platform`.',
  },
  MEMSYNC_REMOTE_KEY: {
    parse: text,
    example: 'm0sk_...',
    description: 'The key or token the memory server asks for.',
    secret: true,
  },
  MEMSYNC_REMOTE_INSECURE: {
    parse: yesOrNo,
    default: 'false',
    example: 'true',
    description:
      'Whether keys may go over plain http to another machine (the memory server, the embedding server, the ' +
      'receivers of notices and traces), where anyone between can read them.',
  },
  MEMSYNC_REMOTE_PROBE_PATH: {
    parse: text,
    example: '/health',
    description: "A path that answers 2xx while the server is up, in place of the kind's own probe.",
  },
  MEMSYNC_HEALTH_INTERVAL_MS: {
    parse: integer(10, 3_600_000),
    default: '30000',
    example: '30000',
    description: 'Time between probes of the memory server while it is up, in milliseconds.',
  },
  MEMSYNC_HEALTH_FAILURES: {
    parse: integer(1, 100),
    default: '2',
    example: '2',
    description: 'Probes that fail in a row before the memory server counts as down.',
  },
  MEMSYNC_PUSH_CONCURRENCY: {
    parse: integer(1, 256),
    default: '16',
    example: '16',
    description: 'Pushes in flight at once.',
  },
  MEMSYNC_PUSH_TIMEOUT_MS: {
    parse: integer(100, 600_000),
    default: '30000',
    example: '30000',
    description: 'The longest one call to the memory server may take, in milliseconds.',
  },
  OPENAI_API_KEY: {
    parse: text,
    example: 'sk-...',
    description:
      'The key for embeddings. Not needed where OPENAI_BASE_URL names a server that asks for none.',
    secret: true,
  },
  OPENAI_BASE_URL: {
    parse: url('http', 'https'),
    example: 'http://127.0.0.1:11434/v1',
    description: 'Any server that speaks the OpenAI embeddings API. Unset: that of OpenAI.',
  },
  EMBEDDING_MODEL: {
    parse: text,
    default: 'text-embedding-3-large',
    example: 'text-embedding-3-small',
    description: 'The model that embeds. After a change, `memsync embed --stale` embeds anew.',
  },
  MEMSYNC_EMBED_DIMENSIONS: {
    parse: integer(1, 65_536),
    example: '1024',
    description: 'The length of vector to ask the model for. Unset: its own.',
  },
  MEMSYNC_EMBED_DAILY_TOKENS: {
    parse: integer(1, Number.MAX_SAFE_INTEGER),
    example: '1000000',
    description: 'Tokens that may be embedded a day; the rest waits for midnight. Unset: no limit.',
  },
  MEMSYNC_TIME_ZONE: {
    parse: timeZone,
    example: 'Europe/Berlin',
    description: "The zone whose midnight begins a day. Unset: the machine's.",
  },
  MEMSYNC_SLEEP_WINDOW: {
    parse: sleepWindow,
    default: '02:00-05:00',
    example: '23:30-06:00',
    description:
      'When the daemon makes a snapshot by itself, once a night, and tidies the store; `off` for never. In MEMSYNC_TIME_ZONE.',
  },
  MEMSYNC_SNAPSHOT_DIR: {
    parse: folder,
    example: '/mnt/backup/memsyncd',
    description: 'Where snapshots are kept; a folder of its own for each data folder.',
  },
  MEMSYNC_SNAPSHOT_KEEP: {
    parse: integer(1, 10_000),
    default: '14',
    example: '30',
    description: 'How many snapshots are kept, the newest ones.',
  },
  MEMSYNC_SNAPSHOT_KEEP_DAYS: {
    parse: integer(1, 36_500),
    default: '60',
    example: '365',
    description: 'How many days a snapshot is kept; the newest one always is.',
  },
  MEMSYNC_NOTIFY_COMMAND: {
    parse: text,
    example: 'notify-send memsyncd',
    description: 'Run in a shell on each change worth knowing, with the event as JSON on its standard input.',
  },
  MEMSYNC_NOTIFY_URL: {
    parse: url('http', 'https'),
    example: 'https://ntfy.example/memsyncd',
    description: 'Gets the same JSON as a POST.',
    secret: true,
  },
  MEMSYNC_NOTIFY_AFTER_MS: {
    parse: integer(0, 86_400_000),
    default: '300000',
    example: '300000',
    description: 'How long the memory server must be away before that is told, in milliseconds.',
  },
  MEMSYNC_SERVE_LISTEN: {
    parse: listenAddress,
    default: '127.0.0.1:8765',
    example: 'unix:/run/memsyncd/serve.sock',
    description: 'Where `memsync serve` listens: HOST:PORT or unix:PATH. TLS is left to a proxy in front.',
  },
  MEMSYNC_SERVE_TOKEN: {
    parse: token,
    example: '$(openssl rand -hex 32)',
    description: 'What clients of `memsync serve` present; it serves nobody without one.',
    secret: true,
  },
  MEMSYNC_HTTP: {
    parse: loopbackAddress,
    example: '127.0.0.1:8377',
    description: 'Where the HTTP interface listens: unix:PATH or 127.0.0.1:PORT. Unset: nowhere.',
  },
  MEMSYNC_DASHBOARD: {
    parse: loopbackPort,
    example: '127.0.0.1:8378',
    description: 'Where the daemon serves the dashboard: 127.0.0.1:PORT. Unset: `memsync dashboard` does.',
  },
  MEMSYNC_HOOK_EVENTS: {
    parse: eventNames,
    default: 'UserPromptSubmit,Stop,PostCompact,SessionEnd',
    example: 'UserPromptSubmit,Stop,PostToolUse',
    description: 'The events of an agent that `memsync hook` stores; `all`, or `none`.',
  },
  MEMSYNC_HOOK_KEY: {
    parse: template,
    default: 'agent/{session}/{time}-{event}-{id}',
    example: 'agent/{session}/{event}',
    description:
      'The key of what `memsync hook` stores; {session}, {event}, {time}, {id}, {project} are filled in.',
  },
  MEMSYNC_HOOK_NAMESPACE: {
    parse: template,
    default: 'default',
    example: '{project}',
    description: 'The namespace of what `memsync hook` stores, with the same placeholders.',
  },
  MEMSYNC_HOOK_TIMEOUT_MS: {
    parse: integer(100, 60_000),
    default: '300',
    example: '1000',
    description:
      'How long `memsync hook` may take, its own start included, in milliseconds; more for a slow machine.',
  },
  MEMSYNC_LOG_LEVEL: {
    parse: oneOf('trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'),
    default: 'info',
    example: 'debug',
    description: 'The least level that is logged.',
  },
  MEMSYNC_LOG_FILE: {
    parse: fileOrNone,
    example: '/var/log/memsyncd/memsync.log',
    description: "The daemon's log as JSON lines. Unset: memsync.log in the data folder; `none`: no file.",
  },
  MEMSYNC_LOG_MAX_BYTES: {
    parse: integer(4096, 1024 ** 3),
    default: String(10 * 1024 * 1024),
    example: '10485760',
    description: 'How long the log grows before it is set aside, in bytes.',
  },
  MEMSYNC_LOG_FILES: {
    parse: integer(1, 100),
    default: '5',
    example: '5',
    description: 'How many files of the log are kept, the current one included.',
  },
  MEMSYNC_OTLP_ENDPOINT: {
    parse: url('http', 'https'),
    example: 'http://127.0.0.1:4318',
    description:
      'Where traces are sent, over OTLP/HTTP as JSON; `/v1/traces` is added. Unset: there are none.',
  },
  MEMSYNC_OTLP_HEADERS: {
    parse: headers,
    example: 'authorization=Bearer ...',
    description: 'Headers that go with them, as NAME=VALUE with commas between.',
    secret: true,
  },
  MEMSYNC_TRACE_RATIO: {
    parse: ratio,
    default: '1',
    example: '0.01',
    description: 'The share of memories whose way is traced, from 0 to 1.',
  },
  WORKER_JOB: {
    parse: text,
    example: 'MEMORY_SYNC',
    description: 'Runs one job of this name instead of the daemon.',
  },
  WORKER_PAYLOAD: {
    parse: text,
    example: '{"key":"test","value":"data"}',
    description: "That job's data, as JSON.",
    secret: true,
  },
} as const satisfies Record<string, Setting>

export type SettingName = keyof typeof SETTINGS
