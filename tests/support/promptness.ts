/** What the configuration of the tests repeats a test for; any other failure stands at once. */
const TOO_SLOW = 'too slow'

/**
 * Holds a step to its time. A busy machine only ever adds to a time, and a defect adds to every one: so a test that was
 * too slow is repeated, at most twice (`retry` in vitest.config.ts), and a promise that is broken fails each of them.
 * @throws `too slow: ...` where it took `limitMs` or longer
 */
export function expectPrompt(tookMs: number, limitMs: number): void {
  if (tookMs < limitMs) return
  throw new Error(`${TOO_SLOW}: it took ${Math.round(tookMs)} ms, and may take less than ${limitMs} ms`)
}
