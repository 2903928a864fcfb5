/** `memsync verify`: whether the remote holds what the store holds. Reads only, beside a daemon or without. */
import { openStore } from '../infrastructure/memory/index.ts'
import type { Store } from '../infrastructure/memory/port.ts'
import { localStateOf, PROBLEMS, type Problem } from '../infrastructure/remote/compare.ts'
import { type Finding, type VerifySummary, verify as verifyRemote } from '../infrastructure/remote/verify.ts'
import { formatVersion } from '../jobs/version.ts'
import { printable } from '../printable.ts'
import type { CommandContext } from './context.ts'
import { badUsage, errorDocument } from './failure.ts'
import { notice, paintStdout, print, printJson } from './output.ts'
import { counted, nameText, progressTeller, theRemote } from './remote.ts'

/** How many of each kind are told one by one. */
const MAX_TOLD = 20
const PAGE_SIZE = 500

const MEANING: Record<Problem, string> = {
  missing: 'pushed, and not on the remote',
  different: 'on the remote with another content',
  duplicate: 'on the remote more than once',
  unknown: 'on the remote, and not in the store',
}

export async function verify(context: CommandContext, flags: { namespace?: string[] }): Promise<number> {
  const { config } = context
  const store = await openStore(config, { readOnly: true })
  try {
    const remote = await theRemote(config, store)
    if (!remote.can.readBack) return await tellReceipts(context, store)
    const findings: Finding[] = []
    const told = { missing: 0, different: 0, duplicate: 0, unknown: 0 }
    const bar = progressTeller()
    const summary = await verifyRemote({
      ...{ store, remote, namespaces: flags.namespace, concurrency: config.pushConcurrency },
      signal: new AbortController().signal,
      onFinding: (finding) => {
        if (context.json || told[finding.problem]++ < MAX_TOLD) findings.push(finding)
      },
      onProgress: bar.tell,
    }).finally(() => {
      bar.clear()
      remote.close()
    })
    await (context.json ? printJson(reportDocument(summary, findings)) : tell(summary, findings))
    return countOf(summary) > 0 ? 1 : 0
  } finally {
    await store.close()
  }
}

function countOf({ counts }: VerifySummary): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0)
}

function reportDocument(summary: VerifySummary, findings: readonly Finding[]): Record<string, unknown> {
  return {
    ...summary,
    findings: findings.map(({ problem, namespace, key, version, deletedHere, heldNewer, copies }) => ({
      ...{ problem, namespace, key, deletedHere, heldNewer },
      version: version ? formatVersion(version) : null,
      copies: copies.map((copy) => ({
        remoteId: copy.remoteId ?? null,
        version: copy.version ? formatVersion(copy.version) : null,
      })),
    })),
  }
}

async function tell(summary: VerifySummary, findings: readonly Finding[]): Promise<void> {
  const { checked, waiting, refused, counts, foreign, partlyListed } = summary
  const wrong = countOf(summary)
  const equal = checked - waiting - refused - wrong
  const parts = [
    `${counted(checked, 'memory', 'memories')} checked: ${paintStdout('good', `${equal.toLocaleString('en-US')} equal`)}`,
    ...(waiting > 0 ? [`${waiting.toLocaleString('en-US')} waiting to be pushed`] : []),
    ...(refused > 0 ? [`${counted(refused, 'dead letter', 'dead letters')}`] : []),
    ...(wrong > 0 ? [paintStdout('bad', `${wrong.toLocaleString('en-US')} wrong`)] : []),
  ]
  await print(`${parts.join(', ')}\n`)
  for (const problem of PROBLEMS) {
    if (counts[problem] === 0) continue
    await print(`\n${paintStdout('bad', `${problem} ${counts[problem]}`)}  ${MEANING[problem]}\n`)
    const told = findings.filter((finding) => finding.problem === problem)
    for (const finding of told) await print(`  ${nameText(finding)}${detailOf(finding)}\n`)
    if (counts[problem] > told.length)
      await print(`  and ${counts[problem] - told.length} more (--json has all)\n`)
  }
  if (wrong > 0) await print('\nnext: memsync reconcile --dry-run\n')
  if (foreign > 0) notice(`${counted(foreign, 'record', 'records')} there without a key of ours, left out`)
  for (const namespace of partlyListed) {
    notice(
      `the remote lists only a part of the namespace ${printable(namespace)}: keys unknown here may be missed`,
    )
  }
}

function detailOf({ problem, copies, deletedHere, heldNewer }: Finding): string {
  if (problem === 'duplicate') return `  (${copies.length} copies)`
  if (deletedHere) return '  (deleted here)'
  return heldNewer ? '  (the remote holds a newer version)' : ''
}

/** All there is to say where the remote cannot be read back. */
async function tellReceipts(context: CommandContext, store: Store): Promise<number> {
  const receipts = { pushed: 0, waiting: 0, refused: 0 }
  let after: { namespace: string; key: string } | undefined
  do {
    const page = await store.list({ includeDeleted: true, limit: PAGE_SIZE, ...(after ? { after } : {}) })
    for (const memory of page.memories) {
      receipts[localStateOf(memory, await store.receipts(memory.key, memory.namespace)).stage]++
    }
    after = page.next
  } while (after)
  const error = badUsage(
    `a remote of the kind ${context.config.remoteKind} cannot be read back, so nothing is verified`,
  )
  if (context.json) {
    await printJson({ error: errorDocument(error), receipts })
    return 2
  }
  const { pushed, waiting, refused } = receipts
  await print(`by the receipts alone: ${pushed} pushed, ${waiting} waiting, ${refused} refused\n`)
  throw error
}
