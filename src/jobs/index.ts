/**
 * The contract on the wire: what any BullMQ client in any language may enqueue, and what comes back.
 * Queue `memory-sync`, jobs `MEMORY_SYNC` and `MEMORY_ROLLBACK`. An unknown field is refused by name.
 */
import { z } from 'zod'
import { MemsyncError } from '../errors.ts'
import { assertJsonValue, checkJsonValue, isPlainObject, type JsonValue } from './jsonValue.ts'
import { DEFAULT_NAMESPACE, findTextProblem, MAX_KEY_BYTES, MAX_NAMESPACE_BYTES } from './key.ts'

export { DEFAULT_NAMESPACE, MAX_KEY_BYTES, MAX_NAMESPACE_BYTES }

export const SYNC_QUEUE = 'memory-sync'
export const PUSH_QUEUE = 'memory-push'
export const EMBED_QUEUE = 'memory-embed'
export const DEAD_LETTER_QUEUE = 'memory-dead-letter'

/** The job of the push lane: a pointer, whose handler reads the newest value when it runs. */
export const PUSH_JOB = 'MEMORY_PUSH'
/** The same for the embed lane. */
export const EMBED_JOB = 'MEMORY_EMBED'

export const MAX_METADATA_BYTES = 16_384
export const DEFAULT_MAX_VALUE_BYTES = 1024 * 1024
/** The attempts of a job that does not say otherwise. */
export const DEFAULT_ATTEMPTS = 3

/** Adds each problem that `find` names as an issue of the schema's own. */
const refine =
  (find: (input: unknown) => { problem: string; path?: string } | undefined) =>
  (input: unknown, context: z.RefinementCtx) => {
    const found = find(input)
    if (found)
      context.addIssue({ code: 'custom', message: found.problem, path: found.path ? [found.path] : [] })
  }

const text = (maxBytes: number) => {
  const find = (input: unknown) => {
    const problem = findTextProblem(input, maxBytes)
    return problem === undefined ? undefined : { problem }
  }
  return z.string().superRefine(refine(find)).meta({ minLength: 1, maxLength: maxBytes })
}

const key = text(MAX_KEY_BYTES).meta({ description: 'What the memory is called: 1 to 1,024 bytes of UTF-8.' })
const namespace = text(MAX_NAMESPACE_BYTES)
  .default(DEFAULT_NAMESPACE)
  .meta({ description: 'Whose memory it is (what Mem0 calls the user): 1 to 256 bytes of UTF-8.' })

/** Kept out of zod's own object handling, which would copy it and lose a `__proto__` name. */
const value = z.unknown().meta({ description: 'Any JSON value, at most 1 MiB as JSON. Absent for a delete.' })

function findMetadataProblem(input: unknown): { problem: string; path?: string } | undefined {
  if (typeof input !== 'object' || input === null || Array.isArray(input) || !isPlainObject(input)) {
    return { problem: 'is not a plain object' }
  }
  for (const [name, entry] of Object.entries(input)) {
    const fits = typeof entry === 'string' || typeof entry === 'boolean' || Number.isFinite(entry)
    if (!fits) return { problem: 'is not a string, a finite number or a boolean', path: name }
  }
  if (Buffer.byteLength(JSON.stringify(input)) <= MAX_METADATA_BYTES) return undefined
  return { problem: `is longer than ${MAX_METADATA_BYTES} bytes as JSON` }
}

/** As the value, kept out of zod's own handling of records, which would drop a `__proto__` name unsaid. */
const metadata = z
  .custom<Record<string, string | number | boolean>>()
  .superRefine(refine(findMetadataProblem))
  .meta({
    description: 'A flat object of strings, numbers and booleans, carried to the remote.',
    type: 'object',
    additionalProperties: { type: ['string', 'number', 'boolean'] },
  })

const memorySyncSchema = z
  .strictObject({
    key,
    value: value.optional(),
    embed: z.boolean().default(false).meta({ description: 'Whether the memory is to be embedded.' }),
    namespace,
    metadata: metadata.optional(),
    op: z.enum(['set', 'delete']).default('set').meta({ description: 'A delete takes no value.' }),
  })
  .meta({ title: 'MEMORY_SYNC', description: 'Data of a MEMORY_SYNC job on the BullMQ queue memory-sync.' })

const memoryRollbackSchema = z.strictObject({ key, namespace }).meta({
  title: 'MEMORY_ROLLBACK',
  description: 'Restores the value before the last write, as a new version.',
})

