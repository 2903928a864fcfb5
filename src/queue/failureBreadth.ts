/**
 * Tells a memory that the remote chokes on from a remote that chokes on all of them: the same answer (a 500, a lost
 * connection) means either, and a probe that succeeds does not say which. Two things do: whether it befalls the same
 * memory again, and how many others it befalls with no success between.
 *
 * The first time is free: a connection that broke, the last moment of an outage. From the second on, the memory pays
 * with its attempts and is a dead letter in the end, unless `WIDE_FAILURES` or more memories fail one after the
 * other: then it is the remote, and an outage, until one succeeds.
 */
import type { MemsyncError } from '../errors.ts'
import type { MemoryName } from '../infrastructure/memory/port.ts'

const WIDE_FAILURES = 3
/** Far above what is in flight at once; the oldest is forgotten, and has its first time again. */
const MAX_SUSPECTS = 1_000

export class FailureBreadth {
  /** Memories that failed since any succeeded. */
  private readonly failing = new Set<string>()
  /** Memories that failed since they themselves succeeded, oldest first. */
  private readonly suspects = new Set<string>()

  /** The remote took this memory. */
  succeeded(name: MemoryName): void {
    this.failing.clear()
    this.suspects.delete(idOf(name))
  }

  /** The error as the lane is to take it. */
  weigh(name: MemoryName, error: MemsyncError): MemsyncError {
    if (error.code !== 'MEMSYNC_REMOTE_UNCLEAR' || error.class !== 'transient') return error
    const id = idOf(name)
    if (this.failing.size < WIDE_FAILURES) this.failing.add(id)
    const isFirst = !this.suspects.has(id)
    this.suspects.add(id)
    if (this.suspects.size > MAX_SUSPECTS) this.suspects.delete(this.suspects.values().next().value ?? id)
    return isFirst || this.failing.size >= WIDE_FAILURES ? error.as('outage') : error
  }
}

function idOf({ namespace, key }: MemoryName): string {
  return `${namespace}\0${key}`
}
