/** The process: the daemon, or one job where WORKER_JOB names one. */
import { ensureRuntime } from '../runtime.ts'

await ensureRuntime()
const { runWorkerProcess } = await import('./oneShot.ts')
process.exitCode = await runWorkerProcess()
