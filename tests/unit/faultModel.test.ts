/** The checker of the fault runs can fail: each kind of broken promise, planted in a sound history, is found and named. */
import { describe, expect, it } from 'vitest'
import type {
  Answer,
  EmbeddedKey,
  Evidence,
  Operation,
  RemoteRecord,
  StoredWrite,
} from '../../prove/faults/ledger.ts'
import { findViolations, type Violation } from '../../prove/faults/model.ts'

const NAME = { namespace: 'default', key: 'k' }
const QUIET = { waiting: 0, delayed: 0, active: 0, failed: 0 }

function queued(jobId: number, atMs = jobId * 100 + 10): Answer {
  return { kind: 'queued', jobId: String(jobId), atMs }
}

function operation(number: number, answer: Answer, more: Partial<Operation> = {}): Operation {
  return {
    ...NAME,
    number,
    kind: 'set',
    valueText: `{"operation":${number}}`,
    embed: false,
    via: 'bullmq',
    sentAtMs: number * 100,
    answer,
    ...more,
  }
}

function write(number: number, sequence: number, more: Partial<StoredWrite> = {}): StoredWrite {
  const version = { epoch: 1, sequence, index: 0 }
  return {
    version,
    deleted: false,
    valueText: `{"operation":${number}}`,
    embed: false,
    operation: number,
    ...more,
  }
}

/** Three writes of one key by job, the last of them embedded, and everything where it belongs. */
/** The same, each part by itself for a test to spoil. */
type Sound = Omit<Evidence, 'remote' | 'embedded'> & {
  writes: StoredWrite[]
  remote: RemoteRecord[]
  embedded: EmbeddedKey[]
}

function sound(): Sound {
  const writes = [write(1, 1), write(2, 2), write(3, 3, { embed: true })]
  return {
    operations: [operation(1, queued(1)), operation(2, queued(2)), operation(3, queued(3), { embed: true })],
    keys: [{ ...NAME, writes }],
    writes,
    remote: [{ ...NAME, id: 'r1', text: '{"operation":3}' }],
    embedded: [
      { ...NAME, version: { epoch: 1, sequence: 3, index: 0 }, contentHashes: ['hash of {"operation":3}'] },
    ],
    deadLetters: [],
    deadLettersAtTheEnd: [],
    retried: [],
    queues: { 'memory-sync': { ...QUIET } },
    spoolFiles: [],
    totals: { synced: 3, superseded: 0 },
    incidents: [],
    allowance: { unclearRemote: false, unclearEmbedder: false },
  }
}

function violationsOf({ embedded, ...evidence }: Sound): Violation[] {
  const expectedHash = (valueText: string) => `hash of ${valueText}`
  return findViolations({ ...evidence, embedded: { keys: embedded, expectedHash } })
}

/** The kinds of violation that a sound history has after `spoil`. */
function kindsAfter(spoil: (evidence: Sound) => void): string[] {
  const evidence = sound()
  spoil(evidence)
  return [...new Set(violationsOf(evidence).map(({ kind }) => kind))].sort()
}

const letter = (number: number | undefined, more = {}) => ({
  id: `1-${number}-0-0`,
  sourceQueue: 'memory-sync',
  jobId: String(number),
  code: 'MEMSYNC_INVALID_MEMORY',
  errorClass: 'permanent',
  operation: number,
  attempts: 1,
  ...more,
})

