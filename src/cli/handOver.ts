/**
 * Handing one write over, as fast as it goes: a running daemon takes it over its socket, which needs no library on this
 * side; where none answers, this process does it as any producer does, to a Redis that runs or to the spool.
 */
import { existsSync } from 'node:fs'
import { askDaemon } from '../daemon/controlClient.ts'
import { MemsyncError } from '../errors.ts'
import type { JobName, JobTypes, MemoryInput } from '../jobs/index.ts'
import type { SpoolRecord } from '../producers/spoolRecord.ts'
import type { CommandContext } from './context.ts'
import { notice } from './output.ts'

/** A daemon that takes longer hangs, or its Redis does; the spool takes what it may or may not have taken. */
const ANSWER_TIMEOUT_MS = 2_000

/** Whoever waits for a daemon for longer wants to know why. */
const STILL_WAITING_AFTER_MS = 3_000

const STILL_WAITING_NOTICE = 'not done yet, still waiting; `memsync status` shows what holds it up'

/** Said where nothing consumes the queue. */
export const NO_DAEMON_NOTICE = 'no daemon runs, so it waits in the queue: start one with `memsync daemon`'

const NO_DAEMON_SPOOL_NOTICE =
  'accepted into the spool; no daemon runs, so it waits there: start one with `memsync daemon`'
const SPOOL_NOTICE =
  'accepted into the spool; the daemon or its Redis does not answer, and takes it from there when it does'

/** Where an accepted write is: in the queue as a job, or in the spool. */
export type Receipt = { jobId: string } | { uid: string }

/**
 * Resolves once the write is durable: in the queue where a daemon or Redis takes it at once, in the spool otherwise.
 * @throws what it was refused with
 */
export async function handOver(context: CommandContext, memory: MemoryInput): Promise<Receipt> {
  // A Redis named on the command line is meant to take it, whatever the daemon of this folder uses.
  if (context.sources.get('REDIS_URL')?.source === 'flag') return handToNamedRedis(context, memory)
  const acceptedAtMs = Date.now()
  const taken = await askDaemonToTake(context, memory, acceptedAtMs)
  if (taken === 'maybe') return spool(context, memory, { acceptedAtMs, mayRepeat: true })
  if (taken) return taken
  // Known without loading anything that could ask it.
  if (await isRedisMissing(context)) return spool(context, memory, { acceptedAtMs })
  const { createProducer } = await import('../producers/client.ts')
  const producer = createProducer({ config: context.config })
  try {
    const receipt = await producer.enqueue(memory)
    if (receipt.accepted === 'spooled') await noticeSpooled(context)
    else if (!(await daemonRuns(context))) notice(`accepted; ${NO_DAEMON_NOTICE}`)
    return receipt.accepted === 'spooled' ? { uid: receipt.uid } : { jobId: receipt.jobId }
  } finally {
    await producer.close()
  }
}

async function handToNamedRedis(context: CommandContext, memory: MemoryInput): Promise<Receipt> {
  const { TypedWorkerQueue } = await import('../queue/index.ts')
  const queue = new TypedWorkerQueue({ config: context.config })
  try {
    const accepted = await queue.enqueue(memory)
    if (!(await daemonRuns(context))) notice(`accepted; ${NO_DAEMON_NOTICE}`)
    return accepted
  } finally {
    await queue.close()
  }
}

/** Undefined where no daemon listens; `maybe` where one did and nobody knows what became of it. */
async function askDaemonToTake(
  { config }: CommandContext,
  memory: MemoryInput,
  acceptedAtMs: number,
): Promise<Receipt | 'maybe' | undefined> {
  const answerTimeoutMs = ANSWER_TIMEOUT_MS
  const request = { op: 'enqueue', job: 'MEMORY_SYNC', data: memory, acceptedAtMs, answerTimeoutMs }
  try {
    const answer = await askDaemon(config.dataDir, request, answerTimeoutMs)
    return answer && { jobId: String(answer.jobId) }
  } catch (error) {
    // What keeps the daemon from taking it is no reason to refuse what the spool takes.
    if (error instanceof MemsyncError && error.class === 'outage') return 'maybe'
    throw error
  }
}

async function isRedisMissing({ config: { redisUrl, dataDir } }: CommandContext): Promise<boolean> {
  if (redisUrl !== undefined) return false
  const { privateRedisSocket } = await import('../queue/privateRedis.ts')
  return !existsSync(privateRedisSocket(dataDir))
}

/** @param how `mayRepeat` where the daemon may take it yet: the store takes the two as one */
async function spool(
  context: CommandContext,
  memory: MemoryInput,
  how: Pick<SpoolRecord, 'acceptedAtMs' | 'mayRepeat'>,
): Promise<Receipt> {
  const [{ spoolMemory }, { parsePayload }] = await Promise.all([
    import('../producers/spoolMemory.ts'),
    import('../jobs/index.ts'),
  ])
  parsePayload('MEMORY_SYNC', memory, context.config.maxValueBytes)
  const { uid } = await spoolMemory(context.config, memory, how)
  await noticeSpooled(context)
  return { uid }
}

async function noticeSpooled(context: CommandContext): Promise<void> {
  notice((await daemonRuns(context)) ? SPOOL_NOTICE : NO_DAEMON_SPOOL_NOTICE)
}

/**
 * Hands the job over and waits until it is done, however long that takes: by the daemon, or by this process where none
 * runs.
 * @throws what the handler failed with; MEMSYNC_BAD_SETTING where the daemon uses another Redis
 */
export async function handOverAndWait<N extends JobName>(
  context: CommandContext,
  job: N,
  data: JobTypes[N]['input'],
): Promise<JobTypes[N]['result']> {
  const [{ TypedWorkerQueue, BUILT_IN_HANDLERS }, { checkSameRedis }] = await Promise.all([
    import('../queue/index.ts'),
    import('./sameRedis.ts'),
  ])
  await checkSameRedis(context)
  const queue = new TypedWorkerQueue({ config: context.config })
  const isDaemonThere = await daemonRuns(context)
  if (!isDaemonThere) {
    queue.register('MEMORY_SYNC', BUILT_IN_HANDLERS.MEMORY_SYNC)
    queue.register('MEMORY_ROLLBACK', BUILT_IN_HANDLERS.MEMORY_ROLLBACK)
  }
  const stillWaiting = isDaemonThere
    ? setTimeout(() => notice(STILL_WAITING_NOTICE), STILL_WAITING_AFTER_MS)
    : undefined
  try {
    return await queue.dispatch(job, data)
  } finally {
    clearTimeout(stillWaiting)
    await queue.close()
  }
}

/** Whether a daemon holds the data folder, answering or not. */
export async function daemonRuns({ config }: Pick<CommandContext, 'config'>): Promise<boolean> {
  const { instanceLockPath, isLocked } = await import('../daemon/processLock.ts')
  return isLocked(instanceLockPath(config.dataDir))
}
