/**
 * What the HTTP interface is, as an OpenAPI 3.1 document made from the table of routes. The schema of a memory is the
 * wire's own; the others are held by the tests against what the routes answer.
 */
import { ERROR_CODES } from '../errors.ts'
import { publishedSchema } from '../jobs/index.ts'
import { DAEMON_VERSION } from '../release.ts'

type Schema = Record<string, unknown>

interface Parameter {
  name: string
  in: 'path' | 'query'
  required?: true
  description: string
  schema: Schema
}

/** What the document says of one route. */
export interface Operation {
  operationId: string
  summary: string
  description?: string
  parameters?: Parameter[]
  requestBody?: Schema
  /** The body of each answer that is not an error, by status. */
  answers: Record<string, { description: string; schema: Schema; mediaType?: string }>
  /** The statuses of its errors, besides 401 and 403. */
  refusals: number[]
}

interface DocumentedRoute {
  method: string
  path: string
  open?: true
  operation: Operation
}

const ref = (name: string): Schema => ({ $ref: `#/components/schemas/${name}` })
const arrayOf = (items: Schema): Schema => ({ type: 'array', items })
const text = { type: 'string' }
const count = { type: 'integer', minimum: 0 }
const object = (properties: Record<string, Schema>, optional: string[] = []): Schema => ({
  type: 'object',
  properties,
  required: Object.keys(properties).filter((name) => !optional.includes(name)),
  additionalProperties: false,
})

const NAME: Parameter[] = [
  { name: 'namespace', in: 'path', required: true, description: 'Percent-encoded.', schema: text },
  { name: 'key', in: 'path', required: true, description: 'Percent-encoded, `/` as `%2F`.', schema: text },
]
const NAMESPACE: Parameter = {
  name: 'namespace',
  in: 'query',
  description: 'Only this namespace; every one unless given.',
  schema: text,
}
const limit = (fallback: number, max: number): Parameter => ({
  name: 'limit',
  in: 'query',
  description: `How many at most; ${fallback} unless given.`,
  schema: { type: 'integer', minimum: 1, maximum: max, default: fallback },
})

export const OPERATIONS = {
  postMemories: {
    operationId: 'postMemories',
    summary: 'Hand memories over',
    description:
      'One memory, an array of them (checked as a whole: where one breaks the contract, none is taken), or NDJSON of any ' +
      'length, one memory a line (each line stands alone). A 202 means that every one is on disk.',
    requestBody: {
      required: true,
      content: {
        'application/json': { schema: { oneOf: [ref('MemoryInput'), arrayOf(ref('MemoryInput'))] } },
        'application/x-ndjson': { schema: { description: 'One MemoryInput a line.', type: 'string' } },
      },
    },
    answers: {
      202: {
        description: 'Accepted. Of an array: a receipt each, in its order; of NDJSON: the numbers.',
        schema: { anyOf: [ref('Receipt'), ref('Receipts'), ref('StreamSummary')] },
      },
      207: { description: 'Some lines of NDJSON were refused.', schema: ref('StreamSummary') },
    },
    refusals: [400, 413, 415, 503],
  },
  listMemories: {
    operationId: 'listMemories',
    summary: 'List memories',
    description: 'By namespace and key, in the order of their bytes. A page may be shorter than its limit.',
    parameters: [
      NAMESPACE,
      { name: 'prefix', in: 'query', description: 'Only keys that begin with it.', schema: text },
      limit(100, 1000),
      { name: 'after', in: 'query', description: 'The `next` of the page before.', schema: text },
      {
        name: 'deleted',
        in: 'query',
        description: 'Whether deleted memories are listed too.',
        schema: { type: 'boolean', default: false },
      },
    ],
    answers: {
      200: {
        description: 'A page; `next` is null on the last.',
        schema: object({ memories: arrayOf(ref('Memory')), next: { type: ['string', 'null'] } }),
      },
    },
    refusals: [400, 503],
  },
  getMemory: {
    operationId: 'getMemory',
    summary: 'Read a memory',
    parameters: NAME,
    answers: { 200: { description: 'The newest write.', schema: ref('Memory') } },
    refusals: [400, 404, 503],
  },
  deleteMemory: {
    operationId: 'deleteMemory',
    summary: 'Delete a memory',
    description: 'A write of its own, accepted whether or not there is such a memory.',
    parameters: NAME,
    answers: { 202: { description: 'Accepted.', schema: ref('Receipt') } },
    refusals: [400, 503],
  },
  searchMemories: {
    operationId: 'searchMemories',
    summary: 'Search memories',
    description:
      'Those that hold every word of the query in the key or the value, in any case, and those whose text means the ' +
      'like where memories are embedded; the best first.',
    parameters: [
      { name: 'q', in: 'query', required: true, description: 'The words to look for.', schema: text },
      NAMESPACE,
      limit(10, 100),
    ],
    answers: {
      200: {
        description:
          '`complete` is false where time was up before every memory had been looked at, `byMeaning` where words alone ' +
          'were compared.',
        schema: object({
          hits: arrayOf({
            allOf: [ref('Memory')],
            properties: { excerpt: text },
            required: ['excerpt'],
          }),
          complete: { type: 'boolean' },
          byMeaning: { type: 'boolean' },
        }),
      },
    },
    refusals: [400, 503],
  },
  getStatus: {
    operationId: 'getStatus',
    summary: 'What waits and what is wrong',
    answers: { 200: { description: 'As `memsync status --json`.', schema: ref('Status') } },
    refusals: [400, 503],
  },
  getMetrics: {
    operationId: 'getMetrics',
    summary: 'The metrics, for Prometheus',
    answers: {
      200: {
        description: "Prometheus' text format; docs/metrics.md names every metric.",
        schema: text,
        mediaType: 'text/plain',
      },
    },
    refusals: [400, 503],
  },
  getHealth: {
    operationId: 'getHealth',
    summary: 'Whether it makes progress',
    answers: {
      200: { description: 'It does.', schema: object({ status: { const: 'ok' } }) },
      503: {
        description: 'Jobs wait and nothing finishes.',
        schema: object({ status: { const: 'stalled' } }),
      },
    },
    refusals: [],
  },
  getReadiness: {
    operationId: 'getReadiness',
    summary: 'Whether what is handed over now is carried through now',
    answers: {
      200: { description: 'It is.', schema: object({ status: { const: 'ready' } }) },
      503: {
        description: 'Something is away; what is handed over waits.',
        schema: object({ status: { const: 'waiting' }, reasons: arrayOf(text) }),
      },
    },
    refusals: [],
  },
  getOpenApi: {
    operationId: 'getOpenApi',
    summary: 'This document',
    answers: { 200: { description: 'OpenAPI 3.1.', schema: { type: 'object' } } },
    refusals: [],
  },
} as const satisfies Record<string, Operation>

