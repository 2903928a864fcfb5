/**
 * Search beside an exact scan in plain JavaScript, in turn in one run: time, recall, memory, and how it grows.
 * `node bench/search.ts` prints it, `node bench/search.ts 100000` one size alone. About 2 minutes on 2 cores, 1.5 GB on
 * disk and 1.5 GB of memory (the scan's).
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openVectorStore, type VectorStore } from '../src/infrastructure/memory/vectors.ts'
import { clusteredVectors } from '../tests/support/clusters.ts'
import { type Figure, inTurn, show, showFigure } from './measure.ts'
import { CLUSTERS, DIMENSIONS, SPACE, vectorKey } from './searchData.ts'
import type { Answer, Request } from './searchProcess.ts'

const SIZES = [10_000, 30_000, 100_000]
/** Those named on the command line; all unless any is. */
const chosen = process.argv.slice(2).map(Number).filter(Number.isInteger)
const QUERIES = 40
const BATCH = 1000

class Searcher {
  readonly #process: ChildProcess

  constructor(...args: string[]) {
    this.#process = fork(join(import.meta.dirname, 'searchProcess.ts'), args)
  }

  async ask(request: Request): Promise<Answer> {
    const settled = new AbortController()
    const { signal } = settled
    const answer = Promise.race([
      once(this.#process, 'message', { signal }).then(([message]) => message as Answer),
      once(this.#process, 'exit', { signal }).then(() => Promise.reject(new Error('a search process ended'))),
    ])
    this.#process.send(request)
    return answer.finally(() => settled.abort())
  }

  /** Resident memory now and at its highest, in MB. Linux only. */
  memory(): { now: number; peak: number } {
    const status = readFileSync(`/proc/${this.#process.pid}/status`, 'utf8')
    const megabytes = (name: string) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1]) / 1024
    return { now: megabytes('VmRSS'), peak: megabytes('VmHWM') }
  }

  async stop(): Promise<void> {
    const exited = once(this.#process, 'exit')
    this.#process.kill()
    await exited
  }
}

async function fillStore(
  store: VectorStore,
  next: () => Float32Array,
  from: number,
  to: number,
): Promise<void> {
  for (let start = from; start < to; start += BATCH) {
    const positions = Array.from({ length: BATCH }, (_, i) => start + i)
    const vectors = positions.map((position) => ({ contentHash: vectorKey(position), vector: next() }))
    await store.save(vectors)
    await store.put(
      positions.map((position) => ({
        namespace: 'default',
        key: vectorKey(position),
        version: { epoch: 1, sequence: position, index: 0 },
        chunks: [{ contentHash: vectorKey(position), excerpt: 'An excerpt of the usual length. '.repeat(6) }],
      })),
    )
  }
}

interface Result {
  ours: Figure
  bare: Figure
  ratio: Figure
  recall: number
  firstMs: number
  memory: { now: number; peak: number }
  bareMemory: { now: number; peak: number }
}

async function compare(path: string, exact: Searcher): Promise<Result> {
  const ours = new Searcher(path)
  try {
    const next = clusteredVectors({ ...CLUSTERS, stream: 1 })
    const queries = Array.from({ length: QUERIES + 1 }, () => Array.from(next()))
    const found: { ours: string[][]; bare: string[][] } = { ours: [], bare: [] }
    const { milliseconds: firstMs } = await ours.ask({ query: queries[0] as number[] })
    const searchWith = (searcher: Searcher, keys: string[][]) => async () => {
      const answer = await searcher.ask({ query: queries[keys.length] as number[] })
      keys.push(answer.keys)
      return answer.milliseconds
    }
    const times = await inTurn(QUERIES, searchWith(ours, found.ours), searchWith(exact, found.bare))
    const right = found.bare.map((keys, i) => keys.filter((key) => found.ours[i]?.includes(key)).length)
    const asked = found.bare.reduce((sum, keys) => sum + keys.length, 0)
    const recall = right.reduce((sum, count) => sum + count, 0) / asked
    return { ...times, recall, firstMs, memory: ours.memory(), bareMemory: exact.memory() }
  } finally {
    await ours.stop()
  }
}

function print(count: number, result: Result): void {
  console.log(
    [
      `${count.toLocaleString('en')} vectors of ${DIMENSIONS}`,
      `search ${showFigure(result.ours)} ms, exact scan ${showFigure(result.bare)} ms`,
      `ratio ${showFigure(result.ratio)}`,
      `recall@10 ${result.recall.toFixed(4)}`,
      `memory ${show(result.memory.now)} MB (highest ${show(result.memory.peak)}), scan ${show(result.bareMemory.now)} MB`,
      `first search of a process ${show(result.firstMs)} ms`,
    ].join('; '),
  )
}

const folder = mkdtempSync(join(tmpdir(), 'search-'))
const path = join(folder, 'vectors.db')
const exact = new Searcher()
const store = openVectorStore({ path, space: SPACE }) as VectorStore
try {
  const next = clusteredVectors(CLUSTERS)
  let filled = 0
  for (const count of chosen.length > 0 ? chosen : SIZES) {
    await Promise.all([fillStore(store, next, filled, count), exact.ask({ fill: count })])
    filled = count
    print(count, await compare(path, exact))
  }
} finally {
  await exact.stop()
  await store.close()
  rmSync(folder, { recursive: true, force: true })
}
