/**
 * `npm run bench`: every figure of the README, each a median with its spread, as a ratio measured in turn in one
 * run. An absolute figure says little about another machine; a ratio says something.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { connectRedis, waitUntilReady } from '../src/queue/connection.ts'
import { privateRedisSocket, startPrivateRedis } from '../src/queue/privateRedis.ts'
import { besideFaultyEmbedders } from './embedding.ts'
import { type Figure, figure, inTurn, show, showFigure } from './measure.ts'
import { emptyNodeMs, enqueueMs, idleCost, startDaemon, stopDaemon } from './processes.ts'
import { barePushRate, pushRate, startSlowServer } from './push.ts'
import { type Bench, drainRate, enqueueRate, latencies } from './rates.ts'

const ROUNDS = 11
/** Fewer, as each takes the server's 20 ms times the jobs. */
const PUSH_ROUNDS = 3
const JOBS = 10_000
/** Each starts daemons of its own. */
const EMBEDDING_ROUNDS = 3
const EMBEDDED = 2_000

interface Row {
  name: string
  goal: string
  ratio: Figure
  ours: string
  bare: string
}

const rows: Row[] = []

function report(row: Row): void {
  rows.push(row)
  console.log(
    `${row.name}: ratio ${showFigure(row.ratio)}, goal ${row.goal}; ours ${row.ours}, bare ${row.bare}`,
  )
}

async function benchRates(bench: Bench): Promise<void> {
  for (const concurrency of [100, 200]) {
    const at = { ...bench, concurrency }
    const drain = await inTurn(
      ROUNDS,
      () => drainRate(at, 'ours', JOBS),
      () => drainRate(at, 'bare', JOBS),
    )
    report({
      name: `persisting 500-byte memories, ${concurrency} in flight, per second`,
      goal: '0.85 or more',
      ratio: drain.ratio,
      ours: showFigure(drain.ours),
      bare: showFigure(drain.bare),
    })
  }
  const enqueue = await inTurn(
    ROUNDS,
    () => enqueueRate(bench, 'ours', JOBS),
    () => enqueueRate(bench, 'bare', JOBS),
  )
  report({
    name: `enqueueMany of ${JOBS} beside addBulk, per second`,
    goal: '0.80 or more',
    ratio: enqueue.ratio,
    ours: showFigure(enqueue.ours),
    bare: showFigure(enqueue.bare),
  })
  const rounds: { p50: number[]; p99: number[] } = { p50: [], p99: [] }
  const shown = { ours: { p50: 0, p99: 0 }, bare: { p50: 0, p99: 0 } }
  for (let round = 0; round < ROUNDS; round++) {
    shown.ours = await latencies(bench, 'ours', 500)
    shown.bare = await latencies(bench, 'bare', 500)
    rounds.p50.push(shown.ours.p50 / shown.bare.p50)
    rounds.p99.push(shown.ours.p99 / shown.bare.p99)
  }
  for (const share of ['p50', 'p99'] as const) {
    report({
      name: `accepted to persisted at low load, ${share}, ms`,
      goal: '2 or less',
      ratio: figure(rounds[share]),
      ours: show(shown.ours[share]),
      bare: show(shown.bare[share]),
    })
  }
}

async function benchPushes(bench: Bench): Promise<void> {
  const server = await startSlowServer()
  // As many at once as the daemon makes unless it is told otherwise.
  const at = { ...bench, concurrency: 16 }
  const drain = await inTurn(
    PUSH_ROUNDS,
    () => pushRate(at, server, JOBS),
    () => barePushRate(at, server, JOBS),
  )
  report({
    name: 'pushing to a server that answers in 20 ms, 16 in flight, per second',
    goal: '0.70 or more',
    ratio: drain.ratio,
    ours: showFigure(drain.ours),
    bare: showFigure(drain.bare),
  })
  await server.stop()
}

async function benchFaultyEmbedders(): Promise<void> {
  const names = { persisted: 'persisting', pushed: 'persisting and pushing' }
  for (const { work, fault, rate, beside } of await besideFaultyEmbedders(EMBEDDING_ROUNDS, EMBEDDED)) {
    const name = `${names[work]} while the embedding server is ${fault}`
    report({
      name: `${name}, beside a sound one, per second`,
      goal: '0.90 or more',
      ratio: beside.sound.ratio,
      ours: showFigure(rate),
      bare: showFigure(beside.sound.rate),
    })
    report({
      name: `${name}, beside memories that are not to be embedded, per second`,
      goal: 'none',
      ratio: beside['not asked'].ratio,
      ours: showFigure(rate),
      bare: showFigure(beside['not asked'].rate),
    })
  }
}

async function benchProcesses(folder: string): Promise<void> {
  const startsMs: number[] = []
  for (let start = 0; start < ROUNDS; start++) {
    const daemon = await startDaemon(folder)
    startsMs.push(daemon.startMs)
    await stopDaemon(daemon)
  }
  console.log(`start to ready, ms: ${showFigure(figure(startsMs))}, goal 1,500 or less`)

  const daemon = await startDaemon(folder)
  let number = 0
  const enqueue = await inTurn(
    15,
    async () => enqueueMs(daemon, number++),
    async () => emptyNodeMs(),
  )
  report({
    name: 'memsync enqueue beside node -e 0, ms',
    goal: '5 or less',
    ratio: enqueue.ratio,
    ours: showFigure(enqueue.ours),
    bare: showFigure(enqueue.bare),
  })
  await stopDaemon(daemon)

  const idle = await startDaemon(folder)
  const cost = await idleCost(idle, privateRedisSocket(folder), 60)
  console.log(
    `idle over 60 s: ${cost.ours.cpuPercent.toFixed(2)} % of a core (bare ${cost.bare.cpuPercent.toFixed(2)} %), goal 0.2 or less`,
  )
  report({
    name: 'idle resident memory, MB',
    goal: '1.3 or less',
    ratio: figure([cost.ours.megabytes / cost.bare.megabytes]),
    ours: show(cost.ours.megabytes),
    bare: show(cost.bare.megabytes),
  })
  await stopDaemon(idle)
}

console.log(`node ${process.version}, ${cpus().length} x ${cpus()[0]?.model}`)
const only = process.argv[2]
const folder = mkdtempSync(join(tmpdir(), 'memsync-bench-'))
if (only === undefined || only === 'rates' || only === 'push') {
  const server = await startPrivateRedis({ dataDir: folder })
  const redis = connectRedis({ kind: 'socket', path: server.socketPath }, 'worker')
  await waitUntilReady(redis, 5000)
  const bench: Bench = {
    redis,
    endpoint: { kind: 'socket', path: server.socketPath },
    prefix: 'bench',
    concurrency: 100,
  }
  if (only !== 'push') await benchRates(bench)
  if (only !== 'rates') await benchPushes(bench)
  redis.disconnect()
  await server.stop()
}
if (only === undefined || only === 'embedding') await benchFaultyEmbedders()
if (only === undefined || only === 'processes') await benchProcesses(folder)
// A program of its own, which runs where it is loaded.
if (only === undefined || only === 'search') await import('./search.ts')
rmSync(folder, { recursive: true })
