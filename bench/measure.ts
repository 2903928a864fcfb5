/** Figures as medians with their spread, and ratios of pairs measured in turn, so that a slow moment meets both. */

export interface Figure {
  median: number
  min: number
  max: number
}

export function figure(values: readonly number[]): Figure {
  const sorted = [...values].sort((a, b) => a - b)
  return { median: percentile(sorted, 0.5), min: sorted[0] ?? Number.NaN, max: sorted.at(-1) ?? Number.NaN }
}

/** The value below which a share of the sorted values lies (nearest rank). */
export function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))] ?? Number.NaN
}

/** Measures both in turn, `rounds` times after one round that does not count; the order changes each round. */
export async function inTurn(
  rounds: number,
  ours: () => Promise<number>,
  bare: () => Promise<number>,
): Promise<{ ours: Figure; bare: Figure; ratio: Figure }> {
  const pairs: { ours: number; bare: number }[] = []
  for (let round = 0; round <= rounds; round++) {
    const pair = { ours: 0, bare: 0 }
    if (round % 2 === 0) {
      pair.ours = await ours()
      pair.bare = await bare()
    } else {
      pair.bare = await bare()
      pair.ours = await ours()
    }
    if (round > 0) pairs.push(pair)
  }
  return {
    ours: figure(pairs.map((pair) => pair.ours)),
    bare: figure(pairs.map((pair) => pair.bare)),
    ratio: figure(pairs.map((pair) => pair.ours / pair.bare)),
  }
}

export function show(value: number): string {
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString('en')
  return value.toFixed(Math.abs(value) >= 10 ? 1 : 2)
}

export function showFigure({ median, min, max }: Figure): string {
  return `${show(median)} (${show(min)} to ${show(max)})`
}
