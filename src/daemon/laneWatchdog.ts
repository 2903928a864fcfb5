/** Liveness of a lane that carries pointers: rebuilt where nothing ends, and where that does not help the process ends. */
import type { Logger } from '../logger.ts'
import type { PointerWorker } from '../queue/pointerWorker.ts'
import type { Notifier } from './notifier.ts'
import type { GateState } from './status.ts'
import { ProgressWatchdog } from './watchdog.ts'

export interface LaneWatchdogOptions {
  lane: 'push' | 'embed'
  worker: PointerWorker
  gate: () => GateState
  isRedisUsable: () => boolean
  stallTimeoutMs: number
  logger: Logger
  notifier: Notifier
  /** It makes no progress, also with a new worker; the operator was told. */
  onStalled: () => void
}

export function createLaneWatchdog(options: LaneWatchdogOptions): ProgressWatchdog {
  const { lane, worker, stallTimeoutMs, logger, notifier } = options
  return new ProgressWatchdog({
    stallTimeoutMs,
    sample: async () => {
      const { waiting = 0, active = 0 } = await worker.lane.queue.getJobCounts('waiting', 'active')
      const { finishedCount: finished, heldCount: held } = worker.lane
      const isGateOpen = options.gate() !== 'shut'
      return { waiting, active, held, finished, isGateOpen, isRedisReachable: options.isRedisUsable() }
    },
    rebuild: () => {
      logger.error({ lane, stallTimeoutMs }, 'no progress: the worker is rebuilt')
      worker.lane.rebuild()
    },
    exit: (error) => {
      logger.fatal({ lane, code: error.code, reason: error.message }, 'no progress even so: exiting')
      notifier.tell({ event: 'lane-stalled', lane, reason: error.message })
      options.onStalled()
    },
  })
}
