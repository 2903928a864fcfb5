/**
 * One fault run: the plan of a seed carried out on a world, everything healed, a bounded wait for rest, and what is then
 * found held to what producers were told.
 *
 * operations and faults ─▶ heal ─▶ rest ─▶ limit raised, every dead letter redriven ─▶ rest ─▶ a last outage ─▶ rest
 *   ─▶ stop ─▶ check
 */
import { setTimeout as sleep } from 'node:timers/promises'
import {
  expectedHash,
  findUnrest,
  readQueues,
  readRemote,
  readStore,
  readVectors,
  spoolFiles,
} from './collect.ts'
import type { Evidence } from './ledger.ts'
import { findViolations, type Violation } from './model.ts'
import type { Plan } from './plan.ts'
import { type Counts, World } from './world.ts'

/**
 * How long work may take to come to rest once nothing is broken: the longest pause between two probes of a gate is 60 s,
 * and so is the time between two looks for memories without a receipt.
 */
const REST_TIMEOUT_MS = 100_000
/** How long the redriven jobs of a run that had not come to rest are waited for. */
const REDRIVE_TIMEOUT_MS = 20_000
/** How long producers are waited for once nothing is broken. */
const ANSWER_TIMEOUT_MS = 12_000

export interface RunResult {
  violations: Violation[]
  counts: Counts & { operations: number; accepted: number; unknown: number; spooled: number }
  /** From the end of the faults until work had come to rest. */
  restMs: number
  /** Everything the daemons logged. */
  logs: string
}

export interface FaultRunOptions {
  plan: Plan
  program: string
  /** An empty folder for all that the run writes. */
  folder: string
  restTimeoutMs?: number
  /** Called once everything runs, for whoever measures beside the run. */
  observe?: (world: World) => void
  /** Ends the run; what it started is ended first. */
  signal?: AbortSignal
}

/** @throws where the run was ended, or could not be carried out; nothing is left running either way */
export async function runFaults(options: FaultRunOptions): Promise<RunResult> {
  const { plan, signal, restTimeoutMs = REST_TIMEOUT_MS } = options
  const world = await World.start(options)
  options.observe?.(world)
  const ended = Promise.withResolvers<never>()
  const stop = () => ended.reject(new Error('the run was ended'))
  signal?.addEventListener('abort', stop, { once: true })
  try {
    const run = carryOut(plan, world, restTimeoutMs)
    // Where it was ended, what it still meets is no news.
    run.catch(() => undefined)
    return await Promise.race([run, ended.promise])
  } finally {
    signal?.removeEventListener('abort', stop)
    await world.close()
  }
}

async function carryOut(plan: Plan, world: World, restTimeoutMs: number): Promise<RunResult> {
  const { producers, incidents } = world
  const answers = await carryOutPlan(plan, world)
  await world.heal()
  await Promise.race([Promise.all(answers), sleep(ANSWER_TIMEOUT_MS, undefined, { ref: false })])
  const healedAtMs = performance.now()
  const isAtRest = await comeToRest(world, restTimeoutMs)
  const restMs = Math.round(performance.now() - healedAtMs)
  const before = await readQueues(world.endpoint)
  await world.raiseLimit()
  await world.command(['dlq', 'redrive', '--all', '--no-wait', '--rate', '1000', '--json'])
  if (isAtRest) {
    await producers.hand(plan.lastOutage.before)
    if (await comeToRest(world, restTimeoutMs)) {
      await world.sufferLastOutage(plan.lastOutage)
      await comeToRest(world, restTimeoutMs)
    }
  } else {
    // What did not end has said so already; what was redriven is to have its end, or it would pass for lost.
    await waitForRest(world, REDRIVE_TIMEOUT_MS)
  }
  const after = await readQueues(world.endpoint)
  await world.stopDaemon()
  const evidence: Evidence = {
    operations: producers.ledger,
    ...(await readStore(world.dataDir)),
    remote: readRemote(world.remote),
    embedded: { keys: readVectors(world.dataDir), expectedHash },
    deadLetters: before.deadLetters,
    deadLettersAtTheEnd: after.deadLetters,
    retried: after.retried,
    queues: after.queues,
    spoolFiles: spoolFiles(world.dataDir),
    incidents: [...incidents, ...world.findLeaks()],
    allowance: plan.allowance,
  }
  const kinds = Object.groupBy(producers.ledger, ({ answer }) => answer.kind)
  const count = (kind: keyof typeof kinds) => kinds[kind]?.length ?? 0
  return {
    violations: findViolations(evidence),
    counts: {
      ...world.counts,
      operations: producers.ledger.length,
      accepted: count('queued') + count('spooled'),
      spooled: count('spooled'),
      unknown: count('unknown'),
    },
    restMs,
    logs: world.daemons.map((daemon) => daemon.output()).join('\n'),
  }
}

/** Each step at its moment; resolves when the last has begun and every fault is over. */
async function carryOutPlan(plan: Plan, world: World): Promise<Promise<unknown>[]> {
  const startedAtMs = performance.now()
  const answers: Promise<unknown>[] = []
  for (const step of plan.steps) {
    await sleep(Math.max(0, startedAtMs + step.atMs - performance.now()))
    if (step.do === 'operations') answers.push(world.producers.hand(step.operations))
    else if (step.do === 'fault') void world.inflict(step.fault)
    else
      answers.push(world.command(['dlq', 'redrive', '--all', '--no-wait', '--json']).catch(() => undefined))
  }
  return answers
}

async function comeToRest(world: World, timeoutMs: number): Promise<boolean> {
  const unrest = await waitForRest(world, timeoutMs)
  if (unrest !== undefined) world.incidents.push(`no rest within ${timeoutMs} ms: ${unrest}`)
  return unrest === undefined
}

/** Why work has not come to rest by then; undefined as soon as it has. */
async function waitForRest(world: World, timeoutMs: number): Promise<string | undefined> {
  const deadline = performance.now() + timeoutMs
  let quiet = 0
  let unrest: string | undefined
  while (performance.now() < deadline) {
    try {
      unrest = await findUnrest(world.endpoint, world.dataDir)
    } catch (error) {
      unrest = error instanceof Error ? error.message : String(error)
    }
    quiet = unrest === undefined ? quiet + 1 : 0
    // Between two lanes a memory is in neither queue for a moment.
    if (quiet === 3) return undefined
    await sleep(150)
  }
  return unrest ?? 'it came to an end just now'
}
