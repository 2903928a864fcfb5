/** Tracing among the daemon's parts; where no endpoint is set there is none, and nothing of it is loaded. */
import type { Logger } from '../logger.ts'
import { type Tracing, useTracing } from '../tracing/current.ts'
import type { TracingConfig } from '../tracing/otlp.ts'
import type { Part } from './lifecycle.ts'

export function tracingPart(config: TracingConfig, logger: Logger): Part {
  let tracing: Tracing | undefined
  return {
    name: 'tracing',
    start: async () => {
      if (config.otlpEndpoint === undefined) return
      const { startTracing } = await import('../tracing/otlp.ts')
      tracing = startTracing(config, logger)
      useTracing(tracing)
    },
    stop: async () => {
      useTracing(undefined)
      await tracing?.close()
    },
  }
}
