/** `memsync status`: a report, whatever the state of things, so its exit code is 0 also where nothing runs. */
import { findStatus } from '../daemon/findStatus.ts'
import { parseDurationMs } from '../duration.ts'
import type { CommandContext } from './context.ts'
import { badUsage } from './failure.ts'
import { paintStdout, print, printJson } from './output.ts'
import { renderStatus } from './statusText.ts'

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
