/**
 * `memsync metrics`: what `/metrics` serves, over the daemon's own socket, so that it needs no HTTP. Where no daemon
 * answers it shows what the store, the spool and Redis show, says so, and still ends with 0, as a report does.
 */
import { askDaemon } from '../daemon/controlClient.ts'
import { MemsyncError } from '../errors.ts'
import type { CommandContext } from './context.ts'
import { daemonRuns } from './handOver.ts'
import { notice, print, printJson } from './output.ts'

/** Longer than the daemon waits for Redis before it answers without it. */
const ANSWER_TIMEOUT_MS = 3_000

export async function metrics({ config, json }: CommandContext): Promise<number> {
  const found = (await askForMetrics(config.dataDir, json)) ?? (await lookForMetrics(config))
  if (json) await printJson({ metrics: found.metrics })
  else await print(String(found.text))
  return 0
}

interface Found {
  text?: unknown
  metrics?: unknown
}

async function askForMetrics(dataDir: string, json: boolean): Promise<Found | undefined> {
  try {
    return await askDaemon(dataDir, { op: 'metrics', format: json ? 'json' : 'text' }, ANSWER_TIMEOUT_MS)
  } catch (error) {
    // It hangs, or has only begun to start: what can be seen without it is still worth showing.
    if (error instanceof MemsyncError && error.class === 'outage') return undefined
    throw error
  }
}

async function lookForMetrics(config: CommandContext['config']): Promise<Found> {
  const [{ composeStatusAlone }, { expose }, { statusSamples }] = await Promise.all([
    import('../daemon/statusAlone.ts'),
    import('../metrics/exposition.ts'),
    import('../metrics/statusSamples.ts'),
  ])
  const status = await composeStatusAlone(config, await daemonRuns({ config }))
  const who = status.daemon.running ? 'the daemon does not answer' : 'no daemon runs'
  notice(`${who}: only what the store, the spool and Redis show; what a daemon counts is left out`)
  const exposition = expose(statusSamples(status, config))
  return { text: await exposition.text(), metrics: await exposition.json() }
}
