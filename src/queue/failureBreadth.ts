/**
 * Tells a memory that the remote chokes on from a remote that chokes on all of them: the same answer (a 500, a lost
 * connection, a 403) means either, and a probe that succeeds does not say which. Two things do: whether it befalls the
 * same memory again, and how many others it befalls with no success between.
 *
 * - A failure: the first time is free, for a connection that broke, or the last moment of an outage. From the second on
 *   the memory pays with its attempts and is a dead letter in the end, unless `WIDE_FAILURES` or more memories fail one
 *   after the other: then it is the remote, and an outage, until one succeeds.
 * - A memory that is forbidden (a firewall before the remote reads what passes) is a dead letter once it was
 *   `NARROW_REFUSALS` times, with others pushed between each two. Until one is pushed it may be the key's rights, so that
 *   the second time in a row, or the `WIDE_FAILURES`th memory, is for the operator.
 */
import type { MemsyncError } from '../errors.ts'
import type { MemoryName } from '../infrastructure/memory/port.ts'

const WIDE_FAILURES = 3
const NARROW_REFUSALS = 3
/** Far above what is in flight at once; the oldest is forgotten, and has its first time again. */
const MAX_SUSPECTS = 1_000

export class FailureBreadth {
  /** Memories that failed since any succeeded. */
  private readonly failing = new Set<string>()
  /** Memories that failed since they themselves succeeded, oldest first. */
  private readonly suspects = new Set<string>()
  /** Memories that were forbidden since any was pushed. */
  private readonly forbidden = new Set<string>()
  /** How often each was forbidden, with a push between each two; oldest first. */
  private readonly refusals = new Map<string, number>()

  /**
   * The remote took this memory.
   * @param pushed false for a removal, which neither a firewall nor a right to write may be in the way of
   */
  succeeded(name: MemoryName, pushed: boolean): void {
    const id = idOf(name)
    this.failing.clear()
    this.suspects.delete(id)
    this.refusals.delete(id)
    if (pushed) this.forbidden.clear()
  }

  /** The error as the lane is to take it. */
  weigh(name: MemoryName, error: MemsyncError): MemsyncError {
    if (error.code === 'MEMSYNC_REMOTE_FORBIDDEN') return this.weighForbidden(idOf(name), error)
    if (error.code !== 'MEMSYNC_REMOTE_UNCLEAR' || error.class !== 'transient') return error
    const id = idOf(name)
    if (this.failing.size < WIDE_FAILURES) this.failing.add(id)
    const isFirst = !this.suspects.has(id)
    this.suspects.add(id)
    if (this.suspects.size > MAX_SUSPECTS) this.suspects.delete(this.suspects.values().next().value ?? id)
    return isFirst || this.failing.size >= WIDE_FAILURES ? error.as('outage') : error
  }

  private weighForbidden(id: string, error: MemsyncError): MemsyncError {
    const isInARow = this.forbidden.has(id)
    if (this.forbidden.size < WIDE_FAILURES) this.forbidden.add(id)
    if (isInARow || this.forbidden.size >= WIDE_FAILURES) return error
    const times = (this.refusals.get(id) ?? 0) + 1
    if (times >= NARROW_REFUSALS) {
      this.refusals.delete(id)
      return error.as('permanent')
    }
    this.refusals.set(id, times)
    if (this.refusals.size > MAX_SUSPECTS) this.refusals.delete(this.refusals.keys().next().value ?? id)
    return error.as('outage')
  }
}

function idOf({ namespace, key }: MemoryName): string {
  return `${namespace}\0${key}`
}
