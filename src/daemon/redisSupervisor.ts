/**
 * Keeps the private Redis running while the daemon does; with a REDIS_URL there is nothing to keep.
 *
 * It is started or adopted at boot, looked after when the connection is lost, and ended by a clean stop. What
 * cannot mend itself (no redis-server on the PATH) ends the start; everything else is tried again.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Config } from '../config.ts'
import { MemsyncError, toMemsyncError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { type PrivateRedis, startPrivateRedis } from '../queue/privateRedis.ts'

const RETRY_MS = 500

export class RedisSupervisor {
  private readonly config: Config
  private readonly logger: Logger
  private readonly stopping = new AbortController()
  private privateRedis: PrivateRedis | undefined
  private reviving: Promise<void> | undefined

  constructor(config: Config, logger: Logger) {
    this.config = config
    this.logger = logger
  }

  /** @throws MEMSYNC_REDIS_MISSING, MEMSYNC_BAD_SETTING, MEMSYNC_INTERRUPTED */
  async start(): Promise<void> {
    if (this.config.redisUrl !== undefined) return
    let told = false
    while (this.privateRedis === undefined) {
      try {
        this.privateRedis = await startPrivateRedis({
          dataDir: this.config.dataDir,
          signal: this.stopping.signal,
        })
      } catch (thrown) {
        const error = toMemsyncError(thrown, 'MEMSYNC_QUEUE_UNAVAILABLE')
        if (error.class === 'permanent' || error.code === 'MEMSYNC_INTERRUPTED') throw error
        if (!told)
          this.logger.error({ code: error.code, reason: error.message }, 'the private redis does not start')
        told = true
        await this.pause()
      }
    }
    const { pid, startedHere } = this.privateRedis
    this.logger.info({ redisPid: pid, adopted: !startedHere }, 'the private redis runs')
  }

  /** To be called when the connection is lost: brings a dead server back. */
  revive(): void {
    if (this.config.redisUrl !== undefined || this.stopping.signal.aborted) return
    this.reviving ??= this.restart().finally(() => {
      this.reviving = undefined
    })
  }

  /** Ends the private Redis; producers spool or start one of their own until a daemon is back. */
  async stop(): Promise<void> {
    this.stopping.abort()
    await this.reviving
    await this.privateRedis?.stop()
  }

  private async restart(): Promise<void> {
    this.privateRedis = undefined
    try {
      await this.start()
    } catch (thrown) {
      const error = toMemsyncError(thrown, 'MEMSYNC_QUEUE_UNAVAILABLE')
      if (error.code === 'MEMSYNC_INTERRUPTED') return
      // It ran before, so whatever is missing now was taken away: the operator is told, and it is tried again.
      this.logger.error(
        { code: error.code, reason: error.message },
        'the private redis cannot be brought back',
      )
      await this.pause().catch(() => undefined)
      if (!this.stopping.signal.aborted) await this.restart()
    }
  }

  private async pause(): Promise<void> {
    try {
      await sleep(RETRY_MS, undefined, { signal: this.stopping.signal })
    } catch (cause) {
      throw new MemsyncError('MEMSYNC_INTERRUPTED', 'stopped while the private Redis was starting', { cause })
    }
  }
}
