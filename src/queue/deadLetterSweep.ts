/** When a lane's dead letters are collected: after each final failure, at the start and every few seconds. */
import { toMemsyncError } from '../errors.ts'
import { memoryNameIn } from '../jobs/key.ts'
import type { Logger } from '../logger.ts'
import type { DeadLetter } from './deadLetters.ts'

const INTERVAL_MS = 5_000

export interface DeadLetterSweepOptions {
  /** Moves what is there; idempotent. */
  collect: () => Promise<DeadLetter[]>
  logger: Logger
  onDeadLetter: (entry: DeadLetter) => void
  /** A failed sweep; the next one repeats it. */
  onError: (error: Error) => void
}

export class DeadLetterSweep {
  private readonly options: DeadLetterSweepOptions
  private timer: NodeJS.Timeout | undefined
  private running: Promise<void> | undefined
  private wanted = false
  private stopped = false

  constructor(options: DeadLetterSweepOptions) {
    this.options = options
  }

  start(): void {
    this.request()
    this.timer = setInterval(() => this.request(), INTERVAL_MS)
  }

  stop(): void {
    this.stopped = true
    clearInterval(this.timer)
  }

  /** One sweep at a time; what dies meanwhile is swept right after. */
  request(): void {
    if (this.stopped) return
    if (this.running !== undefined) {
      this.wanted = true
      return
    }
    this.running = this.sweep().finally(() => {
      this.running = undefined
      if (!this.wanted) return
      this.wanted = false
      this.request()
    })
  }

  private async sweep(): Promise<void> {
    const { collect, logger, onDeadLetter, onError } = this.options
    try {
      for (const entry of await collect()) {
        const { id, name, code, class: errorClass, attempts } = entry
        const memory = memoryNameIn(entry.data)
        logger.warn(
          { deadLetter: id, job: name, ...memory, code, class: errorClass, attempts },
          'dead letter',
        )
        onDeadLetter(entry)
      }
    } catch (thrown) {
      // If Redis is the reason, that is told once, by the listener of its health.
      onError(thrown instanceof Error ? thrown : new Error(String(thrown)))
      logger.debug(
        { code: toMemsyncError(thrown, 'MEMSYNC_HANDLER_FAILED').code },
        'dead-letter sweep put off',
      )
    }
  }
}
