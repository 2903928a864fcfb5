/** The ways a fault run hands operations over, and the ledger of what each was told. */
import { type ChildProcess, spawn } from 'node:child_process'
import { request } from 'node:http'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Queue } from 'bullmq'
import type { Redis } from 'ioredis'
import { connectRedis, type RedisEndpoint } from '../../src/queue/connection.ts'
import type { Answer, Operation } from './ledger.ts'
import type { PlannedOperation } from './plan.ts'

export interface ProducersOptions {
  /** The folder of the program under test. */
  program: string
  /** Of every process of the program. */
  env: NodeJS.ProcessEnv
  endpoint: RedisEndpoint
  httpSocket: string
  /** Milliseconds of the run. */
  now: () => number
  /** A producer ended that nobody killed. */
  onIncident: (what: string) => void
}

type Told = { accepted: 'queued'; jobId: string } | { accepted: 'spooled'; uid: string }
interface ClientLine {
  number: number
  told?: Told
  code?: string
  errorClass?: string
}

const NO_ANSWER: Answer = { kind: 'unknown', reason: 'no answer by the end' }
const HTTP_TIMEOUT_MS = 10_000

export class Producers {
  readonly ledger: Operation[] = []
  private readonly options: ProducersOptions
  private readonly redis: Redis
  private readonly queue: Queue
  private readonly children = new Set<ChildProcess>()
  private readonly awaiting = new Map<number, (answer: Answer) => void>()
  private client: ChildProcess | undefined

  constructor(options: ProducersOptions) {
    this.options = options
    this.redis = connectRedis(options.endpoint, 'producer')
    this.redis.on('error', () => undefined)
    // Until it is there, what is handed over meets an error, which is an answer.
    this.redis.connect().catch(() => undefined)
    this.queue = new Queue('memory-sync', { connection: this.redis, skipVersionCheck: true })
    this.queue.on('error', () => undefined)
    this.startClient()
  }

  /** Resolves once each has its answer, or has none for good. */
  async hand(operations: readonly PlannedOperation[]): Promise<void> {
    await Promise.all(operations.map((planned) => this.handOne(planned)))
  }

  /** kill -9 of every process that is handing something over; the client is started anew. */
  async kill(startAgain = true): Promise<void> {
    await Promise.all([...this.children].map((child) => end(child, 'SIGKILL')))
    this.settleAwaiting('the producer was killed')
    if (startAgain) this.startClient()
  }

  async close(): Promise<void> {
    await this.kill(false)
    // Or what is handed over late would open the connection again, and nothing would end it.
    this.queue.close().catch(() => undefined)
    this.redis.disconnect()
  }

  private settleAwaiting(reason: string): void {
    for (const settle of this.awaiting.values()) settle({ kind: 'unknown', reason })
    this.awaiting.clear()
  }

  private async handOne(planned: PlannedOperation): Promise<void> {
    const operation: Operation = { ...planned, sentAtMs: this.options.now(), answer: NO_ANSWER }
    this.ledger.push(operation)
    try {
      operation.answer = await this.send(operation)
    } catch (error) {
      operation.answer = { kind: 'unknown', reason: error instanceof Error ? error.message : String(error) }
    }
  }

  private send(operation: Operation): Promise<Answer> {
    switch (operation.via) {
      case 'client':
        return this.sendByClient(operation)
      case 'bullmq':
        return this.sendByBullmq(operation)
      case 'http':
        return this.sendByHttp(operation)
      case 'command':
        return this.sendByCommand(operation)
    }
  }

  private accepted(told: Told): Answer {
    const atMs = this.options.now()
    return told.accepted === 'queued'
      ? { kind: 'queued', jobId: told.jobId, atMs }
      : { kind: 'spooled', uid: told.uid, atMs }
  }

  private refusedOrUnknown(code: string, errorClass: string): Answer {
    if (errorClass === 'permanent') return { kind: 'refused', code, atMs: this.options.now() }
    return { kind: 'unknown', reason: code }
  }

