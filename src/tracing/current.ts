/**
 * Tracing as the rest of the program sees it: nothing at all unless it was switched on, and then one for the process,
 * as OpenTelemetry itself has it. No library is loaded here.
 */
import type { Telemetry } from 'bullmq'
import type { MemoryName } from '../infrastructure/memory/port.ts'

/** Attributes say what was done, never to which memory: no key, namespace, value, address or secret. */
export type SpanAttributes = Record<string, string | number>

export interface Tracing {
  /** What BullMQ's queues and workers trace with; it carries the context from the producer into the job. */
  readonly telemetry: Telemetry
  /** Runs `work` in a span of its own, below the one it is called in. @throws what `work` throws */
  span<T>(name: string, attributes: SpanAttributes, work: () => Promise<T>): Promise<T>
  /** Remembers where the last write of a memory was traced, for the lanes behind it. */
  carry(name: MemoryName): void
  /** The metadata of what was carried; undefined where it is not known (any more). */
  carried(name: MemoryName): string | undefined
  /** Sends what is left. Never rejects; ends soon, whatever the collector does. */
  close(): Promise<void>
}

let current: Tracing | undefined

/** To be called before a queue or a worker is made; undefined switches it off. */
export function useTracing(tracing: Tracing | undefined): void {
  current = tracing
}

/** The option of a queue or a worker. */
export function queueTelemetry(): { telemetry?: Telemetry } {
  return current ? { telemetry: current.telemetry } : {}
}

/** The option of a job that goes on with what was done to this memory. */
export function jobTelemetry(name: MemoryName): {
  telemetry?: { metadata: string } | { omitContext: boolean }
} {
  if (!current) return {}
  const metadata = current.carried(name)
  // Without one it must not go on with whatever is being done at the moment.
  return { telemetry: metadata === undefined ? { omitContext: true } : { metadata } }
}

/** Runs `work` in a span where tracing is on. */
export function inSpan<T>(name: string, attributes: SpanAttributes, work: () => Promise<T>): Promise<T> {
  return current ? current.span(name, attributes, work) : work()
}

/** Runs a commit in a span where tracing is on, and has the lanes behind it go on from there. */
export function inCommitSpan<T>(memory: MemoryName, work: () => Promise<T>): Promise<T> {
  const tracing = current
  if (!tracing) return work()
  return tracing.span('commit', {}, () => {
    tracing.carry(memory)
    return work()
  })
}