const ACCEPTED = {
  accepted: { enum: ['queued', 'spooled'] },
  jobId: text,
  uid: text,
  key: text,
  namespace: text,
}

const SCHEMAS: Record<string, Schema> = {
  Memory: {
    ...object(
      {
        key: text,
        namespace: text,
        value: { description: 'Any JSON; absent where it is deleted.' },
        deleted: { type: 'boolean' },
        metadata: { type: 'object', additionalProperties: { type: ['string', 'number', 'boolean'] } },
        embed: { type: 'boolean' },
        version: {
          type: 'string',
          description: 'Its place in the order of acceptance: epoch-sequence-index.',
        },
        acceptedAt: { type: 'string', format: 'date-time' },
        persistedAt: { type: 'string', format: 'date-time' },
      },
      ['value', 'metadata'],
    ),
    additionalProperties: true,
  },
  Receipt: {
    ...object(ACCEPTED, ['jobId', 'uid']),
    description: 'On disk: `queued` as a job with a `jobId`, or `spooled` under a `uid` while Redis is away.',
  },
  Receipts: object({ accepted: count, results: arrayOf(ref('Receipt')) }),
  StreamSummary: object({
    accepted: count,
    refused: count,
    refusals: arrayOf(
      object({ line: { type: 'integer', minimum: 1 }, code: ref('ErrorCode'), message: text }),
    ),
    moreRefusals: { ...count, description: 'Refused lines beyond those named.' },
  }),
  ErrorCode: { enum: Object.keys(ERROR_CODES) },
  Error: {
    ...object({ error: object({ code: ref('ErrorCode'), message: text, hint: text }) }),
    description:
      'Beside `error`, an array or a stream that an outage cut short says how many were accepted, and a stream ' +
      '`goOnFromLine`. To send everything again is safe: the last write of a key wins.',
    additionalProperties: true,
  },
  Status: {
    type: 'object',
    required: ['version', 'daemon', 'redis', 'lanes', 'deadLetters', 'totals', 'remote', 'store'],
  },
}

const REFUSED: Record<number, string> = {
  400: 'The request breaks the contract; the message says where.',
  401: 'The token is missing or wrong.',
  403: 'Host or Origin is not this machine.',
  404: 'There is no such memory.',
  413: 'The body or a value is too long.',
  415: 'The body is of a type that is not taken.',
  503: 'Something it depends on is away; Retry-After says when to come back.',
}

/** @param maxValueBytes the longest value this daemon takes */
export function openApiDocument(routes: readonly DocumentedRoute[], maxValueBytes: number): Schema {
  const { MEMORY_SYNC } = publishedSchema()
  const { $schema: _, ...memoryInput } = MEMORY_SYNC as Schema
  const paths: Record<string, Record<string, Schema>> = {}
  for (const route of routes) {
    paths[route.path] = { ...paths[route.path], [route.method.toLowerCase()]: describe(route) }
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'memsyncd',
      version: DAEMON_VERSION,
      description: `Memories in and out of the daemon on this machine. A value is at most ${maxValueBytes} bytes of JSON.`,
    },
    paths,
    components: {
      schemas: { MemoryInput: { ...memoryInput, title: 'MemoryInput' }, ...SCHEMAS },
      securitySchemes: {
        token: {
          type: 'http',
          scheme: 'bearer',
          description: 'The file http-token; not asked for on a unix socket.',
        },
      },
    },
  }
}

function describe({ open, operation }: DocumentedRoute): Schema {
  const { answers, refusals, parameters, requestBody, description, operationId, summary } = operation
  const responses: Record<string, Schema> = {}
  for (const [status, answer] of Object.entries(answers))
    responses[status] = response(answer.description, answer.schema, answer.mediaType)
  for (const status of [...(open ? [] : [401]), 403, ...refusals]) {
    responses[status] = response(REFUSED[status] ?? '', ref('Error'))
  }
  return {
    operationId,
    summary,
    ...(description ? { description } : {}),
    ...(parameters ? { parameters } : {}),
    ...(requestBody ? { requestBody } : {}),
    responses,
    security: open ? [] : [{ token: [] }],
  }
}

function response(description: string, schema: Schema, mediaType = 'application/json'): Schema {
  return { description, content: { [mediaType]: { schema } } }
}
