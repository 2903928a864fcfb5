/** `memsync embed`: marks memories to be embedded, through a daemon that runs now or later. */
import { askDaemon } from '../daemon/controlClient.ts'
import { estimateCost } from '../embedding/price.ts'
import { textOf } from '../embedding/text.ts'
import { loadTokenCounter } from '../embedding/tokens.ts'
import { MemsyncError } from '../errors.ts'
import { readVectors } from '../infrastructure/memory/embedding.ts'
import { openStore } from '../infrastructure/memory/index.ts'
import type { ListPage, MemoryName, Store } from '../infrastructure/memory/port.ts'
import { compareVersions } from '../jobs/version.ts'
import { confirm } from './confirm.ts'
import type { CommandContext } from './context.ts'
import { badUsage } from './failure.ts'
import { notice, print, printJson } from './output.ts'
import { ProgressBar } from './progressBar.ts'
import { counted } from './remote.ts'

const PAGE_SIZE = 500
const ANSWER_TIMEOUT_MS = 3_000

interface EmbedFlags {
  all?: true
  stale?: true
  yes?: true
}

interface Plan {
  names: MemoryName[]
  /** An estimate from above: texts in the cache need none. */
  tokens: number
}

export async function embed(context: CommandContext, flags: EmbedFlags): Promise<number> {
  if ((flags.all ?? false) === (flags.stale ?? false)) throw badUsage('say which: either --all or --stale')
  const { config } = context
  const reader = await openStore(config, { readOnly: true })
  const plan = await makePlan(context, reader, flags.all === true).finally(() => reader.close())
  const { names, tokens } = plan
  const usd = estimateCost(config.embeddingModel, tokens)?.usd
  if (names.length > 0) {
    const cost = usd === undefined ? 'at a price unknown here' : `about $${usd.toFixed(2)}`
    const question = `Embed ${counted(names.length, 'memory', 'memories')} with ${config.embeddingModel}: at most ${counted(tokens, 'token', 'tokens')}, ${cost}?`
    if (!flags.yes && !(await confirm(question))) {
      notice('nothing was marked')
      return 1
    }
    await mark(context, names)
  }
  if (context.json) await printJson({ marked: names.length, tokens, estimatedCost: usd ?? null })
  else await print(`marked ${names.length}\n`)
  return 0
}

async function makePlan({ config }: CommandContext, store: Store, all: boolean): Promise<Plan> {
  const countTokens = await loadTokenCounter()
  const vectors = readVectors(config)
  const total = (await store.totals()).keys
  const bar = new ProgressBar(process.stderr)
  const plan: Plan = { names: [], tokens: 0 }
  let done = 0
  try {
    for (let after: ListPage['next'], more = true; more; more = after !== undefined) {
      const page = await store.list({ limit: PAGE_SIZE, ...(after ? { after } : {}) })
      for (const { namespace, key, value, embed: wanted, version } of page.memories) {
        done++
        if (value === undefined || !(all || wanted)) continue
        const found = await vectors?.find(key, namespace)
        if (wanted && found?.current && compareVersions(found.version, version) >= 0) continue
        plan.names.push({ namespace, key })
        plan.tokens += countTokens(textOf(value))
        bar.update({ done, total, tallies: [[plan.names.length, 'to be embedded']] })
      }
      after = page.next
    }
    return plan
  } finally {
    bar.clear()
    await vectors?.close()
  }
}

async function mark({ config }: CommandContext, names: readonly MemoryName[]): Promise<void> {
  const store = await openStore(config)
  const bar = new ProgressBar(process.stderr)
  try {
    for (let done = 0; done < names.length; done += PAGE_SIZE) {
      await store.requestEmbedding(names.slice(done, done + PAGE_SIZE))
      bar.update({ done, total: names.length, tallies: [[done, 'marked']] })
    }
  } finally {
    bar.clear()
    await store.close()
  }
  try {
    if (await askDaemon(config.dataDir, { op: 'sweep-embed' }, ANSWER_TIMEOUT_MS)) return
    notice('no daemon runs, so they are embedded when one does: `memsync daemon`')
  } catch (error) {
    if (!(error instanceof MemsyncError)) throw error
    notice('the daemon does not answer; it embeds them with its next sweep')
  }
}
