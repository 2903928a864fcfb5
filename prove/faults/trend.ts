/** Whether a quantity grows: the least-squares line through its samples. Pure. */

export interface Sample {
  /** Milliseconds of the run. */
  atMs: number
  value: number
}

export interface Trend {
  /** Of the line, per hour. */
  perHour: number
  /** What the line rises by over the time looked at. */
  rise: number
  first: number
  last: number
}

/**
 * The least value of each window. What comes and goes (a spool that waits for Redis, memory that is yet to be collected)
 * only ever adds; what leaks raises the least as well.
 */
export function findFloors(samples: readonly Sample[], windowMs: number): Sample[] {
  const windows = Map.groupBy(samples, ({ atMs }) => Math.floor(atMs / windowMs))
  return Array.from(windows.values(), (all) =>
    all.reduce((least, one) => (one.value < least.value ? one : least)),
  )
}

/**
 * The line through the samples after the warm-up: slope = sum((t - t̄)(v - v̄)) / sum((t - t̄)²).
 * @param warmUpShare of the time that is cut off at the beginning, 0 to 1
 * @returns undefined where fewer than three samples are left
 */
export function findTrend(samples: readonly Sample[], warmUpShare: number): Trend | undefined {
  const [begin, end] = [samples[0]?.atMs ?? 0, samples.at(-1)?.atMs ?? 0]
  const kept = samples.filter(({ atMs }) => atMs >= begin + (end - begin) * warmUpShare)
  const [first, last] = [kept[0], kept.at(-1)]
  if (kept.length < 3 || !first || !last) return undefined
  const mean = (of: (sample: Sample) => number) =>
    kept.reduce((sum, sample) => sum + of(sample), 0) / kept.length
  const [meanAtMs, meanValue] = [mean(({ atMs }) => atMs), mean(({ value }) => value)]
  const squares = kept.reduce((sum, { atMs }) => sum + (atMs - meanAtMs) ** 2, 0)
  const products = kept.reduce((sum, { atMs, value }) => sum + (atMs - meanAtMs) * (value - meanValue), 0)
  const perMs = squares === 0 ? 0 : products / squares
  return {
    perHour: perMs * 3_600_000,
    rise: perMs * (last.atMs - first.atMs),
    first: first.value,
    last: last.value,
  }
}
