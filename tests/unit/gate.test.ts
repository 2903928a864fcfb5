/** Promises of the gate's state machine: when it opens and shuts, when it probes, what it tells. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  createGate,
  type GateEvent,
  type GateOptions,
  type GateStep,
  stepGate,
} from '../../src/health/gate.ts'
import { printedSeed } from '../support/seed.ts'

const seed = printedSeed('gate')
const OPTIONS: GateOptions = {
  concurrency: 100,
  intervalMs: 30_000,
  probeTimeoutMs: 5_000,
  failedProbesToShut: 2,
}
const HOUR_MS = 3_600_000
const BEGIN = { monoMs: 5_000, wallMs: Date.UTC(2026, 0, 1) }

const ok: GateEvent = { type: 'probe-succeeded', latencyMs: 12 }
const failed: GateEvent = { type: 'probe-failed', cause: 'outage', reason: 'refused' }
const refusedUser: GateEvent = { type: 'probe-failed', cause: 'credentials', reason: '401' }
const callOk: GateEvent = { type: 'call-succeeded' }
const callFailed: GateEvent = { type: 'call-failed', cause: 'outage', reason: 'reset' }
const callRefusedUser: GateEvent = { type: 'call-failed', cause: 'credentials', reason: '401' }
const limited = (retryAfterMs: number): GateEvent => ({
  type: 'call-failed',
  cause: 'outage',
  reason: '429',
  retryAfterMs,
})

/** A gate, its time, and all it told. */
class Bench {
  step: GateStep = { gate: createGate(BEGIN), concurrency: 0, startProbe: false, transition: undefined }
  now = { ...BEGIN }
  readonly options: GateOptions
  readonly transitions: NonNullable<GateStep['transition']>[] = []

  constructor(options: GateOptions = OPTIONS) {
    this.options = options
  }

  get gate() {
    return this.step.gate
  }

  /** Milliseconds until the next probe. */
  get nextProbeInMs(): number {
    return this.gate.nextProbeAtMs - this.now.monoMs
  }

  pass(ms: number): this {
    this.now = { monoMs: this.now.monoMs + ms, wallMs: this.now.wallMs + ms }
    return this
  }

  send(...events: GateEvent[]): this {
    for (const event of events) {
      this.step = stepGate(Object.freeze(this.gate), event, this.now, this.options)
      if (this.step.transition) this.transitions.push(this.step.transition)
    }
    return this
  }

  /** Waits for the next probe and answers it; returns how long the wait was. */
  probe(result: GateEvent): number {
    const waitMs = Math.max(0, this.nextProbeInMs)
    this.pass(waitMs).send({ type: 'tick' })
    expect(this.step.startProbe).toBe(true)
    this.send(result)
    return waitMs
  }

  static open(): Bench {
    const bench = new Bench()
    bench.probe(ok)
    // Long enough ago that going down is no flapping.
    for (let i = 0; i < 20; i++) bench.probe(ok)
    bench.send(callOk)
    bench.transitions.length = 0
    return bench
  }
}

describe('opening', () => {
  it('begins shut and unknown, with a probe due at once', () => {
    const bench = new Bench()
    expect(bench.gate).toMatchObject({ position: 'shut', health: 'unknown' })
    expect(bench.nextProbeInMs).toBe(0)
    expect(bench.send(callOk).step.concurrency).toBe(0)
  })

  it('lets one job through after one successful probe, and all after a successful call', () => {
    const bench = new Bench()
    bench.probe(ok)
    expect(bench.step).toMatchObject({
      concurrency: 1,
      gate: { position: 'ramping', health: 'up', latencyMs: 12 },
    })
    bench.probe(ok)
    expect(bench.step.concurrency).toBe(1)
    bench.send(callOk)
    expect(bench.step).toMatchObject({ concurrency: 100, gate: { position: 'open', health: 'up' } })
    expect(bench.transitions).toEqual([
      { from: 'unknown', to: 'up', reason: undefined, sinceMs: BEGIN.wallMs, downForMs: undefined },
    ])
  })

  it('is unknown until the second failed probe', () => {
    const bench = new Bench()
    bench.probe(failed)
    expect(bench.gate).toMatchObject({ health: 'unknown', reason: 'refused' })
    bench.probe(failed)
    expect(bench.gate).toMatchObject({ health: 'down', reason: 'refused' })
    expect(bench.transitions).toEqual([
      { from: 'unknown', to: 'down', reason: 'refused', sinceMs: bench.now.wallMs, downForMs: undefined },
    ])
  })

  it('takes no probe that began before it shut for a proof', () => {
    const bench = Bench.open()
    bench.pass(bench.nextProbeInMs).send({ type: 'tick' }).pass(100).send(callRefusedUser).pass(100).send(ok)
    expect(bench.gate).toMatchObject({ position: 'shut', health: 'credentials', latencyMs: undefined })
    expect(bench.probe(ok)).toBe(900)
    expect(bench.gate.position).toBe('ramping')
  })
})

