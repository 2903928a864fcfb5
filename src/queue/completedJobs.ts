/**
 * The newest completed jobs stay for a while, for whoever looks for a result late; the others are removed many at a
 * time. BullMQ's own `removeOnComplete` removes one with each that completes, which costs Redis more (README,
 * Performance).
 */
import type { Queue } from 'bullmq'
import type { Redis } from 'ioredis'

/** For BullMQ: removes none itself. */
export const KEEP_ALL = { count: -1 }

/** Enough for whoever waits for a result to find it. */
const KEPT_JOBS = 1_000
const KEPT_MS = 3_600_000
/** A trim is due after so many completions, or with one that comes so long after the last trim. */
const TRIM_EVERY_JOBS = 100
const TRIM_EVERY_MS = 60_000
/** One script blocks Redis, so it stays short. */
const MAX_TRIMMED = 200

/**
 * Removes completed jobs as BullMQ's `moveToFinished` does, by commands that are in it too, with all that belongs to
 * them. Redis's log gets the second DEL only where there was something of that kind.
 * KEYS: the set, and what the keys of jobs begin with. ARGV: how many stay, the time before which none does (Unix ms),
 * how many go at most for either reason. Returns how many went for the more frequent reason.
 */
const TRIM = `
local surplus = redis.call('ZREVRANGE', KEYS[1], ARGV[1], ARGV[1] + ARGV[3] - 1)
local aged = redis.call('ZREVRANGEBYSCORE', KEYS[1], '(' .. ARGV[2], '-inf', 'LIMIT', 0, ARGV[3])
local ids, jobs, parts = {}, {}, {}
for _, those in ipairs({surplus, aged}) do
  for _, id in ipairs(those) do
    ids[#ids + 1] = id
    local job = KEYS[2] .. id
    jobs[#jobs + 1] = job
    for _, part in ipairs({':logs', ':dependencies', ':processed', ':failed', ':unsuccessful'}) do
      parts[#parts + 1] = job .. part
    end
  end
end
if #ids > 0 then
  redis.call('DEL', unpack(jobs))
  redis.call('DEL', unpack(parts))
  redis.call('ZREM', KEYS[1], unpack(ids))
end
return math.max(#surplus, #aged)
`

export class CompletedJobs {
  private readonly queue: Queue
  private readonly redis: Redis
  private readonly onError: (error: Error) => void
  private sinceTrim = 0
  private trimmedAtMs = Number.NEGATIVE_INFINITY
  private trimming = false

  /** @param onError hears what Redis says of a trim that fails; the next one does its work */
  constructor(queue: Queue, redis: Redis, onError: (error: Error) => void) {
    this.queue = queue
    this.redis = redis
    this.onError = onError
  }

  /** To be called for each job that completed. */
  completed(): void {
    this.sinceTrim++
    const isDue = this.sinceTrim >= TRIM_EVERY_JOBS || performance.now() - this.trimmedAtMs >= TRIM_EVERY_MS
    if (isDue && !this.trimming) void this.trim()
  }

  private async trim(): Promise<void> {
    this.trimming = true
    this.sinceTrim = 0
    this.trimmedAtMs = performance.now()
    try {
      while ((await this.trimSome()) === MAX_TRIMMED);
    } catch (error) {
      this.onError(error instanceof Error ? error : new Error(String(error)))
    } finally {
      this.trimming = false
    }
  }

  private async trimSome(): Promise<number> {
    const { queue, redis } = this
    const keys = [queue.toKey('completed'), queue.toKey('')]
    return Number(await redis.eval(TRIM, 2, ...keys, KEPT_JOBS, Date.now() - KEPT_MS, MAX_TRIMMED))
  }
}