/** The schema of each job's data. */
export const JOB_SCHEMAS = { MEMORY_SYNC: memorySyncSchema, MEMORY_ROLLBACK: memoryRollbackSchema }

export type JobName = keyof typeof JOB_SCHEMAS

/** A memory as a producer writes it. */
export interface MemoryInput {
  key: string
  /** Any JSON value; required for a set, refused for a delete. */
  value?: unknown
  embed?: boolean
  namespace?: string
  metadata?: Record<string, string | number | boolean>
  op?: 'set' | 'delete'
}

/** The main job, as a program hands it over. */
export interface MemorySyncJob {
  type: 'MEMORY_SYNC'
  payload: MemoryInput
}

/** What a handler gets: the same, checked and with its defaults filled in. */
export interface MemorySyncPayload {
  key: string
  value?: JsonValue
  embed: boolean
  namespace: string
  metadata?: Record<string, string | number | boolean>
  op: 'set' | 'delete'
}

export interface MemoryRollbackPayload {
  key: string
  namespace: string
}

export interface MemorySyncResult {
  status: 'success'
  key: string
  /** Present and true where a newer write of the same key had already been applied. */
  superseded?: true
}

export interface MemoryRollbackResult {
  status: 'rolled_back'
  key: string
  superseded?: true
}

/** Each job's input, checked payload and result. */
export interface JobTypes {
  MEMORY_SYNC: { input: MemoryInput; payload: MemorySyncPayload; result: MemorySyncResult }
  MEMORY_ROLLBACK: {
    input: { key: string; namespace?: string }
    payload: MemoryRollbackPayload
    result: MemoryRollbackResult
  }
}

export function isJobName(name: string): name is JobName {
  return Object.hasOwn(JOB_SCHEMAS, name)
}

function explain(error: z.ZodError): string {
  const issue = error.issues[0]
  if (!issue) return 'the memory breaks the contract'
  if (issue.code === 'unrecognized_keys') {
    return `unknown field ${issue.keys.map((name) => JSON.stringify(name.slice(0, 80))).join(', ')}`
  }
  const where = issue.path.length > 0 ? issue.path.map(String).join('.').slice(0, 120) : 'the memory'
  return `${where}: ${issue.message}`
}

/**
 * The payload of a job of this name, checked, with defaults filled in.
 * @throws MEMSYNC_UNKNOWN_JOB, MEMSYNC_INVALID_MEMORY, MEMSYNC_INVALID_VALUE, MEMSYNC_VALUE_TOO_LARGE
 */
export function parsePayload<N extends JobName>(
  name: N,
  data: unknown,
  maxValueBytes: number = DEFAULT_MAX_VALUE_BYTES,
): JobTypes[N]['payload'] {
  if (!isJobName(name)) {
    throw new MemsyncError(
      'MEMSYNC_UNKNOWN_JOB',
      `there is no job ${JSON.stringify(String(name).slice(0, 80))}`,
    )
  }
  const parsed = JOB_SCHEMAS[name].safeParse(data)
  if (!parsed.success) throw new MemsyncError('MEMSYNC_INVALID_MEMORY', explain(parsed.error))
  if (name === 'MEMORY_SYNC') checkValue(data as MemoryInput, parsed.data as MemorySyncPayload, maxValueBytes)
  return parsed.data as JobTypes[N]['payload']
}

function checkValue(data: MemoryInput, payload: MemorySyncPayload, maxValueBytes: number): void {
  const given = Object.hasOwn(data, 'value') && data.value !== undefined
  if (payload.op === 'delete') {
    if (given) throw new MemsyncError('MEMSYNC_INVALID_MEMORY', 'value: a delete takes no value')
    return
  }
  if (!given) {
    if (Object.hasOwn(data, 'value')) assertJsonValue(data.value)
    throw new MemsyncError('MEMSYNC_INVALID_MEMORY', 'value: missing, and a set needs one')
  }
  checkJsonValue(data.value, maxValueBytes)
}

/** The published contract: one JSON Schema per job name, draft 2020-12. */
export function publishedSchema(): Record<JobName, unknown> {
  const schema = (name: JobName) => z.toJSONSchema(JOB_SCHEMAS[name], { io: 'input', unrepresentable: 'any' })
  return { MEMORY_SYNC: schema('MEMORY_SYNC'), MEMORY_ROLLBACK: schema('MEMORY_ROLLBACK') }
}
