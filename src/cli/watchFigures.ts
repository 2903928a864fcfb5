/** What moves, from one look at the status to the next: rates, what a minute looked like, and when nothing is left. Pure. */
import type { Status } from '../daemon/status.ts'

/** One look. Counts are null where nobody knows them. */
export interface Sample {
  /** Monotonic, in milliseconds. */
  atMs: number
  /** Memories that ended in the store, superseded ones included; likewise embedded and pushed. */
  synced: number
  embedded: number
  pushed: number
  /** Jobs and spooled memories that have not ended, in each lane. */
  pending: Record<LaneName, number | null>
}

export type LaneName = 'sync' | 'embed' | 'push'

const LANES: readonly LaneName[] = ['sync', 'embed', 'push']
const DONE = { sync: 'synced', embed: 'embedded', push: 'pushed' } as const satisfies Record<
  LaneName,
  keyof Sample
>

/** Over how long a rate is taken: long enough to be read, short enough to follow. */
const RATE_WINDOW_MS = 10_000
/** Where the time to drain is longer than a person plans for. */
const MAX_DRAIN_MS = 30 * 86_400_000

export interface LaneFlow {
  /** Ended a second; null before the second look. */
  perSecond: number | null
  /** How fast what waits becomes less, a second; negative where it becomes more; null where nobody knows. */
  shrinksPerSecond: number | null
  /** Until nothing waits at this pace, in milliseconds; null where nothing waits, or it does not become less. */
  drainMs: number | null
}

export function sampleOf(status: Status, atMs: number): Sample {
  const { totals, lanes, spool } = status
  const pendingIn = (name: LaneName): number | null => {
    const { waiting, delayed, active } = lanes[name]
    const counts = [waiting, delayed, active, ...(name === 'sync' ? [spool.records] : [])]
    return counts.reduce((sum, next) => (sum === null || next === null ? null : sum + next), 0)
  }
  return {
    atMs,
    synced: totals.synced + totals.superseded,
    embedded: totals.embedded,
    pushed: totals.pushed,
    pending: { sync: pendingIn('sync'), embed: pendingIn('embed'), push: pendingIn('push') },
  }
}

/** The looks so far, with the new one, without those older than `keepMs`. */
export function remember(samples: readonly Sample[], sample: Sample, keepMs: number): Sample[] {
  const last = samples.at(-1)
  // A total that fell is another store's (it was restored or replaced): nothing before it compares.
  if (last && LANES.some((lane) => sample[DONE[lane]] < last[DONE[lane]])) return [sample]
  return [...samples.filter(({ atMs }) => atMs >= sample.atMs - keepMs), sample]
}

export function flowOf(samples: readonly Sample[], lane: LaneName): LaneFlow {
  const last = samples.at(-1)
  const first = samples.find(({ atMs }) => last && atMs >= last.atMs - RATE_WINDOW_MS)
  if (!last || !first || first.atMs === last.atMs) {
    return { perSecond: null, shrinksPerSecond: null, drainMs: null }
  }
  const seconds = (last.atMs - first.atMs) / 1000
  const [before, now] = [first.pending[lane], last.pending[lane]]
  const shrinksPerSecond = before === null || now === null ? null : (before - now) / seconds
  return {
    perSecond: (last[DONE[lane]] - first[DONE[lane]]) / seconds,
    shrinksPerSecond,
    drainMs: drainTimeMs(now, shrinksPerSecond),
  }
}

function drainTimeMs(pending: number | null, shrinksPerSecond: number | null): number | null {
  if (!pending || shrinksPerSecond === null || shrinksPerSecond <= 0) return null
  const drainMs = (pending / shrinksPerSecond) * 1000
  return drainMs > MAX_DRAIN_MS ? null : drainMs
}

/**
 * What a lane did in each of `slots` equal spans of the last `spanMs`, a second; null where no look tells. A span that
 * holds no look has what the looks around it say.
 */
export function ratesOver(
  samples: readonly Sample[],
  lane: LaneName,
  slots: number,
  spanMs: number,
): (number | null)[] {
  const end = samples.at(-1)?.atMs ?? 0
  const slotMs = spanMs / slots
  const totalAt = (atMs: number) => interpolate(samples, DONE[lane], atMs)
  return Array.from({ length: slots }, (_, slot) => {
    const from = totalAt(end - spanMs + slot * slotMs)
    const to = totalAt(end - spanMs + (slot + 1) * slotMs)
    return from === null || to === null ? null : Math.max(0, ((to - from) / slotMs) * 1000)
  })
}

/** The total at a time between two looks, on a straight line between them; null outside of them. */
function interpolate(
  samples: readonly Sample[],
  total: 'synced' | 'embedded' | 'pushed',
  atMs: number,
): number | null {
  const after = samples.findIndex((sample) => sample.atMs >= atMs - 1e-6)
  const [b, a] = [samples[after], samples[after - 1]]
  if (!b) return null
  if (!a) return Math.abs(b.atMs - atMs) < 1e-6 ? b[total] : null
  return a[total] + ((b[total] - a[total]) * (atMs - a.atMs)) / (b.atMs - a.atMs)
}

const BARS = '▁▂▃▄▅▆▇█'

/** One character each: a space where nobody knows, the lowest bar for none at all, the highest for the most of them. */
export function sparkline(values: readonly (number | null)[]): string {
  const most = Math.max(...values.map((value) => value ?? 0))
  return values
    .map((value) => {
      if (value === null) return ' '
      if (value <= 0 || most === 0) return BARS[0]
      // Something is more than nothing, so it never has the lowest bar.
      return BARS[Math.max(1, Math.min(BARS.length - 1, Math.ceil((value / most) * BARS.length) - 1))]
    })
    .join('')
}

/** `0/s`, `0.4/s`, `12/s`, `1,250/s` */
export function formatRate(perSecond: number): string {
  const digits = perSecond > 0 && perSecond < 9.95 ? 1 : 0
  return `${perSecond.toLocaleString('en-US', { maximumFractionDigits: digits })}/s`
}
