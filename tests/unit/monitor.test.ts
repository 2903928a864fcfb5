/** Promises of the I/O around the gate: deadlines, one probe at a time, what the lane is told, nothing left behind. */
import { describe, expect, it } from 'vitest'
import { MemsyncError } from '../../src/errors.ts'
import type { Transition } from '../../src/health/gate.ts'
import { Monitor, type MonitorOptions } from '../../src/health/monitor.ts'
import { FakeClock } from '../support/fakeClock.ts'
import { waitFor } from '../support/waitFor.ts'

const outage = new MemsyncError('MEMSYNC_STORE_UNAVAILABLE', 'disk full')

function watch(options: Partial<MonitorOptions> = {}) {
  const clock = new FakeClock()
  const told: number[] = []
  const transitions: Transition[] = []
  const dependency = { error: undefined as unknown, probes: 0, signals: [] as AbortSignal[] }
  const monitor = new Monitor({
    probe: async (signal) => {
      dependency.probes++
      dependency.signals.push(signal)
      if (dependency.error !== undefined) throw dependency.error
    },
    concurrency: 100,
    onChange: (concurrency) => told.push(concurrency),
    onTransition: (transition) => transitions.push(transition),
    clock,
    ...options,
  })
  return { monitor, clock, told, transitions, dependency }
}

describe('Monitor', () => {
  it('tells the lane 0, then 1, then all, and goes on probing every interval', async () => {
    const { monitor, clock, told, transitions, dependency } = watch()
    monitor.start()
    expect(told).toEqual([0])
    await clock.advance(0)
    expect(told).toEqual([0, 1])
    monitor.reportSuccess()
    monitor.reportSuccess()
    expect(told).toEqual([0, 1, 100])
    await clock.advance(90_000)
    expect(dependency.probes).toBe(4)
    expect(transitions).toMatchObject([{ from: 'unknown', to: 'up' }])
    expect(monitor.status).toMatchObject({ health: 'up', position: 'open', latencyMs: 0 })
  })

  it('tells of an outage once, and once that it is over', async () => {
    const { monitor, clock, told, transitions, dependency } = watch()
    monitor.start()
    await clock.advance(0)
    monitor.reportSuccess()
    await clock.advance(10_000)
    dependency.error = outage
    monitor.reportFailure(outage)
    await clock.advance(0)
    expect(told.at(-1)).toBe(0)
    await clock.advance(600_000)
    dependency.error = undefined
    await clock.advance(60_000)
    expect(told).toEqual([0, 1, 100, 0, 1])
    expect(transitions).toMatchObject([
      { from: 'unknown', to: 'up' },
      { from: 'up', to: 'down', reason: 'disk full' },
      { from: 'down', to: 'up' },
    ])
    // 1 + 2 + 4 + ... + 32, then every 60 s.
    expect(transitions.at(-1)?.downForMs).toBe(63_000 + 9 * 60_000)
  })

  it('fails a probe that hangs at its deadline, aborts it, and is not misled by its late answer', async () => {
    const answers: (() => void)[] = []
    const signals: AbortSignal[] = []
    const { monitor, clock, transitions } = watch({
      probeTimeoutMs: 2_000,
      probe: (signal) => {
        signals.push(signal)
        return new Promise<void>((resolve) => answers.push(resolve))
      },
    })
    monitor.start()
    await clock.advance(1_999)
    expect(signals[0]?.aborted).toBe(false)
    expect(monitor.status.reason).toBeUndefined()
    await clock.advance(1)
    expect(signals[0]?.aborted).toBe(true)
    await clock.advance(0)
    expect(monitor.status).toMatchObject({ health: 'unknown', reason: 'no answer within 2000 ms' })
    answers[0]?.()
    await clock.advance(0)
    expect(monitor.status.position).toBe('shut')
    await clock.advance(3_000)
    expect(transitions).toMatchObject([{ to: 'down', reason: 'no answer within 2000 ms' }])
    expect(signals).toHaveLength(2)
    monitor.stop()
  })

  it('measures how long a probe takes', async () => {
    const { monitor, clock } = watch({
      probe: () => new Promise<void>((resolve) => void clock.schedule(340, resolve)),
    })
    monitor.start()
    await clock.advance(400)
    expect(monitor.status).toMatchObject({ health: 'up', latencyMs: 340 })
  })

  it('never runs two probes at once, whatever is reported meanwhile', async () => {
    let running = 0
    let most = 0
    const { monitor, clock } = watch({
      probe: async () => {
        most = Math.max(most, ++running)
        await new Promise<void>((resolve) => void clock.schedule(700, resolve))
        running--
      },
    })
    monitor.start()
    for (let i = 0; i < 200; i++) {
      await clock.advance(97)
      monitor.reportFailure(outage)
    }
    expect(most).toBe(1)
  })

  it('hears of a success that is news: after a failed probe, after a failed call', async () => {
    const { monitor, clock, told, dependency } = watch()
    monitor.start()
    await clock.advance(0)
    monitor.reportSuccess()
    for (let i = 0; i < 6; i++) {
      if (i % 2 === 0) monitor.reportFailure(outage)
      monitor.reportSuccess()
      dependency.error = outage
      const before = dependency.probes
      while (dependency.probes === before) await clock.advance(500)
    }
    expect(told).toEqual([0, 1, 100])
  })

  it('shuts for refused credentials, and pauses for Retry-After without being down', async () => {
    const { monitor, clock, told } = watch()
    monitor.start()
    await clock.advance(0)
    monitor.reportSuccess()
    monitor.reportFailure(
      new MemsyncError('MEMSYNC_STORE_UNAVAILABLE', 'rate limited', { retryAfterMs: 7_000 }),
    )
    expect(told.at(-1)).toBe(0)
    expect(monitor.status).toMatchObject({ health: 'up', position: 'shut', reason: 'rate limited' })
    await clock.advance(6_999)
    expect(told.at(-1)).toBe(0)
    await clock.advance(1)
    await clock.advance(0)
    expect(told.at(-1)).toBe(1)
    monitor.reportFailure(new MemsyncError('MEMSYNC_STORE_UNAVAILABLE', 'no', { class: 'credentials' }))
    expect(told.at(-1)).toBe(0)
    expect(monitor.status).toMatchObject({ health: 'credentials', reason: 'no' })
  })

  it.each(['permanent', 'transient'] as const)('ignores a failed call of class %s', async (errorClass) => {
    const { monitor, clock, dependency } = watch()
    monitor.start()
    await clock.advance(10_000)
    monitor.reportFailure(new MemsyncError('MEMSYNC_HANDLER_FAILED', 'poison', { class: errorClass }))
    await clock.advance(10_000)
    expect(dependency.probes).toBe(1)
  })

  it('repeats no message of an error that is not ours', async () => {
    const { monitor, clock, dependency } = watch()
    dependency.error = new TypeError('fetch failed for https://user:hunter2@host/')
    monitor.start()
    await clock.advance(1_000)
    expect(monitor.status.reason).toBe('unexpected TypeError')
    dependency.error = 'hunter2'
    await clock.advance(2_000)
    expect(monitor.status.reason).toBe('unexpected string')
  })

  it('survives a probe that throws before it returns a promise', async () => {
    const { monitor, clock, told } = watch({
      probe: () => {
        throw outage
      },
    })
    monitor.start()
    await clock.advance(60_000)
    expect(told).toEqual([0])
    expect(monitor.status).toMatchObject({ health: 'down', reason: 'disk full' })
    expect(clock.pendingTimers).toBe(1)
  })

  it('probes first and judges later after a sleep', async () => {
    const { monitor, clock, told, dependency } = watch()
    monitor.start()
    await clock.advance(0)
    monitor.reportSuccess()
    clock.sleep(8 * 3_600_000, { monotonic: true })
    dependency.error = outage
    await clock.advance(0)
    await clock.advance(500)
    dependency.error = undefined
    await clock.advance(1_000)
    expect(told).toEqual([0, 1, 100])
    expect(dependency.probes).toBe(3)
  })
})