describe('sound histories', () => {
  it.each<[name: string, change: (evidence: Sound) => void]>([
    ['as it is', () => undefined],
    [
      'a late write that was superseded',
      ({ writes, totals }) => {
        writes.splice(1, 1)
        Object.assign(totals, { synced: 2, superseded: 1 })
      },
    ],
    [
      'a write without an answer that was applied, in whatever place',
      ({ operations, writes, totals }) => {
        operations.push(operation(4, { kind: 'unknown', reason: 'lost' }, { sentAtMs: 150 }))
        writes.splice(1, 0, write(4, 1, { version: { epoch: 1, sequence: 1, index: 950_000 } }))
        totals.synced++
      },
    ],
    [
      'a job that wins over a spooled memory with a later place, and stands right above it',
      ({ operations, writes, embedded }) => {
        operations.splice(1, 1, operation(2, { kind: 'spooled', uid: 'u', atMs: 210 }))
        const lifted = { epoch: 1, sequence: 4, index: 900_001 }
        writes.splice(1, 2, write(2, 4, { version: { ...lifted, index: 900_000 } }))
        writes.push(write(3, 4, { version: lifted, embed: true }))
        embedded.splice(0, 1, { ...(embedded[0] as EmbeddedKey), version: lifted })
      },
    ],
    [
      'a write without an answer that left no trace',
      ({ operations }) => operations.push(operation(4, { kind: 'unknown', reason: 'lost' })),
    ],
    [
      'a rollback to what was before the last write',
      ({ operations, writes, totals, remote, embedded }) => {
        operations.push(operation(4, queued(4), { kind: 'rollback', valueText: undefined }))
        writes.push(write(2, 4))
        totals.synced++
        remote[0] = { ...NAME, id: 'r1', text: '{"operation":2}' }
        embedded.length = 0
      },
    ],
    [
      'a rollback without an answer',
      ({ operations, writes, totals, remote, embedded }) => {
        operations.push(
          operation(4, { kind: 'unknown', reason: 'lost' }, { kind: 'rollback', valueText: undefined }),
        )
        writes.push(write(2, 4))
        totals.synced++
        remote[0] = { ...NAME, id: 'r1', text: '{"operation":2}' }
        embedded.length = 0
      },
    ],
    [
      'a delete, gone from the remote and from the search',
      ({ operations, writes, totals, remote, embedded }) => {
        operations.push(operation(4, queued(4), { kind: 'delete', valueText: undefined }))
        writes.push(write(4, 4, { deleted: true, valueText: undefined }))
        totals.synced++
        remote.length = 0
        embedded.length = 0
      },
    ],
    [
      'poison that is a dead letter, before and after it was redriven',
      ({ operations, deadLetters, deadLettersAtTheEnd }) => {
        operations.push(operation(4, queued(4), { kind: 'poison', valueText: undefined }))
        deadLetters.push(letter(4))
        deadLettersAtTheEnd.push(letter(4))
      },
    ],
    [
      'a spooled memory whose producer did not know, twice a dead letter',
      ({ operations, deadLetters, totals }) => {
        operations.push(
          operation(4, { kind: 'spooled', uid: 'u', atMs: 90 }, { kind: 'oversized', sentAtMs: 50 }),
        )
        deadLetters.push(letter(4), letter(4, { jobId: 'spool-1-9-950000' }))
        totals.superseded++
      },
    ],
    [
      'a push that paid for answers that were not clear',
      ({ deadLetters, retried, allowance }) => {
        allowance.unclearRemote = true
        retried.push({ queue: 'memory-push', jobId: '9', attempts: 2 })
        deadLetters.push(letter(undefined, { sourceQueue: 'memory-push', code: 'MEMSYNC_REMOTE_UNCLEAR' }))
      },
    ],
  ])('%s', (_, change) => {
    expect(kindsAfter(change)).toEqual([])
  })
})

