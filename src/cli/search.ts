/** `memsync search`: straight from the store and its vectors; only the text to look for goes to the server. */
import { openStore } from '../infrastructure/memory/index.ts'
import { MemorySearch } from '../infrastructure/memory/search.ts'
import { findTextProblem, MAX_NAMESPACE_BYTES } from '../jobs/key.ts'
import { printable } from '../printable.ts'
import type { CommandContext } from './context.ts'
import { badUsage } from './failure.ts'
import { notice, paintStdout, print, printJson } from './output.ts'
import { counted, nameText } from './remote.ts'

interface SearchFlags {
  k?: string
  namespace?: string
}

export async function search(context: CommandContext, text: string, flags: SearchFlags): Promise<number> {
  const { namespace } = flags
  const problem = namespace === undefined ? undefined : findTextProblem(namespace, MAX_NAMESPACE_BYTES)
  if (problem) throw badUsage(`--namespace ${problem}`)
  const k = parseCount(flags.k)
  const store = await openStore(context.config, { readOnly: true })
  const memories = new MemorySearch(context.config)
  try {
    const result = await memories.search(store, text, {
      k,
      ...(namespace === undefined ? {} : { namespace }),
    })
    if (context.json) {
      await printJson(result)
      return 0
    }
    for (const hit of result.found) {
      const excerpt = paintStdout('quiet', printable(hit.excerpt))
      await print(`${hit.score.toFixed(4)}  ${nameText(hit)}  ${excerpt}\n`)
    }
    if (result.found.length === 0) notice('nothing was found')
    if (result.notEmbedded > 0) {
      notice(
        `${counted(result.notEmbedded, 'memory is', 'memories are')} not embedded yet; see memsync status`,
      )
    }
    return 0
  } finally {
    await memories.close()
    await store.close()
  }
}

function parseCount(text: string | undefined): number {
  if (text === undefined) return 10
  if (!/^[1-9]\d{0,2}$|^1000$/.test(text)) throw badUsage('-k: is not a whole number from 1 to 1000')
  return Number(text)
}
