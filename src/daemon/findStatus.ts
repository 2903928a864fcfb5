/** The status for who is not the daemon: a command, the MCP server. */
import type { Config } from '../config.ts'
import { MemsyncError } from '../errors.ts'
import { askDaemon } from './controlClient.ts'
import { instanceLockPath, isLocked } from './processLock.ts'
import type { Status } from './status.ts'

/** Longer than the daemon waits for Redis before it answers without it. */
const ANSWER_TIMEOUT_MS = 3_000

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
  const { composeStatusAlone } = await import('./statusAlone.ts')
  return composeStatusAlone(config, isLocked(instanceLockPath(config.dataDir)))
}