describe('each broken promise is found', () => {
  it.each<[kind: string, spoil: (evidence: Sound) => void]>([
    ['lost', ({ operations }) => operations.push({ ...operation(4, queued(4)), key: 'other' })],
    [
      'lost',
      // Nothing newer than it was applied.
      ({ operations }) => operations.push(operation(4, { kind: 'spooled', uid: 'u', atMs: 410 })),
    ],
    ['stale', ({ writes }) => writes.push(...writes.splice(1, 1))],
    ['reordered', ({ writes }) => writes.reverse()],
    [
      'applied twice',
      ({ writes }) => writes.splice(2, 0, write(1, 2, { version: { epoch: 1, sequence: 2, index: 5 } })),
    ],
    ['never written', ({ writes }) => writes.unshift(write(77, 0))],
    [
      'never written',
      ({ keys }) => keys.push({ namespace: 'default', key: 'nobody', writes: [write(1, 1)] }),
    ],
    [
      'refused and applied',
      ({ operations }) => {
        operations[0] = operation(1, { kind: 'refused', code: 'X', atMs: 110 })
      },
    ],
    ['wrong content', ({ writes }) => writes.splice(0, 1, write(1, 1, { valueText: '"other"' }))],
    ['wrong version', ({ writes }) => writes.splice(0, 1, write(1, 0))],
    ['wrong version', ({ writes }) => Object.assign(writes[2]?.version ?? {}, { sequence: 2, index: 1 })],
    [
      'wrong version',
      // As if above a spooled memory, where there is none.
      ({ writes, embedded }) => {
        const version = { epoch: 1, sequence: 4, index: 900_001 }
        writes.splice(2, 1, write(3, 4, { version, embed: true }))
        embedded.splice(0, 1, { ...(embedded[0] as EmbeddedKey), version })
      },
    ],
    [
      'wrong rollback',
      ({ operations, writes }) => {
        operations.push(operation(4, queued(4), { kind: 'rollback', valueText: undefined }))
        writes.push(write(1, 4))
      },
    ],
    [
      'dead letter missing',
      ({ operations }) => operations.push(operation(4, queued(4), { kind: 'poison', valueText: undefined })),
    ],
    ['dead letter of a good job', ({ deadLettersAtTheEnd }) => deadLettersAtTheEnd.push(letter(3))],
    [
      'dead letter of a good job',
      ({ deadLetters }) =>
        deadLetters.push(
          letter(undefined, { sourceQueue: 'memory-push', code: 'MEMSYNC_REMOTE_UNAVAILABLE' }),
        ),
    ],
    [
      'dead letter twice',
      ({ operations, deadLetters }) => {
        operations.push(operation(4, queued(4), { kind: 'poison', valueText: undefined }))
        deadLetters.push(letter(4), letter(4, { id: '1-4-0-1' }))
      },
    ],
    ['attempt burnt', ({ retried }) => retried.push({ queue: 'memory-push', jobId: '9', attempts: 2 })],
    ['pending', ({ queues }) => Object.assign(queues, { 'memory-push': { ...QUIET, delayed: 1 } })],
    ['pending', ({ spoolFiles }) => spoolFiles.push('x.spool')],
    ['miscounted', ({ totals }) => totals.synced++],
    [
      'miscounted',
      ({ writes, totals }) => {
        writes.splice(1, 1)
        totals.synced--
      },
    ],
    ['remote missing', ({ remote }) => remote.pop()],
    ['remote different', ({ remote }) => remote.splice(0, 1, { ...NAME, id: 'r1', text: '{"operation":2}' })],
    ['remote duplicate', ({ remote }) => remote.push({ ...NAME, id: 'r2', text: '{"operation":3}' })],
    ['remote unknown', ({ remote }) => remote.push({ namespace: 'default', key: 'x', id: 'r2', text: '1' })],
    [
      'remote unknown',
      ({ operations, writes, totals }) => {
        operations.push(operation(4, queued(4), { kind: 'delete', valueText: undefined }))
        writes.push(write(4, 4, { deleted: true, valueText: undefined }))
        totals.synced++
      },
    ],
    ['vector missing', ({ embedded }) => embedded.pop()],
    [
      'vector of another version',
      ({ embedded }) => Object.assign(embedded[0] ?? {}, { version: { epoch: 1, sequence: 2, index: 0 } }),
    ],
    [
      'vector of another text',
      ({ embedded }) => Object.assign(embedded[0] ?? {}, { contentHashes: ['hash of another'] }),
    ],
    [
      'vector left',
      ({ operations, writes }) => {
        operations.splice(2, 1, operation(3, queued(3)))
        writes.splice(2, 1, write(3, 3))
      },
    ],
    ['job id twice', ({ operations }) => operations.push(operation(4, queued(3)))],
    ['incident', ({ incidents }) => incidents.push('the daemon ended by itself')],
  ])('%s', (kind, spoil) => {
    expect(kindsAfter(spoil)).toContain(kind)
  })

  it('a violation of a key comes with its history, and shows no value', () => {
    const evidence = sound()
    evidence.remote.push({ ...NAME, id: 'r2', text: '{"operation":1,"text":"secret"}' })
    const [violation] = violationsOf(evidence)
    expect(violation?.history.join('\n')).toMatch(/operation 1 .*job 1.*\n.*\n.*\n.*stored: version 1-1-0/)
    expect(JSON.stringify(violation)).not.toContain('secret')
  })
})
