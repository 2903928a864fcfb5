/** How many cases a fuzz test runs: `usual`, or as many times that as MEMSYNC_FUZZ_FACTOR says. */
export function fuzzRuns(usual: number): number {
  const factor = Number(process.env.MEMSYNC_FUZZ_FACTOR ?? 1)
  if (!(factor > 0)) throw new Error('MEMSYNC_FUZZ_FACTOR is not a number above 0')
  return Math.ceil(usual * factor)
}
