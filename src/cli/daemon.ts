/** `memsync daemon`: the daemon itself, in the foreground. */
import { runDaemon } from '../daemon/run.ts'
import type { CommandContext } from './context.ts'

export async function daemon(context: CommandContext): Promise<number> {
  return runDaemon(context.config)
}
