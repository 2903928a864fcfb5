import { setTimeout as sleep } from 'node:timers/promises'

type Truthy<T> = Exclude<T, false | 0 | '' | null | undefined>

/**
 * Polls until `condition` returns something truthy, and returns that.
 * @param what completes "waited in vain until ..."
 * @param graceMs a look that has not come back this long after the deadline never will: what it asks hangs
 * @throws with `what`, the last value seen and the last error thrown, after `timeoutMs`
 */
export async function waitFor<T>(
  what: string,
  condition: () => T | Promise<T>,
  { timeoutMs = 20_000, intervalMs = 10, graceMs = 20_000 } = {},
): Promise<Truthy<T>> {
  const deadline = performance.now() + timeoutMs
  let last: T | undefined
  let cause: unknown
  for (;;) {
    try {
      last = await inTime(condition, deadline + graceMs - performance.now())
      cause = undefined
      if (last) return last as Truthy<T>
    } catch (error) {
      cause = error
    }
    if (performance.now() > deadline) {
      const seen = cause === undefined ? `last seen: ${JSON.stringify(last)}` : `last error: ${String(cause)}`
      throw new Error(`waited ${timeoutMs} ms in vain until ${what}; ${seen}`, { cause })
    }
    await sleep(intervalMs)
  }
}

async function inTime<T>(look: () => T | Promise<T>, timeoutMs: number): Promise<T> {
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(() => late.reject(new Error('the last look did not come back')), timeoutMs)
  try {
    return await Promise.race([look(), late.promise])
  } finally {
    clearTimeout(timer)
  }
}