describe('shutting', () => {
  it('stays open after one failed probe, and shuts at the second in a row', () => {
    const bench = Bench.open()
    bench.probe(failed)
    expect(bench.step).toMatchObject({ concurrency: 100, gate: { health: 'up', reason: undefined } })
    expect(bench.probe(failed)).toBe(1_000)
    expect(bench.step).toMatchObject({
      concurrency: 0,
      gate: { health: 'down', reason: 'refused', latencyMs: undefined },
    })
  })

  it.each([
    ['a successful probe', (bench: Bench) => void bench.probe(ok)],
    ['a successful call', (bench: Bench) => void bench.send(callOk)],
  ])('counts anew after %s', (_, between) => {
    const bench = Bench.open()
    for (let i = 0; i < 10; i++) {
      bench.probe(failed)
      between(bench)
    }
    expect(bench.gate.position).toBe('open')
  })

  it('probes at once after a failed call, and shuts if that probe fails', () => {
    const bench = Bench.open()
    bench.pass(10_000).send(callFailed)
    expect(bench.step.concurrency).toBe(100)
    expect(bench.probe(failed)).toBe(0)
    expect(bench.step).toMatchObject({ concurrency: 0, gate: { health: 'down', reason: 'refused' } })
  })

  it('stays open if the probe after a failed call succeeds, and forgets the call', () => {
    const bench = Bench.open()
    bench.pass(10_000).send(callFailed)
    bench.probe(ok)
    expect(bench.gate.position).toBe('open')
    expect(bench.probe(failed)).toBe(30_000)
    expect(bench.gate.position).toBe('open')
  })

  it('forgets a failed call after which another succeeded', () => {
    const bench = Bench.open()
    bench.pass(10_000).send(callFailed, callOk)
    bench.probe(failed)
    expect(bench.gate.position).toBe('open')
  })

  it('probes at most once a second for a hail of failed calls', () => {
    const bench = Bench.open()
    bench.pass(10_000).send(callFailed)
    bench.probe(ok)
    bench.pass(10).send(callFailed, callFailed, callFailed)
    expect(bench.probe(ok)).toBe(990)
  })

  it('does not let a call that failed while a probe ran be judged by that probe', () => {
    const bench = Bench.open()
    bench.pass(bench.nextProbeInMs).send({ type: 'tick' }).pass(50).send(callFailed).pass(50).send(ok)
    expect(bench.probe(failed)).toBe(1_000)
    expect(bench.gate.position).toBe('shut')
  })

  it('shuts at once where credentials are refused, by a probe or by a call', () => {
    const byProbe = Bench.open()
    byProbe.probe(refusedUser)
    expect(byProbe.step).toMatchObject({ concurrency: 0, gate: { health: 'credentials', reason: '401' } })
    const byCall = Bench.open().send(callRefusedUser)
    expect(byCall.step).toMatchObject({ concurrency: 0, gate: { health: 'credentials', reason: '401' } })
    expect(byCall.nextProbeInMs).toBe(1_000)
  })

  it('keeps saying credentials while other things fail too, and turns an outage into it', () => {
    const bench = Bench.open().send(callRefusedUser)
    bench.probe(failed)
    bench.probe(failed)
    expect(bench.gate).toMatchObject({ health: 'credentials', reason: '401' })
    const other = Bench.open()
    other.probe(failed)
    other.probe(failed)
    other.probe(refusedUser)
    expect(other.gate).toMatchObject({ health: 'credentials', reason: '401' })
  })

  it('shuts after 5 failed calls in a row that the probes do not confirm', () => {
    const bench = Bench.open()
    for (let i = 1; i <= 5; i++) {
      expect(bench.gate.position).toBe('open')
      bench.pass(10_000).send(callFailed)
      bench.probe(ok)
    }
    expect(bench.gate).toMatchObject({
      position: 'shut',
      health: 'down',
      reason: 'calls fail although probes succeed',
    })
  })

  it.each([
    ['fail though the probes succeed', callFailed, 'down', 'calls fail although probes succeed'],
    ['alone are refused the credentials', callRefusedUser, 'credentials', '401'],
  ] as const)(
    'where calls %s, lets one job through, and is down until a call succeeds',
    (_, failure, health, reason) => {
      const bench = Bench.open()
      for (let calls = 1; failure === callFailed && calls < 5; calls++) {
        bench.pass(10_000).send(failure)
        bench.probe(ok)
      }
      bench.pass(10_000).send(failure)
      if (failure === callFailed) bench.probe(ok)
      expect(bench.gate).toMatchObject({ position: 'shut', health, reason })
      const waits: number[] = []
      for (let i = 0; i < 8; i++) {
        waits.push(bench.probe(ok))
        expect(bench.step).toMatchObject({ concurrency: 1, gate: { position: 'ramping', health, reason } })
        bench.send(failure)
        expect(bench.gate).toMatchObject({ position: 'shut', health, reason, latencyMs: undefined })
        // In flight when it shut.
        bench.send(callFailed)
      }
      expect(waits).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000])
      bench.probe(ok)
      bench.send(callOk)
      expect(bench.step).toMatchObject({
        concurrency: 100,
        gate: { health: 'up', reason: undefined, latencyMs: 12 },
      })
      expect(bench.transitions.map(({ to }) => to)).toEqual([health, 'up'])
      // And all is forgotten.
      bench.send(callFailed)
      bench.probe(ok)
      expect(bench.gate.position).toBe('open')
    },
  )

  it('stays down until a call succeeds also where an outage of everything comes between', () => {
    const bench = Bench.open().send(callRefusedUser)
    bench.probe(failed)
    bench.probe(ok)
    expect(bench.gate).toMatchObject({ position: 'ramping', health: 'credentials' })
    bench.send(callOk)
    expect(bench.transitions.map(({ to }) => to)).toEqual(['credentials', 'up'])
  })

  it('goes back to one job at a time, not to none, for a call that was in flight before the outage', () => {
    const bench = Bench.open()
    bench.probe(failed)
    bench.probe(failed)
    bench.probe(ok)
    bench.send(callFailed)
    bench.probe(ok)
    expect(bench.gate.position).toBe('ramping')
  })
})

