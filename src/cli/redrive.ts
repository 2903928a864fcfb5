/** Redriving many dead letters: at a steady rate, each with a fate of its own, and what became of them. */
import { setTimeout as sleep } from 'node:timers/promises'
import { type MemsyncError, toMemsyncError } from '../errors.ts'
import { printable } from '../printable.ts'
import type { DeadLetterDesk, RedriveOutcome } from '../queue/deadLetterDesk.ts'
import type { CommandContext } from './context.ts'
import { badUsage, errorDocument } from './failure.ts'
import { notice, print, printJson } from './output.ts'

const DEFAULT_RATE_PER_SECOND = 50
/** How many failures are told one by one. */
const MAX_TOLD_FAILURES = 20

/** @throws MEMSYNC_BAD_USAGE */
export function parseRate(text: string | undefined): number {
  if (text === undefined) return DEFAULT_RATE_PER_SECOND
  if (!/^\d{1,6}(\.\d{1,3})?$/.test(text) || Number(text) <= 0)
    throw badUsage('--rate: is not a number above 0')
  return Number(text)
}

export class RedriveRun {
  readonly counts: Record<RedriveOutcome['outcome'], number> = {
    queued: 0,
    redriven: 0,
    superseded: 0,
    failed: 0,
  }
  /** Not put back at all: no such entry, or Redis does not take it. */
  refused = 0
  /** Left as they were, as Redis went away. */
  untouched = 0
  readonly failures: { id: string; error: MemsyncError }[] = []
  private readonly desk: DeadLetterDesk
  private readonly wait: boolean
  private queueAway = false

  constructor(desk: DeadLetterDesk, wait: boolean) {
    this.desk = desk
    this.wait = wait
  }

  /** Begins them in order, at most `ratePerSecond`; resolves when each has its fate. */
  async redriveAll(ids: string[], ratePerSecond: number): Promise<void> {
    const startedAtMs = performance.now()
    const underway: Promise<void>[] = []
    for (const [index, id] of ids.entries()) {
      const waitMs = startedAtMs + (index * 1000) / ratePerSecond - performance.now()
      if (waitMs > 0) await sleep(waitMs)
      if (this.queueAway) {
        this.untouched = ids.length - index
        break
      }
      underway.push(this.redriveOne(id))
    }
    await Promise.all(underway)
  }

  private async redriveOne(id: string): Promise<void> {
    try {
      const end = await this.desk.redrive(id, this.wait)
      this.counts[end.outcome]++
      if (end.outcome === 'failed') this.keep(id, end.error)
    } catch (thrown) {
      const error = toMemsyncError(thrown, 'MEMSYNC_QUEUE_UNAVAILABLE')
      this.refused++
      if (error.class === 'outage') this.queueAway = true
      this.keep(id, error)
    }
  }

  private keep(id: string, error: MemsyncError): void {
    if (this.failures.length < MAX_TOLD_FAILURES) this.failures.push({ id, error })
  }
}

/** @returns the exit code: 0 where each of them is written or superseded (or only put back, as asked) */
export async function tellRedriven(
  context: CommandContext,
  run: RedriveRun,
  waited: boolean,
): Promise<number> {
  const { counts, refused, untouched, failures } = run
  if (context.json) {
    await printJson({
      ...counts,
      refused,
      untouched,
      failures: failures.map(({ id, error }) => ({ id, ...errorDocument(error) })),
    })
  } else {
    for (const { id, error } of failures)
      notice(`${printable(id)}: ${printable(error.message)} (${error.code})`)
    const more = counts.failed + refused - failures.length
    if (more > 0) notice(`and ${more} more`)
    const done = waited
      ? `redriven ${counts.redriven}, superseded ${counts.superseded}, failed again ${counts.failed}`
      : `put back ${counts.queued}`
    const rest = `${refused > 0 ? `, refused ${refused}` : ''}${untouched > 0 ? `, untouched ${untouched}` : ''}`
    await print(`${done}${rest}\n`)
  }
  return counts.failed + refused + untouched > 0 ? 1 : 0
}
