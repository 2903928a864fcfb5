/**
 * The spool as a part of the daemon: drained before the sync lane opens, as soon as Redis is back, and whenever a
 * producer put something there.
 */
import type { Queue } from 'bullmq'
import { MemsyncError, toMemsyncError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { FolderWatch } from '../producers/folderWatch.ts'
import type { Spool } from '../producers/spool.ts'
import { SpoolDrain, type SpoolTarget } from '../producers/spoolDrain.ts'
import type { SpoolDepth } from '../producers/spoolFile.ts'
import { addSpooled, lastJobId, withinDeadline } from '../queue/enqueue.ts'

const LOOK_INTERVAL_MS = 10_000
const RETRY_MS = 500
/** Where the system does not tell of changes. */
const UNTOLD_LOOK_INTERVAL_MS = 500

export interface SpoolServiceOptions {
  spool: Spool
  /** Of the sync lane, on a connection that fails at once; undefined before there is one. */
  queue: () => Queue | undefined
  /** The queue's epoch, checked afresh; may wait for Redis. */
  currentEpoch: () => Promise<number>
  /** Whether Redis is up as far as is known: a drain that cannot succeed is not tried. */
  isRedisUp: () => boolean
  logger: Logger
}

export class SpoolService {
  private readonly options: SpoolServiceOptions
  private readonly drain: SpoolDrain
  private readonly stopping = new AbortController()
  private readonly watch: FolderWatch
  private draining: Promise<void> | undefined
  private retry: NodeJS.Timeout | undefined
  private toldFailure = false

  constructor(options: SpoolServiceOptions) {
    this.options = options
    this.drain = new SpoolDrain(options.spool, this.target, options.logger)
    this.watch = new FolderWatch({
      folder: options.spool.folder,
      slowMs: LOOK_INTERVAL_MS,
      fastMs: UNTOLD_LOOK_INTERVAL_MS,
      concerns: (name) => name.endsWith('.spool'),
      delayMs: 0,
      look: () => this.look(),
    })
  }

  private get target(): SpoolTarget {
    const queue = () => {
      const open = this.options.queue()
      if (open) return open
      throw new MemsyncError('MEMSYNC_QUEUE_UNAVAILABLE', 'not connected yet')
    }
    return {
      nextPlace: async () => {
        const epoch = await withinDeadline(this.options.currentEpoch())
        return { epoch, sequence: (await lastJobId(queue())) + 1 }
      },
      add: (memories) => addSpooled(queue(), memories),
    }
  }

  /**
   * Drains what is there and looks for more from then on. Where Redis goes away meanwhile, that waits.
   * @param signal ends the wait, with what is left still in the spool
   */
  async start(signal: AbortSignal): Promise<void> {
    const stop = () => this.stopping.abort()
    signal.addEventListener('abort', stop, { once: true })
    await this.options.spool.prepare(Date.now()).catch(this.tellFailure)
    await this.look()
    signal.removeEventListener('abort', stop)
    if (!signal.aborted) this.watch.start()
  }

  async stop(): Promise<void> {
    this.stopping.abort()
    clearTimeout(this.retry)
    await this.watch.stop()
    // A failure was told to whoever asked for the drain.
    await this.draining?.catch(() => undefined)
  }

  /** Drains now, for one whose own hand-over is to stand behind what is in the spool. @throws as `SpoolDrain.drain` */
  async emptied(): Promise<void> {
    if (!(await this.options.spool.isEmpty())) await this.run()
  }

  /** To be called when Redis is back. */
  request(): void {
    this.watch.request()
  }

  /** Drains what is there, if Redis can be used; where that fails, once more a moment later. */
  private async look(): Promise<void> {
    if (!this.options.isRedisUp()) return
    try {
      await this.run()
      this.toldFailure = false
    } catch (thrown) {
      this.tellFailure(thrown)
      clearTimeout(this.retry)
      if (!this.stopping.signal.aborted) this.retry = setTimeout(() => this.request(), RETRY_MS)
    }
  }

  private run(): Promise<void> {
    this.draining ??= this.drainAll().finally(() => {
      this.draining = undefined
    })
    return this.draining
  }

  private async drainAll(): Promise<void> {
    const taken = await this.drain.drain(this.stopping.signal)
    if (taken) this.options.logger.info({ memories: taken }, 'the spool is drained')
  }

  /** Once, until a drain succeeds. */
  private readonly tellFailure = (thrown: unknown): void => {
    if (this.toldFailure || this.stopping.signal.aborted) return
    this.toldFailure = true
    const { code, message } = toMemsyncError(thrown, 'MEMSYNC_SPOOL_UNAVAILABLE')
    this.options.logger.warn({ code, reason: message }, 'the spool is not drained: it is tried again')
  }
}

/** What the spool of a data folder holds; undefined where that cannot be seen. */
export async function readSpoolDepth(spool: Spool): Promise<SpoolDepth | undefined> {
  try {
    return await spool.depth(Date.now())
  } catch (error) {
    if (error instanceof MemsyncError) return undefined
    throw error
  }
}
