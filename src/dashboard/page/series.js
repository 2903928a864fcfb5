/** From samples to what is drawn: steps of throughput and of age, and stretches of one state. Pure. */

/** A silence longer than this is a gap: samples come every 10 s for an hour, then every five minutes. */
function isGap(before, after, nowMs) {
  const isRecent = before.atMs > nowMs - 3_500_000
  return after.atMs - before.atMs > (isRecent ? 45_000 : 700_000)
}

/**
 * Groups of samples at least `stepMs` long, those that touch the range alone; `null` stands for a gap.
 * @returns `{ from, to, first, last, members }`
 */
function groups(samples, { fromMs, toMs, stepMs }) {
  const found = []
  let members = []
  for (let at = 1; at < samples.length; at++) {
    const [before, after] = [samples[at - 1], samples[at]]
    if (after.atMs < fromMs || before.atMs > toMs) continue
    if (isGap(before, after, toMs)) {
      if (members.length > 0) found.push(members)
      members = []
      found.push(null)
      continue
    }
    members.push([before, after])
    if (after.atMs - members[0][0].atMs >= stepMs) {
      found.push(members)
      members = []
    }
  }
  if (members.length > 0) found.push(members)
  return found.map(
    (pairs) =>
      pairs && { first: pairs[0][0], last: pairs.at(-1)[1], members: pairs.map(([, after]) => after) },
  )
}

/** Steps `{ fromMs, toMs, value }` of memories a second; a value of null is a gap. */
export function throughput(samples, lane, range) {
  return groups(samples, range).map((group) => {
    if (!group) return null
    const { first, last } = group
    // A store that was replaced counts anew.
    const done = Math.max(0, last.lanes[lane].done - first.lanes[lane].done)
    return { fromMs: first.atMs, toMs: last.atMs, value: (done * 1000) / (last.atMs - first.atMs) }
  })
}

/** Steps of the greatest value that `read` finds in each; what is unknown is a gap. */
export function peaks(samples, read, range) {
  return groups(samples, range).map((group) => {
    if (!group) return null
    const values = group.members.map(read).filter((value) => value !== null)
    if (values.length === 0) return null
    return { fromMs: group.first.atMs, toMs: group.last.atMs, value: Math.max(...values) }
  })
}

export const oldestOf = (lane) => (sample) =>
  sample.lanes[lane].pending === null ? null : (sample.lanes[lane].oldestMs ?? 0)

/** Stretches `{ fromMs, toMs, state }`; what nobody saw is left out. */
export function stretches(samples, read, { fromMs, toMs }) {
  const found = []
  for (const [at, sample] of samples.entries()) {
    const next = samples[at + 1]
    const endMs = next && !isGap(sample, next, toMs) ? next.atMs : Math.min(toMs, sample.atMs + 12_000)
    if (endMs <= fromMs || sample.atMs >= toMs) continue
    const state = read(sample)
    const last = found.at(-1)
    if (last && last.state === state && last.toMs >= sample.atMs) last.toMs = endMs
    else found.push({ fromMs: Math.max(fromMs, sample.atMs), toMs: endMs, state })
  }
  return found
}

/** The sample in force at a moment. */
export function sampleAt(samples, atMs) {
  const next = samples.findIndex((sample) => sample.atMs > atMs)
  return next < 0 ? samples.at(-1) : samples[Math.max(0, next - 1)]
}

/** Memories a second between the last two samples; null where there are none. */
export function rateNow(samples, lane) {
  const last = samples.at(-1)
  const before = samples.findLast((sample) => last && sample.atMs <= last.atMs - 4_000) ?? samples[0]
  if (!last || !before || before === last || last.atMs - before.atMs > 60_000) return null
  return (Math.max(0, last.lanes[lane].done - before.lanes[lane].done) * 1000) / (last.atMs - before.atMs)
}
