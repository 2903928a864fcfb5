/**
 * `npm run test:faults`: random operations and random faults on the real program, and every promise checked.
 *
 *   npm run test:faults -- [--seed N] [--minutes M]            one seed, for so long
 *   npm run test:faults -- --seeds A..B [--seconds S]          many seeds, one after the other
 *
 * Exit code 0 where every promise was kept, 1 where one was broken, 2 for wrong usage. A seed that broke one is printed
 * with its plan and the history of the key, and `--seed` with the same length replays it.
 */
import { randomInt } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { canMountDisk } from '../../tests/support/smallDisk.ts'
import type { Violation } from './model.ts'
import { describePlan, makePlan } from './plan.ts'
import { type RunResult, runFaults } from './run.ts'

const MAX_SHOWN = 5
const DEFAULT_SECONDS = 20

interface Options {
  seeds: number[]
  seconds: number
  program: string
}

function readOptions(): Options {
  try {
    const { values } = parseArgs({
      options: {
        seed: { type: 'string' },
        seeds: { type: 'string' },
        minutes: { type: 'string' },
        seconds: { type: 'string' },
        program: { type: 'string', default: resolve(import.meta.dirname, '..', '..') },
      },
    })
    const number = (name: 'seed' | 'minutes' | 'seconds', min: number): number | undefined => {
      const text = values[name]
      if (text === undefined) return undefined
      const value = Number(text)
      if (Number.isFinite(value) && value >= min) return value
      throw new Error(`--${name} is not a number from ${min}`)
    }
    const seed = number('seed', 0)
    const seconds = (number('minutes', 0.05) ?? 0) * 60 || number('seconds', 3) || DEFAULT_SECONDS
    return {
      seeds: readSeeds(values.seeds) ?? [seed ?? randomInt(2 ** 31)],
      seconds,
      program: values.program,
    }
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error))
    process.exit(2)
  }
}

function readSeeds(text: string | undefined): number[] | undefined {
  if (text === undefined) return undefined
  const match = /^(\d+)\.\.(\d+)$/.exec(text)
  const [first, last] = [Number(match?.[1]), Number(match?.[2])]
  if (match && first <= last) return Array.from({ length: last - first + 1 }, (_, index) => first + index)
  throw new Error('--seeds is not FIRST..LAST')
}

const rank = ({ kind }: Violation): number => (kind === 'incident' ? 0 : 1)

function describeViolation({ kind, name, what, history }: Violation): string {
  const of = name ? ` ${JSON.stringify([name.namespace, name.key])}` : ''
  return [`BROKEN  ${kind}${of}: ${what}`, ...history.map((line) => `        ${line}`)].join('\n')
}

function describeResult(seed: number, { counts, restMs, violations }: RunResult): string {
  const { operations, accepted, spooled, unknown, kills, redisKills, faults } = counts
  const end = violations.length === 0 ? 'kept' : `${violations.length} violations`
  return (
    `seed ${seed}: ${operations} operations (${accepted} accepted, of them ${spooled} spooled; ${unknown} unanswered), ` +
    `${faults} faults, ${kills} kill -9, ${redisKills} of Redis, at rest after ${(restMs / 1000).toFixed(1)} s: ${end}`
  )
}

/** Ends what it started before it ends. */
const stopping = new AbortController()
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stopping.abort())

async function main({ seeds, seconds, program }: Options): Promise<number> {
  const root = mkdtempSync(join(tmpdir(), 'mf-'))
  const small = canMountDisk(root)
  if (!small) console.log('skipped: no full disk, as this machine mounts no small file system for us')
  const sums = { seeds: 0, kills: 0, redisKills: 0, faults: 0, operations: 0, broken: 0 }
  for (const seed of seeds) {
    if (stopping.signal.aborted) throw new Error('stopped')
    const plan = makePlan(seed, seconds, { canFillDisk: small })
    const folder = mkdtempSync(join(root, 's'))
    const result = await runFaults({ plan, program, folder, signal: stopping.signal })
    console.log(describeResult(seed, result))
    sums.seeds++
    for (const name of ['kills', 'redisKills', 'faults', 'operations'] as const)
      sums[name] += result.counts[name]
    if (result.violations.length > 0) {
      sums.broken++
      console.log(describePlan(plan))
      // What the run met says most of why.
      const shown = result.violations.toSorted((a, b) => rank(a) - rank(b)).slice(0, MAX_SHOWN)
      for (const violation of shown) console.log(describeViolation(violation))
      const log = join(root, `seed-${seed}.log`)
      writeFileSync(log, result.logs)
      console.log(
        `replay: npm run test:faults -- --seed ${seed} --seconds ${seconds}\nlog: ${log}, data: ${folder}`,
      )
    } else rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  }
  const { kills, redisKills, faults, operations, broken } = sums
  console.log(
    `${sums.seeds} seeds of ${seconds} s: ${operations} operations, ${faults} faults, ${kills} kill -9 of the daemon, ` +
      `${redisKills} of Redis; ${broken === 0 ? 'every promise kept' : `${broken} seeds with violations`}`,
  )
  if (broken === 0) rmSync(root, { recursive: true, force: true, maxRetries: 5 })
  return broken === 0 ? 0 : 1
}

process.exitCode = await main(readOptions()).catch((error) => {
  console.error(error instanceof Error ? error.message : String(error))
  return 1
})
