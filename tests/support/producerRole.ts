/** Where the processes are that hand memories over in the tests. */
import { fileURLToPath } from 'node:url'

/** See its roles. */
export const PRODUCER_PROCESS = fileURLToPath(new URL('./producerProcess.ts', import.meta.url))
