/**
 * `npm run prove`: nothing accepted is lost, nothing counts twice, and the newest write of each key wins, while four
 * producers hand memories over at once and the daemon is killed with -9 in the middle of its work.
 *
 *   npm run prove -- [--memories 10000] [--kills 5] [--seed N]
 *
 * Exit code 0 where every promise was kept, 1 where one was broken, 2 for wrong usage. The folder of a run with a
 * broken promise is kept, and its seed makes the same input again.
 */
import { randomInt } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { checkPromises, type Evidence, type Finding } from './check.ts'
import { runProof } from './run.ts'

const MAX_SHOWN_PROBLEMS = 5

/** Ends the process where they are wrong. */
function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        memories: { type: 'string', default: '10000' },
        kills: { type: 'string', default: '5' },
        seed: { type: 'string', default: String(randomInt(2 ** 31)) },
      },
    })
    const number = (name: keyof typeof values, min: number) => {
      const value = Number(values[name])
      if (Number.isSafeInteger(value) && value >= min) return value
      throw new Error(`--${name} is not a whole number from ${min}`)
    }
    return { memories: number('memories', 100), kills: number('kills', 1), seed: number('seed', 0) }
  } catch (error) {
    return fail(2, error)
  }
}

function countText(count: number): string {
  return count.toLocaleString('en-US')
}

function describeEvidence({
  sent,
  receipts,
  refused,
  planted,
  stored,
  histories,
  status,
}: Evidence): string[] {
  const writers = Map.groupBy(sent, ({ namespace, key }) => JSON.stringify([namespace, key])).values()
  const shared = [...writers].filter((own) => new Set(own.map(({ producer }) => producer)).size > 1).length
  const deleted = stored.filter((write) => write.deleted).length
  const versions = histories.reduce((sum, writes) => sum + writes.length, 0)
  const { queued, synced, superseded, deadLetters } = status
  return [
    `handed over  ${countText(sent.length)} memories, accepted ${countText(receipts.length)}; lines refused ${countText(refused.length)}`,
    `planted      ${countText(planted.length)} broken jobs`,
    `keys         ${countText(stored.length)}, of them deleted ${countText(deleted)}, written by several producers ${countText(shared)}`,
    `versions     ${countText(versions)} kept`,
    `counts       synced ${countText(synced)} + superseded ${countText(superseded)} + dead letters ${countText(deadLetters ?? 0)}` +
      ` = ${countText(synced + superseded + (deadLetters ?? 0))}, queued ${countText(queued ?? 0)}`,
  ]
}

function describeFinding({ promise, problems }: Finding): string[] {
  const shown = problems.slice(0, MAX_SHOWN_PROBLEMS).map((problem) => `         ${problem}`)
  const more = problems.length - shown.length
  return [
    `${problems.length === 0 ? 'kept  ' : 'BROKEN'}  ${promise}`,
    ...shown,
    ...(more > 0 ? [`         and ${countText(more)} more`] : []),
  ]
}

async function main(options: ReturnType<typeof readOptions>): Promise<number> {
  const startedAt = performance.now()
  const folder = mkdtempSync(join(tmpdir(), 'memsync-proof-'))
  const tell = (line: string) => console.log(line)
  tell(
    `the proof: ${countText(options.memories)} memories, 4 producers, ${options.kills} kills, seed ${options.seed}\n`,
  )
  const evidence = await runProof({ ...options, folder, tell })
  const findings = checkPromises(evidence)
  tell(`\n${describeEvidence(evidence).join('\n')}\n`)
  for (const finding of findings) tell(describeFinding(finding).join('\n'))
  const broken = findings.filter(({ problems }) => problems.length > 0).length
  const seconds = Math.round((performance.now() - startedAt) / 1000)
  if (broken > 0) {
    tell(`\n${broken} of ${findings.length} promises broken after ${seconds} s; see ${folder}`)
    return 1
  }
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  tell(`\nall ${findings.length} promises kept, in ${seconds} s`)
  return 0
}

function fail(exitCode: number, error: unknown): never {
  console.error(`the proof cannot be carried out: ${error instanceof Error ? error.message : String(error)}`)
  process.exit(exitCode)
}

process.exitCode = await main(readOptions()).catch((error) => fail(1, error))
