/**
 * The life of the queue, so that an id handed out after a flush is newer than every id before it.
 *
 * BullMQ's ids order the writes of one life of its keys. This module notices when that life ended and begins a
 * new epoch. It keeps two fields of its own in the queue's `meta` hash, so that they share the fate of the id
 * counter: `memsync` (the mark: epoch, token, boundary) and `memsync:batch` (a counter raised before each commit
 * and recorded by the store with it).
 *
 *   mark of a later epoch         begun by another process, or with  -> adopt it
 *                                 a past of its own
 *   mark gone, or of another      flushed, obliterated or replaced   -> new epoch, all jobs belong to it
 *   life that is not later
 *   mark known, but the counter   Redis came back with lost writes   -> new epoch; jobs accepted before this
 *   or the ids are behind         Redis process started keep the epoch they had
 *
 * A life begins in Redis, by compare-and-set, so that of several processes that see the same need only one begins
 * it, and the others find its mark. Nobody commits under a life that the store has not recorded: seen later, an
 * older mark is therefore always a loss.
 *
 * Not every commit needs a check. Ids of one life only grow, and those of a new one begin at 1: so jobs whose ids
 * are above all seen before show by themselves that their life goes on. `vouches` takes that for an answer for as long
 * after a check as a new life would need to overtake the old one, and never across a lost connection. Under load the
 * next check is under way before that time is over, so that no commit waits for it. A commit that does wait takes the
 * first answer to come, of whatever check (see `confirm`). What such commits leave unsaid, should Redis lose its last
 * writes while nobody who knew them lives, the store says at the next start: the highest id that it has applied.
 *
 * Which life a job in hand belongs to: every job is fetched on the same connection as the check, whose answers
 * keep their order. So a job that arrived while mark M was the last one seen, and is committed with M still
 * there, was accepted under M. If the mark changed in between, the job belongs to the new life only if Redis
 * still holds the lock of this very fetch.
 */
import { randomUUID } from 'node:crypto'
import type { Redis } from 'ioredis'
import type { EpochRecord, Store } from '../infrastructure/memory/port.ts'
import { SYNC_QUEUE } from '../jobs/index.ts'
import { formatVersion, parseVersion, type Version } from '../jobs/version.ts'

/** How far the end of a connection may lie from the start of the next Redis to be its cause. */
const RESTART_SLACK_MS = 5_000

/** The longest that growing ids stand in for a check. */
const MAX_VOUCH_MS = 100
/** Between two checks under load, so that none waits long for an answer; each costs Redis three short commands. */
const CHECK_SPACING_MS = 3
/** Less than any Redis needs for an add, which is some ten commands in a script (20 to 30 microseconds measured). */
const MIN_ADD_MS = 0.01

/** How long after a check a new life cannot have grown past the id `highest` of the old one, in milliseconds. Pure. */
export function vouchWindowMs(highest: number): number {
  return Math.min(MAX_VOUCH_MS, highest * MIN_ADD_MS)
}

/** One life of the queue, as its mark says. */
export interface Life {
  epoch: number
  token: string
  /** Jobs accepted before this Unix time in milliseconds belong to `epochBefore`; 0 where there are none. */
  boundaryMs: number
  epochBefore: number
}

export interface Checked {
  life: Life
  record: EpochRecord
}

/** What of a job decides its version. */
export interface JobIdentity {
  id: string
  timestamp: number
  /** The lock token of this fetch; absent where the job is not being processed. */
  token?: string | undefined
}

/** Ids given by this program to jobs that keep a version they already had; the last part counts redrives. */
export const OWN_ID_PREFIX = 'own-'
const KEPT_VERSION_ID = /^(?:redrive|own|spool)-(\d+-\d+-\d+)(?:-(\d+))?$/

/** The id of a job that keeps `version`, put back for the `redrives`th time. */
export function redriveJobId(version: string, redrives: number): string {
  return `redrive-${version}-${redrives}`
}

/**
 * The id of a job on a queue of a script's own, with a version of the main queue's order.
 * @throws as `EpochTracker.check`
 */
export async function ownJobId(redis: Redis, queuePrefix: string, epochs: EpochTracker): Promise<string> {
  const { life } = await epochs.check()
  const sequence = await redis.incr(`${queuePrefix}:${SYNC_QUEUE}:id`)
  return `${OWN_ID_PREFIX}${life.epoch}-${sequence}-0`
}

