/** `memsync dlq`: the jobs that wait for a person. Nothing is redriven or dropped that was not asked for by name. */

import { formatDuration, parseDurationMs } from '../duration.ts'
import { ERROR_CLASSES, MemsyncError } from '../errors.ts'
import { printable, printableLines } from '../printable.ts'
import type { DeadLetterDesk } from '../queue/deadLetterDesk.ts'
import type { DeadLetter, DeadLetterFilter } from '../queue/deadLetters.ts'
import { confirm } from './confirm.ts'
import type { CommandContext } from './context.ts'
import { badUsage } from './failure.ts'
import { daemonRuns } from './handOver.ts'
import { notice, paintStdout, print, printJson } from './output.ts'
import { parseRate, RedriveRun, tellRedriven } from './redrive.ts'
import { checkSameRedis } from './sameRedis.ts'

interface FilterFlags {
  class?: string
  olderThan?: string
  keyPrefix?: string
}

interface SelectFlags extends FilterFlags {
  all?: true
  dryRun?: true
}

interface RedriveFlags extends SelectFlags {
  rate?: string
  /** False with --no-wait. */
  wait: boolean
}

async function atDesk<T>(context: CommandContext, work: (desk: DeadLetterDesk) => Promise<T>): Promise<T> {
  // Loaded only for a call that is in order.
  const { DeadLetterDesk } = await import('../queue/deadLetterDesk.ts')
  await checkSameRedis(context)
  const desk = await DeadLetterDesk.open(context.config)
  try {
    if (!(await daemonRuns(context))) await desk.sweep()
    return await work(desk)
  } finally {
    await desk.close()
  }
}

export async function list(context: CommandContext, flags: FilterFlags): Promise<number> {
  const filter = parseFilter(flags)
  return atDesk(context, async (desk) => {
    let shown = 0
    for await (const entry of desk.deadLetters.list(filter)) {
      await (context.json ? printJson(entry) : print(listLine(entry)))
      shown++
    }
    if (shown === 0 && !context.json) process.stderr.write('there are no such dead letters\n')
    return 0
  })
}

function listLine(entry: DeadLetter): string {
  const age = formatDuration(Date.now() - entry.deadAtMs)
  const why = `${entry.class} ${entry.code} ${printable(entry.message)}`
  return `${entry.id.padEnd(10)}  ${age.padStart(7)}  ${printable(keyOf(entry)).padEnd(24)}  ${paintStdout('bad', why)}\n`
}

function keyOf(entry: DeadLetter): string {
  const key: unknown = (entry.data as { key?: unknown } | null)?.key
  return typeof key === 'string' ? key : '(no key)'
}

export async function show(context: CommandContext, id: string): Promise<number> {
  const entry = await atDesk(context, (desk) => desk.deadLetters.show(id))
  if (context.json) await printJson(entry)
  else await print(`${printableLines(JSON.stringify(entry, null, 2))}\n`)
  return 0
}

export async function redrive(context: CommandContext, ids: string[], flags: RedriveFlags): Promise<number> {
  const filter = selection(ids, flags, 'redrive')
  const ratePerSecond = parseRate(flags.rate)
  return atDesk(context, async (desk) => {
    const chosen = await choose(desk, ids, filter)
    if (flags.dryRun) return tellDryRun(context, chosen, 'redriven')
    if (flags.wait && chosen.length > 0 && !(await daemonRuns(context))) await desk.runWorker()
    const run = new RedriveRun(desk, flags.wait)
    await run.redriveAll(chosen, ratePerSecond)
    return tellRedriven(context, run, flags.wait)
  })
}

export async function drop(
  context: CommandContext,
  ids: string[],
  flags: SelectFlags & { yes?: true },
): Promise<number> {
  const filter = selection(ids, flags, 'drop')
  return atDesk(context, async (desk) => {
    const chosen = await choose(desk, ids, filter)
    if (flags.dryRun) return tellDryRun(context, chosen, 'dropped')
    const question = `Drop ${chosen.length} dead ${chosen.length === 1 ? 'letter' : 'letters'} for good?`
    if (chosen.length > 0 && !flags.yes && !(await confirm(question))) {
      notice('nothing was dropped')
      return 1
    }
    const missing: string[] = []
    for (const id of chosen) {
      if (!(await dropOne(desk, id))) missing.push(id)
    }
    const dropped = chosen.length - missing.length
    for (const id of missing) notice(`there is no dead letter ${printable(id)} (MEMSYNC_NOT_FOUND)`)
    await (context.json ? printJson({ dropped, notFound: missing }) : print(`dropped ${dropped}\n`))
    return missing.length > 0 ? 1 : 0
  })
}

/** False where there is none any more. */
export async function dropOne(desk: DeadLetterDesk, id: string): Promise<boolean> {
  try {
    await desk.deadLetters.drop(id)
    return true
  } catch (error) {
    if (error instanceof MemsyncError && error.code === 'MEMSYNC_NOT_FOUND') return false
    throw error
  }
}

function parseFilter(flags: FilterFlags): DeadLetterFilter {
  const errorClass = ERROR_CLASSES.find((name) => name === flags.class)
  if (flags.class !== undefined && errorClass === undefined) {
    throw badUsage(`--class: is not one of ${ERROR_CLASSES.join(', ')}`)
  }
  return {
    ...(errorClass === undefined ? {} : { class: errorClass }),
    ...(flags.olderThan === undefined
      ? {}
      : { olderThanMs: parseDurationMs(flags.olderThan, '--older-than') }),
    ...(flags.keyPrefix === undefined ? {} : { keyPrefix: flags.keyPrefix }),
  }
}

/** The filter to choose by, once it is clear that something definite was asked for. */
function selection(ids: string[], flags: SelectFlags, verb: string): DeadLetterFilter {
  const filter = parseFilter(flags)
  const filtered = Object.keys(filter).length > 0
  if (ids.length > 0 && (filtered || flags.all)) throw badUsage('give either IDs, or a filter, or --all')
  if (ids.length === 0 && !filtered && !flags.all) {
    throw badUsage(`say what to ${verb}: IDs, a filter (--class, --older-than, --key-prefix) or --all`)
  }
  return filter
}

/** All of them before the first is touched: a redrive moves what a reading in pages has yet to see. */
async function choose(desk: DeadLetterDesk, ids: string[], filter: DeadLetterFilter): Promise<string[]> {
  if (ids.length > 0) return [...new Set(ids)]
  const chosen: string[] = []
  for await (const { id } of desk.deadLetters.list(filter)) chosen.push(id)
  return chosen
}

async function tellDryRun(context: CommandContext, ids: string[], done: string): Promise<number> {
  if (context.json) await printJson({ dryRun: true, count: ids.length, ids })
  else await print(`${ids.map((id) => `${printable(id)}\n`).join('')}${ids.length} would be ${done}\n`)
  return 0
}
