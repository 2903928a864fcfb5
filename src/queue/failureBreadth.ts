/**
 * Tells a memory that the remote chokes on from a remote that chokes on all of them: the same answer (a 500, a lost
 * connection) means either, and a probe that succeeds does not say which. What says it is how many memories it
 * befalls, one after the other, with no success between.
 *
 * A few: each pays with its attempts, and is a dead letter in the end. `WIDE_FAILURES` or more: it is the remote, so
 * it is an outage from then on, until one succeeds.
 */
import type { MemsyncError } from '../errors.ts'
import type { MemoryName } from '../infrastructure/memory/port.ts'

const WIDE_FAILURES = 3

export class FailureBreadth {
  private readonly failing = new Set<string>()

  /** The remote took a memory. */
  succeeded(): void {
    this.failing.clear()
  }

  /** The error as the lane is to take it. */
  weigh({ namespace, key }: MemoryName, error: MemsyncError): MemsyncError {
    if (error.code !== 'MEMSYNC_REMOTE_UNCLEAR' || error.class !== 'transient') return error
    if (this.failing.size < WIDE_FAILURES) this.failing.add(`${namespace}\0${key}`)
    return this.failing.size < WIDE_FAILURES ? error : error.as('outage')
  }
}