describe('the schedule of probes', () => {
  it('is every interval while up, then 1 s doubling to 60 s', () => {
    const bench = Bench.open()
    expect([bench.probe(ok), bench.probe(ok)]).toEqual([30_000, 30_000])
    const waits = Array.from({ length: 10 }, () => bench.probe(failed))
    expect(waits).toEqual([30_000, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000])
    bench.probe(ok)
    expect(bench.probe(ok)).toBe(30_000)
  })

  it('has shorter retries where the interval is shorter', () => {
    const bench = new Bench({ ...OPTIONS, intervalMs: 200 })
    expect(Array.from({ length: 4 }, () => bench.probe(failed))).toEqual([0, 200, 400, 800])
  })

  it('waits twice as long at each fall of a dependency that flaps, and forgets after 5 minutes up', () => {
    const bench = Bench.open()
    const firstWaits = Array.from({ length: 9 }, () => {
      bench.send(callFailed)
      bench.probe(failed)
      const waitMs = bench.nextProbeInMs
      bench.probe(ok)
      return waitMs / 1_000
    })
    expect(firstWaits).toEqual([1, 2, 4, 8, 16, 32, 60, 60, 60])
    for (let i = 0; i < 11; i++) bench.probe(ok)
    bench.send(callFailed)
    bench.probe(failed)
    expect(bench.nextProbeInMs).toBe(1_000)
  })

  it('is not put off by late failures of calls that were in flight', () => {
    const bench = Bench.open()
    bench.probe(failed)
    bench.probe(failed)
    for (let i = 0; i < 15; i++) bench.pass(100).send(callFailed, callRefusedUser, limited(10))
    expect(bench.nextProbeInMs).toBe(500)
  })
})

