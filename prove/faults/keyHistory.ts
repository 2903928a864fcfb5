/**
 * One key as a register. What producers were told fixes part of the order: of two accepted writes, the one that was sent
 * after the other had been answered is the newer; of two with job ids, the one with the greater id. Every history that the
 * store may show is an order of the accepted writes (and of any of the unanswered) that keeps to this. Pure.
 */
import type { Name, Operation, StoredKey, StoredWrite } from './ledger.ts'

/** Each kind of broken promise. */
export type Kind =
  | 'lost'
  | 'stale'
  | 'reordered'
  | 'applied twice'
  | 'never written'
  | 'refused and applied'
  | 'wrong content'
  | 'wrong version'
  | 'wrong rollback'
  | 'dead letter missing'
  | 'dead letter of a good job'
  | 'dead letter twice'
  | 'attempt burnt'
  | 'pending'
  | 'miscounted'
  | 'remote missing'
  | 'remote different'
  | 'remote duplicate'
  | 'remote unknown'
  | 'vector missing'
  | 'vector of another version'
  | 'vector of another text'
  | 'vector left'
  | 'job id twice'
  | 'incident'

export interface Problem {
  kind: Kind
  name?: Name
  what: string
}

/** Two clocks' reading of one moment may differ by this much: acceptance times are whole milliseconds. */
const SLACK_MS = 2
/** Of the version of a memory that came through the spool. */
const SPOOL_INDEX = 900_000

export const isAccepted = ({ answer }: Operation): boolean =>
  answer.kind === 'queued' || answer.kind === 'spooled'
export const formatVersion = ({ epoch, sequence, index }: StoredWrite['version']): string =>
  `${epoch}-${sequence}-${index}`
export const compareVersions = (a: StoredWrite['version'], b: StoredWrite['version']): number =>
  a.epoch - b.epoch || a.sequence - b.sequence || a.index - b.index

/** Whether `a` is certainly older than `b`, by what their producers were told. */
function isOlder(a: Operation, b: Operation): boolean {
  if (a.answer.kind === 'queued' && b.answer.kind === 'queued')
    return Number(a.answer.jobId) < Number(b.answer.jobId)
  return (a.answer.kind === 'queued' || a.answer.kind === 'spooled') && a.answer.atMs + SLACK_MS < b.sentAtMs
}

export function* checkKey(
  key: StoredKey,
  operations: Operation[],
  dead: ReadonlySet<number>,
): Generator<Problem> {
  const { applied, problems } = identify(key, operations)
  yield* problems
  for (const [at, write] of key.writes.entries()) {
    const before = key.writes[at - 1]
    if (before && compareVersions(before.version, write.version) >= 0) {
      yield {
        kind: 'wrong version',
        what: `version ${formatVersion(write.version)} was applied after ${formatVersion(before.version)}`,
      }
    }
  }
  yield* checkOrder(applied)
  const last = applied.at(-1)
  for (const operation of operations) {
    if (!isAccepted(operation) || dead.has(operation.number)) continue
    const isApplied = applied.includes(operation)
    if (applied.length === 0) yield { kind: 'lost', what: `${show(operation)} left no trace` }
    else if (!isApplied && !applied.some((other) => other === undefined || !isOlder(other, operation))) {
      yield { kind: 'lost', what: `${show(operation)} was not applied, and nothing newer was` }
    } else if (last && last !== operation && isOlder(last, operation)) {
      yield { kind: 'stale', what: `${show(last)} is the newest stored, and ${show(operation)} is newer` }
    }
  }
}

