/**
 * Dead letters for the page: a list that is bounded whatever there is, one of them whole, and redriving or dropping many
 * as one run that the page can follow. There is one run at a time.
 */
import { z } from 'zod'
import { dropOne } from '../cli/dlq.ts'
import { parseRate, RedriveRun } from '../cli/redrive.ts'
import { ERROR_CLASSES, type ErrorClass, MemsyncError, toMemsyncError } from '../errors.ts'
import { EMBED_QUEUE, PUSH_QUEUE } from '../jobs/index.ts'
import { badRequest, HttpRefusal } from '../producers/httpErrors.ts'
import type { DeadLetterDesk } from '../queue/deadLetterDesk.ts'
import type { DeadLetter, DeadLetterFilter } from '../queue/deadLetters.ts'
import type { LaneName } from './history.ts'
import type { OpenDesk } from './sources.ts'
import { excerptOf, jsonText, type LongText } from './text.ts'

/** What one look reads at most. */
const MAX_SCANNED = 5_000
const SCAN_TIME_MS = 1_500
const MAX_IDS = 10_000
const MAX_MESSAGE_CHARACTERS = 300
const MAX_TOLD_FAILURES = 20

interface DeadLetterSummary
  extends Pick<DeadLetter, 'id' | 'class' | 'code' | 'message' | 'attempts' | 'deadAtMs'> {
  key: string | null
  namespace: string | null
  lane: LaneName
}

export interface DeadLetterPage {
  /** Newest first. */
  entries: DeadLetterSummary[]
  /** How many pass the filter, of those that were looked at. */
  matching: number
  /** How many there are of each class, of those that were looked at. */
  counts: Record<ErrorClass, number>
  /** False where there are more than one look reads. */
  complete: boolean
  /** When this was so: what a run by the same filter goes back to. */
  atMs: number
}

interface Filter {
  class?: ErrorClass | undefined
  keyPrefix?: string | undefined
}

export async function listDeadLetters(
  desk: DeadLetterDesk,
  { class: errorClass, keyPrefix }: Filter,
  { offset, limit }: { offset: number; limit: number },
): Promise<DeadLetterPage> {
  const atMs = Date.now()
  const counts: DeadLetterPage['counts'] = { permanent: 0, transient: 0, outage: 0, credentials: 0 }
  const found: DeadLetterSummary[] = []
  let scanned = 0
  let complete = true
  for await (const entry of desk.deadLetters.list(keyPrefix ? { keyPrefix } : {})) {
    counts[entry.class]++
    if (errorClass === undefined || entry.class === errorClass) found.push(summaryOf(entry))
    if (++scanned >= MAX_SCANNED || Date.now() - atMs > SCAN_TIME_MS) {
      complete = false
      break
    }
  }
  found.sort((a, b) => b.deadAtMs - a.deadAtMs || (a.id < b.id ? 1 : -1))
  return { entries: found.slice(offset, offset + limit), matching: found.length, counts, complete, atMs }
}

function laneOf({ sourceQueue }: DeadLetter): LaneName {
  if (sourceQueue === PUSH_QUEUE) return 'push'
  return sourceQueue === EMBED_QUEUE ? 'embed' : 'sync'
}

function summaryOf(entry: DeadLetter): DeadLetterSummary {
  const { id, class: errorClass, code, message, attempts, deadAtMs } = entry
  const { key, namespace } = (entry.data ?? {}) as { key?: unknown; namespace?: unknown }
  return {
    ...{ id, class: errorClass, code, attempts, deadAtMs },
    message: excerptOf(String(message), MAX_MESSAGE_CHARACTERS),
    key: typeof key === 'string' ? excerptOf(key, MAX_MESSAGE_CHARACTERS) : null,
    namespace: typeof namespace === 'string' ? excerptOf(namespace, MAX_MESSAGE_CHARACTERS) : null,
    lane: laneOf(entry),
  }
}

/** @throws MEMSYNC_NOT_FOUND */
export async function showDeadLetter(
  desk: DeadLetterDesk,
  id: string,
): Promise<Omit<DeadLetter, 'data'> & { lane: LaneName; data: LongText }> {
  const entry = await desk.deadLetters.show(id)
  return { ...entry, lane: laneOf(entry), data: jsonText(entry.data) }
}

