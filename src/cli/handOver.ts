/**
 * Handing one write to the queue, as fast as it goes: a running daemon takes it over its socket, which needs no library
 * on this side; where none answers, this process does it with a queue of its own.
 */
import { askDaemon } from '../daemon/controlClient.ts'
import { MemsyncError } from '../errors.ts'
import type { JobName, JobTypes, MemoryInput } from '../jobs/index.ts'
import type { CommandContext } from './context.ts'
import { notice } from './output.ts'

/** Longer than the daemon waits for Redis, so that its own refusal arrives. */
const ANSWER_TIMEOUT_MS = 6_000

/** Said where nothing consumes the queue. */
export const NO_DAEMON_NOTICE = 'no daemon runs, so it waits in the queue: start one with `memsync daemon`'

/**
 * Resolves once the job is durable in the queue.
 * @throws what the queue refused it with
 */
export async function handOver(context: CommandContext, memory: MemoryInput): Promise<{ jobId: string }> {
  const { config } = context
  const taken = await askDaemonToTake(context, { op: 'enqueue', job: 'MEMORY_SYNC', data: memory })
  if (taken) return taken
  const { TypedWorkerQueue } = await import('../queue/index.ts')
  const queue = new TypedWorkerQueue({ config })
  try {
    const accepted = await queue.enqueue(memory)
    if (!(await daemonRuns(context))) notice(`accepted; ${NO_DAEMON_NOTICE}`)
    return accepted
  } finally {
    await queue.close()
  }
}

async function askDaemonToTake(
  { config, sources }: CommandContext,
  request: Record<string, unknown>,
): Promise<{ jobId: string } | undefined> {
  // A Redis named on the command line is meant to take it, whatever the daemon of this folder uses.
  if (sources.get('REDIS_URL')?.source === 'flag') return undefined
  try {
    const answer = await askDaemon(config.dataDir, request, ANSWER_TIMEOUT_MS)
    return answer && { jobId: String(answer.jobId) }
  } catch (error) {
    // A daemon that starts, hangs or lost its connection is no reason to refuse what Redis may still take.
    if (error instanceof MemsyncError && error.code === 'MEMSYNC_QUEUE_UNAVAILABLE') return undefined
    throw error
  }
}

/**
 * Hands the job over and waits until it is done: by the daemon, or by this process where none runs.
 * @throws what the handler failed with
 */
export async function handOverAndWait<N extends JobName>(
  context: CommandContext,
  job: N,
  data: JobTypes[N]['input'],
): Promise<JobTypes[N]['result']> {
  const { TypedWorkerQueue, BUILT_IN_HANDLERS } = await import('../queue/index.ts')
  const queue = new TypedWorkerQueue({ config: context.config })
  if (!(await daemonRuns(context))) {
    queue.register('MEMORY_SYNC', BUILT_IN_HANDLERS.MEMORY_SYNC)
    queue.register('MEMORY_ROLLBACK', BUILT_IN_HANDLERS.MEMORY_ROLLBACK)
  }
  try {
    return await queue.dispatch(job, data)
  } finally {
    await queue.close()
  }
}

/** Whether a daemon holds the data folder, answering or not. */
export async function daemonRuns({ config }: Pick<CommandContext, 'config'>): Promise<boolean> {
  const { instanceLockPath, isLocked } = await import('../daemon/processLock.ts')
  return isLocked(instanceLockPath(config.dataDir))
}
