/** What the daemon answers on its socket. */
import type { Config } from '../config.ts'
import { MemsyncError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { enqueueJob, withinDeadline } from '../queue/enqueue.ts'
import { conditionError } from '../queue/redisHealth.ts'
import { ControlServer } from './control.ts'
import { controlSocket } from './controlClient.ts'
import type { DashboardPart } from './dashboardPart.ts'
import { parseEnqueueRequest, refuseLate } from './enqueueRequest.ts'
import type { Part } from './lifecycle.ts'
import type { MetricsReport } from './metricsReport.ts'
import type { RedisConnections } from './redisConnections.ts'
import type { Report, RunningParts } from './report.ts'

/** Beyond the value itself: key, metadata and the frame around them, all escaped at worst. */
const MAX_REQUEST_OVERHEAD_BYTES = 64 * 1024

interface Answering {
  report: Report
  metrics: MetricsReport
  dashboard: DashboardPart
  parts: RunningParts
  connections: RedisConnections
  /** Resolves once nothing waits in the spool. */
  spoolEmptied(): Promise<void>
}

export function controlPart(config: Config, logger: Logger, of: Answering): Part {
  // A value may double in length where it is all escapes.
  const maxLineBytes = config.maxValueBytes * 2 + MAX_REQUEST_OVERHEAD_BYTES
  const handle = (request: Record<string, unknown>) => answer(config, of, request)
  const server = new ControlServer(controlSocket(config.dataDir), maxLineBytes, handle, logger)
  return { name: 'control socket', start: () => server.start(), stop: () => server.stop() }
}

async function answer(
  config: Config,
  of: Answering,
  request: Record<string, unknown>,
): Promise<Record<string, unknown>> {
  switch (request.op) {
    case 'status':
      return { status: await of.report.status() }
    case 'metrics':
      return of.metrics.answer(request)
    case 'dashboard':
      return of.dashboard.answer()
    case 'enqueue':
      return enqueue(config, of, request)
    case 'sweep-push':
      of.parts.push?.worker.requestSweep()
      return {}
    case 'sweep-embed':
      await of.parts.embed?.sweep()
      return {}
    default:
      throw new MemsyncError(
        'MEMSYNC_BAD_USAGE',
        'op: must be status, metrics, dashboard, enqueue, sweep-push or sweep-embed',
      )
  }
}

async function enqueue(
  config: Config,
  { report, connections: { producer }, spoolEmptied }: Answering,
  request: Record<string, unknown>,
): Promise<{ jobId: string }> {
  const { job, data, options, acceptedAtMs } = parseEnqueueRequest(request)
  const { redisCondition } = report
  if (!producer || redisCondition.state !== 'up') throw conditionError(redisCondition)
  // What is in the spool was accepted before this.
  await spoolEmptied()
  // What a Redis that stalls took in after its producer gave up would count from then on, and could beat newer writes.
  await withinDeadline(producer.redis.ping())
  refuseLate(acceptedAtMs, Date.now())
  return enqueueJob(producer.queues.sync, job, data, options, config, { acceptedAtMs })
}
