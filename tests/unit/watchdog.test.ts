/** Promises: a lane that makes no progress is rebuilt, then the process exits; nothing else is taken for that. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  decideLiveness,
  type LivenessAction,
  type LivenessSample,
  type LivenessState,
  ProgressWatchdog,
  STALLED_EXIT_CODE,
} from '../../src/daemon/watchdog.ts'
import type { MemsyncError } from '../../src/errors.ts'
import { FakeClock } from '../support/fakeClock.ts'
import { printedSeed } from '../support/seed.ts'

const seed = printedSeed('watchdog')
const OPTIONS = { stallTimeoutMs: 30_000, intervalMs: 5_000 }
const STUCK = { waiting: 3, active: 1, held: 1, finished: 7, isGateOpen: true, isRedisReachable: true }
type Look = Partial<Omit<LivenessSample, 'at'>> & { afterMs?: number; jumpMs?: number }

/** What is done at each look; 5 s apart and stuck unless the look says otherwise. */
function run(looks: Look[]): LivenessAction[] {
  const at = { monoMs: 0, wallMs: 0 }
  let state: LivenessState | undefined
  return looks.map(({ afterMs = 5_000, jumpMs = 0, ...seen }) => {
    at.monoMs += afterMs
    at.wallMs += afterMs + jumpMs
    const decided = decideLiveness(state, { ...STUCK, ...seen, at: { ...at } }, OPTIONS)
    state = decided.state
    return decided.action
  })
}

const stuck = (looks: number): Look[] => Array.from({ length: looks }, () => ({}))
/** The looks at which something was done. */
const acts = (looks: Look[]) =>
  run(looks).flatMap((action, look) => (action === 'none' ? [] : [`${action}@${look}`]))

