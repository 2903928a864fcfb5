/**
 * The promises as a small model, and the checker that holds what was found to them. Pure.
 *
 * Per key, the model is a register (`keyHistory.ts`); remote and vectors are held to the newest write it shows.
 *
 * accepted ─▶ applied      it stands in the key's history, once
 *          ─▶ superseded   it does not, and one that may be newer does
 *          ─▶ dead letter  it stands among the dead letters, once, and in no history
 */
import {
  checkKey,
  compareVersions,
  formatVersion,
  isAccepted,
  type Kind,
  type Problem,
  show,
} from './keyHistory.ts'
import type { Evidence, FoundDeadLetter, Name, Operation, StoredKey, StoredWrite } from './ledger.ts'

export interface Violation {
  kind: Kind
  /** Whose it is; undefined where it is nobody's in particular. */
  name: Name | undefined
  what: string
  /** What is known of the key, in the order it happened. */
  history: string[]
}

export function findViolations(evidence: Evidence): Violation[] {
  const { operations, keys } = evidence
  const byName = Map.groupBy(operations, nameOf)
  const found = new Map(keys.map((key) => [nameOf(key), key]))
  const dead = new Set(evidence.deadLettersAtTheEnd.flatMap(({ operation }) => operation ?? []))
  const problems: Problem[] = []
  for (const [id, own] of byName) {
    const writes = own.filter(({ kind }) => kind !== 'poison')
    const name = own[0] as Operation
    const key = found.get(id) ?? { namespace: name.namespace, key: name.key, writes: [] }
    found.delete(id)
    for (const problem of checkKey(key, writes, dead)) problems.push({ ...problem, name })
  }
  for (const name of found.values()) {
    problems.push({ kind: 'never written', name, what: 'it is stored, and nobody wrote it' })
  }
  problems.push(
    ...checkJobIds(operations),
    ...checkDeadLetters(evidence),
    ...checkAttempts(evidence),
    ...checkPending(evidence),
    ...checkTotals(evidence),
    ...checkRemote(evidence),
    ...checkVectors(evidence),
    ...evidence.incidents.map((what) => ({ kind: 'incident' as const, what })),
  )
  return problems.map(({ kind, name, what }) => ({
    kind,
    name: name && { namespace: name.namespace, key: name.key },
    what,
    history: name ? describeKey(name, evidence) : [],
  }))
}

const nameOf = ({ namespace, key }: Name): string => JSON.stringify([namespace, key])
function* checkJobIds(operations: Operation[]): Generator<Problem> {
  const seen = new Map<string, Operation>()
  for (const operation of operations) {
    if (operation.answer.kind !== 'queued') continue
    const other = seen.get(operation.answer.jobId)
    if (other) yield { kind: 'job id twice', what: `${show(operation)} and ${show(other)}` }
    seen.set(operation.answer.jobId, operation)
  }
}

function* checkDeadLetters(evidence: Evidence): Generator<Problem> {
  const { operations, deadLetters, deadLettersAtTheEnd } = evidence
  const byNumber = new Map(operations.map((operation) => [operation.number, operation]))
  const isPlanted = ({ operation }: FoundDeadLetter, kinds: Operation['kind'][]) =>
    kinds.includes(byNumber.get(operation ?? 0)?.kind ?? 'set')
  for (const [letters, kinds] of [
    [deadLetters, ['poison', 'oversized']],
    [deadLettersAtTheEnd, ['poison']],
  ] as [FoundDeadLetter[], Operation['kind'][]][]) {
    for (const [number, own] of Map.groupBy(letters, ({ operation }) => operation)) {
      if (number !== undefined && own.filter(({ jobId }) => !isRepeat(jobId)).length > 1) {
        yield { kind: 'dead letter twice', what: own.map(({ id }) => id).join(' and ') }
      }
    }
    for (const letter of letters) {
      if (isPlanted(letter, kinds) || isAllowed(letter, letters === deadLetters, evidence)) continue
      const name = byNumber.get(letter.operation ?? 0)
      const what = `${letter.id} of ${letter.sourceQueue}: ${letter.code} after ${letter.attempts} attempts`
      yield { kind: 'dead letter of a good job', what, ...(name && { name }) }
    }
    const present = new Set(letters.map(({ operation }) => operation))
    for (const operation of operations) {
      if (!isAccepted(operation) || !kinds.includes(operation.kind) || present.has(operation.number)) continue
      yield { kind: 'dead letter missing', name: operation, what: `${show(operation)} is no dead letter` }
    }
  }
}

/**
 * A memory whose producer did not learn whether the queue took it, and that it spooled. The store takes the two for one;
 * a job that never comes to the store is two dead letters.
 */
function isRepeat(jobId: string): boolean {
  return /-950000(-\d+)?$/.test(jobId)
}

/** What faults made the letter's own: only before the last act, and only where no answer was clear. */
function isAllowed(
  { sourceQueue, code }: FoundDeadLetter,
  isBefore: boolean,
  { allowance }: Evidence,
): boolean {
  if (!isBefore) return false
  if (sourceQueue === 'memory-push') return allowance.unclearRemote && code === 'MEMSYNC_REMOTE_UNCLEAR'
  return sourceQueue === 'memory-embed' && allowance.unclearEmbedder && code === 'MEMSYNC_EMBEDDER_BAD_ANSWER'
}

