/** The process: the daemon, or one job where WORKER_JOB names one. */
import { ensureRuntime } from '../runtime.ts'

// A Node that is too old stays too old: launchd, which restarts after every code but 0, is not to try again.
await ensureRuntime(process.env.MEMSYNC_SUPERVISOR === 'launchd' ? 0 : 2)
const { runWorkerProcess } = await import('./oneShot.ts')
process.exitCode = await runWorkerProcess()
