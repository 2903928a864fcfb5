/**
 * The parts of a process: started in order, stopped in reverse, all of them, whatever one of them does.
 */
import { toMemsyncError } from '../errors.ts'
import type { Logger } from '../logger.ts'

export interface Part {
  name: string
  /** Resolves once the part does its work. A failed start leaves nothing of it running. */
  start(): Promise<void>
  /** Releases what start took. Called at most once, and only after a start that succeeded. */
  stop(): Promise<void>
}

export class Lifecycle {
  private readonly logger: Logger
  private readonly started: Part[] = []
  private stopped: Promise<void> | undefined

  constructor(logger: Logger) {
    this.logger = logger
  }

  /** Starts the parts in order; where one fails, those before it are stopped and its error is thrown. */
  async start(parts: Part[]): Promise<void> {
    for (const part of parts) {
      try {
        await part.start()
      } catch (error) {
        await this.stop()
        throw error
      }
      // A stop that came while it started has already gone through the list.
      if (this.stopped === undefined) {
        this.started.push(part)
        continue
      }
      await this.stopPart(part)
      return
    }
  }

  /** Stops what was started, in reverse. Idempotent; every caller waits for the same stop. */
  stop(): Promise<void> {
    this.stopped ??= (async () => {
      for (let part = this.started.pop(); part; part = this.started.pop()) await this.stopPart(part)
    })()
    return this.stopped
  }

  private async stopPart(part: Part): Promise<void> {
    try {
      await part.stop()
    } catch (thrown) {
      const error = toMemsyncError(thrown, 'MEMSYNC_HANDLER_FAILED')
      this.logger.error(
        { part: part.name, code: error.code, reason: error.message },
        'a part did not stop cleanly',
      )
    }
  }
}
