/**
 * What the proof promises, checked on the evidence of one run. Pure: evidence in, problems out.
 *
 * The order of acceptance is that of the job ids, which Redis hands out one after the other to whoever asks; the
 * receipts say which id each memory got. From them follows, for each key, which write must stand in the store.
 */

interface Name {
  namespace: string
  key: string
}

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
  const accepted = acceptedWrites(evidence)
  const findings: [promise: string, problems: Iterable<string>][] = [
    ['every good line was accepted once, every broken one refused', checkIntake(evidence)],
    ["each producer's memories were accepted in its order", checkProducerOrder(evidence)],
    ['every key holds its newest accepted value', checkNewest(evidence, accepted)],
    ['every version kept is one that was accepted, once, newest first', checkHistories(evidence, accepted)],
    ['nothing is lost and nothing counts twice', checkCounts(evidence)],
    ['the dead letters are those that were planted, and no other', checkDeadLetters(evidence)],
    ['nothing is pending', checkPending(evidence)],
    ['each kill hit work in flight', checkKills(evidence)],
    ['the log has no error, and no output shows a value', [...evidence.logErrors, ...evidence.leaks]],
  ]
  return findings.map(([promise, problems]) => ({ promise, problems: [...problems] }))
}

const nameOf = ({ namespace, key }: Name): string => JSON.stringify([namespace, key])
const placeOf = ({ producer, line }: { producer: number; line: number }): string =>
  `producer ${producer}, line ${line}`

/** For messages: a name may be long, and is never a value. */
function show(name: Name): string {
  const text = nameOf(name)
  return text.length > 80 ? `${text.slice(0, 79)}…` : text
}

/** What each receipt stands for, by job id. */
function acceptedWrites({ sent, receipts }: Evidence): Map<string, SentMemory> {
  const bySource = new Map(sent.map((memory) => [placeOf(memory), memory]))
  return new Map(
    receipts.flatMap((receipt) => {
      const memory = bySource.get(placeOf(receipt))
      return memory ? [[receipt.jobId, memory] as const] : []
    }),
  )
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

function* checkNewest({ stored }: Evidence, accepted: Map<string, SentMemory>): Generator<string> {
  const newest = new Map<string, { jobId: string; memory: SentMemory }>()
  for (const [jobId, memory] of accepted) {
    const known = newest.get(nameOf(memory))
    if (!known || Number(known.jobId) < Number(jobId)) newest.set(nameOf(memory), { jobId, memory })
  }
  const storedByName = Map.groupBy(stored, nameOf)
  for (const [name, { jobId, memory }] of newest) {
    const [write, ...more] = storedByName.get(name) ?? []
    storedByName.delete(name)
    if (more.length > 0) yield `${show(memory)}: stands in the store ${more.length + 1} times`
    const problem = write ? findDifference(write, jobId, memory) : 'is missing'
    if (problem) yield `${show(memory)}: ${problem}`
  }
  for (const [write] of storedByName.values()) {
    if (write) yield `${show(write)}: is stored and nobody wrote it`
  }
}

/** How the stored write differs from the accepted one of this job. */
function findDifference(write: StoredWrite, jobId: string, memory: SentMemory): string | undefined {
  if (write.deleted && memory.valueText !== undefined) return `is deleted, and job ${jobId} wrote it`
  if (!write.deleted && memory.valueText === undefined) return `is there, and job ${jobId} deleted it`
  if (write.version !== `1-${jobId}-0`) return `holds version ${write.version} instead of 1-${jobId}-0`
  if (write.valueText !== memory.valueText) return `holds another value than job ${jobId} wrote`
  return undefined
}

function* checkHistories(
  { histories, stored }: Evidence,
  accepted: Map<string, SentMemory>,
): Generator<string> {
  if (histories.length !== stored.length) yield `${stored.length} keys have ${histories.length} histories`
  for (const writes of histories) {
    let before = Number.POSITIVE_INFINITY
    for (const write of writes) {
      const jobId = /^1-(\d+)-0$/.exec(write.version)?.[1] ?? ''
      const memory = accepted.get(jobId)
      if (!memory || nameOf(memory) !== nameOf(write)) {
        yield `${show(write)}: version ${write.version} was never accepted for it`
        continue
      }
      if (Number(jobId) >= before) yield `${show(write)}: version ${write.version} is out of order or double`
      before = Number(jobId)
      const problem = findDifference(write, jobId, memory)
      if (problem) yield `${show(write)}: ${problem}`
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

function* checkDeadLetters({ planted, deadLetterJobs, status }: Evidence): Generator<string> {
  const wanted = new Set(planted)
  const found = new Set(deadLetterJobs)
  for (const jobId of wanted.difference(found)) yield `job ${jobId} is no dead letter`
  for (const jobId of found.difference(wanted)) yield `job ${jobId} is a dead letter and was a good one`
  if (found.size !== deadLetterJobs.length) yield 'a job is a dead letter twice'
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
