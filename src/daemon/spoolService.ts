/**
 * The spool as a part of the daemon: drained before the sync lane opens, as soon as Redis is back, and whenever a
 * producer put something there.
 */
import { toMemsyncError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { Spool } from '../producers/spool.ts'
import { SpoolDrain, type SpoolTarget } from '../producers/spoolDrain.ts'
import type { SpoolDepth } from '../producers/spoolFile.ts'

/** A look at an empty folder takes some 50 microseconds. */
const LOOK_INTERVAL_MS = 500

export interface SpoolServiceOptions {
  spool: Spool
  target: SpoolTarget
  /** Whether Redis is up as far as is known: a drain that cannot succeed is not tried. */
  isRedisUp: () => boolean
  logger: Logger
}

export class SpoolService {
  private readonly options: SpoolServiceOptions
  private readonly drain: SpoolDrain
  private readonly stopping = new AbortController()
  private timer: NodeJS.Timeout | undefined
  private draining: Promise<void> | undefined
  private toldFailure = false

  constructor(options: SpoolServiceOptions) {
    this.options = options
    this.drain = new SpoolDrain(options.spool, options.target, options.logger)
  }

  /** Drains what is there and looks for more from then on. Where Redis goes away meanwhile, that waits. */
  async start(): Promise<void> {
    await this.options.spool.removeAbandoned(Date.now()).catch(this.tellFailure)
    await this.look()
    this.timer = setInterval(() => void this.look(), LOOK_INTERVAL_MS)
  }

  async stop(): Promise<void> {
    this.stopping.abort()
    clearInterval(this.timer)
    // A failure was told to whoever asked for the drain.
    await this.draining?.catch(() => undefined)
  }

  /** Drains now, for one whose own hand-over is to stand behind what is in the spool. @throws as `SpoolDrain.drain` */
  async emptied(): Promise<void> {
    if (!(await this.options.spool.isEmpty())) await this.run()
  }

  /** Drains what is there, if Redis can be used. */
  readonly look = async (): Promise<void> => {
    if (!this.options.isRedisUp()) return
    try {
      await this.run()
      this.toldFailure = false
    } catch (thrown) {
      this.tellFailure(thrown)
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
  } catch (thrown) {
    toMemsyncError(thrown, 'MEMSYNC_SPOOL_UNAVAILABLE')
    return undefined
  }
}
