/**
 * What the proof promises, checked on the evidence of one run. Pure: evidence in, problems out.
 *
 * The order of acceptance is that of the job ids, which Redis hands out one after the other to whoever asks; the
 * receipts say which id each memory got. What follows for each key is the model's to say (`faults/model.ts`), which the
 * fault runs share; here stands what only this proof has: lines, refusals, receipts, kills.
 */

import type { Kind } from './faults/keyHistory.ts'
import type {
  Answer,
  Evidence as ModelEvidence,
  StoredWrite as ModelWrite,
  Name,
  Operation,
} from './faults/ledger.ts'
import { findViolations } from './faults/model.ts'

interface SentMemory extends Name {
  producer: number
  line: number
  /** Undefined for a delete. */
  valueText: string | undefined
}

export interface ProducerReceipt extends Name {
  producer: number
  line: number
  jobId: string
}

export interface StoredWrite extends Name {
  deleted: boolean
  /** The value as JSON; undefined where it is deleted. */
  valueText: string | undefined
  /** `epoch-sequence-index` */
  version: string
}

export interface Evidence {
  sent: SentMemory[]
  /** Lines that break the contract. */
  broken: { producer: number; line: number }[]
  receipts: ProducerReceipt[]
  /** Lines the producers said they refused. */
  refused: { producer: number; line: number }[]
  /** Ids of the jobs that were planted to become dead letters. */
  planted: string[]
  /** The jobs the dead letters were made of. */
  deadLetterJobs: string[]
  /** Newest write of each key, tombstones included. */
  stored: StoredWrite[]
  /** The writes kept of each key, newest first. */
  histories: StoredWrite[][]
  status: {
    waiting: number | null
    delayed: number | null
    active: number | null
    deadLetters: number | null
    queued: number | null
    synced: number
    superseded: number
  }
  /** For each kill of the daemon, the jobs that were in flight. */
  killsInFlight: number[]
  /** Lines of the daemon's log at error or worse. */
  logErrors: string[]
  /** Outputs that show a value, by name. */
  leaks: string[]
}

export interface Finding {
  promise: string
  /** Empty where it was kept. */
  problems: string[]
}

/** Every promise with what breaks it. */
export function checkPromises(evidence: Evidence): Finding[] {
  const violations = findViolations(toLedger(evidence))
  const of = (...kinds: Kind[]) =>
    violations
      .filter(({ kind }) => kinds.includes(kind))
      .map(({ kind, name, what }) => `${name ? `${show(name)}: ` : ''}${kind}: ${what}`)
  const findings: [promise: string, problems: Iterable<string>][] = [
    ['every good line was accepted once, every broken one refused', checkIntake(evidence)],
    ["each producer's memories were accepted in its order", checkProducerOrder(evidence)],
    ['every key holds its newest accepted value', [...of('lost', 'stale'), ...checkStored(evidence)]],
    [
      'every version kept is one that was accepted, once, newest first',
      of('reordered', 'applied twice', 'never written', 'wrong content', 'wrong version'),
    ],
    [
      'nothing is lost and nothing counts twice',
      [...of('miscounted', 'job id twice'), ...checkCounts(evidence)],
    ],
    [
      'the dead letters are those that were planted, and no other',
      [
        ...of('dead letter missing', 'dead letter of a good job', 'dead letter twice'),
        ...checkDeadLetterCount(evidence),
      ],
    ],
    ['nothing is pending', checkPending(evidence)],
    ['each kill hit work in flight', checkKills(evidence)],
    ['the log has no error, and no output shows a value', [...evidence.logErrors, ...evidence.leaks]],
  ]
  return findings.map(([promise, problems]) => ({ promise, problems: [...problems] }))
}

const nameOf = ({ namespace, key }: Name): string => JSON.stringify([namespace, key])
/** Of a planted job, whose key no memory has. */
const NOBODY: Name = { namespace: '', key: '' }
const placeOf = ({ producer, line }: { producer: number; line: number }): string =>
  `producer ${producer}, line ${line}`

/** For messages: a name may be long, and is never a value. */
function show(name: Name): string {
  const text = nameOf(name)
  return text.length > 80 ? `${text.slice(0, 79)}…` : text
}

