/** Which snapshots are kept. Pure. */

const DAY_MS = 86_400_000

/**
 * The snapshots to be removed: all but the newest `keep`, and those older than `keepDays`; the newest one always stays.
 * One from a clock that ran ahead counts as new.
 */
export function expired<T extends { createdAtMs: number }>(
  snapshots: readonly T[],
  limits: { keep: number; keepDays: number },
  nowMs: number,
): T[] {
  const newestFirst = snapshots.toSorted((a, b) => b.createdAtMs - a.createdAtMs)
  return newestFirst.filter(
    ({ createdAtMs }, place) =>
      place > 0 && (place >= limits.keep || nowMs - createdAtMs > limits.keepDays * DAY_MS),
  )
}
