/** `memsync dashboard`: opens the daemon's dashboard, or serves one of its own until it is told to stop. */
import { constants } from 'node:os'
import { askDaemon } from '../daemon/controlClient.ts'
import { findStatus } from '../daemon/findStatus.ts'
import { onStopSignals } from '../daemon/stopSignals.ts'
import { type History, StatusHistory } from '../dashboard/history.ts'
import { MemsyncError } from '../errors.ts'
import { integer, type TcpAddress } from '../settingFormats.ts'
import { openInBrowser } from './browser.ts'
import type { CommandContext } from './context.ts'
import { badUsage } from './failure.ts'
import { daemonRuns } from './handOver.ts'
import { notice, paintStdout, print, printJson } from './output.ts'

const ANSWER_TIMEOUT_MS = 3_000

interface DashboardFlags {
  port?: string
  /** False with --no-open. */
  open: boolean
}

export async function dashboard(context: CommandContext, flags: DashboardFlags): Promise<number> {
  const given = parsePort(flags.port)
  const daemon = await askForDashboard(context)
  if (daemon?.link && !given) {
    await tell(context, daemon.link, 'daemon')
    if (flags.open) await openOrSay(daemon.link)
    else notice('the link opens it once, within ten minutes')
    return 0
  }
  const { config } = context
  const history = new StatusHistory()
  if (daemon) history.adopt(daemon.history)
  const { serveByCommand } = await import('../dashboard/serve.ts')
  const served = await serveByCommand({
    ...{ config, history },
    endpoint: given ?? config.dashboard ?? { kind: 'tcp', host: '127.0.0.1', port: 0 },
    status: () => findStatus(config),
    isAlone: !(await daemonRuns(context)),
  })
  const stopped = untilStopped()
  await tell(context, served.link, 'command')
  if (flags.open) await openOrSay(served.linkForOneUse)
  notice('serving it until Ctrl-C')
  await stopped
  await served.stop()
  return 0
}

/** @throws MEMSYNC_BAD_USAGE */
function parsePort(text: string | undefined): TcpAddress | undefined {
  if (text === undefined) return undefined
  try {
    return { kind: 'tcp', host: '127.0.0.1', port: integer(0, 65_535)(text) }
  } catch (error) {
    throw badUsage(`--port: ${error instanceof Error ? error.message : String(error)}`)
  }
}

/** Undefined where no daemon answers, or one that is too old to know of dashboards. */
async function askForDashboard({
  config,
}: CommandContext): Promise<{ link: string | null; history: History } | undefined> {
  try {
    const answer = await askDaemon(config.dataDir, { op: 'dashboard' }, ANSWER_TIMEOUT_MS)
    return answer as { link: string | null; history: History } | undefined
  } catch (error) {
    if (error instanceof MemsyncError) return undefined
    throw error
  }
}

async function tell(context: CommandContext, link: string, servedBy: 'daemon' | 'command'): Promise<void> {
  await (context.json ? printJson({ link, servedBy }) : print(`${paintStdout('heading', link)}\n`))
}

async function openOrSay(link: string): Promise<void> {
  if (!(await openInBrowser(link))) notice('no browser was opened here: open the link in one')
}

async function untilStopped(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const listenNoMore = onStopSignals(
    () => resolve(),
    (signal) => process.exit(128 + constants.signals[signal]),
  )
  await promise
  listenNoMore()
}