describe('Retry-After', () => {
  it('shuts until then without counting as down, and opens with a probe at that time', () => {
    const bench = Bench.open()
    bench.pass(5_000).send(limited(70_000))
    expect(bench.step).toMatchObject({ concurrency: 0, gate: { health: 'up', reason: '429' } })
    expect([bench.probe(ok), bench.probe(ok)]).toEqual([30_000, 30_000])
    expect(bench.step).toMatchObject({ concurrency: 0, gate: { health: 'up' } })
    expect(bench.probe(ok)).toBe(10_000)
    expect(bench.step).toMatchObject({ concurrency: 1, gate: { health: 'up', reason: undefined } })
    expect(bench.transitions).toEqual([])
  })

  it('keeps the later of two, and at most an hour', () => {
    const bench = Bench.open().send(limited(50_000), limited(20_000))
    expect(bench.gate.pausedUntilAtMs - bench.now.monoMs).toBe(50_000)
    bench.send(limited(1e15))
    expect(bench.gate.pausedUntilAtMs - bench.now.monoMs).toBe(HOUR_MS)
  })

  it.each([0, -1, Number.NaN])('of %s still waits a second after the last probe', (retryAfterMs) => {
    const bench = Bench.open()
    bench.probe(ok)
    bench.send(limited(retryAfterMs))
    expect(bench.probe(ok)).toBe(1_000)
    expect(bench.gate.position).toBe('ramping')
  })

  it('is not ended by a probe that began before it', () => {
    const bench = Bench.open()
    bench.pass(bench.nextProbeInMs).send({ type: 'tick' }).pass(100).send(limited(0)).pass(100).send(ok)
    expect(bench.gate.position).toBe('shut')
    bench.probe(ok)
    expect(bench.gate.position).toBe('ramping')
  })

  it('still notices an outage meanwhile', () => {
    const bench = Bench.open().send(limited(600_000))
    bench.probe(failed)
    bench.probe(failed)
    expect(bench.gate).toMatchObject({ position: 'shut', health: 'down' })
  })

  it('is no failure of the probe that gets it', () => {
    const bench = Bench.open()
    const limitedProbe: GateEvent = {
      type: 'probe-failed',
      cause: 'outage',
      reason: '429',
      retryAfterMs: 2_000,
    }
    for (let i = 0; i < 5; i++) bench.probe(limitedProbe)
    expect(bench.gate).toMatchObject({ position: 'shut', health: 'up', reason: '429' })
    bench.probe(ok)
    expect(bench.gate.position).toBe('ramping')
  })
})

describe('sleep', () => {
  const sleeps: [string, (bench: Bench) => void][] = [
    ['the timer is late', (bench) => void bench.pass(8 * HOUR_MS)],
    [
      'only the wall clock goes on',
      (bench) => (bench.now = { ...bench.now, wallMs: bench.now.wallMs + HOUR_MS }),
    ],
    [
      'the wall clock goes back',
      (bench) => (bench.now = { ...bench.now, wallMs: bench.now.wallMs - HOUR_MS }),
    ],
  ]

  it.each(sleeps)('probes first and forgives one failed probe: %s', (_, sleep) => {
    const bench = Bench.open()
    bench.probe(failed)
    sleep(bench)
    bench.send(callFailed)
    expect(bench.probe(failed)).toBe(0)
    expect(bench.gate).toMatchObject({ position: 'open', health: 'up' })
    expect(bench.probe(failed)).toBe(1_000)
    expect(bench.probe(failed)).toBe(1_000)
    expect(bench.gate).toMatchObject({ position: 'shut', health: 'down' })
  })

  it.each(sleeps)('learns nothing from a probe that ran into it: %s', (_, sleep) => {
    const bench = Bench.open()
    bench.pass(bench.nextProbeInMs).send({ type: 'tick' })
    sleep(bench)
    bench.send(failed)
    expect(bench.probe(failed)).toBe(0)
    expect(bench.probe(failed)).toBe(1_000)
    expect(bench.gate.position).toBe('open')
  })

  it('forgives nothing once a probe has succeeded', () => {
    const bench = Bench.open().pass(8 * HOUR_MS)
    bench.probe(ok)
    bench.probe(failed)
    bench.probe(failed)
    expect(bench.gate.position).toBe('shut')
  })

  it('ends a pause and a long backoff', () => {
    const bench = Bench.open().send(limited(HOUR_MS))
    bench.now = { ...bench.now, wallMs: bench.now.wallMs + 8 * HOUR_MS }
    bench.send({ type: 'tick' })
    expect(bench.step.startProbe).toBe(true)
    expect(bench.send(ok).gate.position).toBe('ramping')
  })

  it('does not take an interval or two of delay for one', () => {
    const bench = Bench.open()
    bench.pass(bench.nextProbeInMs + 89_000).send({ type: 'tick' }, failed)
    bench.probe(failed)
    expect(bench.gate.position).toBe('shut')
  })
})

