/**
 * What the worker process does: without WORKER_JOB it is the daemon; with it, it runs that one job with the data in
 * WORKER_PAYLOAD, beside a daemon or without, prints the handler's result as one JSON line, and ends.
 */
import { errorText, exitCodeOf } from '../cli/failure.ts'
import { type Config, loadConfig } from '../config.ts'
import { supervisedExitCode } from '../daemon/exitCode.ts'
import { MemsyncError, toMemsyncError } from '../errors.ts'
import { parseJsonExactly } from '../jobs/jsonText.ts'

/** Resolves with the exit code: of the daemon, or 0 done, 1 failed, 2 a job or payload that cannot be run. */
export async function runWorkerProcess(): Promise<number> {
  try {
    const { config } = loadConfig()
    if (config.workerJob === undefined) {
      const { runDaemon } = await import('../daemon/run.ts')
      return await runDaemon(config)
    }
    process.stdout.write(`${JSON.stringify(await runJob(config, config.workerJob))}\n`)
    return 0
  } catch (thrown) {
    const error = toMemsyncError(thrown, 'MEMSYNC_HANDLER_FAILED')
    process.stderr.write(errorText(error, process.env.MEMSYNC_LOG_LEVEL === 'debug'))
    return supervisedExitCode(exitCodeOf(error.code))
  }
}

async function runJob(config: Config, job: string): Promise<unknown> {
  const { isJobName, JOB_SCHEMAS, parsePayload } = await import('../jobs/index.ts')
  if (!isJobName(job)) {
    const names = Object.keys(JOB_SCHEMAS).join(' or ')
    throw new MemsyncError(
      'MEMSYNC_BAD_SETTING',
      `WORKER_JOB: there is no job ${JSON.stringify(job.slice(0, 80))}, only ${names}`,
    )
  }
  const payload = readPayload(config.workerPayload)
  // Before anything is connected, so that bad input costs nothing.
  parsePayload(job, payload, config.maxValueBytes)
  const { BUILT_IN_HANDLERS, TypedWorkerQueue } = await import('../queue/index.ts')
  const queue = new TypedWorkerQueue({ config })
  queue.register('MEMORY_SYNC', BUILT_IN_HANDLERS.MEMORY_SYNC)
  queue.register('MEMORY_ROLLBACK', BUILT_IN_HANDLERS.MEMORY_ROLLBACK)
  try {
    return await queue.dispatch(job, payload as never)
  } finally {
    await queue.close()
  }
}

function readPayload(text: string | undefined): unknown {
  if (text === undefined) {
    throw new MemsyncError(
      'MEMSYNC_BAD_SETTING',
      'WORKER_PAYLOAD: missing; it is the data of WORKER_JOB, as JSON',
    )
  }
  try {
    return parseJsonExactly(text)
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    // The parser's own message would quote the text.
    throw new MemsyncError('MEMSYNC_BAD_SETTING', 'WORKER_PAYLOAD: is not JSON')
  }
}
