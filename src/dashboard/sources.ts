/**
 * What the dashboard reads and works on: status and history, the store, and the dead letters at a desk of its own that
 * stays open while Redis lets it.
 */
import type { Config } from '../config.ts'
import type { Status } from '../daemon/status.ts'
import { MemsyncError } from '../errors.ts'
import type { Store } from '../infrastructure/memory/port.ts'
import { DeadLetterDesk } from '../queue/deadLetterDesk.ts'
import type { StatusHistory } from './history.ts'

export interface DashboardSources {
  config: Config
  servedBy: 'daemon' | 'command'
  history: StatusHistory
  status(): Promise<Status>
  /** Opens the store, or lends the open one, for as long as `work` lasts. @throws what opening it throws */
  withStore<T>(work: (store: Store) => Promise<T>): Promise<T>
  desk: OpenDesk
}

/** One desk for many requests, opened by the first that finds a Redis; it starts none. */
export class OpenDesk {
  private readonly config: Config
  private desk: Promise<DeadLetterDesk> | undefined

  constructor(config: Config) {
    this.config = config
  }

  /** Opens it now, and starts the private Redis where it does not run, as `memsync dlq` does. */
  async openWithRedis(): Promise<DeadLetterDesk> {
    return this.open(true)
  }

  /** @throws MEMSYNC_QUEUE_UNAVAILABLE, and what `work` throws */
  async use<T>(work: (desk: DeadLetterDesk) => Promise<T>): Promise<T> {
    return work(await this.open(false))
  }

  async close(): Promise<void> {
    // Whoever asked for it was told why it did not open.
    const desk = await this.desk?.catch(() => undefined)
    await desk?.close()
  }

  private open(startsRedis: boolean): Promise<DeadLetterDesk> {
    this.desk ??= DeadLetterDesk.open(this.config, { startsRedis }).catch((error: unknown) => {
      // Redis may be back at the next request.
      this.desk = undefined
      throw error
    })
    return this.desk
  }
}

/** The status, asked for at most once a second however many look, and kept in the history. */
export function watchStatus(ask: () => Promise<Status>, history: StatusHistory): () => Promise<Status> {
  const FRESH_MS = 1_000
  let last: { atMs: number; status: Promise<Status> } | undefined
  return () => {
    const nowMs = Date.now()
    if (last && nowMs - last.atMs < FRESH_MS && nowMs >= last.atMs) return last.status
    const status = ask().then((found) => {
      history.record(found, Date.now())
      return found
    })
    last = { atMs: nowMs, status }
    // Whoever waits for it is told; the next one asks anew.
    status.catch(() => {
      last = undefined
    })
    return status
  }
}

/** @throws MEMSYNC_QUEUE_UNAVAILABLE at once where it is known that Redis does not answer */
export async function requireRedis({ status }: DashboardSources): Promise<void> {
  const { redis } = await status()
  if (redis.state === 'up') return
  const reason = redis.reason === null ? '' : `: ${redis.reason}`
  throw new MemsyncError('MEMSYNC_QUEUE_UNAVAILABLE', `Redis is ${redis.state}${reason}`)
}
