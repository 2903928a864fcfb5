/**
 * `npm run test:mutants`: the checker is shown to find planted bugs. Each mutant is a small exact change of a copy of the
 * sources, built and put through the same fault runs, seed after seed, until a promise is found broken.
 *
 *   npm run test:mutants -- [--only NAME] [--seeds 10] [--seconds 20]
 *
 * Exit code 0 where each was found, 1 where one was not or its text is not in the sources any more.
 */
import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { canMountDisk } from '../../tests/support/smallDisk.ts'
import type { Kind } from './keyHistory.ts'
import { makePlan } from './plan.ts'
import { runFaults } from './run.ts'

interface Change {
  /** Under `src`. */
  file: string
  /** Must stand there exactly once. */
  before: string
  after: string
}

interface Mutant {
  name: string
  /** The promises it breaks: whatever else a seed comes upon does not count as finding it. */
  breaks: readonly Kind[]
  changes: Change[]
}

const WINS = 'if (order > 0 && !isOvertaken(write, held)) {'

export const MUTANTS: readonly Mutant[] = [
  {
    name: 'no compare-and-set',
    breaks: ['reordered', 'stale'],
    changes: [
      {
        file: 'infrastructure/memory/sqliteWrite.ts',
        before: WINS,
        after: 'if (order !== Number.MIN_VALUE) {',
      },
    ],
  },
  {
    name: 'delete resurrected',
    breaks: ['reordered', 'stale'],
    changes: [
      {
        file: 'infrastructure/memory/sqliteWrite.ts',
        before: WINS,
        after: 'if (deleted === 1 || (order > 0 && !isOvertaken(write, held))) {',
      },
    ],
  },
  {
    name: 'dead letter by event only',
    breaks: ['dead letter missing', 'pending'],
    changes: [
      {
        file: 'queue/deadLetters.ts',
        before: 'const present = jobs.filter((job) => job !== undefined)',
        // What failed while nobody listened is not looked for.
        after:
          'const present = jobs.filter((job) => job !== undefined && Date.now() - (job.finishedOn ?? 0) < 250) as Job[]',
      },
    ],
  },
  {
    name: 'attempts burnt in an outage',
    breaks: ['attempt burnt', 'dead letter of a good job'],
    changes: [
      {
        file: 'queue/outcome.ts',
        before: "    case 'outage':\n    case 'credentials':\n      return 'give-back'",
        after: "    case 'outage':\n    case 'credentials':\n      return 'retry'",
      },
    ],
  },
  {
    name: 'spool not fsynced',
    breaks: ['lost', 'dead letter missing', 'miscounted'],
    changes: [
      {
        file: 'producers/spool.ts',
        before: '        await file.sync()\n      } finally',
        after: '      } finally',
      },
    ],
  },
  {
    name: 'late vector lands',
    breaks: ['vector of another text'],
    changes: [
      {
        file: 'handlers/memoryEmbed.ts',
        before: 'const outcome = await context.put(end)',
        after:
          'const newest = await context.store.find(end.key, end.namespace)\n' +
          '        const outcome = await context.put({ ...end, version: newest?.version ?? end.version })',
      },
    ],
  },
  {
    name: 'duplicate after a lost answer',
    breaks: ['remote duplicate'],
    changes: [
      {
        file: 'handlers/memoryPush.ts',
        before:
          'lookupFirst: receipt === undefined || receipt.contentHash === DELETED || context.attempt > 1',
        after: 'lookupFirst: false',
      },
    ],
  },
  {
    name: 'gate stuck',
    breaks: ['pending'],
    changes: [
      {
        file: 'health/gate.ts',
        // Once it fell, it stays shut for as long as the process lives.
        before: "  if (gate.position === 'shut') {\n    // Begun before",
        after:
          "  if (gate.position === 'shut') {\n    if (gate.recentFalls > 0) return { ...gate, nextProbeAtMs }\n    // Begun before",
      },
    ],
  },
  {
    name: 'redriven as a new write',
    breaks: ['wrong version', 'reordered'],
    changes: [
      {
        file: 'queue/deadLetters.ts',
        before: 'await this.source.add(entry.name, entry.data, { jobId, timestamp: entry.acceptedAtMs })',
        after: 'await this.source.add(entry.name, entry.data, { timestamp: entry.acceptedAtMs })',
      },
    ],
  },
  {
    name: 'receipt before the push',
    breaks: ['remote missing', 'remote different', 'remote unknown'],
    changes: [
      {
        file: 'handlers/memoryPush.ts',
        before: 'const result = await remote.push(',
        after: 'await record(receipt?.remoteId)\n  const result = await remote.push(',
      },
    ],
  },
]

