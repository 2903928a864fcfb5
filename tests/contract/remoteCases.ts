/** What the contract of a remote is tried with: values, names, faults, and how a failure is looked at. */
import { inspect } from 'node:util'
import { expect } from 'vitest'
import { type ErrorClass, type ErrorCode, MemsyncError } from '../../src/errors.ts'
import { contentOf } from '../../src/infrastructure/remote/content.ts'
import type {
  CallOptions,
  OutgoingMemory,
  Remote,
  RemoteMemory,
  RemoteOptions,
} from '../../src/infrastructure/remote/port.ts'
import type { JsonValue } from '../../src/jobs/jsonValue.ts'
import type { Fault, FaultyHttp } from '../support/faultyHttp.ts'

export interface RemoteCase {
  server: FaultyHttp
  /** An adapter for the server; it has the right key unless told otherwise. */
  open(options?: Partial<RemoteOptions>): Remote
  /** What the server holds, read behind the adapter's back. Keys are undefined where it knows none. */
  held(): Promise<{ namespace: string; key: string | undefined; text: string }[]>
  /** The calls that store, as the server counts them. */
  writeRoutes: string[]
  close(): Promise<void>
}

/**
 * By what a server knows a memory: `key` ours, `id` one of its own making (so that it can hold a key twice),
 * `nothing` (it only adds).
 */
export type KnownBy = 'key' | 'id' | 'nothing'

/** The key of every test server; it must turn up in no error. */
export const REMOTE_KEY = 'm0sk_very-secret-key-0123456789'
/** Stands in values and in what servers answer; it must turn up in no error. */
export const PRIVATE = 'private-text-of-a-memory'

export const lane = new AbortController().signal
export const direct: CallOptions = { signal: lane }
export const looking: CallOptions = { signal: lane, lookupFirst: true }

export function memory(
  key: string,
  value: JsonValue,
  sequence = 1,
  more: Partial<OutgoingMemory> = {},
): OutgoingMemory {
  const version = { epoch: 1, sequence, index: 0 }
  return { namespace: 'default', key, content: contentOf(value, undefined), version, ...more }
}

export async function failureOf(promise: Promise<unknown>): Promise<MemsyncError> {
  const error: unknown = await promise.then(
    () => expect.fail('it succeeded'),
    (thrown: unknown) => thrown,
  )
  expect(error).toBeInstanceOf(MemsyncError)
  const shown = inspect(error, { depth: 20, showHidden: true })
  expect(shown).not.toContain(REMOTE_KEY)
  expect(shown).not.toContain(PRIVATE)
  return error as MemsyncError
}

export async function collect(remote: Remote, namespaces: string[]): Promise<RemoteMemory[]> {
  const memories: RemoteMemory[] = []
  for await (const page of remote.readAll(namespaces, lane)) memories.push(...page.memories)
  return memories
}

export const VALUES: Record<string, JsonValue> = {
  'line breaks and tabs': 'one\ntwo\r\nthree\tfour\n',
  'white space around': '  kept \n ',
  'every script': 'Zażółć gęślą jaźń 日本語 العربية עברית 🧠👩‍👩‍👧‍👦',
  'combining marks': 'e\u0301 é',
  'bidi and zero width': '\u202eabc\u202c\u200b\ufeff',
  'JSON in a string': '{"a":"\\u0000"}',
  'quotes and backslashes': '"\\\'` $x %2F&?#',
  object: { b: [1, 2.5, -0.1e-7, null, true], a: { ['__proto__']: 'x', nested: 'ü' } },
  number: 12345.678,
  null: null,
  'a lone surrogate': 'half \ud800 of a pair',
  'one MiB as JSON': 'Ä\n"x'.repeat(149_796),
}

export const NAMES = [
  'plain',
  'a/b',
  'a b',
  '.',
  '..',
  '../../x',
  '__proto__',
  'constructor',
  '*',
  '%',
  '%2F',
  '%2A',
  '?a=1&b=2#c',
  'a+b',
  'a:b',
  'nul\0inside',
  'line\nbreak\r\n',
  '\u00a0\u2003\u3000',
  '🧠',
  'e\u0301',
  'é',
  '\u202eabc',
  '"quoted"',
  'null',
  '\ufeff',
]

interface FaultCase {
  fault: Fault
  code: ErrorCode
  class: ErrorClass
}

export const echo = { detail: [{ msg: 'no', input: `${PRIVATE} ${REMOTE_KEY}` }] }
const status = (
  of: number,
  code: ErrorCode,
  errorClass: ErrorClass,
  headers: Record<string, string> = {},
): FaultCase => ({ fault: { kind: 'status', status: of, body: echo, headers }, code, class: errorClass })

export const FAULTS: FaultCase[] = [
  status(400, 'MEMSYNC_REMOTE_REFUSED', 'permanent'),
  status(413, 'MEMSYNC_REMOTE_REFUSED', 'permanent'),
  status(422, 'MEMSYNC_REMOTE_REFUSED', 'permanent'),
  status(401, 'MEMSYNC_REMOTE_CREDENTIALS', 'credentials'),
  status(402, 'MEMSYNC_REMOTE_CREDENTIALS', 'credentials'),
  status(403, 'MEMSYNC_REMOTE_FORBIDDEN', 'credentials'),
  status(405, 'MEMSYNC_REMOTE_UNAVAILABLE', 'outage'),
  status(409, 'MEMSYNC_REMOTE_UNCLEAR', 'transient'),
  status(418, 'MEMSYNC_REMOTE_UNCLEAR', 'transient'),
  status(429, 'MEMSYNC_REMOTE_RATE_LIMITED', 'outage'),
  status(500, 'MEMSYNC_REMOTE_UNCLEAR', 'transient'),
  status(502, 'MEMSYNC_REMOTE_UNAVAILABLE', 'outage', { 'content-type': 'text/html' }),
  status(503, 'MEMSYNC_REMOTE_UNAVAILABLE', 'outage'),
  status(504, 'MEMSYNC_REMOTE_UNCLEAR', 'outage'),
  { fault: { kind: 'hang' }, code: 'MEMSYNC_REMOTE_UNCLEAR', class: 'outage' },
  { fault: { kind: 'dripHead' }, code: 'MEMSYNC_REMOTE_UNCLEAR', class: 'outage' },
  { fault: { kind: 'dripBody' }, code: 'MEMSYNC_REMOTE_UNCLEAR', class: 'outage' },
  { fault: { kind: 'reset' }, code: 'MEMSYNC_REMOTE_UNCLEAR', class: 'outage' },
  { fault: { kind: 'dropAnswer' }, code: 'MEMSYNC_REMOTE_UNCLEAR', class: 'outage' },
  { fault: { kind: 'resetMidBody' }, code: 'MEMSYNC_REMOTE_UNCLEAR', class: 'outage' },
  {
    fault: { kind: 'status', status: 200, body: '<html>sign in to this network</html>' },
    code: 'MEMSYNC_REMOTE_UNCLEAR',
    class: 'transient',
  },
  {
    fault: { kind: 'status', status: 200, body: { ok: PRIVATE } },
    code: 'MEMSYNC_REMOTE_UNCLEAR',
    class: 'transient',
  },
]

export const nameOf = ({ fault }: FaultCase) =>
  fault.kind === 'status' ? `${fault.status} ${JSON.stringify(fault.body).slice(0, 12)}` : fault.kind
