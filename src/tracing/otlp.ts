/**
 * Tracing by OpenTelemetry, sent over OTLP/HTTP as JSON. Loaded only where an endpoint is set; then it costs some
 * megabytes and, with everything traced, a part of the throughput.
 *
 * A collector that is away costs nothing but the spans: it is told once when they are lost, and once when they arrive
 * again.
 */
import { context, propagation, type Span, SpanStatusCode, trace } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { type ExportResult, ExportResultCode, W3CTraceContextPropagator } from '@opentelemetry/core'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { resourceFromAttributes } from '@opentelemetry/resources'
import {
  BatchSpanProcessor,
  ParentBasedSampler,
  type ReadableSpan,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace'
import { BullMQOtel } from 'bullmq-otel'
import type { Config } from '../config.ts'
import { toMemsyncError } from '../errors.ts'
import type { MemoryName } from '../infrastructure/memory/port.ts'
import type { Logger } from '../logger.ts'
import { DAEMON_VERSION } from '../release.ts'
import type { Tracing } from './current.ts'
import { discreet, ERROR_CODE } from './discreet.ts'

const NAME = 'memsyncd'
const EXPORT_INTERVAL_MS = 1_000
/** Spans beyond it are dropped: tracing gives way to the work. */
const MAX_WAITING_SPANS = 8_192
const MAX_BATCH = 1_024
/** How long a stop waits for the last spans. */
const CLOSE_TIMEOUT_MS = 1_000
/** Memories whose last trace is remembered for the lanes behind. */
const MAX_CARRIED = 10_000

export type TracingConfig = Pick<Config, 'otlpEndpoint' | 'otlpHeaders' | 'traceRatio'>

/** @param config with an endpoint */
export function startTracing(config: TracingConfig, logger: Logger): Tracing {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
  propagation.setGlobalPropagator(new W3CTraceContextPropagator())
  const exporter = openExporter(config)
  const provider = new TracerProvider({
    resource: resourceFromAttributes({ 'service.name': NAME, 'service.version': DAEMON_VERSION }),
    sampler: new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(config.traceRatio) }),
    spanProcessors: [
      new BatchSpanProcessor({
        exporter: telling(exporter, logger),
        scheduledDelayMillis: EXPORT_INTERVAL_MS,
        maxQueueSize: MAX_WAITING_SPANS,
        maxExportBatchSize: MAX_BATCH,
      }),
    ],
  })
  trace.setGlobalTracerProvider(provider)
  const { telemetry, carry, carried } = carrier(discreet(new BullMQOtel({ tracerName: NAME })))
  const tracer = trace.getTracer(NAME, DAEMON_VERSION)
  return {
    telemetry,
    carry,
    carried,
    span: (name, attributes, work) =>
      tracer.startActiveSpan(name, { attributes }, (span) => runIn(span, work)),
    close: async () => {
      await endsWithin(provider.shutdown(), CLOSE_TIMEOUT_MS)
      for (const api of [trace, context, propagation]) api.disable()
    },
  }
}

async function runIn<T>(span: Span, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (thrown) {
    const { code } = toMemsyncError(thrown, 'MEMSYNC_HANDLER_FAILED')
    span.setAttribute(ERROR_CODE, code).setStatus({ code: SpanStatusCode.ERROR })
    throw thrown
  } finally {
    span.end()
  }
}

function openExporter({ otlpEndpoint = '', otlpHeaders = {} }: TracingConfig): OTLPTraceExporter {
  return new OTLPTraceExporter({
    url: `${otlpEndpoint.replace(/\/+$/, '')}/v1/traces`,
    headers: otlpHeaders,
  })
}

/** The exporter, whose failures are told: once, until it succeeds. */
function telling(exporter: OTLPTraceExporter, logger: Logger): OTLPTraceExporter {
  const send = exporter.export.bind(exporter)
  let isLost = false
  exporter.export = (spans: ReadableSpan[], done: (result: ExportResult) => void) => {
    send(spans, (result) => {
      const failed = result.code === ExportResultCode.FAILED
      // The error's own text may quote what the collector answered.
      const reason = result.error?.name
      if (failed && !isLost) logger.warn({ reason }, 'traces cannot be sent; the syncing goes on')
      if (!failed && isLost) logger.info('traces are sent again')
      isLost = failed
      done(result)
    })
  }
  return exporter
}

/** Remembers the last trace of each memory, of the newest so many. */
function carrier(telemetry: Tracing['telemetry']): Pick<Tracing, 'telemetry' | 'carry' | 'carried'> {
  const { contextManager } = telemetry
  const last = new Map<string, string>()
  const idOf = ({ namespace, key }: MemoryName) => `${namespace}\0${key}`
  return {
    telemetry,
    carry: (name) => {
      const id = idOf(name)
      last.delete(id)
      last.set(id, contextManager.getMetadata(contextManager.active()))
      if (last.size <= MAX_CARRIED) return
      const [oldest] = last.keys()
      if (oldest !== undefined) last.delete(oldest)
    },
    carried: (name) => last.get(idOf(name)),
  }
}

async function endsWithin(work: Promise<void>, timeoutMs: number): Promise<void> {
  const { promise: late, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, timeoutMs)
  // That the last spans were lost is told by the exporter.
  await Promise.race([work.catch(() => undefined), late])
  clearTimeout(timer)
}
