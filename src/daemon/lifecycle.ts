/**
 * The parts of a process: started in order, stopped in reverse, all of them, whatever one of them does.
 * A stop that comes while a part starts aborts that start, and waits for its end before it stops the parts below.
 */
import { toMemsyncError } from '../errors.ts'
import type { Logger } from '../logger.ts'

export interface Part {
  name: string
  /**
   * Resolves once the part does its work. A failed start leaves nothing of it running.
   * @param signal aborts when the process is to stop; the start then ends soon, either way
   */
  start(signal: AbortSignal): Promise<void>
  /** Releases what start took. Called at most once, and only after a start that succeeded. */
  stop(): Promise<void>
}

export class Lifecycle {
  private readonly logger: Logger
  private readonly started: Part[] = []
  private readonly stopping = new AbortController()
  private starting: Promise<void> | undefined
  private stopped: Promise<void> | undefined

  constructor(logger: Logger) {
    this.logger = logger
  }

  /** Whether a stop was asked for. */
  get isStopping(): boolean {
    return this.stopping.signal.aborted
  }

  /** Starts the parts in order; where one fails, those before it are stopped and its error is thrown. */
  async start(parts: Part[]): Promise<void> {
    for (const part of parts) {
      if (this.isStopping) return
      this.starting = this.startPart(part)
      try {
        await this.starting
      } catch (error) {
        await this.stop()
        throw error
      }
    }
  }

  /** Stops what was started, in reverse. Idempotent; every caller waits for the same stop. */
  stop(): Promise<void> {
    this.stopped ??= (async () => {
      this.stopping.abort()
      // Whoever called `start` is told of its failure.
      await this.starting?.catch(() => undefined)
      for (let part = this.started.pop(); part; part = this.started.pop()) await this.stopPart(part)
    })()
    return this.stopped
  }

  private async startPart(part: Part): Promise<void> {
    await part.start(this.stopping.signal)
    this.started.push(part)
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