describe('decideLiveness', () => {
  it('rebuilds after stallTimeoutMs without a finish, and exits after as long again', () => {
    expect(acts(stuck(13))).toEqual(['rebuild@6', 'exit@12'])
    expect(STALLED_EXIT_CODE).toBe(70)
  })

  it.each([
    ['jobs only wait', { active: 0, held: 0 }],
    ['jobs wait, and others are held by nobody here', { held: 0 }],
    ['jobs are only in flight', { waiting: 0 }],
  ])('counts where %s', (_, seen) => {
    expect(acts(Array.from({ length: 13 }, () => seen))).toEqual(['rebuild@6', 'exit@12'])
  })

  it.each<[string, Look]>([
    ['a job finished', { finished: 8 }],
    ['the gate is shut', { isGateOpen: false }],
    ['Redis is away', { isRedisReachable: false }],
    ['nothing is to do', { waiting: 0, active: 0, held: 0 }],
    ['the machine slept', { afterMs: 8 * 3_600_000 }],
    ['only the wall clock went on', { jumpMs: 8 * 3_600_000 }],
    ['the wall clock went back', { jumpMs: -3_600_000 }],
  ])('counts anew where %s', (_, look) => {
    const later = look.finished === undefined ? {} : { finished: look.finished }
    const looks = [...stuck(6), look, ...stuck(6).map(() => later)]
    expect(acts(looks)).toEqual(['rebuild@12'])
    expect(acts([...stuck(12), look, ...stuck(5).map(() => later)])).toEqual(['rebuild@6'])
    // What ends the count also takes the rebuild back.
    expect(acts([...stuck(8), look, ...stuck(7).map(() => later)])).toEqual(['rebuild@6', 'rebuild@14'])
  })

  it('gives jobs that nobody here holds the time to come back, also after a rebuild', () => {
    const orphaned: Look = { waiting: 0, held: 0 }
    const orphans = (looks: number) => Array.from({ length: looks }, () => orphaned)
    // As long as the stall timeout, which is longer than they take; then the lane that should move them is stuck.
    expect(acts([...orphans(7), ...stuck(6)])).toEqual(['rebuild@12'])
    expect(acts(orphans(15))).toEqual(['rebuild@7', 'exit@14'])
    // What the old worker held hangs in the new one as well.
    expect(acts([...stuck(7), ...orphans(3), ...stuck(6)])).toEqual(['rebuild@6', 'exit@15'])
  })

  it('waits for orphans longer than a short stall timeout, and no longer than their locks last', () => {
    const short = { stallTimeoutMs: 1_000, intervalMs: 200 }
    const actions: string[] = []
    let state: LivenessState | undefined
    for (let ms = 0; ms <= 25_000; ms += 200) {
      const sample = { ...STUCK, waiting: 0, held: 0, at: { monoMs: ms, wallMs: ms } }
      const decided = decideLiveness(state, sample, short)
      state = decided.state
      if (decided.action !== 'none') actions.push(`${decided.action} ${ms}`)
    }
    expect(actions).toEqual(['rebuild 20200'])
  })

  it('takes a finish under a slower lane for progress, for ever', () => {
    expect(acts(Array.from({ length: 200 }, (_, look) => ({ finished: Math.floor(look / 5) })))).toEqual([])
  })

  it('never counts an unbroken time in which the lane cannot work', () => {
    for (const away of [{ isGateOpen: false }, { isRedisReachable: false }, { waiting: 0, active: 0 }]) {
      expect(acts(Array.from({ length: 500 }, () => away))).toEqual([])
    }
  })

  it('acts only where the whole time before was stuck, and exits only after a rebuild', () => {
    const looks = fc.array(
      fc.record({
        waiting: fc.constantFrom(0, 5, 5, 5),
        active: fc.constantFrom(0, 0, 1),
        held: fc.constantFrom(0, 1),
        finished: fc.constantFrom(1, 1, 1, 1, 1, 1, 1, 1, 2),
        isGateOpen: fc.constantFrom(true, true, true, true, true, true, false),
        isRedisReachable: fc.constantFrom(true, true, true, true, true, true, false),
        afterMs: fc.constantFrom(5_000, 5_000, 5_000, 5_000, 5_100, 40_000),
      }),
      { maxLength: 80 },
    )
    fc.assert(
      fc.property(looks, (drawn) => {
        const history = drawn.map((look) => ({ ...look, held: Math.min(look.held, look.active) }))
        let stuckForMs = -1
        let orphanedForMs = -1
        let rebuilds = 0
        run(history).forEach((action, i) => {
          const look = history[i]
          const before = history[i - 1]
          if (!look) return
          const canWork = look.waiting + look.active > 0 && look.isGateOpen && look.isRedisReachable
          const goesOn = stuckForMs >= 0 && look.finished === before?.finished && look.afterMs < 15_000
          const isCounted = canWork && goesOn
          const isOrphaned = isCounted && look.waiting + look.held === 0
          orphanedForMs = !isOrphaned ? -1 : orphanedForMs < 0 ? 0 : orphanedForMs + look.afterMs
          stuckForMs = isCounted && !isOrphaned ? stuckForMs + look.afterMs : 0
          if (!isCounted) rebuilds = 0
          const isStuck = stuckForMs >= 30_000 || orphanedForMs >= 30_000
          const expected = !isStuck ? 'none' : rebuilds === 0 ? 'rebuild' : 'exit'
          expect(action).toBe(expected)
          if (action === 'none') return
          rebuilds = action === 'rebuild' ? 1 : 0
          stuckForMs = 0
          orphanedForMs = -1
        })
      }),
      { seed, numRuns: 1_000 },
    )
  })
})

function watch(sample: () => Promise<Omit<LivenessSample, 'at'> | undefined> = async () => STUCK) {
  const clock = new FakeClock()
  const done: string[] = []
  const errors: MemsyncError[] = []
  const watchdog = new ProgressWatchdog({
    sample,
    rebuild: () => done.push(`rebuild ${clock.now().monoMs - 1_000}`),
    exit: (error) => {
      done.push(`exit ${clock.now().monoMs - 1_000}`)
      errors.push(error)
    },
    stallTimeoutMs: 30_000,
    clock,
  })
  return { clock, done, errors, watchdog }
}