/** The evidence as the model of the fault runs takes it: nothing but jobs, and neither a remote nor vectors. */
function toLedger(evidence: Evidence): ModelEvidence {
  const { sent, receipts, planted, deadLetterJobs, histories, status } = evidence
  const jobs = new Map(receipts.map((receipt) => [placeOf(receipt), receipt.jobId]))
  const common = { embed: false, via: 'command', sentAtMs: 0 } as const
  const answerOf = (jobId: string | undefined): Answer =>
    jobId === undefined ? { kind: 'unknown', reason: 'no receipt' } : { kind: 'queued', jobId, atMs: 0 }
  const operations = [
    ...sent.map((memory, index): Operation => {
      const { namespace, key, valueText } = memory
      const kind = valueText === undefined ? 'delete' : 'set'
      const answer = answerOf(jobs.get(placeOf(memory)))
      return { ...common, number: index + 1, namespace, key, kind, valueText, answer }
    }),
    ...planted.map((jobId, index): Operation => {
      const number = sent.length + index + 1
      return { ...common, number, ...NOBODY, kind: 'poison', valueText: undefined, answer: answerOf(jobId) }
    }),
  ]
  const numbers = new Map(
    operations.flatMap(({ number, answer }) => (answer.kind === 'queued' ? [[answer.jobId, number]] : [])),
  )
  const deadLetters = deadLetterJobs.map((jobId) => ({
    ...{ id: jobId, jobId, sourceQueue: 'memory-sync', code: '', errorClass: '', attempts: 1 },
    operation: numbers.get(jobId),
  }))
  return {
    operations,
    keys: histories.flatMap((writes) => {
      const [newest] = writes
      if (!newest) return []
      const { namespace, key } = newest
      return [{ namespace, key, writes: writes.map((write) => toWrite(write, numbers)).reverse() }]
    }),
    remote: undefined,
    embedded: undefined,
    deadLetters,
    deadLettersAtTheEnd: deadLetters,
    retried: [],
    queues: {},
    spoolFiles: [],
    totals: status,
    incidents: [],
    allowance: { unclearRemote: false, unclearEmbedder: false },
  }
}

/** Who wrote it is known by its version, as the values are as they come. */
function toWrite(write: StoredWrite, numbers: ReadonlyMap<string, number>): ModelWrite {
  const [epoch = 0, sequence = 0, index = 0] = write.version.split('-').map(Number)
  const { deleted, valueText } = write
  const operation = epoch === 1 && index === 0 ? numbers.get(String(sequence)) : undefined
  return { version: { epoch, sequence, index }, deleted, valueText, embed: false, operation }
}

function* checkStored({ stored, histories }: Evidence): Generator<string> {
  if (histories.length !== stored.length) yield `${stored.length} keys have ${histories.length} histories`
  for (const [name, own] of Map.groupBy(stored, nameOf)) {
    if (own.length > 1) yield `${name}: stands in the store ${own.length} times`
  }
  for (const [index, write] of stored.entries()) {
    const newest = histories[index]?.[0]
    const isSame =
      newest?.version === write.version &&
      newest.deleted === write.deleted &&
      newest.valueText === write.valueText
    if (!isSame) yield `${show(write)}: is not the newest of its history`
  }
}

function* checkIntake({ sent, broken, receipts, refused }: Evidence): Generator<string> {
  const receiptsByPlace = Map.groupBy(receipts, placeOf)
  for (const memory of sent) {
    const [receipt, ...more] = receiptsByPlace.get(placeOf(memory)) ?? []
    if (!receipt) yield `${placeOf(memory)}: has no receipt`
    else if (nameOf(receipt) !== nameOf(memory))
      yield `${placeOf(memory)}: its receipt names ${show(receipt)}`
    if (more.length > 0) yield `${placeOf(memory)}: has ${more.length + 1} receipts`
    receiptsByPlace.delete(placeOf(memory))
  }
  for (const place of receiptsByPlace.keys()) yield `${place}: was accepted and should not have been`
  const jobIds = new Set(receipts.map(({ jobId }) => jobId))
  if (jobIds.size !== receipts.length) yield 'two receipts have the same job id'

  const wanted = new Set(broken.map(placeOf))
  const told = new Set(refused.map(placeOf))
  for (const place of wanted.difference(told)) yield `${place}: was not refused`
  for (const place of told.difference(wanted)) yield `${place}: was refused and is a good line`
}

function* checkProducerOrder({ receipts }: Evidence): Generator<string> {
  for (const own of Map.groupBy(receipts, ({ producer }) => producer).values()) {
    const byLine = own.toSorted((a, b) => a.line - b.line)
    for (const [index, receipt] of byLine.entries()) {
      const before = byLine[index - 1]
      if (before && Number(before.jobId) >= Number(receipt.jobId))
        yield `${placeOf(receipt)}: was accepted before line ${before.line}`
    }
  }
}

function* checkCounts({ receipts, planted, stored, status }: Evidence): Generator<string> {
  const { queued, synced, superseded, deadLetters } = status
  const accepted = receipts.length + planted.length
  if (queued !== accepted) yield `the queue counts ${queued} accepted, the producers ${accepted}`
  const ends = synced + superseded + (deadLetters ?? 0)
  if (ends !== accepted) {
    yield `synced ${synced} + superseded ${superseded} + dead letters ${deadLetters} = ${ends}, accepted ${accepted}`
  }
  if (synced < stored.length)
    yield `${stored.length} keys are stored, and only ${synced} writes count as synced`
}

function* checkDeadLetterCount({ planted, status }: Evidence): Generator<string> {
  if (status.deadLetters !== planted.length)
    yield `status counts ${status.deadLetters} dead letters, planted ${planted.length}`
}

function* checkPending({ status }: Evidence): Generator<string> {
  for (const state of ['waiting', 'delayed', 'active'] as const) {
    if (status[state] !== 0) yield `${state}: ${status[state]}`
  }
}

function* checkKills({ killsInFlight }: Evidence): Generator<string> {
  if (killsInFlight.length === 0) yield 'the daemon was never killed'
  for (const [index, inFlight] of killsInFlight.entries()) {
    if (inFlight === 0) yield `kill ${index + 1} hit an idle daemon`
  }
}