/** The id of a job whose memory came through the spool, with the version it was given when it was drained. */
export function spoolJobId(version: Version): string {
  return `spool-${formatVersion(version)}`
}

/** How often the job with this id was redriven; 0 for one that never was. */
export function redrivesOf(jobId: string): number {
  return Number(KEPT_VERSION_ID.exec(jobId)?.[2] ?? 0)
}

/** The version of a job under a life, or undefined where its producer chose the id. Pure. */
export function versionOf(job: JobIdentity, life: Life): Version | undefined {
  const kept = KEPT_VERSION_ID.exec(job.id)
  if (kept?.[1]) {
    const version = parseVersion(kept[1])
    // A version from a life that never was is not one of ours, and would stand above every write to come.
    return version && version.epoch <= life.epoch ? version : undefined
  }
  if (!/^\d{1,15}$/.test(job.id)) return undefined
  const epoch = job.timestamp < life.boundaryMs ? life.epochBefore : life.epoch
  return { epoch, sequence: Number(job.id), index: 0 }
}

function formatLife(life: Life): string {
  return [life.epoch, life.token, life.boundaryMs, life.epochBefore].join(' ')
}

function parseLife(text: string | null): Life | undefined {
  const match = /^(\d+) (\S+) (\d+) (\d+)$/.exec(text ?? '')
  if (!match?.[2]) return undefined
  return {
    epoch: Number(match[1]),
    token: match[2],
    boundaryMs: Number(match[3]),
    epochBefore: Number(match[4]),
  }
}

function isLifeOf(life: Life, recorded: EpochRecord): boolean {
  return life.epoch === recorded.epoch && life.token === recorded.token
}

/** KEYS[1] the meta hash; ARGV[1] the mark expected ('' for none), ARGV[2] the new one. Returns 1 where it was set. */
const REPLACE_MARK = `
if (redis.call('HGET', KEYS[1], 'memsync') or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'memsync', ARGV[2])
redis.call('HDEL', KEYS[1], 'memsync:batch')
return 1`

/** Follows the life of one queue for one store. */
export class EpochTracker {
  private readonly redis: Redis
  private readonly store: Store
  private readonly keyPrefix: string
  private current: Life | undefined
  private lostAtMs = 0
  /** The highest id committed in the current life. */
  private highest = 0
  /** When the last check that was answered was sent, so no later than Redis looked. */
  private checkedAtMs = Number.NEGATIVE_INFINITY
  /** Checks that are not answered, in the order in which they were sent. */
  private underway: Promise<Checked>[] = []
  private sentAtMs = Number.NEGATIVE_INFINITY
  private readonly nowMs: () => number

  /**
   * @param redis the very connection the worker fetches on
   * @param nowMs a clock that only goes forward
   */
  constructor(
    redis: Redis,
    store: Store,
    queuePrefix: string,
    queueName: string,
    nowMs: () => number = () => performance.now(),
  ) {
    this.redis = redis
    this.nowMs = nowMs
    this.store = store
    this.keyPrefix = `${queuePrefix}:${queueName}:`
    redis.on('close', () => {
      this.lostAtMs = Date.now()
      this.checkedAtMs = Number.NEGATIVE_INFINITY
      // They may never be answered: a connection that ends while Redis is away forgets what it asked.
      this.underway = []
    })
  }

  /** The mark last seen; a job notes it when it arrives. */
  get life(): Life | undefined {
    return this.current
  }

  /** Whether these jobs show by themselves, and soon enough after a check, that they belong to `life`. */
  vouches(arrivals: readonly { job: JobIdentity; arrivedUnder: Life | undefined }[]): boolean {
    const highestBefore = this.highest
    const sinceCheckMs = this.nowMs() - this.checkedAtMs
    const windowMs = vouchWindowMs(highestBefore)
    let grows = sinceCheckMs < windowMs
    for (const { job, arrivedUnder } of arrivals) {
      const sequence = Number(job.id)
      if (!(sequence > highestBefore) || arrivedUnder?.token !== this.current?.token) grows = false
      if (sequence > this.highest) this.highest = sequence
    }
    if (sinceCheckMs > windowMs / 2 && this.underway.length === 0) void this.send()
    return grows
  }

