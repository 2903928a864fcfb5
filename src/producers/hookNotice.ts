/** The one line that a user sees of `memsync hook`. Pure. */

import type { Status } from '../daemon/status.ts'
import { findTroubles } from '../daemon/troubles.ts'
import type { HookInput } from './hookEvents.ts'

/**
 * How the memory is, for the start of a session; undefined where all is well and the session is an old one that was
 * cleared or compacted.
 * @param status undefined where no daemon runs
 */
export function healthLine(
  { source }: HookInput,
  status: Status | undefined,
  nowMs: number,
): string | undefined {
  if (!status) return 'memsync: no daemon runs; start it with `memsync daemon`'
  const [first, ...others] = findTroubles(status, nowMs)
  if (first) {
    const more = others.length > 0 ? `, and ${others.length} more` : ''
    return `memsync: ${first.problem}${more}; \`memsync status\` says more`
  }
  if (source === 'clear' || source === 'compact') return undefined
  const { waiting, delayed, active } = status.lanes.sync
  const known = [waiting, delayed, active, status.spool.records].reduce(
    (sum, next) => (sum ?? 0) + (next ?? 0),
    0,
  )
  const pending = waiting === null ? '' : `, ${known} waiting`
  return `memsync: ${status.store.keys.toLocaleString('en-US')} memories stored${pending}`
}