describe('what is told', () => {
  it('is one transition down and one up, with how long it was away', () => {
    const bench = Bench.open()
    bench.probe(failed)
    bench.probe(failed)
    const downAt = { ...bench.now }
    for (let i = 0; i < 5; i++) bench.probe(failed)
    bench.probe(ok)
    bench.send(callOk)
    expect(bench.transitions).toEqual([
      { from: 'up', to: 'down', reason: 'refused', sinceMs: downAt.wallMs, downForMs: undefined },
      {
        from: 'down',
        to: 'up',
        reason: undefined,
        sinceMs: bench.now.wallMs,
        downForMs: bench.now.monoMs - downAt.monoMs,
      },
    ])
    expect(bench.gate.sinceMs).toBe(bench.now.wallMs)
  })

  it('counts the whole absence where the cause changed meanwhile', () => {
    const bench = Bench.open()
    bench.send(callFailed)
    bench.probe(failed)
    const downAtMs = bench.now.monoMs
    bench.probe(refusedUser)
    bench.probe(ok)
    expect(bench.transitions.map(({ to }) => to)).toEqual(['down', 'credentials', 'up'])
    expect(bench.transitions.at(-1)?.downForMs).toBe(bench.now.monoMs - downAtMs)
  })

  it('ignores the result of a probe nobody started', () => {
    for (const bench of [new Bench(), Bench.open()]) {
      const before = bench.gate
      expect(bench.pass(1_000).send(failed, refusedUser, ok).gate).toEqual({ ...before, last: bench.now })
    }
  })

  it('starts no second probe while one is in flight', () => {
    const bench = Bench.open()
    const begunAtMs = bench.pass(bench.nextProbeInMs).send({ type: 'tick' }).now.monoMs
    bench.pass(5_000).send({ type: 'tick' })
    expect(bench.step.startProbe).toBe(false)
    expect(bench.gate.lastProbeAtMs).toBe(begunAtMs)
  })
})

const failures = fc.record({
  type: fc.constantFrom('probe-failed' as const, 'call-failed' as const),
  cause: fc.constantFrom('outage' as const, 'outage' as const, 'credentials' as const),
  reason: fc.constant('reason'),
  retryAfterMs: fc.option(fc.oneof(fc.integer({ min: -10, max: 100_000 }), fc.double()), {
    nil: undefined,
    freq: 4,
  }),
})
const events: fc.Arbitrary<GateEvent> = fc.oneof(
  { weight: 4, arbitrary: fc.constant<GateEvent>({ type: 'tick' }) },
  { weight: 3, arbitrary: fc.constant<GateEvent>(ok) },
  { weight: 2, arbitrary: fc.constant<GateEvent>(callOk) },
  { weight: 4, arbitrary: failures },
)
const delays = fc.oneof(
  { weight: 8, arbitrary: fc.integer({ min: 0, max: 35_000 }) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 2 * HOUR_MS }) },
)
const jumps = fc.oneof(
  { weight: 15, arbitrary: fc.constant(0) },
  { weight: 1, arbitrary: fc.integer({ min: -HOUR_MS, max: HOUR_MS }) },
)
const histories = fc.array(fc.tuple(delays, jumps, events), { maxLength: 60 })

function live(
  history: readonly [number, number, GateEvent][],
  each?: (bench: Bench, event: GateEvent) => void,
) {
  const bench = new Bench()
  for (const [delayMs, jumpMs, event] of history) {
    bench.pass(delayMs)
    bench.now = { ...bench.now, wallMs: bench.now.wallMs + jumpMs }
    bench.send(event)
    each?.(bench, event)
  }
  return bench
}

