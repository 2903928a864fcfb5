/** The producers of the proof: real `memsync enqueue --ndjson` processes, and a BullMQ client that breaks the contract. */
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { JobsOptions, Queue } from 'bullmq'
import type { ProducerReceipt } from './check.ts'
import type { InputLine } from './memories.ts'

export const MEMSYNC = join(import.meta.dirname, '..', 'dist', 'cli', 'main.js')

/** One process that hands memories over as they are fed to it. */
export class Producer {
  readonly number: number
  /** Everything it printed; no value may be in it. */
  output = ''
  private readonly child: ChildProcess
  private readonly receiptsPath: string
  private readonly ended: Promise<number | null>
  private printed = ''

  constructor(number: number, folder: string, env: NodeJS.ProcessEnv) {
    this.number = number
    this.receiptsPath = join(folder, `receipts-${number}.ndjson`)
    const args = ['enqueue', '--ndjson', '-', '--receipts', this.receiptsPath, '--json']
    this.child = spawn(process.execPath, [MEMSYNC, ...args], { env, stdio: ['pipe', 'pipe', 'pipe'] })
    this.child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      this.printed += chunk
      this.output += chunk
    })
    this.child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      this.output += chunk
    })
    // Where it ends early, its summary says why.
    this.child.stdin?.on('error', () => undefined)
    this.ended = new Promise((resolve, reject) => {
      this.child.once('error', reject)
      this.child.once('close', (code) => resolve(code))
    })
  }

  /** Resolves once it has read them. */
  async feed(lines: readonly InputLine[]): Promise<void> {
    const text = Buffer.concat(lines.flatMap(({ bytes }) => [bytes, Buffer.from('\n')]))
    await new Promise<void>((resolve) => this.child.stdin?.write(text, () => resolve()))
  }

  /** Ends its input and resolves with what it said. @throws where it stopped before the end of it */
  async finish(): Promise<{ refusedLines: number[]; receipts: ProducerReceipt[] }> {
    this.child.stdin?.end()
    const code = await this.ended
    const summary = JSON.parse(this.printed) as {
      refused: number
      refusals: { line: number }[]
      error?: { message: string }
    }
    if (summary.error || summary.refusals.length !== summary.refused) {
      throw new Error(`producer ${this.number} ended with exit code ${code}: ${this.output}`)
    }
    return { refusedLines: summary.refusals.map(({ line }) => line), receipts: this.readReceipts() }
  }

  kill(): void {
    this.child.kill('SIGKILL')
  }

  private readReceipts(): ProducerReceipt[] {
    const lines = readFileSync(this.receiptsPath, 'utf8').split('\n')
    return lines
      .filter((line) => line !== '')
      .map((line) => ({ producer: this.number, ...(JSON.parse(line) as Omit<ProducerReceipt, 'producer'>) }))
  }
}

/** What only a client that ignores the contract can send. Each must become a dead letter, and delay nobody. */
const BROKEN_JOBS: { name: string; data: unknown; opts?: JobsOptions }[] = [
  { name: 'MEMORY_SYNC', data: { value: 1 } },
  { name: 'MEMORY_SYNC', data: { key: 'memory-1', value: 1, surprise: true } },
  { name: 'MEMORY_SYNC', data: { key: 'memory-1' } },
  { name: 'MEMORY_SYNC', data: null },
  { name: 'MEMORY_SYNC', data: { key: 'memory-1', op: 'delete', value: 1 } },
  // It asks to vanish when it fails.
  { name: 'MEMORY_SYNC', data: { key: 7, value: 1 }, opts: { removeOnFail: true, attempts: 1 } },
  { name: 'MEMORY_SINK', data: { key: 'memory-1', value: 1 } },
  { name: 'MEMORY_ROLLBACK', data: { key: 'memory-1', to: 3 } },
]

/** Adds one of each; resolves with their ids. */
export async function plantBrokenJobs(queue: Queue, wave: number): Promise<string[]> {
  // An id of the producer's own has no place in the order of acceptance.
  const ownId = { name: 'MEMORY_SYNC', data: { key: 'memory-1', value: 1 }, opts: { jobId: `mine-${wave}` } }
  const jobs = await queue.addBulk([...BROKEN_JOBS, ownId])
  return jobs.map(({ id }) => String(id))
}