const runRequest = z
  .strictObject({
    ids: z.array(z.string().min(1).max(1_000)).min(1).max(MAX_IDS).optional(),
    filter: z
      .strictObject({
        class: z.enum(ERROR_CLASSES).optional(),
        keyPrefix: z.string().max(1_024).optional(),
        /** Of the list that the person saw: what died after it is left alone. */
        atMs: z.number().int().positive(),
      })
      .optional(),
  })
  .refine(({ ids, filter }) => (ids === undefined) !== (filter === undefined), 'give either ids or a filter')

interface Run {
  kind: 'redrive' | 'drop'
  state: 'choosing' | 'running' | 'ended'
  total: number
  done: number
  succeeded: number
  failed: number
  /** The first few failures. */
  failures: { id: string; code: string; message: string }[]
}

export class DeadLetterRuns {
  private readonly desk: OpenDesk
  private read: (() => Run) | undefined

  constructor(desk: OpenDesk) {
    this.desk = desk
  }

  /** The run that is under way, or the last one. */
  get current(): Run | undefined {
    return this.read?.()
  }

  /**
   * Begins it and returns before it ends.
   * @param body what the request holds
   * @throws MEMSYNC_BAD_REQUEST for a body that is none, and (409) while another run is under way
   */
  start(kind: Run['kind'], body: unknown): Run {
    const parsed = runRequest.safeParse(body)
    if (!parsed.success) {
      const [issue] = parsed.error.issues
      throw badRequest(`${issue?.path.join('.') || 'body'}: ${issue?.message ?? 'is not what is taken'}`)
    }
    if (this.current && this.current.state !== 'ended') {
      throw new HttpRefusal(409, 'MEMSYNC_BAD_REQUEST', `a ${this.current.kind} is under way already`)
    }
    const { ids, filter } = parsed.data
    const choose = (desk: DeadLetterDesk) => (filter ? chooseByFilter(desk, filter) : [...new Set(ids)])
    const run: Run = { kind, state: 'choosing', total: 0, done: 0, succeeded: 0, failed: 0, failures: [] }
    this.read = () => run
    void this.work(run, choose)
    return run
  }

  private async work(
    run: Run,
    choose: (desk: DeadLetterDesk) => string[] | Promise<string[]>,
  ): Promise<void> {
    try {
      await this.desk.use(async (desk) => {
        const chosen = await choose(desk)
        run.total = chosen.length
        run.state = 'running'
        await (run.kind === 'drop' ? dropAll(desk, chosen, run) : this.redriveAll(desk, chosen, run))
      })
    } catch (thrown) {
      noteFailure(run, '', toMemsyncError(thrown, 'MEMSYNC_QUEUE_UNAVAILABLE'))
    }
    const ended = { ...(this.current ?? run), state: 'ended' as const }
    this.read = () => ended
  }

  /** They are put back and not waited for: a push may wait for its remote for days. */
  private async redriveAll(desk: DeadLetterDesk, ids: string[], run: Run): Promise<void> {
    const redrive = new RedriveRun(desk, false)
    this.read = () => {
      const { counts, refused, failures } = redrive
      const failed = refused + counts.failed
      return {
        ...run,
        ...{ succeeded: counts.queued, failed, done: counts.queued + failed },
        failures: failures.map(({ id, error }) => ({ id, code: error.code, message: error.message })),
      }
    }
    await redrive.redriveAll(ids, parseRate(undefined))
  }
}

async function chooseByFilter(
  desk: DeadLetterDesk,
  { class: errorClass, keyPrefix, atMs }: Filter & { atMs: number },
): Promise<string[]> {
  const filter: DeadLetterFilter = {
    ...(errorClass ? { class: errorClass } : {}),
    ...(keyPrefix ? { keyPrefix } : {}),
  }
  const chosen: string[] = []
  // All of them before the first is touched: a redrive moves what a reading in pages has yet to see.
  for await (const { id, deadAtMs } of desk.deadLetters.list(filter)) if (deadAtMs <= atMs) chosen.push(id)
  return chosen
}

async function dropAll(desk: DeadLetterDesk, ids: string[], run: Run): Promise<void> {
  for (const id of ids) {
    try {
      if (await dropOne(desk, id)) run.succeeded++
      else noteFailure(run, id, new MemsyncError('MEMSYNC_NOT_FOUND', 'it is gone already'))
    } catch (thrown) {
      const error = toMemsyncError(thrown, 'MEMSYNC_QUEUE_UNAVAILABLE')
      noteFailure(run, id, error)
      if (error.class === 'outage') return
    } finally {
      run.done++
    }
  }
}

function noteFailure(run: Run, id: string, { code, message }: MemsyncError): void {
  run.failed++
  if (run.failures.length < MAX_TOLD_FAILURES) run.failures.push({ id, code, message })
}
