/** `memsync mcp`: the MCP server, on the settings in force. */
import { createHandOver } from '../producers/handOver.ts'
import { serveMcp } from '../producers/mcp.ts'
import { createSearch } from '../producers/meaningSearch.ts'
import type { CommandContext } from './context.ts'

/** What is left of the 50 ms goes to the spool. */
const ANSWER_TIMEOUT_MS = 25

export async function mcp({ config }: CommandContext): Promise<number> {
  const handOver = createHandOver(config, ANSWER_TIMEOUT_MS)
  const { search, close } = createSearch(config)
  await serveMcp({ config, handOver, search })
  await close()
  return 0
}
