/** `memsync rollback`: undoes the last write of a key, by the daemon or, where none runs, by this process. */
import { DEFAULT_NAMESPACE } from '../jobs/key.ts'
import { printable } from '../printable.ts'
import type { CommandContext } from './context.ts'
import { handOverAndWait } from './handOver.ts'
import { print, printJson } from './output.ts'

export async function rollback(
  context: CommandContext,
  key: string,
  flags: { namespace?: string },
): Promise<number> {
  const { namespace = DEFAULT_NAMESPACE } = flags
  const result = await handOverAndWait(context, 'MEMORY_ROLLBACK', { key, namespace })
  if (context.json) await printJson({ ...result, namespace })
  else if (result.superseded) await print(`superseded by a newer write: ${printable(key)}\n`)
  else await print(`rolled back ${printable(key)}\n`)
  return 0
}
