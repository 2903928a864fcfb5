/** `memsync import`: the predecessor's files, read and left as they are. */
import { readFile } from 'node:fs/promises'
import type { ErrorCode, MemsyncError } from '../errors.ts'
import { toMemsyncError } from '../errors.ts'
import { openStore } from '../infrastructure/memory/index.ts'
import { printable } from '../printable.ts'
import { readLegacyEntry } from '../producers/legacyEntry.ts'
import { type LegacyFile, parseLegacyFile } from '../producers/legacyFile.ts'
import { LegacyIntake } from '../producers/legacyIntake.ts'
import { Spool } from '../producers/spool.ts'
import type { SpoolRecord } from '../producers/spoolRecord.ts'
import type { CommandContext } from './context.ts'
import { badUsage, errorDocument, errorText, exitCodeOf } from './failure.ts'
import { daemonRuns } from './handOver.ts'
import { notice, print, printJson } from './output.ts'
import { ProgressBar } from './progressBar.ts'

/** How many problems are told one by one. */
const MAX_TOLD_PROBLEMS = 20

interface SourceFile extends LegacyFile {
  path: string
}

interface Problem {
  file: string
  /** `queue[3]`, `line 7`. */
  place: string
  code: ErrorCode
  message: string
}

interface Summary {
  found: number
  accepted: number
  alreadyThere: number
  refused: Problem[]
  unreadable: Problem[]
  failure: MemsyncError | undefined
}

export async function importFiles(
  context: CommandContext,
  paths: string[],
  flags: { dryRun?: true },
): Promise<number> {
  const files: SourceFile[] = []
  // Every file is looked at before anything of one is taken.
  for (const path of paths) files.push(await readSource(path))
  const isDry = flags.dryRun === true
  const summary = await takeIn(context, files, isDry)
  await tell(context, summary, isDry)
  if (summary.failure) return exitCodeOf(summary.failure.code)
  return summary.refused.length + summary.unreadable.length > 0 ? 1 : 0
}

async function readSource(path: string): Promise<SourceFile> {
  let content: Buffer
  try {
    content = await readFile(path)
  } catch (error) {
    throw badUsage(`${printable(path)} cannot be read (${(error as NodeJS.ErrnoException).code})`)
  }
  const file = parseLegacyFile(content)
  if (!file.kind && content.length > 0) {
    throw badUsage(
      `${printable(path)} is none of the files that hold memories: queue, dead letters or emergency lines`,
    )
  }
  return { ...file, path }
}

async function takeIn(context: CommandContext, files: SourceFile[], isDry: boolean): Promise<Summary> {
  const { config } = context
  const store = await openStore(config, { readOnly: true })
  const intake = new LegacyIntake(
    new Spool(config.dataDir, config.spoolMaxBytes, config.redact),
    store,
    isDry,
  )
  const bar = new ProgressBar(process.stderr)
  const summary: Summary = {
    found: 0,
    accepted: 0,
    alreadyThere: 0,
    refused: [],
    unreadable: [],
    failure: undefined,
  }
  const all = files.map((file) => sortOut(file, config.maxValueBytes, summary))
  const total = all.reduce((sum, records) => sum + records.length, 0)
  try {
    for (const records of all) {
      const { accepted, alreadyThere } = summary
      await intake.take(records, (soFar) => {
        summary.accepted = accepted + soFar.accepted
        summary.alreadyThere = alreadyThere + soFar.alreadyThere
        const done = summary.accepted + summary.alreadyThere
        bar.update({
          done,
          total,
          tallies: [
            [summary.accepted, 'accepted'],
            [summary.alreadyThere, 'already there'],
            [summary.refused.length, 'refused'],
          ],
        })
      })
    }
  } catch (thrown) {
    summary.failure = toMemsyncError(thrown, 'MEMSYNC_SPOOL_UNAVAILABLE')
  } finally {
    bar.clear()
    await store.close()
  }
  return summary
}

/** What can be taken; the rest goes into the summary. */
function sortOut(file: SourceFile, maxValueBytes: number, summary: Summary): SpoolRecord[] {
  const records: SpoolRecord[] = []
  for (const { place, problem } of file.unreadable) {
    summary.unreadable.push({ file: file.path, place, code: 'MEMSYNC_INVALID_MEMORY', message: problem })
  }
  for (const { place, entry } of file.entries) {
    summary.found++
    const read = readLegacyEntry(entry, maxValueBytes)
    if ('record' in read) records.push(read.record)
    else {
      const { code, message } = read.refusal
      summary.refused.push({ file: file.path, place, code, message })
    }
  }
  return records
}

async function tell(context: CommandContext, summary: Summary, isDry: boolean): Promise<void> {
  const { found, accepted, alreadyThere, refused, unreadable, failure } = summary
  if (!isDry && accepted > 0 && !(await daemonRuns(context))) {
    notice('no daemon runs, so they wait in the spool: start one with `memsync daemon`')
  }
  if (context.json) {
    await printJson({
      dryRun: isDry,
      found,
      accepted,
      alreadyThere,
      refused,
      unreadable,
      ...(failure ? { error: errorDocument(failure) } : {}),
    })
    return
  }
  const problems = [...refused, ...unreadable]
  for (const { file, place, message } of problems.slice(0, MAX_TOLD_PROBLEMS)) {
    notice(`${printable(file)}: ${place}: ${printable(message)}`)
  }
  if (problems.length > MAX_TOLD_PROBLEMS) notice(`and ${problems.length - MAX_TOLD_PROBLEMS} more`)
  if (failure) {
    process.stderr.write(errorText(failure, context.config.logLevel === 'debug'))
    notice('run the same command again to go on: what was accepted is passed over')
  }
  const verb = isDry ? 'would accept' : 'accepted'
  const broken = unreadable.length === 0 ? '' : `, could not read ${unreadable.length}`
  await print(
    `${verb} ${accepted} of ${found}, ${alreadyThere} already there, refused ${refused.length}${broken}\n`,
  )
}
