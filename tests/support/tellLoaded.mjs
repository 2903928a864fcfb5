// Told to a process by NODE_OPTIONS: says on standard error which packages of measuring and tracing it loads.
import { registerHooks } from 'node:module'

registerHooks({
  load(url, context, next) {
    const name = /node_modules\/(prom-client|bullmq-otel|@opentelemetry\/[\w-]+)\//.exec(url)?.[1]
    if (name) process.stderr.write(`loaded ${name}\n`)
    return next(url, context)
  },
})
