/** The watchdog of a lane of pointers: what it looks at, whom it tells, and when it gives up. */
import { expect, it } from 'vitest'
import { createLaneWatchdog } from '../../src/daemon/laneWatchdog.ts'
import type { Notifier } from '../../src/daemon/notifier.ts'
import type { GateState } from '../../src/daemon/status.ts'
import { silentLogger } from '../../src/logger.ts'
import type { PointerWorker } from '../../src/queue/pointerWorker.ts'

const STALL_TIMEOUT_MS = 300

function watched({ gate = 'open' as GateState, isRedisUsable = true, finishes = false } = {}) {
  const seen: unknown[] = []
  const ended = Promise.withResolvers<void>()
  let finished = 0
  let looks = 0
  const lane = {
    queue: {
      async getJobCounts() {
        if (finishes) finished++
        if (++looks === 20) ended.resolve()
        return { waiting: 1, active: 1 }
      },
    },
    get finishedCount() {
      return finished
    },
    heldCount: 1,
    rebuild: () => seen.push('rebuilt'),
  }
  const watchdog = createLaneWatchdog({
    lane: 'embed',
    worker: { lane } as unknown as PointerWorker,
    gate: () => gate,
    isRedisUsable: () => isRedisUsable,
    stallTimeoutMs: STALL_TIMEOUT_MS,
    logger: silentLogger,
    notifier: { tell: (event: unknown) => seen.push(event) } as unknown as Notifier,
    onStalled: () => {
      seen.push('given up')
      ended.resolve()
    },
  })
  watchdog.start()
  return { seen, ended: ended.promise.finally(() => watchdog.stop()) }
}

it('has the worker rebuilt where nothing ends, then tells the operator and gives up', async () => {
  const { seen, ended } = watched()
  await ended
  expect(seen).toEqual([
    'rebuilt',
    { event: 'lane-stalled', lane: 'embed', reason: expect.stringContaining('none finished') },
    'given up',
  ])
})

it.each([
  ['jobs end', { finishes: true }],
  ['the gate is shut', { gate: 'shut' as const }],
  ['Redis is away', { isRedisUsable: false }],
])('does nothing while %s', async (_why, how) => {
  const { seen, ended } = watched(how)
  await ended
  expect(seen).toEqual([])
})