describe('start and stop', () => {
  it('leave no timer and no probe, at whatever moment', async () => {
    const { monitor, clock, told, dependency } = watch({
      probe: (signal) => {
        dependency.signals.push(signal)
        return new Promise(() => undefined)
      },
    })
    monitor.stop()
    monitor.start()
    monitor.start()
    expect(dependency.signals).toHaveLength(1)
    // The deadline of the probe; there is none to begin.
    expect(clock.pendingTimers).toBe(1)
    monitor.stop()
    monitor.stop()
    await clock.advance(0)
    expect(dependency.signals[0]?.aborted).toBe(true)
    expect(clock.pendingTimers).toBe(0)
    expect(told).toEqual([0])
  })

  it('between probes, too, and reports have no effect after it', async () => {
    const { monitor, clock, told, transitions, dependency } = watch()
    monitor.reportFailure(outage)
    monitor.start()
    await clock.advance(0)
    monitor.stop()
    expect(clock.pendingTimers).toBe(0)
    monitor.reportSuccess()
    monitor.reportFailure(new MemsyncError('MEMSYNC_STORE_UNAVAILABLE', 'no', { class: 'credentials' }))
    await clock.advance(600_000)
    expect([told, transitions.length, dependency.probes]).toEqual([[0, 1], 1, 1])
  })

  it('begin anew: shut, and with the old probe forgotten', async () => {
    const answers: (() => void)[] = []
    const { monitor, clock, told } = watch({
      probe: () => new Promise<void>((resolve) => answers.push(resolve)),
    })
    monitor.start()
    monitor.stop()
    monitor.start()
    answers[0]?.()
    await clock.advance(0)
    expect(told).toEqual([0, 0])
    answers[1]?.()
    await clock.advance(0)
    expect(told).toEqual([0, 0, 1])
    monitor.stop()
    expect(clock.pendingTimers).toBe(0)
  })

  it('may be called by whoever is being told', async () => {
    const stopping = watch({ onChange: () => stopping.monitor.stop() })
    stopping.monitor.start()
    await stopping.clock.advance(600_000)
    expect(stopping.clock.pendingTimers).toBe(0)
    expect(stopping.dependency.probes).toBe(0)
  })

  it('work with the clock of the system, and then nothing keeps the process', async () => {
    const before = process.getActiveResourcesInfo().filter((resource) => resource === 'Timeout').length
    let probes = 0
    const monitor = new Monitor({
      probe: async () => void probes++,
      concurrency: 5,
      onChange: () => undefined,
      onTransition: () => undefined,
      intervalMs: 20,
    })
    monitor.start()
    await waitFor('it probed again and again', () => probes >= 3)
    expect(monitor.status.health).toBe('up')
    monitor.stop()
    expect(
      process.getActiveResourcesInfo().filter((resource) => resource === 'Timeout').length,
    ).toBeLessThanOrEqual(before)
  })
})