  private startClient(): void {
    const entry = join(import.meta.dirname, 'producerProcess.ts')
    const child = this.spawn([entry, this.options.program], 'pipe')
    this.client = child
    let complaint = ''
    child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      complaint += chunk
    })
    child.on('close', (code, signal) => {
      // Killed by the plan.
      if (this.client !== child || signal === 'SIGKILL') return
      this.options.onIncident(
        `a producer ended by itself with ${signal ?? `exit code ${code}`}: ${complaint.slice(-600)}`,
      )
      this.settleAwaiting('the producer ended')
      this.startClient()
    })
    child.stdin?.on('error', () => undefined)
    if (!child.stdout) return
    createInterface({ input: child.stdout }).on('line', (line) => {
      const { number, told, code = '', errorClass = '' } = JSON.parse(line) as ClientLine
      const settle = this.awaiting.get(number)
      this.awaiting.delete(number)
      settle?.(told ? this.accepted(told) : this.refusedOrUnknown(code, errorClass))
    })
  }

  private sendByClient(operation: Operation): Promise<Answer> {
    const { promise, resolve } = Promise.withResolvers<Answer>()
    this.awaiting.set(operation.number, resolve)
    this.client?.stdin?.write(
      `${JSON.stringify({ number: operation.number, memory: memoryOf(operation) })}\n`,
    )
    return promise
  }

  private async sendByBullmq(operation: Operation): Promise<Answer> {
    const { kind, key, namespace } = operation
    const job =
      kind === 'rollback'
        ? await this.queue.add('MEMORY_ROLLBACK', { key, namespace })
        : await this.queue.add('MEMORY_SYNC', memoryOf(operation))
    return this.accepted({ accepted: 'queued', jobId: String(job.id) })
  }

  private async sendByHttp(operation: Operation): Promise<Answer> {
    const { status, text } = await post(this.options.httpSocket, JSON.stringify(memoryOf(operation)))
    const answer = JSON.parse(text) as Told & { error?: { code: string } }
    if (status === 202) return this.accepted(answer)
    const code = answer.error?.code ?? String(status)
    return this.refusedOrUnknown(code, status < 500 ? 'permanent' : 'outage')
  }

  private async sendByCommand(operation: Operation): Promise<Answer> {
    const { key, namespace, number, embed, valueText = '' } = operation
    const child = this.spawn([
      join(this.options.program, 'dist', 'cli', 'main.js'),
      ...['enqueue', key, '-', '--namespace', namespace, '--metadata', `operation=${number}`, '--json'],
      ...(embed ? ['--embed'] : []),
    ])
    let output = ''
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk
    })
    child.stdin?.on('error', () => undefined)
    child.stdin?.end(valueText)
    const { promise, resolve } = Promise.withResolvers<number | null>()
    child.on('close', resolve)
    const code = await promise
    if (code === 0) {
      const { jobId, uid } = JSON.parse(output) as { jobId?: string; uid?: string }
      return this.accepted(
        jobId === undefined ? { accepted: 'spooled', uid: uid ?? '' } : { accepted: 'queued', jobId },
      )
    }
    return this.refusedOrUnknown(`exit code ${code}`, code === 2 ? 'permanent' : 'outage')
  }

  private spawn(args: string[], stderr: 'ignore' | 'pipe' = 'ignore'): ChildProcess {
    const child = spawn(process.execPath, args, { env: this.options.env, stdio: ['pipe', 'pipe', stderr] })
    this.children.add(child)
    child.on('close', () => this.children.delete(child))
    return child
  }
}

/** What goes over the wire. */
function memoryOf({ number, kind, namespace, key, valueText, embed }: Operation): Record<string, unknown> {
  const common = { namespace, key, metadata: { operation: number } }
  if (kind === 'delete') return { ...common, op: 'delete' }
  // No value, so that it breaks the contract.
  if (kind === 'poison') return common
  return { ...common, value: JSON.parse(valueText ?? 'null'), embed }
}

function post(socketPath: string, body: string): Promise<{ status: number; text: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>()
  const headers = {
    'content-type': 'application/json',
    'content-length': String(Buffer.byteLength(body)),
  }
  const options = { socketPath, path: '/v1/memories', method: 'POST', headers, timeout: HTTP_TIMEOUT_MS }
  const outgoing = request(options, (incoming) => {
    let text = ''
    incoming.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
    })
    incoming.on('error', reject)
    incoming.on('end', () => resolve({ status: incoming.statusCode ?? 0, text }))
  })
  outgoing.on('timeout', () => outgoing.destroy(new Error('no answer in time')))
  outgoing.on('error', reject)
  outgoing.end(body)
  return promise
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const { promise, resolve } = Promise.withResolvers<void>()
  child.once('close', () => resolve())
  child.kill(signal)
  await promise
}
