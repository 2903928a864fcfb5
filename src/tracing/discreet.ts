/**
 * BullMQ's telemetry, made to say no more than may be said. BullMQ puts a job's result, options and reason of failure
 * into attributes and events, which hold keys and strangers' messages; and every poll of an idle worker is a span.
 *
 * - Only the spans of a memory's way are made: its acceptance and the runs of its jobs.
 * - Only numbers, the names of queues and operations, and job ids that BullMQ itself counted are attributes. Of a failure
 *   there is its code.
 * - Metadata that some producer wrote and that is none starts a new trace; BullMQ would lose its worker to it.
 */
import { type Attributes, type Exception, SpanKind, type Telemetry } from 'bullmq'
import { SYNC_QUEUE } from '../jobs/index.ts'

type Tracer = Telemetry['tracer']
type Span = ReturnType<Tracer['startSpan']>

const TEXTS = new Set(['bullmq.queue.name', 'bullmq.queue.operation'])
const JOB_ID = 'bullmq.job.id'
const FAILED_REASON = 'bullmq.job.failed.reason'
/** Where the code of a failure stands. */
export const ERROR_CODE = 'memsync.error.code'

export function discreet({ tracer, contextManager }: Telemetry): Telemetry {
  return {
    tracer: {
      startSpan: (name, options, context) =>
        isOfMemory(name, options?.kind) ? discreetSpan(tracer.startSpan(name, options, context)) : NO_SPAN,
    },
    contextManager: {
      with: (context, work) => contextManager.with(context, work),
      active: () => contextManager.active(),
      getMetadata: (context) => contextManager.getMetadata(context),
      fromMetadata: (context, metadata) => {
        try {
          return contextManager.fromMetadata(context, metadata)
        } catch {
          // Its error says no more than that it is none of ours.
          return context
        }
      },
    },
  }
}

/** Marking a memory for the lanes behind is part of no one memory's way: many go together. */
function isOfMemory(name: string, kind: SpanKind | undefined): boolean {
  // The queue, or the queue and the name of the job: one of ours, as only we add jobs here.
  const [, destination = ''] = name.split(' ')
  return (
    kind === SpanKind.CONSUMER || (kind === SpanKind.PRODUCER && destination.split('.', 1)[0] === SYNC_QUEUE)
  )
}

function discreetSpan(span: Span): Span {
  const fail = (reason: unknown) => {
    const code = /^MEMSYNC_[A-Z_]+/.exec(String(reason))?.[0] ?? 'unknown'
    span.setAttribute(ERROR_CODE, code)
  }
  return {
    setSpanOnContext: (context) => span.setSpanOnContext(context),
    setAttribute: (name, value) => {
      if (mayBeSaid(name, value)) span.setAttribute(name, value)
    },
    setAttributes: (attributes) => span.setAttributes(sayable(attributes)),
    addEvent: (name, attributes = {}) => {
      const reason = attributes[FAILED_REASON]
      if (reason !== undefined) fail(reason)
      span.addEvent(name)
    },
    recordException: (exception) => fail(messageOf(exception)),
    end: () => span.end(),
  }
}

const NO_SPAN: Span = {
  setSpanOnContext: (context) => context,
  setAttribute: () => undefined,
  setAttributes: () => undefined,
  addEvent: () => undefined,
  recordException: () => undefined,
  end: () => undefined,
}

function sayable(attributes: Attributes): Attributes {
  return Object.fromEntries(Object.entries(attributes).filter(([name, value]) => mayBeSaid(name, value)))
}

function mayBeSaid(name: string, value: unknown): boolean {
  if (typeof value === 'number') return true
  if (typeof value !== 'string') return false
  return TEXTS.has(name) || (name === JOB_ID && /^\d+$/.test(value))
}

function messageOf(exception: Exception): string | undefined {
  return typeof exception === 'string' ? exception : exception.message
}