describe('whatever happens', () => {
  it('opens on a success alone, and the concurrency, the health and the schedule always fit the position', () => {
    fc.assert(
      fc.property(histories, (history) => {
        let before = new Bench().gate
        live(history, ({ step, gate, now }, event) => {
          expect(step.concurrency).toBe({ shut: 0, ramping: 1, open: 100 }[gate.position])
          if (gate.position !== before.position && gate.position !== 'shut') {
            expect(`${before.position} ${event.type} ${gate.position}`).toBeOneOf([
              'shut probe-succeeded ramping',
              'ramping call-succeeded open',
            ])
          }
          if (gate.position !== 'shut') expect(gate.health === 'up' || gate.isSaidByCalls).toBe(true)
          if (gate.position === 'open') expect(gate.health).toBe('up')
          if ('cause' in event && event.cause === 'credentials' && event.type === 'call-failed') {
            expect(gate).toMatchObject({ position: 'shut', health: 'credentials' })
          }
          expect(gate.nextProbeAtMs - now.monoMs).toBeLessThanOrEqual(60_000)
          expect(step.startProbe).toBe(event.type === 'tick' && !before.isProbing && gate.isProbing)
          expect(step.transition !== undefined).toBe(before.health !== gate.health)
          if (gate.health === 'up') expect(gate.latencyMs).toBeDefined()
          else if (!gate.isSaidByCalls) expect(gate.latencyMs).toBeUndefined()
          before = gate
        })
      }),
      { seed, numRuns: 2_000 },
    )
  })

  it('never shuts for one failed probe in isolation', () => {
    const results = fc.array(fc.tuple(fc.boolean(), fc.boolean()), { maxLength: 60 })
    fc.assert(
      fc.property(results, (steps) => {
        const bench = Bench.open()
        let lastFailed = false
        for (const [fails, calls] of steps) {
          lastFailed = fails && !lastFailed
          bench.probe(lastFailed ? failed : ok)
          if (calls) bench.send(callOk)
          expect(bench.gate.position).toBe('open')
        }
      }),
      { seed, numRuns: 500 },
    )
  })

  it('opens soon once everything works again', () => {
    fc.assert(
      fc.property(histories, (history) => {
        const bench = live(history)
        if (bench.gate.isProbing) bench.send(ok)
        const pauseMs = Math.max(0, bench.gate.pausedUntilAtMs - bench.now.monoMs)
        const limitMs = bench.now.monoMs + Math.max(pauseMs, 60_000) + 31_000
        while (bench.gate.position === 'shut') bench.probe(ok)
        expect(bench.now.monoMs).toBeLessThanOrEqual(limitMs)
        expect(bench.send(callOk).step.concurrency).toBe(100)
      }),
      { seed, numRuns: 1_000 },
    )
  })

  it('shuts soon once nothing works any more', () => {
    fc.assert(
      fc.property(histories, (history) => {
        const bench = live(history)
        if (bench.gate.isProbing) bench.send(failed)
        const limitMs = bench.now.monoMs + 33_000
        for (let i = 0; i < 4 && bench.gate.position !== 'shut'; i++) bench.probe(failed)
        expect(bench.gate.position).toBe('shut')
        expect(bench.now.monoMs).toBeLessThanOrEqual(limitMs)
      }),
      { seed, numRuns: 1_000 },
    )
  })

  // 1 + 2 + ... + 32 s for six falls, then 60 s for each: 65 in an hour; or such a six after each 5 minutes up.
  it('changes its mind at most 211 times an hour, however a dependency flaps', () => {
    const answers = fc.constantFrom(ok, ok, failed, refusedUser)
    const calls = fc.array(fc.constantFrom(callOk, callFailed, callRefusedUser, limited(0)), { maxLength: 3 })
    const script = fc.infiniteStream(fc.tuple(calls, answers))
    fc.assert(
      fc.property(script, (steps) => {
        const bench = new Bench()
        for (const [between, answer] of steps) {
          if (bench.now.monoMs - BEGIN.monoMs > HOUR_MS) break
          bench.send(...between)
          bench.probe(answer)
        }
        expect(bench.transitions.length).toBeLessThanOrEqual(211)
      }),
      { seed, numRuns: 100 },
    )
  })

  it.each([
    ['fails as soon as it is up', 0],
    ['waits until its past is forgotten', 7],
  ])('holds the worst flapping we know to that: %s', (_, forgetAfter) => {
    const bench = new Bench()
    for (let falls = 1; bench.now.monoMs - BEGIN.monoMs < HOUR_MS; falls++) {
      bench.probe(ok)
      bench.send(callOk)
      if (forgetAfter && falls % forgetAfter === 0) for (let i = 0; i < 10; i++) bench.probe(ok)
      bench.send(callFailed)
      bench.probe(failed)
      bench.send(callRefusedUser)
    }
    expect(bench.transitions.length).toBeGreaterThan(100)
    expect(bench.transitions.length).toBeLessThanOrEqual(211)
  })
})
