/**
 * What the daemon's own process takes. Names without our prefix are those that every Prometheus client uses, so that
 * general dashboards find them.
 */
import { readdirSync } from 'node:fs'
import { monitorEventLoopDelay, performance } from 'node:perf_hooks'
import type { Sample } from './catalogue.ts'

/** Often enough to see what users feel, seldom enough to cost nothing. */
const LAG_RESOLUTION_MS = 50

/** Looks from now on how late timers run. */
export class ProcessWatch {
  private readonly lag = monitorEventLoopDelay({ resolution: LAG_RESOLUTION_MS })

  constructor() {
    this.lag.enable()
  }

  /** The figures now; those of the lag are of the time since the last call. */
  samples(): Sample[] {
    const { user, system } = process.cpuUsage()
    const { rss, heapUsed, heapTotal } = process.memoryUsage()
    return [
      { name: 'process_cpu_seconds_total', value: (user + system) / 1e6 },
      { name: 'process_resident_memory_bytes', value: rss },
      { name: 'process_start_time_seconds', value: performance.timeOrigin / 1000 },
      ...openFiles(),
      { name: 'nodejs_heap_size_used_bytes', value: heapUsed },
      { name: 'nodejs_heap_size_total_bytes', value: heapTotal },
      { name: 'memsync_active_resources', value: process.getActiveResourcesInfo().length },
      {
        name: 'memsync_event_loop_busy_seconds_total',
        value: performance.eventLoopUtilization().active / 1000,
      },
      ...this.lagSamples(),
    ]
  }

  private lagSamples(): Sample[] {
    const { count, mean, max } = this.lag
    this.lag.reset()
    if (count === 0) return []
    return [
      { name: 'memsync_event_loop_lag_mean_seconds', value: latenessSeconds(mean) },
      { name: 'memsync_event_loop_lag_max_seconds', value: latenessSeconds(max) },
    ]
  }
}

/** Node records the time from one tick to the next, the resolution included. */
function latenessSeconds(betweenTicksNs: number): number {
  return Math.max(0, betweenTicksNs / 1e9 - LAG_RESOLUTION_MS / 1000)
}

function openFiles(): Sample[] {
  if (process.platform !== 'linux') return []
  // Without the one that reads them.
  return [{ name: 'process_open_fds', value: readdirSync('/proc/self/fd').length - 1 }]
}