/** The operation behind each write of the history; undefined where it cannot be told, which is a problem. */
function identify(
  key: StoredKey,
  operations: Operation[],
): { applied: (Operation | undefined)[]; problems: Problem[] } {
  const problems: Problem[] = []
  const byNumber = new Map(operations.map((operation) => [operation.number, operation]))
  const rollbacks = operations.filter(({ kind }) => kind === 'rollback')
  const rollbackOf = new Map(
    rollbacks.flatMap((operation) =>
      operation.answer.kind === 'queued' ? [[operation.answer.jobId, operation] as const] : [],
    ),
  )
  const standing = new Set(key.writes.filter(isOwnVersion).map(({ version }) => String(version.sequence)))
  const openRollbacks = rollbacks.filter(
    ({ answer }) => answer.kind === 'unknown' || (answer.kind === 'queued' && !standing.has(answer.jobId)),
  )
  const seen = new Set<number>()
  const applied = key.writes.map((write, at) => {
    const version = formatVersion(write.version)
    const rollback = isOwnVersion(write) ? rollbackOf.get(String(write.version.sequence)) : undefined
    const [restored, before] = [key.writes[at - 2], key.writes[at - 1]]
    if (rollback) {
      if (!restoresWhat(write, restored))
        problems.push({
          kind: 'wrong rollback',
          what: `version ${version} is not what was before the last write`,
        })
      return rollback
    }
    const operation = write.operation === undefined ? undefined : byNumber.get(write.operation)
    if ((!operation || seen.has(operation.number)) && restoresWhat(write, restored)) {
      const at = openRollbacks.findIndex(({ answer }) => answer.kind === 'unknown' || isLifted(write, before))
      if (at >= 0) return openRollbacks.splice(at, 1)[0]
    }
    if (!operation) {
      problems.push({ kind: 'never written', what: `version ${version} is of nobody who wrote this key` })
      return undefined
    }
    if (seen.has(operation.number))
      problems.push({ kind: 'applied twice', what: `${show(operation)} again as version ${version}` })
    seen.add(operation.number)
    problems.push(...checkContent(write, before, operation))
    return operation
  })
  return { applied, problems }
}

function restoresWhat(write: StoredWrite, restored: StoredWrite | undefined): boolean {
  return write.valueText === restored?.valueText && write.deleted === (restored?.deleted ?? true)
}

/** Whether the write stands under the id of its own job. */
function isOwnVersion({ version }: StoredWrite): boolean {
  return version.index === 0
}

/**
 * Whether the write stands right above one that came through the spool, which got its version later than it was accepted:
 * so does a newer write with an older version. That it is newer is for the check of the order.
 */
function isLifted({ version }: StoredWrite, before: StoredWrite | undefined): boolean {
  if (!before || before.version.index < SPOOL_INDEX) return false
  const { epoch, sequence, index } = before.version
  return compareVersions(version, { epoch, sequence, index: index + 1 }) === 0
}

function* checkContent(
  write: StoredWrite,
  before: StoredWrite | undefined,
  operation: Operation,
): Generator<Problem> {
  const version = formatVersion(write.version)
  const { answer, valueText } = operation
  if (answer.kind === 'refused')
    yield { kind: 'refused and applied', what: `${show(operation)} stands as version ${version}` }
  const isSame = write.deleted
    ? operation.kind === 'delete'
    : write.valueText === valueText && write.embed === operation.embed
  if (!isSame)
    yield { kind: 'wrong content', what: `version ${version} is not what ${show(operation)} wrote` }
  if (answer.kind !== 'queued') return
  const isOwn = isOwnVersion(write) && String(write.version.sequence) === answer.jobId
  if (!isOwn && !(isLifted(write, before) && Number(answer.jobId) < write.version.sequence)) {
    yield { kind: 'wrong version', what: `${show(operation)} stands as version ${version}` }
  }
}

function* checkOrder(applied: readonly (Operation | undefined)[]): Generator<Problem> {
  for (const [at, newer] of applied.entries()) {
    const overtaken = newer && applied.slice(0, at).find((older) => older && isOlder(newer, older))
    if (overtaken) {
      yield { kind: 'reordered', what: `${show(newer)} was applied after ${show(overtaken)}, which is newer` }
    }
  }
}

export function show({ number, kind, via, answer }: Operation): string {
  const told =
    answer.kind === 'queued' ? `job ${answer.jobId}` : answer.kind === 'unknown' ? 'no answer' : answer.kind
  return `operation ${number} (${kind} by ${via}, ${told})`
}