describe('ProgressWatchdog', () => {
  it('rebuilds, exits once, and then watches no more', async () => {
    const { clock, done, errors, watchdog } = watch()
    watchdog.start()
    await clock.advance(34_000)
    expect(watchdog.stalled).toBe(false)
    await clock.advance(10_000)
    expect(watchdog.stalled).toBe(true)
    await clock.advance(600_000)
    expect(done).toEqual(['rebuild 35000', 'exit 65000'])
    expect(errors[0]).toMatchObject({
      code: 'MEMSYNC_STALLED_LANE',
      message: '3 jobs wait and 1 are in flight, and none finished in 60000 ms',
    })
    expect(clock.pendingTimers).toBe(0)
  })

  it.each([
    ['fails', () => Promise.reject(new Error('Redis is away'))],
    ['finds nothing', async () => undefined],
    ['never comes back', () => new Promise<never>(() => undefined)],
  ])('judges nothing while the look %s', async (_, sample) => {
    const { clock, done, watchdog } = watch(sample)
    watchdog.start()
    await clock.advance(600_000)
    expect(done).toEqual([])
    watchdog.stop()
  })

  it('begins anew after a look that hung, even if it answers late', async () => {
    const looks: ((seen: typeof STUCK) => void)[] = []
    let hang = false
    const { clock, done, watchdog } = watch(() =>
      hang ? new Promise((resolve) => looks.push(resolve)) : Promise.resolve(STUCK),
    )
    watchdog.start()
    await clock.advance(30_000)
    hang = true
    await clock.advance(5_000)
    hang = false
    await clock.advance(5_000)
    looks[0]?.(STUCK)
    await clock.advance(29_000)
    expect(done).toEqual([])
    await clock.advance(1_000)
    expect(done).toEqual(['rebuild 70000'])
    watchdog.stop()
  })

  it('begins anew after a look that found nothing', async () => {
    let nothing = false
    const { clock, done, watchdog } = watch(async () => (nothing ? undefined : STUCK))
    watchdog.start()
    await clock.advance(30_000)
    nothing = true
    await clock.advance(5_000)
    nothing = false
    await clock.advance(34_000)
    expect(done).toEqual([])
    await clock.advance(6_000)
    expect(done).toEqual(['rebuild 70000'])
    watchdog.stop()
  })

  it('does nothing for a look that answers after the stop', async () => {
    let answer: ((seen: typeof STUCK) => void) | undefined
    let hang = false
    const { clock, done, watchdog } = watch(() => {
      if (!hang) return Promise.resolve(STUCK)
      return new Promise((resolve) => {
        answer = resolve
      })
    })
    watchdog.start()
    await clock.advance(30_000)
    hang = true
    await clock.advance(5_000)
    watchdog.stop()
    answer?.(STUCK)
    await clock.advance(60_000)
    expect(answer).toBeDefined()
    expect(done).toEqual([])
  })

  it('starts once, stops at any time, and leaves no timer', async () => {
    let looks = 0
    const { clock, done, watchdog } = watch(async () => {
      looks++
      return STUCK
    })
    watchdog.stop()
    watchdog.start()
    watchdog.start()
    await clock.advance(5_000)
    expect(looks).toBe(1)
    await clock.advance(29_999)
    watchdog.stop()
    watchdog.stop()
    await clock.advance(600_000)
    expect(clock.pendingTimers).toBe(0)
    expect(done).toEqual([])
    watchdog.start()
    await clock.advance(34_999)
    expect(done).toEqual([])
    await clock.advance(1)
    await clock.advance(0)
    expect(done).toEqual([expect.stringMatching(/^rebuild/)])
    watchdog.stop()
  })
})
