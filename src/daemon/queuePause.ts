/**
 * Whether a queue is paused in Redis: an operator, or a tool of BullMQ, can do that, and it outlives every process.
 * Jobs then wait through no fault of the daemon. Told once per change.
 */
import type { Queue } from 'bullmq'
import type { Logger } from '../logger.ts'

export class QueuePause {
  private readonly logger: Logger
  private paused = false

  constructor(logger: Logger) {
    this.logger = logger
  }

  /** As of the last look. */
  get isPaused(): boolean {
    return this.paused
  }

  /** @throws what Redis answers, or that it does not */
  async look(queue: Queue): Promise<void> {
    const isPaused = await queue.isPaused()
    if (isPaused === this.paused) return
    this.paused = isPaused
    if (isPaused) this.logger.warn({ queue: queue.name }, 'the queue was paused from outside')
    else this.logger.info({ queue: queue.name }, 'the queue was resumed')
  }
}
