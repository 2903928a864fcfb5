/**
 * `memsync mcp`: an MCP server on stdin and stdout, for one agent, until its host closes stdin.
 *
 * - It never blocks its host: a save is answered within 50 ms whatever is down, reads come straight from the store.
 * - It never crashes it: whatever fails is the error of that one call. Nothing but the protocol stands on stdout; what
 *   there is to say otherwise goes to stderr, at `warn` and above.
 */
import { Console } from 'node:console'
import { once } from 'node:events'
import { type CallToolResult, McpServer, type ServerContext } from '@modelcontextprotocol/server'
import { StdioServerTransport, serveStdio } from '@modelcontextprotocol/server/stdio'
import { destination, type Logger, pino, stdTimeFunctions } from 'pino'
import type { Config } from '../config.ts'
import { findStatus } from '../daemon/findStatus.ts'
import { findTroubles } from '../daemon/troubles.ts'
import { type ErrorCode, MemsyncError, toMemsyncError } from '../errors.ts'
import { openStore } from '../infrastructure/memory/index.ts'
import type { Store, StoredMemory } from '../infrastructure/memory/port.ts'
import { type MemoryInput, parsePayload } from '../jobs/index.ts'
import { MAX_ESCAPED_LENGTH } from '../jobs/jsonText.ts'
import { DAEMON_VERSION } from '../release.ts'
import { type HandOver, type Receipt, receiptOf } from './handOver.ts'
import { INSTRUCTIONS, TOOLS } from './mcpSchemas.ts'
import { type Search, shorten, textOf } from './search.ts'

const MIN_MESSAGE_BYTES = 16 * 1024 * 1024
/** What stands around the value in a request. */
const MESSAGE_OVERHEAD_BYTES = 1024 * 1024
const PREVIEW_CHARACTERS = 160

export interface McpOptions {
  config: Config
  handOver: HandOver
  search: Search
}

/** Serves until stdin ends; resolves then. */
export async function serveMcp(options: McpOptions): Promise<void> {
  const { maxValueBytes, logLevel } = options.config
  const logger = createStderrLogger(logLevel)
  // A library that prints would break the protocol.
  globalThis.console = new Console(process.stderr, process.stderr)
  const ended = Promise.race([once(process.stdin, 'end'), once(process.stdin, 'close')])
  const maxBufferSize = Math.max(
    MIN_MESSAGE_BYTES,
    maxValueBytes * MAX_ESCAPED_LENGTH + MESSAGE_OVERHEAD_BYTES,
  )
  const connection = serveStdio(() => createMcpServer(options, logger), {
    transport: new StdioServerTransport(process.stdin, process.stdout, { maxBufferSize }),
    // Its message may quote what came in.
    onerror: (error) => logger.warn({ error: error.name }, 'a message of the MCP host was not understood'),
  })
  await ended
  await connection.close()
}

