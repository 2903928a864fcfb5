/**
 * Keeps the private Redis running while the daemon does; with a REDIS_URL there is nothing to keep.
 *
 * It is started or adopted at boot, looked after whenever a connection to it ends, and ended by a clean stop. What
 * cannot mend itself (no redis-server on the PATH) ends the start; later nothing does: whatever is missing then was
 * taken away, which is told once, and it is tried again.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Config } from '../config.ts'
import { MemsyncError, toMemsyncError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { type PrivateRedis, startPrivateRedis } from '../queue/privateRedis.ts'

const RETRY_MS = 500
/** A server that ends as soon as it is used (its disk is full) is not started in a tight loop. */
const MIN_LIFE_MS = 1_000

export class RedisSupervisor {
  private readonly config: Config
  private readonly logger: Logger
  private readonly stopping = new AbortController()
  private privateRedis: PrivateRedis | undefined
  private broughtUpAtMs = Number.NEGATIVE_INFINITY
  private reviving: Promise<void> | undefined

  constructor(config: Config, logger: Logger) {
    this.config = config
    this.logger = logger
  }

  /**
   * @param signal ends the wait
   * @throws MEMSYNC_REDIS_MISSING, MEMSYNC_BAD_SETTING, MEMSYNC_INTERRUPTED
   */
  async start(signal: AbortSignal): Promise<void> {
    if (this.config.redisUrl !== undefined) return
    const { pid, startedHere } = await this.bringUp(signal, (error) => error.class !== 'permanent')
    this.logger.info({ redisPid: pid, adopted: !startedHere }, 'the private redis runs')
  }

  /** To be called whenever a connection to it ends or cannot be made: brings a dead server back. */
  revive(): void {
    if (this.privateRedis === undefined || this.stopping.signal.aborted) return
    this.reviving ??= this.bringBack().finally(() => {
      this.reviving = undefined
    })
  }

  /** Ends the private Redis; producers spool or start one of their own until a daemon is back. */
  async stop(): Promise<void> {
    this.stopping.abort()
    await this.reviving
    await this.privateRedis?.stop()
  }

  private async bringBack(): Promise<void> {
    const { signal } = this.stopping
    try {
      await pause(this.broughtUpAtMs + MIN_LIFE_MS - performance.now(), signal)
      const { pid, startedHere } = await this.bringUp(signal, () => true)
      this.logger.debug({ redisPid: pid, adopted: !startedHere }, 'the private redis runs again')
    } catch (thrown) {
      if (toMemsyncError(thrown, 'MEMSYNC_HANDLER_FAILED').code !== 'MEMSYNC_INTERRUPTED') throw thrown
    }
  }

  /** Tries until it runs, or fails with an error that is not to be endured. */
  private async bringUp(
    signal: AbortSignal,
    isEndured: (error: MemsyncError) => boolean,
  ): Promise<PrivateRedis> {
    for (let tries = 1; ; tries++) {
      try {
        this.privateRedis = await startPrivateRedis({ dataDir: this.config.dataDir, signal })
        this.broughtUpAtMs = performance.now()
        return this.privateRedis
      } catch (thrown) {
        const error = toMemsyncError(thrown, 'MEMSYNC_QUEUE_UNAVAILABLE')
        if (error.code === 'MEMSYNC_INTERRUPTED' || !isEndured(error)) throw error
        if (tries === 1) {
          this.logger.error({ code: error.code, reason: error.message }, 'the private redis does not start')
        }
        await pause(RETRY_MS, signal)
      }
    }
  }
}

async function pause(delayMs: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(Math.max(0, delayMs), undefined, { signal })
  } catch (cause) {
    throw new MemsyncError('MEMSYNC_INTERRUPTED', 'stopped while the private Redis was starting', { cause })
  }
}
