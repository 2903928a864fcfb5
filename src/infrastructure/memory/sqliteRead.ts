/** The reads of one SQLite connection: rows in, memories out. Each is one statement, so each sees one moment. */
import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite'
import { MemsyncError } from '../../errors.ts'
import type {
  BehindPage,
  EpochRecord,
  ListOptions,
  ListPage,
  MemoryName,
  Metadata,
  Receipt,
  ReceiptLane,
  RemoteState,
  StoredMemory,
  StoreTotals,
} from './port.ts'

const DEFAULT_PAGE = 100
const MAX_PAGE = 10_000
/** Where a page ends early, in characters of JSON, so that a page of the longest values fits in memory. */
const MAX_PAGE_CHARACTERS = 16 * 1024 * 1024

const CONTENT = 'epoch, sequence, idx, embed, accepted_at_ms, persisted_at_ms, metadata, value'

const IS_TO_BE_EMBEDDED = 'm.embed = 1 AND m.value IS NOT NULL'

function hasReceipt(lane: ReceiptLane, compare: '>=' | '<'): string {
  return `EXISTS (SELECT 1 FROM receipts r WHERE r.memory_id = m.id AND r.lane IN ('${lane}', '${lane}-refused')
    AND (r.epoch, r.sequence, r.idx) ${compare} (m.epoch, m.sequence, m.idx))`
}

const IS_BEHIND: Record<ReceiptLane, string> = {
  push: `NOT ${hasReceipt('push', '>=')}`,
  embed: `NOT ${hasReceipt('embed', '>=')} AND (${IS_TO_BE_EMBEDDED} OR ${hasReceipt('embed', '<')})`,
}

interface MemoryRow {
  namespace: string
  key: string
  epoch: number
  sequence: number
  idx: number
  embed: number
  accepted_at_ms: number
  persisted_at_ms: number
  metadata: string | null
  value: string | null
}

interface ReceiptRow {
  lane: Receipt['lane']
  epoch: number
  sequence: number
  idx: number
  remote_id: string | null
  content_hash: string
  at_ms: number
}

function toMemory(row: MemoryRow): StoredMemory {
  return {
    namespace: row.namespace,
    key: row.key,
    value: row.value === null ? undefined : JSON.parse(row.value),
    deleted: row.value === null,
    metadata: row.metadata === null ? undefined : (JSON.parse(row.metadata) as Metadata),
    embed: row.embed === 1,
    version: { epoch: row.epoch, sequence: row.sequence, index: row.idx },
    acceptedAtMs: row.accepted_at_ms,
    persistedAtMs: row.persisted_at_ms,
  }
}

function toReceipt(row: ReceiptRow): Receipt {
  return {
    lane: row.lane,
    version: { epoch: row.epoch, sequence: row.sequence, index: row.idx },
    ...(row.remote_id === null ? {} : { remoteId: row.remote_id }),
    contentHash: row.content_hash,
    atMs: row.at_ms,
  }
}

function readLimit(limit = DEFAULT_PAGE): number {
  if (Number.isInteger(limit) && limit >= 1 && limit <= MAX_PAGE) return limit
  throw new MemsyncError('MEMSYNC_BAD_USAGE', `limit: ${limit} is not a whole number from 1 to ${MAX_PAGE}`)
}

/** A lone surrogate would be bound as U+FFFD and so find another memory's text; nothing is stored under one. */
function canBeStored(...texts: (string | undefined)[]): boolean {
  return texts.every((text) => text === undefined || text.isWellFormed())
}

export class SqliteReader {
  readonly #db: DatabaseSync
  readonly #statements = new Map<string, StatementSync>()

  constructor(db: DatabaseSync) {
    this.#db = db
  }