function* checkAttempts({ retried, allowance }: Evidence): Generator<Problem> {
  for (const { queue, jobId, attempts } of retried) {
    if (queue === 'memory-push' && allowance.unclearRemote) continue
    if (queue === 'memory-embed' && allowance.unclearEmbedder) continue
    yield { kind: 'attempt burnt', what: `job ${jobId} of ${queue} took ${attempts} attempts` }
  }
}

function* checkPending({ queues, spoolFiles }: Evidence): Generator<Problem> {
  for (const [queue, counts] of Object.entries(queues)) {
    for (const [state, count] of Object.entries(counts)) {
      if (count > 0) yield { kind: 'pending', what: `${queue}: ${count} ${state}` }
    }
  }
  for (const file of spoolFiles) yield { kind: 'pending', what: `the spool holds ${file}` }
}

function* checkTotals({ keys, totals, operations, deadLettersAtTheEnd }: Evidence): Generator<Problem> {
  const applied = keys.reduce((sum, { writes }) => sum + writes.length, 0)
  if (totals.synced !== applied) {
    yield { kind: 'miscounted', what: `${totals.synced} writes count as synced, and ${applied} are kept` }
  }
  const accepted = operations.filter(
    ({ kind, ...rest }) => kind !== 'poison' && isAccepted({ kind, ...rest }),
  )
  const ends = totals.synced + totals.superseded + deadLettersAtTheEnd.length
  if (ends < accepted.length) {
    yield { kind: 'miscounted', what: `${ends} writes have an end, and ${accepted.length} were accepted` }
  }
}

function newestOf(keys: readonly StoredKey[]): Map<string, { name: Name; write: StoredWrite }> {
  return new Map(
    keys.flatMap((key) => {
      const write = key.writes.at(-1)
      return write ? [[nameOf(key), { name: key, write }] as const] : []
    }),
  )
}

function* checkRemote({ keys, remote }: Evidence): Generator<Problem> {
  if (!remote) return
  const newest = newestOf(keys)
  const records = Map.groupBy(remote, nameOf)
  for (const [id, { name, write }] of newest) {
    const held = records.get(id) ?? []
    records.delete(id)
    if (write.deleted) {
      if (held.length > 0)
        yield { kind: 'remote unknown', name, what: 'it is deleted, and the remote holds it' }
      continue
    }
    if (held.length > 1)
      yield { kind: 'remote duplicate', name, what: `the remote holds it ${held.length} times` }
    if (held.length === 0) yield { kind: 'remote missing', name, what: 'the remote does not hold it' }
    if (held.some(({ text }) => text !== write.valueText)) {
      yield {
        kind: 'remote different',
        name,
        what: `the remote holds ${held.map(({ text }) => operationIn(text))}`,
      }
    }
  }
  for (const [record] of records.values()) {
    if (record) yield { kind: 'remote unknown', name: record, what: 'nobody wrote it' }
  }
}

/** The number of the operation that a value names, for messages, which never show a value. */
function operationIn(text: string): string {
  return `what operation ${/"operation":(\d+)/.exec(text)?.[1] ?? '?'} wrote`
}

function* checkVectors({ keys, embedded }: Evidence): Generator<Problem> {
  if (!embedded) return
  const { expectedHash } = embedded
  const vectors = new Map(embedded.keys.map((own) => [nameOf(own), own]))
  for (const [id, { name, write }] of newestOf(keys)) {
    const held = vectors.get(id)
    const hashes = held?.contentHashes ?? []
    if (write.deleted || !write.embed || write.valueText === undefined) {
      if (hashes.length > 0)
        yield { kind: 'vector left', name, what: 'a search finds it, and it is not to be found' }
    } else if (!held || hashes.length === 0) {
      yield { kind: 'vector missing', name, what: 'no search finds it' }
    } else {
      if (compareVersions(held.version, write.version) !== 0)
        yield { kind: 'vector of another version', name, what: `it is of ${formatVersion(held.version)}` }
      if (!hashes.includes(expectedHash(write.valueText)))
        yield { kind: 'vector of another text', name, what: 'its vector is of another text than the newest' }
    }
  }
}

/** Everything known of a key, for a person. */
function describeKey(name: Name, { operations, keys, remote }: Evidence): string[] {
  const id = nameOf(name)
  const own = operations.filter((operation) => nameOf(operation) === id)
  const stored = keys.find((key) => nameOf(key) === id)
  const time = (ms: number) => `${(ms / 1000).toFixed(3)} s`
  return [
    ...own.map((operation) => {
      const { answer } = operation
      const until =
        answer.kind === 'unknown' ? `never answered (${answer.reason})` : `answered at ${time(answer.atMs)}`
      return `${show(operation)}: sent at ${time(operation.sentAtMs)}, ${until}`
    }),
    ...(stored?.writes ?? []).map(
      ({ version, deleted, operation }) =>
        `stored: version ${formatVersion(version)}, ${deleted ? 'deleted' : 'set'} by operation ${operation ?? '?'}`,
    ),
    ...(remote ?? [])
      .filter((record) => nameOf(record) === id)
      .map(({ id: at, text }) => `remote: ${at} holds ${operationIn(text)}`),
  ]
}
