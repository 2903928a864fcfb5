/** The gate of the sync lane: whether the store can be written, and how many jobs that lets through. */
import type { MemsyncError } from '../errors.ts'
import { Monitor } from '../health/monitor.ts'
import type { Store } from '../infrastructure/memory/port.ts'
import type { Logger } from '../logger.ts'
import type { GateState, Status } from './status.ts'

export class StoreHealth {
  private readonly monitor: Monitor

  constructor(
    store: Store,
    logger: Logger,
    concurrency: number,
    onConcurrency: (concurrency: number) => void,
  ) {
    this.monitor = new Monitor({
      probe: () => store.probe(),
      concurrency,
      onChange: onConcurrency,
      onTransition: ({ from, to, reason, downForMs }) => {
        if (to !== 'up') logger.error({ reason }, 'the store is away')
        else if (from !== 'unknown')
          logger.info({ downForMs: Math.round(downForMs ?? 0) }, 'the store is back')
      },
    })
  }

  get gate(): GateState {
    return this.monitor.status.position
  }

  get storeState(): Pick<Status['store'], 'state' | 'reason'> {
    const { health, reason } = this.monitor.status
    return { state: health === 'up' || health === 'unknown' ? 'up' : 'down', reason: reason ?? null }
  }

  start(): void {
    this.monitor.start()
  }

  stop(): void {
    this.monitor.stop()
  }

  reportFailure(error: MemsyncError): void {
    this.monitor.reportFailure(error)
  }

  reportSuccess(): void {
    this.monitor.reportSuccess()
  }
}