  #prepare(sql: string): StatementSync {
    let statement = this.#statements.get(sql)
    if (!statement) {
      statement = this.#db.prepare(sql)
      this.#statements.set(sql, statement)
    }
    return statement
  }

  find(key: string, namespace: string): StoredMemory | undefined {
    if (!canBeStored(key, namespace)) return undefined
    const sql = `SELECT namespace, key, ${CONTENT} FROM memories WHERE namespace = ? AND key = ?`
    const row = this.#prepare(sql).get(namespace, key)
    return row && toMemory(row as unknown as MemoryRow)
  }

  history(key: string, namespace: string): StoredMemory[] {
    if (!canBeStored(key, namespace)) return []
    const sql = `SELECT ?1 AS namespace, ?2 AS key, revision, ${CONTENT} FROM memories WHERE namespace = ?1 AND key = ?2
      UNION ALL SELECT ?1, ?2, revision, ${CONTENT} FROM history
        WHERE memory_id = (SELECT id FROM memories WHERE namespace = ?1 AND key = ?2)
      ORDER BY revision DESC`
    return this.#prepare(sql)
      .all(namespace, key)
      .map((row) => toMemory(row as unknown as MemoryRow))
  }

  list(options: ListOptions = {}): ListPage {
    const { namespace, prefix, after } = options
    const limit = readLimit(options.limit)
    if (!canBeStored(namespace, prefix, after?.namespace, after?.key))
      return { memories: [], next: undefined }
    const conditions: string[] = options.includeDeleted ? ['TRUE'] : ['value IS NOT NULL']
    const values: SQLInputValue[] = []
    const where = (condition: string, ...bound: SQLInputValue[]) => {
      conditions.push(condition)
      values.push(...bound)
    }
    if (namespace !== undefined) where('namespace = ?', namespace)
    // No UTF-8 text holds the byte FF, so this is the end of all that begin with the prefix.
    if (prefix) where(`key >= ? AND key < ? || CAST(x'FF' AS TEXT)`, prefix, prefix)
    if (after) where('(namespace, key) > (?, ?)', after.namespace, after.key)
    const sql = `SELECT namespace, key, ${CONTENT} FROM memories WHERE ${conditions.join(' AND ')}
      ORDER BY namespace, key LIMIT ?`

    const memories: StoredMemory[] = []
    let characters = 0
    for (const row of this.#prepare(sql).iterate(...values, limit + 1)) {
      const last = memories.at(-1)
      if (last && (memories.length === limit || characters > MAX_PAGE_CHARACTERS)) {
        return { memories, next: { namespace: last.namespace, key: last.key } }
      }
      const memoryRow = row as unknown as MemoryRow
      characters += memoryRow.value?.length ?? 0
      memories.push(toMemory(memoryRow))
    }
    return { memories, next: undefined }
  }

  totals(): Omit<StoreTotals, 'bytes'> {
    const row = this.#prepare('SELECT live_keys AS keys, synced, superseded, pushed FROM state').get()
    return { ...(row as unknown as Omit<StoreTotals, 'bytes'>) }
  }

  namespaces(): { namespace: string; memories: number }[] {
    return this.#prepare('SELECT namespace, count(*) AS memories FROM memories GROUP BY namespace ORDER BY 1')
      .all()
      .map((row) => ({ ...(row as unknown as { namespace: string; memories: number }) }))
  }

  remoteState(): RemoteState {
    const row = this.#prepare('SELECT remote AS identity, epoch_offset AS epochOffset FROM state').get()
    return { ...(row as unknown as RemoteState) }
  }

  epoch(): EpochRecord {
    return { ...(this.#prepare('SELECT epoch, token, batch FROM state').get() as unknown as EpochRecord) }
  }

  head(): { epoch: number; sequence: number } {
    const row = this.#prepare('SELECT head_epoch AS epoch, head_sequence AS sequence FROM state').get()
    return { ...(row as unknown as { epoch: number; sequence: number }) }
  }

  receipts(key: string, namespace: string): Receipt[] {
    if (!canBeStored(key, namespace)) return []
    const sql = `SELECT lane, epoch, sequence, idx, remote_id, content_hash, at_ms FROM receipts
      WHERE memory_id = (SELECT id FROM memories WHERE namespace = ? AND key = ?) ORDER BY lane`
    return this.#prepare(sql)
      .all(namespace, key)
      .map((row) => toReceipt(row as unknown as ReceiptRow))
  }

  behind(lane: ReceiptLane, options: { limit: number; after?: MemoryName }): BehindPage {
    const limit = readLimit(options.limit)
    const { namespace = '', key = '' } = options.after ?? {}
    const sql = `SELECT namespace, key FROM memories m WHERE (namespace, key) > (?, ?) AND ${IS_BEHIND[lane]}
      ORDER BY namespace, key LIMIT ?`
    const names = this.#prepare(sql)
      .all(namespace, key, limit)
      .map((row) => ({ ...(row as unknown as MemoryName) }))
    return { names, next: names.length === limit ? names.at(-1) : undefined }
  }

  behindAmong(lane: ReceiptLane, names: readonly MemoryName[]): MemoryName[] {
    const find = this.#prepare(
      `SELECT 1 FROM memories m WHERE namespace = ? AND key = ? AND ${IS_BEHIND[lane]}`,
    )
    return names.filter(({ namespace, key }) => find.get(namespace, key) !== undefined)
  }

  countUnembedded(namespace?: string): number {
    const sql = `SELECT count(*) AS count FROM memories m
      WHERE (?1 IS NULL OR namespace = ?1) AND ${IS_TO_BE_EMBEDDED} AND ${IS_BEHIND.embed}`
    return Number(this.#prepare(sql).get(namespace ?? null)?.count)
  }
}
