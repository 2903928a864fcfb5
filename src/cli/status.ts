/** `memsync status`: a report, whatever the state of things, so its exit code is 0 also where nothing runs. */
import type { Config } from '../config.ts'
import { askDaemon } from '../daemon/controlClient.ts'
import type { Status } from '../daemon/status.ts'
import { MemsyncError } from '../errors.ts'
import type { CommandContext } from './context.ts'
import { parseDurationMs } from './duration.ts'
import { badUsage } from './failure.ts'
import { daemonRuns } from './handOver.ts'
import { paintStdout, print, printJson } from './output.ts'
import { renderStatus } from './statusText.ts'

/** Longer than the daemon waits for Redis before it answers without it. */
const ANSWER_TIMEOUT_MS = 3_000
const DEFAULT_INTERVAL_MS = 1_000
const MIN_INTERVAL_MS = 100
const MAX_INTERVAL_MS = 3_600_000

interface StatusFlags {
  watch?: true
  interval?: string
}

export async function status(context: CommandContext, flags: StatusFlags): Promise<number> {
  const { config, json } = context
  const intervalMs = intervalOf(flags)
  const look = () => findStatus(config)
  if (flags.watch) {
    const { watch } = await import('./watch.ts')
    return watch({ json, intervalMs, look })
  }
  const found = await look()
  // Only a terminal has a width that text should keep to.
  const view = process.stdout.isTTY ? { columns: process.stdout.columns || 80 } : {}
  await (json ? printJson(found) : print(renderStatus(found, Date.now(), paintStdout, view)))
  return 0
}

function intervalOf({ watch, interval }: StatusFlags): number {
  if (interval === undefined) return DEFAULT_INTERVAL_MS
  if (!watch) throw badUsage('--interval goes with --watch')
  const intervalMs = parseDurationMs(interval, '--interval')
  if (intervalMs < MIN_INTERVAL_MS || intervalMs > MAX_INTERVAL_MS) {
    throw badUsage('--interval: is not from 100ms to 1h')
  }
  return intervalMs
}

/** From the daemon, or from what can be seen without one. */
export async function findStatus(config: Config): Promise<Status> {
  return (await askForStatus(config)) ?? (await lookForStatus(config))
}

async function askForStatus(config: Config): Promise<Status | undefined> {
  try {
    const answer = await askDaemon(config.dataDir, { op: 'status' }, ANSWER_TIMEOUT_MS)
    return answer?.status as Status | undefined
  } catch (error) {
    // It hangs, or has only begun to start: what can be seen without it is still worth showing.
    if (error instanceof MemsyncError) return undefined
    throw error
  }
}

async function lookForStatus(config: Config): Promise<Status> {
  const { composeStatusAlone } = await import('../daemon/statusAlone.ts')
  return composeStatusAlone(config, await daemonRuns({ config }))
}
