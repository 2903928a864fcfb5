/** `memsync reconcile`: makes the remote hold what the store holds, through a daemon that runs now or later. */
import { askDaemon } from '../daemon/controlClient.ts'
import { MemsyncError } from '../errors.ts'
import { openStore } from '../infrastructure/memory/index.ts'
import type { Store } from '../infrastructure/memory/port.ts'
import { planRepair, type RepairPlan, repair } from '../infrastructure/remote/reconcile.ts'
import { confirm } from './confirm.ts'
import type { CommandContext } from './context.ts'
import { badUsage } from './failure.ts'
import { notice, print, printJson } from './output.ts'
import { counted, progressTeller, theRemote } from './remote.ts'

const ANSWER_TIMEOUT_MS = 3_000

interface ReconcileFlags {
  namespace?: string[]
  removeUnknown?: true
  yes?: true
  dryRun?: true
}

export async function reconcile(context: CommandContext, flags: ReconcileFlags): Promise<number> {
  const { config } = context
  const store = await openStore(config, { readOnly: true })
  try {
    const remote = await theRemote(config, store)
    if (!remote.can.readBack) {
      throw badUsage(`a remote of the kind ${remote.kind} cannot be read back, so nothing can be reconciled`)
    }
    if (flags.removeUnknown) await refuseEmptyNamespaces(store, flags.namespace)
    const shared = {
      store,
      remote,
      concurrency: config.pushConcurrency,
      signal: new AbortController().signal,
    }
    const bar = progressTeller()
    const plan = await planRepair({
      ...{ ...shared, namespaces: flags.namespace, removeUnknown: flags.removeUnknown === true },
      onProgress: bar.tell,
    }).finally(() => bar.clear())
    if (flags.dryRun) return await tell(context, plan, { dryRun: true, removed: plan.remove.length })
    const question = `Remove ${counted(plan.remove.length, 'key', 'keys')} from the remote for good?`
    if (plan.remove.length > 0 && !flags.yes && !(await confirm(question))) {
      notice('nothing was changed')
      return 1
    }
    const { removed } = await carryOut(context, plan, shared)
    remote.close()
    if (plan.mark.length > 0) await askForSweep(context)
    return await tell(context, plan, { dryRun: false, removed })
  } finally {
    await store.close()
  }
}

async function carryOut(
  { config }: CommandContext,
  plan: RepairPlan,
  shared: Omit<Parameters<typeof repair>[1], 'store'>,
): Promise<{ removed: number }> {
  if (plan.mark.length + plan.remove.length === 0) return { removed: 0 }
  const store = await openStore(config)
  try {
    return await repair(plan, { ...shared, store })
  } finally {
    await store.close()
  }
}

/** Everything there would be unknown: the wrong data folder is likelier than that wish. */
async function refuseEmptyNamespaces(
  store: Pick<Store, 'namespaces'>,
  namespaces: readonly string[] = [],
): Promise<void> {
  const held = new Set((await store.namespaces()).map(({ namespace }) => namespace))
  const empty = namespaces.find((namespace) => !held.has(namespace))
  if (empty === undefined) return
  throw badUsage(
    `--remove-unknown: the store holds nothing in the namespace ${JSON.stringify(empty)}, so all of it would be removed`,
  )
}

/** The daemon sweeps now and then by itself; asked, it does so at once. */
async function askForSweep({ config }: CommandContext): Promise<void> {
  try {
    if (await askDaemon(config.dataDir, { op: 'sweep-push' }, ANSWER_TIMEOUT_MS)) return
    notice('no daemon runs, so they are pushed when one does: `memsync daemon`')
  } catch (error) {
    if (!(error instanceof MemsyncError)) throw error
    notice('the daemon does not answer; it pushes them with its next sweep')
  }
}

async function tell(
  context: CommandContext,
  plan: RepairPlan,
  { dryRun, removed }: { dryRun: boolean; removed: number },
): Promise<number> {
  const marked = plan.mark.length
  const left = plan.left + plan.remove.length - removed
  const raised = plan.epochOffset !== undefined
  if (context.json) {
    await printJson({ dryRun, found: plan.found.counts, marked, removed, left, raised })
    return 0
  }
  const { counts, waiting } = plan.found
  const found = Object.entries(counts).filter(([, count]) => count > 0)
  if (found.length === 0) {
    await print(`nothing to do${waiting > 0 ? `, ${waiting} waiting to be pushed` : ''}\n`)
    return 0
  }
  await print(`found ${found.map(([problem, count]) => `${count} ${problem}`).join(', ')}\n`)
  const would = dryRun ? 'would be ' : ''
  const done = [
    `${counted(marked, 'memory', 'memories')} ${would}marked to be pushed again`,
    ...(removed > 0
      ? [`${counted(removed, 'unknown key', 'unknown keys')} ${would}removed from the remote`]
      : []),
    ...(left > 0
      ? [`${counted(left, 'unknown key', 'unknown keys')} left (--remove-unknown removes them)`]
      : []),
  ]
  await print(`${done.join(', ')}\n`)
  if (raised)
    notice(`versions ${dryRun ? 'would be' : 'were'} raised above the newer ones that the remote holds`)
  return 0
}