function createStderrLogger(level: string): Logger {
  const isQuieter = ['warn', 'error', 'fatal', 'silent'].includes(level)
  return pino(
    {
      level: isQuieter ? level : 'warn',
      base: { pid: process.pid },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination({ dest: 2, sync: true }),
  )
}

function createMcpServer(options: McpOptions, logger: Logger): McpServer {
  const { config, handOver, search } = options
  const server = new McpServer({ name: 'memsync', version: DAEMON_VERSION }, { instructions: INSTRUCTIONS })
  const answer = answering(logger)
  const read = <T>(work: (store: Store) => Promise<T>) => readStore(config, work)
  const accept = async (memory: MemoryInput): Promise<Receipt> => {
    parsePayload('MEMORY_SYNC', memory, config.maxValueBytes)
    refuseInexactIntegers(memory.value)
    return receiptOf(memory, await handOver(memory))
  }

  server.registerTool(
    'memory_save',
    TOOLS.memory_save,
    answer(({ metadata, ...memory }) => accept(metadata === undefined ? memory : { ...memory, metadata })),
  )
  server.registerTool(
    'memory_delete',
    TOOLS.memory_delete,
    answer((name) => accept({ ...name, op: 'delete' })),
  )
  server.registerTool(
    'memory_get',
    TOOLS.memory_get,
    answer(async ({ key, namespace }) => {
      const memory = await read((store) => store.find(key, namespace))
      if (!memory || memory.deleted) return { found: false }
      const { value, metadata } = memory
      return { found: true, memory: { ...briefOf(memory), value, ...(metadata ? { metadata } : {}) } }
    }),
  )
  server.registerTool(
    'memory_search',
    TOOLS.memory_search,
    answer(async ({ namespace, ...request }, { mcpReq: { signal } }) => {
      const scope = namespace === undefined ? {} : { namespace }
      const { hits, ...rest } = await read((store) => search(store, { ...request, ...scope, signal }))
      return { hits: hits.map(({ memory, excerpt }) => ({ ...briefOf(memory), excerpt })), ...rest }
    }),
  )
  server.registerTool(
    'memory_list',
    TOOLS.memory_list,
    answer(async ({ prefix, namespace, limit, after }) => {
      const scope = { ...(namespace === undefined ? {} : { namespace }), ...(prefix ? { prefix } : {}) }
      const page = await read((store) => store.list({ ...scope, limit, ...(after ? { after } : {}) }))
      const memories = page.memories.map((memory) => ({
        ...briefOf(memory),
        preview: shorten(textOf(memory), PREVIEW_CHARACTERS),
      }))
      return { memories, ...(page.next ? { next: page.next } : {}) }
    }),
  )
  server.registerTool(
    'memory_status',
    TOOLS.memory_status,
    answer(async () => {
      const status = await findStatus(config)
      const troubles = findTroubles(status, Date.now())
      const { waiting, delayed, active } = status.lanes.sync
      const spooled = status.spool.records
      return {
        healthy: troubles.length === 0,
        troubles,
        daemonRunning: status.daemon.running,
        memories: status.store.keys,
        waiting:
          waiting === null || spooled === null ? null : waiting + (delayed ?? 0) + (active ?? 0) + spooled,
        deadLetters: status.deadLetters,
        remote: status.remote.state,
      }
    }),
  )
  return server
}

/** A tool's work as the SDK wants it: its result in both forms, its failure as an error that says what to do. */
function answering(logger: Logger) {
  return <A>(work: (args: A, context: ServerContext) => Promise<object>) =>
    async (args: A, context: ServerContext): Promise<CallToolResult> => {
      try {
        const result = await work(args, context)
        return {
          content: [{ type: 'text', text: JSON.stringify(result) }],
          structuredContent: result as Record<string, unknown>,
        }
      } catch (thrown) {
        const error = toMemsyncError(thrown, 'MEMSYNC_HANDLER_FAILED')
        if (!isExpected(error.code)) logger.warn({ code: error.code }, 'a call of an MCP tool failed')
        // A stranger's message may hold a value.
        const said = thrown instanceof MemsyncError ? error.message : 'an unexpected error'
        return { content: [{ type: 'text', text: `${said} (${error.code}). ${error.hint}` }], isError: true }
      }
    }
}

/** What the caller did wrong concerns nobody who reads the log. */
function isExpected(code: ErrorCode): boolean {
  return [
    'MEMSYNC_BAD_REQUEST',
    'MEMSYNC_INVALID_MEMORY',
    'MEMSYNC_INVALID_VALUE',
    'MEMSYNC_VALUE_TOO_LARGE',
  ].includes(code)
}

/** Opened for each call: a store that came, went or was replaced since the last one is no event. */
async function readStore<T>(config: Config, work: (store: Store) => Promise<T>): Promise<T> {
  const store = await openStore(config, { readOnly: true })
  try {
    return await work(store)
  } finally {
    await store.close()
  }
}

function briefOf({ key, namespace, acceptedAtMs }: StoredMemory) {
  return { key, namespace, updatedAt: new Date(acceptedAtMs).toISOString() }
}

/**
 * The protocol's own JSON parser has already rounded such an integer, and nobody can tell what it was.
 * @throws MEMSYNC_INVALID_VALUE
 */
function refuseInexactIntegers(value: unknown): void {
  if (Number.isInteger(value) && !Number.isSafeInteger(value) && /^-?\d+$/.test(String(value))) {
    throw new MemsyncError(
      'MEMSYNC_INVALID_VALUE',
      'value holds an integer beyond 2^53, which would lose digits; write it as a string',
    )
  }
  if (typeof value === 'object' && value !== null) Object.values(value).forEach(refuseInexactIntegers)
}
