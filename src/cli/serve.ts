/** `memsync serve`: the memory server itself, in the foreground. */
import { runServer } from '../daemon/serve.ts'
import type { CommandContext } from './context.ts'

export async function serve(context: CommandContext): Promise<number> {
  return runServer(context.config)
}