  /**
   * The first answer of a check to come from now on. To be called in a turn of its own after the jobs arrived: an answer
   * that came before them has been taken by then, so this one stands behind them on the connection, and Redis gave it
   * after they were fetched, whenever it was asked.
   * @throws what Redis answers
   */
  confirm(): Promise<Checked> {
    const [first] = this.underway
    if (first && this.nowMs() - this.sentAtMs < CHECK_SPACING_MS) return first
    const sent = this.send()
    return first ?? sent
  }

  private send(): Promise<Checked> {
    this.sentAtMs = this.nowMs()
    const check = this.check()
    this.underway.push(check)
    const end = () => {
      this.underway = this.underway.filter((other) => other !== check)
    }
    // Who waits for it is told; where nobody does, the next check meets the same.
    check.then(end, end)
    return check
  }

  /** The life now, and the record to commit with. To be called before the first fetch, and as `vouches` says. */
  async check(): Promise<Checked> {
    const metaKey = `${this.keyPrefix}meta`
    for (;;) {
      // Read before the counter is raised: what was recorded by then was counted by then, in every process.
      const before = await this.store.readEpoch()
      const { current } = this
      const applied = current ? undefined : this.highestApplied(before)
      // Waited for below, unless Redis fails first.
      applied?.catch(() => undefined)
      const seen = this.highest
      const sentAtMs = this.nowMs()
      const [batch, mark, lastId] = await Promise.all([
        this.redis.hincrby(metaKey, 'memsync:batch', 1),
        this.redis.hget(metaKey, 'memsync'),
        this.redis.get(`${this.keyPrefix}id`),
      ])
      const highest = (await applied) ?? seen
      const life = parseLife(mark)
      // The counter does not know of the commits since the last check.
      const isKnown = current ? life?.token === current.token : life?.token === before.token
      const lostIds = isKnown && Number(lastId) < highest
      if (life && isLifeOf(life, before) && batch > before.batch && !lostIds) {
        if (this.current?.token !== life.token) this.highest = current ? 0 : highest
        this.current = life
        this.checkedAtMs = Math.max(this.checkedAtMs, sentAtMs)
        return { life, record: { epoch: life.epoch, token: life.token, batch } }
      }
      // Read after the mark: a life that was begun upon a recorded one is then later than what is read here.
      const recorded = await this.store.readEpoch()
      if (life && life.epoch > recorded.epoch) {
        await this.store.apply([], { epoch: life.epoch, token: life.token, batch: 0 })
      } else if (!life || !isLifeOf(life, recorded)) {
        await this.begin(metaKey, mark, recorded, 0)
      } else if (isLifeOf(life, before)) {
        await this.begin(metaKey, mark, recorded, await this.startedAtMs())
      }
    }
  }

  /** The highest id of this life that the store has applied, whoever handed it over. */
  private async highestApplied({ epoch }: EpochRecord): Promise<number> {
    const head = await this.store.readHead()
    return head.epoch === epoch ? head.sequence : 0
  }

  /** The version of a job whose arrival noted another mark than `life`. */
  async versionAt(
    job: JobIdentity,
    arrivedUnder: Life | undefined,
    life: Life,
  ): Promise<Version | undefined> {
    if (arrivedUnder === undefined) return versionOf(job, life)
    const lock = await this.redis.get(`${this.keyPrefix}${job.id}:lock`)
    return versionOf(job, lock !== null && lock === job.token ? life : arrivedUnder)
  }

  private async begin(
    metaKey: string,
    mark: string | null,
    recorded: EpochRecord,
    boundaryMs: number,
  ): Promise<void> {
    const next: Life = {
      epoch: Math.max(recorded.epoch, parseLife(mark)?.epoch ?? 0) + 1,
      token: randomUUID(),
      boundaryMs,
      epochBefore: parseLife(mark)?.epoch ?? recorded.epoch,
    }
    await this.redis.eval(REPLACE_MARK, 1, metaKey, mark ?? '', formatLife(next))
  }

  /**
   * When this Redis process started: to the second by its own account, and exactly where it is the end of this
   * connection that fell into that time.
   */
  private async startedAtMs(): Promise<number> {
    const info = await this.redis.info('server')
    const uptimeSeconds = Number(/uptime_in_seconds:(\d+)/.exec(info)?.[1] ?? 0)
    const startedAtMs = Date.now() - uptimeSeconds * 1000
    const before = startedAtMs - this.lostAtMs
    return before >= -RESTART_SLACK_MS && before <= RESTART_SLACK_MS ? this.lostAtMs : startedAtMs
  }
}
