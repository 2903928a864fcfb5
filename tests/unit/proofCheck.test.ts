/** The checker of the proof can fail: each kind of broken promise, planted in sound evidence, is found and named. */
import { describe, expect, it } from 'vitest'
import { checkPromises, type Evidence } from '../../prove/check.ts'
import { createRandom, makeInput } from '../../prove/memories.ts'

const NEWEST = 'every key holds its newest accepted value'
const INTAKE = 'every good line was accepted once, every broken one refused'
const ORDER = "each producer's memories were accepted in its order"
const HISTORY = 'every version kept is one that was accepted, once, newest first'
const COUNTS = 'nothing is lost and nothing counts twice'
const DEAD = 'the dead letters are those that were planted, and no other'
const PENDING = 'nothing is pending'
const KILLS = 'each kill hit work in flight'
const LOG = 'the log has no error, and no output shows a value'

/**
 * Two producers write `a`; the second is the newest. `b` is written and then deleted. One line is broken, one job was
 * planted, and the first write of `a` came late and was superseded.
 */
function soundEvidence(): Evidence {
  const name = (key: string) => ({ namespace: 'default', key })
  const a = { ...name('a'), deleted: false, valueText: '"new"', version: '1-3-0' }
  const b = { ...name('b'), deleted: true, valueText: undefined, version: '1-4-0' }
  const bBefore = { ...name('b'), deleted: false, valueText: '1', version: '1-2-0' }
  return {
    sent: [
      { producer: 0, line: 1, ...name('a'), valueText: '"old"' },
      { producer: 0, line: 2, ...name('b'), valueText: '1' },
      { producer: 1, line: 1, ...name('a'), valueText: '"new"' },
      { producer: 1, line: 3, ...name('b'), valueText: undefined },
    ],
    broken: [{ producer: 1, line: 2 }],
    receipts: [
      { producer: 0, line: 1, ...name('a'), jobId: '1' },
      { producer: 0, line: 2, ...name('b'), jobId: '2' },
      { producer: 1, line: 1, ...name('a'), jobId: '3' },
      { producer: 1, line: 3, ...name('b'), jobId: '4' },
    ],
    refused: [{ producer: 1, line: 2 }],
    planted: ['5'],
    deadLetterJobs: ['5'],
    stored: [a, b],
    histories: [[a], [b, bBefore]],
    status: { waiting: 0, delayed: 0, active: 0, deadLetters: 1, queued: 5, synced: 3, superseded: 1 },
    killsInFlight: [12],
    logErrors: [],
    leaks: [],
  }
}

/** The promises that sound evidence breaks after `spoil`. */
function brokenBy(spoil: (evidence: Evidence) => void): string[] {
  const evidence = soundEvidence()
  spoil(evidence)
  return checkPromises(evidence)
    .filter(({ problems }) => problems.length > 0)
    .map(({ promise }) => promise)
}

/** The element, which is there. */
function at<T>(list: T[], index: number): T {
  const element = list[index]
  if (element === undefined) throw new Error(`no element ${index}`)
  return element
}

