/** `memsync status`: a report, whatever the state of things, so its exit code is 0 also where nothing runs. */
import type { Config } from '../config.ts'
import { askDaemon } from '../daemon/controlClient.ts'
import type { Status } from '../daemon/status.ts'
import { MemsyncError } from '../errors.ts'
import type { CommandContext } from './context.ts'
import { daemonRuns } from './handOver.ts'
import { paintStdout, print, printJson } from './output.ts'
import { renderStatus } from './statusText.ts'

/** Longer than the daemon waits for Redis before it answers without it. */
const ANSWER_TIMEOUT_MS = 3_000

export async function status(context: CommandContext): Promise<number> {
  const found = await findStatus(context.config)
  if (context.json) await printJson(found)
  else await print(renderStatus(found, Date.now(), paintStdout))
  return 0
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