const NAME_WIDTH = 30
const ROOT = resolve(import.meta.dirname, '..', '..')
/** A gate that never opens is told from one that waits; the longest rest of sound seeds is printed by `test:faults`. */
const REST_TIMEOUT_MS = 70_000

/** Ends what it started before it ends. */
const stopping = new AbortController()

/** The text with the change made. @throws where the text does not stand there once */
export function mutate(text: string, { file, before, after }: Change): string {
  const places = text.split(before).length - 1
  if (places !== 1) throw new Error(`src/${file}: the text to change stands there ${places} times: ${before}`)
  return text.replace(before, () => after)
}

/** A copy of the program with the changes, built. */
function build(mutant: Mutant, folder: string): void {
  for (const name of ['src', 'package.json', 'tsconfig.json', 'tsconfig.build.json']) {
    cpSync(join(ROOT, name), join(folder, name), { recursive: true })
  }
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
  for (const change of mutant.changes) {
    const path = join(folder, 'src', change.file)
    writeFileSync(path, mutate(readFileSync(path, 'utf8'), change))
  }
  const compiler = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc')
  execFileSync(process.execPath, [compiler, '-p', 'tsconfig.build.json'], { cwd: folder, stdio: 'inherit' })
}

async function hunt(
  mutant: Mutant,
  root: string,
  seeds: number,
  seconds: number,
): Promise<string | undefined> {
  const program = mkdtempSync(join(root, 'm'))
  build(mutant, program)
  const small = canMountDisk(program)
  for (let seed = 1; seed <= seeds; seed++) {
    const folder = mkdtempSync(join(root, 's'))
    const plan = makePlan(seed, seconds, { canFillDisk: small })
    const { violations } = await runFaults({
      plan,
      program,
      folder,
      restTimeoutMs: REST_TIMEOUT_MS,
      signal: stopping.signal,
    })
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
    const kinds = Object.entries(Object.groupBy(violations, ({ kind }) => kind))
    const counts = kinds.map(([kind, all]) => `${kind} (${all?.length})`).join(', ')
    const own = violations.find(({ kind }) => mutant.breaks.includes(kind))
    if (own) {
      const lines = [own.what, ...own.history].map((line) => `    ${line}`)
      return [`seed ${seed}: ${counts}`, ...lines].join('\n')
    }
    if (counts !== '')
      console.log(`${mutant.name.padEnd(NAME_WIDTH)} seed ${seed}, not what it breaks: ${counts}`)
  }
  return undefined
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      seeds: { type: 'string', default: '10' },
      seconds: { type: 'string', default: '20' },
    },
  })
  const chosen = MUTANTS.filter(({ name }) => values.only === undefined || name === values.only)
  if (chosen.length === 0)
    throw new Error(`--only is not one of: ${MUTANTS.map(({ name }) => name).join(', ')}`)
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stopping.abort())
  const root = mkdtempSync(join(tmpdir(), 'mm-'))
  let missed = 0
  try {
    for (const mutant of chosen) {
      const found = await hunt(mutant, root, Number(values.seeds), Number(values.seconds))
      if (found === undefined) missed++
      console.log(`${mutant.name.padEnd(NAME_WIDTH)} ${found ?? `NOT FOUND in ${values.seeds} seeds`}`)
    }
  } finally {
    rmSync(root, { recursive: true, force: true, maxRetries: 5 })
  }
  console.log(`${chosen.length - missed} of ${chosen.length} mutants found`)
  return missed === 0 ? 0 : 1
}

if (import.meta.main) {
  process.exitCode = await main().catch((error) => {
    console.error(error instanceof Error ? error.message : String(error))
    return 1
  })
}