describe('the checker', () => {
  it('finds nothing in sound evidence', () => {
    expect(brokenBy(() => undefined)).toEqual([])
    expect(checkPromises(soundEvidence())).toHaveLength(9)
  })

  const cases: [what: string, spoil: (evidence: Evidence) => void, broken: string[]][] = [
    [
      'a key that is missing',
      ({ stored, histories }) => [stored.shift(), histories.shift()],
      [NEWEST, COUNTS],
    ],
    [
      'a stale value',
      ({ stored, histories }) => {
        Object.assign(at(stored, 0), { valueText: '"old"', version: '1-1-0' })
        histories[0] = [at(stored, 0)]
      },
      [NEWEST],
    ],
    [
      'an older write with the same value',
      ({ sent, stored }) => {
        Object.assign(at(sent, 0), { valueText: '"new"' })
        Object.assign(at(stored, 0), { version: '1-1-0' })
      },
      [NEWEST],
    ],
    [
      'a value that was changed',
      ({ stored, histories }) => {
        stored[0] = { ...at(stored, 0), valueText: '"new!"' }
        histories[0] = [at(stored, 0)]
      },
      [HISTORY],
    ],
    [
      'a delete that was undone by an older write',
      ({ stored, histories }) => {
        stored[1] = at(at(histories, 1), 1)
        histories[1] = [stored[1]]
      },
      [NEWEST, COUNTS],
    ],
    [
      'a set that was taken for a delete',
      ({ stored }) => Object.assign(at(stored, 0), { deleted: true }),
      [HISTORY],
    ],
    [
      'a key that nobody wrote',
      ({ stored, histories }) => {
        stored.push({ ...at(stored, 0), key: 'c' })
        histories.push([at(stored, 2)])
      },
      [HISTORY, COUNTS],
    ],
    ['a key that stands twice', ({ stored }) => stored.push(at(stored, 0)), [NEWEST]],
    ['a write that counts twice', ({ status }) => void status.synced++, [COUNTS]],
    ['a write that was lost before it counted', ({ status }) => void status.superseded--, [COUNTS]],
    [
      'fewer writes than keys',
      ({ status }) => void Object.assign(status, { synced: 1, superseded: 3 }),
      [COUNTS],
    ],
    [
      'a job the queue accepted and nobody knows',
      ({ status }) => Object.assign(status, { queued: 6 }),
      [COUNTS],
    ],
    ['a memory without a receipt', ({ receipts }) => receipts.shift(), [INTAKE, COUNTS]],
    [
      'two receipts for one line',
      ({ receipts }) => receipts.push({ ...at(receipts, 3), jobId: '6' }),
      [INTAKE, HISTORY, COUNTS],
    ],
    [
      'one job for two memories',
      ({ receipts }) => Object.assign(at(receipts, 3), { jobId: '2' }),
      [INTAKE, ORDER, HISTORY, COUNTS],
    ],
    [
      'a receipt that names another key',
      ({ receipts }) => Object.assign(at(receipts, 0), { key: 'z' }),
      [INTAKE],
    ],
    [
      'a broken line that was accepted',
      ({ receipts }) => receipts.push({ ...at(receipts, 3), line: 2, jobId: '6' }),
      [INTAKE, ORDER, COUNTS],
    ],
    ['a broken line that was not refused', ({ refused }) => refused.pop(), [INTAKE]],
    ['a good line that was refused', ({ refused }) => refused.push({ producer: 0, line: 1 }), [INTAKE]],
    [
      'an order of acceptance other than that of the lines',
      ({ receipts, histories, stored }) => {
        at(receipts, 0).jobId = '2'
        at(receipts, 1).jobId = '1'
        histories[1] = [at(stored, 1), { ...at(at(histories, 1), 1), version: '1-1-0' }]
      },
      [ORDER],
    ],
    [
      'a version of another key',
      ({ histories }) => at(histories, 0).push({ ...at(at(histories, 0), 0), version: '1-2-0' }),
      [HISTORY, COUNTS],
    ],
    [
      'a version that stands twice',
      ({ histories }) => at(histories, 1).push(at(at(histories, 1), 1)),
      [HISTORY, COUNTS],
    ],
    ['versions in the wrong order', ({ histories }) => at(histories, 1).reverse(), [NEWEST, HISTORY]],
    [
      'a version of another life of the queue',
      ({ stored }) => Object.assign(at(stored, 0), { version: '2-3-0' }),
      [HISTORY],
    ],
    ['a good job among the dead letters', ({ deadLetterJobs }) => deadLetterJobs.push('1'), [DEAD]],
    ['a planted job that vanished', ({ deadLetterJobs }) => deadLetterJobs.pop(), [DEAD]],
    ['a dead letter that stands twice', ({ deadLetterJobs }) => deadLetterJobs.push('5'), [DEAD]],
    [
      'a count of dead letters that is not theirs',
      ({ status }) => Object.assign(status, { deadLetters: 2 }),
      [COUNTS, DEAD],
    ],
    ['a job that waits', ({ status }) => Object.assign(status, { waiting: 1 }), [PENDING]],
    ['a job that is delayed', ({ status }) => Object.assign(status, { delayed: 1 }), [PENDING]],
    ['a job in flight', ({ status }) => Object.assign(status, { active: 1 }), [PENDING]],
    ['figures that are unknown', ({ status }) => Object.assign(status, { active: null }), [PENDING]],
    ['a kill of an idle daemon', ({ killsInFlight }) => killsInFlight.push(0), [KILLS]],
    ['no kill at all', ({ killsInFlight }) => killsInFlight.pop(), [KILLS]],
    ['an error in the log', ({ logErrors }) => logErrors.push('log: unexpected error'), [LOG]],
    ['a value in an output', ({ leaks }) => leaks.push('the log of the daemon shows a value'), [LOG]],
  ]
  it.each(cases)('finds %s', (_, spoil, broken) => {
    expect(brokenBy(spoil)).toEqual(broken)
  })
})

describe('the input', () => {
  it('is the same for the same seed, and another for another', () => {
    const text = (seed: number) => JSON.stringify(makeInput(300, 4, seed))
    const [first, again, other] = [text(1), text(1), text(2)]
    // Compared here, as the difference of two such texts takes a test runner for ever to print.
    expect(first === again).toBe(true)
    expect(first === other).toBe(false)
  })

  it('holds the memories asked for, deletes, hostile keys, and keys that several producers write', () => {
    const input = makeInput(1000, 4, 7)
    const memories = input.flatMap((lines, producer) =>
      lines.flatMap(({ memory }) => (memory ? [{ producer, ...memory }] : [])),
    )
    // One of the largest size for each producer comes on top.
    expect(memories).toHaveLength(1004)
    expect(memories.filter(({ valueText }) => valueText === undefined).length).toBeGreaterThan(50)
    expect(memories.some(({ key }) => key === '__proto__')).toBe(true)
    expect(Math.max(...memories.map(({ valueText = '' }) => Buffer.byteLength(valueText)))).toBe(1024 * 1024)
    const writers = Map.groupBy(memories, ({ namespace, key }) => `${namespace}\n${key}`)
    const shared = [...writers.values()].filter(
      (own) => new Set(own.map(({ producer }) => producer)).size > 1,
    )
    expect(shared.length).toBeGreaterThan(100)
    expect(input.flat().filter(({ memory }) => !memory)).toHaveLength(4 * 15)
  })

  it('draws evenly', () => {
    const random = createRandom(1)
    const draws = Array.from({ length: 10_000 }, random)
    expect(Math.min(...draws)).toBeGreaterThanOrEqual(0)
    expect(Math.max(...draws)).toBeLessThan(1)
    expect(draws.filter((draw) => draw < 0.1).length).toBeGreaterThan(900)
    expect(draws.filter((draw) => draw < 0.1).length).toBeLessThan(1100)
  })
})
