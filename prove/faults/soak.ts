/**
 * `npm run soak`: steady load with faults that do not end the daemon, and what of it grows.
 *
 *   npm run soak -- [--minutes 60] [--seed N]
 *
 * Prints, for each quantity, the trend of the least value of each minute after a warm-up; exit code 1 where one rises by
 * more than its limit, or where a promise was broken.
 */
import { randomInt } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { connectRedis } from '../../src/queue/connection.ts'
import { makePlan } from './plan.ts'
import { runFaults } from './run.ts'
import { findFloors, findTrend, type Sample } from './trend.ts'
import type { World } from './world.ts'

const SAMPLE_EVERY_MS = 2_000
/** Until the caches, the kept jobs and the compiled code are all there. */
const WARM_UP_SHARE = 1 / 3
const WINDOW_MS = 60_000
/**
 * What the record of the spool keeps for a power cut, the compiled code of the command (this folder is its home, too), and
 * memories that wait in the spool: those are work, and the checker sees to it that none is left.
 */
const NOT_COUNTED = /^(removed|\.cache)(\/|$)|^spool\/.*\.(spool|claimed)$/
const MIB = 1024 * 1024

/** What is measured, with what it may rise by over the time after the warm-up. */
const QUANTITIES = {
  'resident memory of the daemon': { unit: 'MiB', maxRise: 24 },
  'open handles of the daemon': { unit: '', maxRise: 8 },
  'files in the data folder': { unit: '', maxRise: 8 },
  'memory of Redis': { unit: 'MiB', maxRise: 4 },
} as const

type Quantity = keyof typeof QUANTITIES

/** Of a process that runs on Linux; @throws where it has ended or this is no Linux */
function readProcess(pid: number): { residentMib: number; handles: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return {
    residentMib: Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) / 1024,
    handles: readdirSync(`/proc/${pid}/fd`).length,
  }
}

class Sampler {
  readonly samples = new Map<Quantity, Sample[]>()
  private readonly startedAtMs = performance.now()
  private readonly world: World
  private readonly redis
  private readonly timer: NodeJS.Timeout

  constructor(world: World) {
    this.world = world
    this.redis = connectRedis(world.endpoint, 'producer')
    this.redis.on('error', () => undefined)
    this.redis.connect().catch(() => undefined)
    this.timer = setInterval(() => void this.sample(), SAMPLE_EVERY_MS)
  }

  stop(): void {
    clearInterval(this.timer)
    this.redis.disconnect()
  }

  private add(quantity: Quantity, value: number): void {
    const samples = this.samples.get(quantity) ?? []
    samples.push({ atMs: performance.now() - this.startedAtMs, value })
    this.samples.set(quantity, samples)
  }

  private async sample(): Promise<void> {
    const { world } = this
    try {
      const { residentMib, handles } = readProcess(world.running.pid)
      this.add('resident memory of the daemon', residentMib)
      this.add('open handles of the daemon', handles)
      const files = readdirSync(world.dataDir, { recursive: true, encoding: 'utf8' })
      this.add('files in the data folder', files.filter((path) => !NOT_COUNTED.test(path)).length)
      const info = await this.redis.info('memory')
      this.add('memory of Redis', Number(/used_memory:(\d+)/.exec(info)?.[1]) / MIB)
    } catch {
      // Redis is away by the plan, or a file went while it was counted: this sample is missing.
    }
  }
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: { minutes: { type: 'string', default: '60' }, seed: { type: 'string' } },
  })
  const minutes = Number(values.minutes)
  if (!(minutes >= 0.5)) throw new Error('--minutes is not a number from 0.5')
  const seed = values.seed === undefined ? randomInt(2 ** 31) : Number(values.seed)
  const folder = mkdtempSync(join(tmpdir(), 'ms-soak-'))
  const stopping = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stopping.abort())
  const plan = makePlan(seed, minutes * 60, { canFillDisk: false, steady: true })
  console.log(`soak: ${minutes} min, seed ${seed}`)
  let sampler: Sampler | undefined
  const observe = (world: World) => {
    sampler = new Sampler(world)
  }
  const program = join(import.meta.dirname, '..', '..')
  const { violations, counts } = await runFaults({
    plan,
    program,
    folder,
    observe,
    signal: stopping.signal,
  }).finally(() => sampler?.stop())
  console.log(
    `${counts.operations} operations, ${counts.faults} faults, ${counts.redisKills} kill -9 of Redis`,
  )
  let over = 0
  for (const [quantity, { unit, maxRise }] of Object.entries(QUANTITIES) as [
    Quantity,
    { unit: string; maxRise: number },
  ][]) {
    const floors = findFloors(sampler?.samples.get(quantity) ?? [], Math.min(WINDOW_MS, minutes * 1000))
    const trend = findTrend(floors, WARM_UP_SHARE)
    if (trend === undefined || trend.rise > maxRise) over++
    const figure = (value: number) => `${value.toFixed(1)} ${unit}`.trimEnd()
    console.log(
      trend === undefined
        ? `${quantity}: too few samples`
        : `${trend.rise > maxRise ? 'OVER' : 'ok  '}  ${quantity.padEnd(31)} ${figure(trend.perHour)}/h; ` +
            `${figure(trend.first)} after the warm-up, ${figure(trend.last)} at the end; ` +
            `rise ${figure(trend.rise)}, at most ${maxRise}`,
    )
  }
  for (const { kind, what } of violations) console.log(`BROKEN  ${kind}: ${what}`)
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  return over + violations.length === 0 ? 0 : 1
}

process.exitCode = await main().catch((error) => {
  console.error(error instanceof Error ? error.message : String(error))
  return 1
})
