/**
 * The writes of one SQLite connection, each method to be called within a transaction of the caller's.
 *
 * What a write does is decided here by `compareVersions` against the newest write of its key; SQL only carries it
 * out. An outcome is known for as long as the write itself is kept, in `memories` or `history`; only a write that
 * is in neither, because it lost or was trimmed, needs a row in `outcomes`. These are kept by generations, the
 * current one and the one before, so that a row costs one insert and the oldest go all at once.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import {
  compareVersions,
  isOvertaken,
  LOCAL_INDEX_BASE,
  mayRepeat,
  type Version,
} from '../../jobs/version.ts'
import type { EpochRecord, MemoryName, Receipt, Write, WriteOutcome } from './port.ts'

/**
 * Outcomes of lost and trimmed writes in one generation, so the least that are kept: many times what a crash can
 * leave to be run again.
 */
export const GENERATION_SIZE = 50_000

type SqlValue = string | number | null
type CurrentRow = [
  id: number,
  epoch: number,
  sequence: number,
  idx: number,
  revision: number,
  deleted: number,
  acceptedAtMs: number,
]
type Content = [embed: number, metadata: SqlValue, value: SqlValue]

/** What one batch changes in the row `state`. */
interface Tally {
  synced: number
  superseded: number
  liveKeys: number
  head: Version
  outcomes: number
  /** The generation that new outcomes join; read when the first is due, as few batches have any. */
  generation: number | undefined
}

export class SqliteWriter {
  readonly #historyVersions: number
  readonly #findCurrent: StatementSync
  readonly #insert: StatementSync
  readonly #keepCurrent: StatementSync
  readonly #replace: StatementSync
  readonly #findPrevious: StatementSync
  readonly #findInHistory: StatementSync
  readonly #findOutcome: StatementSync
  readonly #findTwin: StatementSync
  readonly #recordOutcome: StatementSync
  readonly #recordTrimmed: StatementSync
  readonly #trimHistory: StatementSync
  readonly #findGeneration: StatementSync
  readonly #dropGenerations: StatementSync
  readonly #recordTally: StatementSync
  readonly #recordEpoch: StatementSync
  readonly #nextLocal: StatementSync
  readonly #recordReceipt: StatementSync
  readonly #countPushed: StatementSync
  readonly #adoptRemote: StatementSync
  readonly #forgetPushes: StatementSync
  readonly #forgetPush: StatementSync
  readonly #requestEmbedding: StatementSync
  readonly #forgetEmbedding: StatementSync
  readonly #raiseEpochOffset: StatementSync
  readonly #probe: StatementSync

  constructor(db: DatabaseSync, historyVersions: number) {
    this.#historyVersions = historyVersions
    const rows = (sql: string) => db.prepare(sql, { returnArrays: true })
    const content = 'epoch, sequence, idx, embed, accepted_at_ms, persisted_at_ms, metadata, value'
    this.#findCurrent = rows(
      `SELECT id, epoch, sequence, idx, revision, value IS NULL, accepted_at_ms FROM memories
       WHERE namespace = ? AND key = ?`,
    )
    this.#insert = db.prepare(
      `INSERT INTO memories (namespace, key, revision, ${content}) VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?)`,
    )
    this.#keepCurrent = db.prepare(
      `INSERT INTO history (memory_id, revision, ${content}) SELECT id, revision, ${content} FROM memories WHERE id = ?`,
    )
    this.#replace = db.prepare(
      `UPDATE memories SET revision = ?, epoch = ?, sequence = ?, idx = ?, embed = ?, accepted_at_ms = ?,
       persisted_at_ms = ?, metadata = ?, value = ? WHERE id = ?`,
    )
    this.#findPrevious = rows(
      `SELECT embed, metadata, value FROM history WHERE memory_id = ? AND revision = ?`,
    )
    this.#findInHistory = rows(
      `SELECT 1 FROM history WHERE memory_id = ? AND epoch = ? AND sequence = ? AND idx = ?`,
    )
    this.#findGeneration = rows(`SELECT outcomes / ${GENERATION_SIZE} FROM state`)
    this.#findOutcome = rows(
      `SELECT superseded FROM outcomes WHERE generation IN (?1, ?1 - 1) AND epoch = ?2 AND sequence = ?3 AND idx = ?4`,
    )
    const twin = 'accepted_at_ms = ?2 AND embed = ?3 AND metadata IS ?4 AND value IS ?5'
    this.#findTwin = rows(
      `SELECT 1 FROM memories WHERE id = ?1 AND ${twin} UNION ALL SELECT 1 FROM history WHERE memory_id = ?1 AND ${twin}`,
    )
    this.#recordOutcome = db.prepare(
      `INSERT INTO outcomes (generation, epoch, sequence, idx, superseded) VALUES (?, ?, ?, ?, ?)`,
    )
    this.#recordTrimmed = db.prepare(
      `INSERT OR IGNORE INTO outcomes (generation, epoch, sequence, idx, superseded)
       SELECT ?, epoch, sequence, idx, 0 FROM history WHERE memory_id = ? AND revision <= ?`,
    )
    this.#trimHistory = db.prepare(`DELETE FROM history WHERE memory_id = ? AND revision <= ?`)
    this.#dropGenerations = db.prepare(`DELETE FROM outcomes WHERE generation < ?`)
    this.#recordTally = db.prepare(
      `UPDATE state SET synced = synced + ?1, superseded = superseded + ?2, live_keys = live_keys + ?3,
       outcomes = outcomes + ?4,
       head_sequence = CASE WHEN (head_epoch, head_sequence) < (?5, ?6) THEN ?6 ELSE head_sequence END,
       head_epoch = max(head_epoch, ?5)`,
    )
    // Only forward: a commit of another process may have recorded a later life of the queue meanwhile.
    this.#recordEpoch = db.prepare(
      `UPDATE state SET epoch = ?1, token = ?2, batch = ?3,
       head_sequence = CASE WHEN head_epoch < ?1 THEN 0 ELSE head_sequence END, head_epoch = max(head_epoch, ?1)
       WHERE epoch < ?1 OR epoch = ?1 AND (token <> ?2 OR batch < ?3)`,
    )
    this.#nextLocal = rows(
      `UPDATE state SET local_writes = local_writes + 1 RETURNING head_epoch, head_sequence, local_writes`,
    )
    this.#recordReceipt = db.prepare(
      `INSERT INTO receipts (memory_id, lane, epoch, sequence, idx, remote_id, content_hash, at_ms)
       SELECT id, ?3, ?4, ?5, ?6, ?7, ?8, ?9 FROM memories WHERE namespace = ?1 AND key = ?2
       ON CONFLICT (memory_id, lane) DO UPDATE SET epoch = excluded.epoch, sequence = excluded.sequence,
         idx = excluded.idx, remote_id = excluded.remote_id, content_hash = excluded.content_hash,
         at_ms = excluded.at_ms
       WHERE (excluded.epoch, excluded.sequence, excluded.idx) >= (epoch, sequence, idx)`,
    )
    this.#countPushed = db.prepare(`UPDATE state SET pushed = pushed + ?`)
    this.#adoptRemote = db.prepare(`UPDATE state SET remote = ?1 WHERE remote <> ?1`)
    this.#forgetPushes = db.prepare(`DELETE FROM receipts WHERE lane IN ('push', 'push-refused')`)
    this.#forgetPush = db.prepare(
      `DELETE FROM receipts WHERE lane IN ('push', 'push-refused')
       AND memory_id = (SELECT id FROM memories WHERE namespace = ? AND key = ?)`,
    )
    this.#requestEmbedding = db.prepare(
      `UPDATE memories SET embed = 1 WHERE namespace = ? AND key = ? AND value IS NOT NULL`,
    )
    this.#forgetEmbedding = db.prepare(
      `DELETE FROM receipts WHERE lane IN ('embed', 'embed-refused')
       AND memory_id = (SELECT id FROM memories WHERE namespace = ? AND key = ? AND value IS NOT NULL)`,
    )
    this.#raiseEpochOffset = db.prepare(`UPDATE state SET epoch_offset = max(epoch_offset, ?)`)
    this.#probe = db.prepare(`UPDATE state SET probes = probes + 1`)
  }

  apply(writes: readonly Write[], epoch: EpochRecord | undefined, nowMs: number): WriteOutcome[] {
    const head = { epoch: 0, sequence: 0, index: 0 }
    const tally: Tally = { synced: 0, superseded: 0, liveKeys: 0, head, outcomes: 0, generation: undefined }
    if (epoch) this.#recordEpoch.run(epoch.epoch, epoch.token, epoch.batch)
    const outcomes = writes.map((write) => this.#applyOne(write, nowMs, tally))
    const { synced, superseded, liveKeys } = tally
    if (synced + superseded > 0) {
      this.#recordTally.run(
        ...[synced, superseded, liveKeys],
        tally.outcomes,
        tally.head.epoch,
        tally.head.sequence,
      )
    }
    if (tally.outcomes > 0) this.#endGeneration(tally)
    return outcomes
  }

  #generationOf(tally: Tally): number {
    tally.generation ??= (this.#findGeneration.get() as unknown as [generation: number])[0]
    return tally.generation
  }

  /** Where the batch filled its generation, the next begins, and only the filled one is kept beside it. */
  #endGeneration(tally: Tally): void {
    const [generation] = this.#findGeneration.get() as unknown as [generation: number]
    if (generation !== tally.generation) this.#dropGenerations.run(generation - 1)
  }

  #applyOne(write: Write, nowMs: number, tally: Tally): WriteOutcome {
    const { namespace, key, version } = write
    if (write.op === 'set' && write.valueJson === undefined) throw new TypeError('a set needs its valueJson')
    const current = this.#findCurrent.get(namespace, key) as CurrentRow | undefined
    if (!current) {
      const [embed, metadata, value] = this.#contentOf(write, undefined)
      const { epoch, sequence, index } = version
      this.#insert.run(
        ...[namespace, key, epoch, sequence, index, embed, write.acceptedAtMs, nowMs, metadata, value],
      )
      tally.liveKeys += value === null ? 0 : 1
      return countApplied(version, tally)
    }
    const [id, epoch, sequence, index, revision, deleted, acceptedAtMs] = current
    const order = compareVersions(version, { epoch, sequence, index })
    if (order === 0) return { outcome: 'applied', repeated: true }
    const content = this.#contentOf(write, current)
    if (mayRepeat(version) && this.#findTwin.get(id, write.acceptedAtMs, ...content)) {
      return { outcome: 'applied', repeated: true }
    }
    const held = { version: { epoch, sequence, index }, acceptedAtMs }
    if (order > 0 && !isOvertaken(write, held)) {
      this.#keepCurrent.run(id)
      this.#overwrite(id, revision + 1, write, content, nowMs, tally)
    } else {
      const settled = this.#findSettled(id, version, tally)
      if (settled) return settled
      const overtakes = order < 0 && isOvertaken(held, write)
      this.#recordFate(version, overtakes ? 'applied' : 'superseded', tally)
      if (!overtakes) return { outcome: 'superseded', repeated: false }
      // Above what it overtook, as the versions of a key only grow; its own stands among the outcomes.
      this.#keepCurrent.run(id)
      const lifted = { ...write, version: { epoch, sequence, index: index + 1 } }
      this.#overwrite(id, revision + 1, lifted, content, nowMs, tally)
    }
    tally.liveKeys += deleted - (content[2] === null ? 1 : 0)
    return countApplied(version, tally)
  }

  #contentOf(write: Write, current: CurrentRow | undefined): Content {
    if (write.op === 'rollback') {
      const previous = current && this.#findPrevious.get(current[0], current[4] - 1)
      return (previous as Content | undefined) ?? [0, null, null]
    }
    const value = write.op === 'set' ? (write.valueJson as string) : null
    return [write.embed ? 1 : 0, write.metadataJson ?? null, value]
  }

  #overwrite(
    id: number,
    revision: number,
    { version, acceptedAtMs }: Write,
    [embed, metadata, value]: Content,
    nowMs: number,
    tally: Tally,
  ): void {
    const { epoch, sequence, index } = version
    this.#replace.run(revision, epoch, sequence, index, embed, acceptedAtMs, nowMs, metadata, value, id)
    const newestTrimmed = revision - this.#historyVersions
    if (newestTrimmed < 1) return
    tally.outcomes += Number(this.#recordTrimmed.run(this.#generationOf(tally), id, newestTrimmed).changes)
    this.#trimHistory.run(id, newestTrimmed)
  }

  /** The outcome of a write that is not the newest of its key and was here before. */
  #findSettled(id: number, version: Version, tally: Tally): WriteOutcome | undefined {
    const { epoch, sequence, index } = version
    if (this.#findInHistory.get(id, epoch, sequence, index)) return { outcome: 'applied', repeated: true }
    const found = this.#findOutcome.get(this.#generationOf(tally), epoch, sequence, index) as
      | [superseded: number]
      | undefined
    return found && { outcome: found[0] === 1 ? 'superseded' : 'applied', repeated: true }
  }

  #recordFate(version: Version, outcome: WriteOutcome['outcome'], tally: Tally): void {
    const { epoch, sequence, index } = version
    const superseded = outcome === 'superseded' ? 1 : 0
    this.#recordOutcome.run(this.#generationOf(tally), epoch, sequence, index, superseded)
    tally.outcomes++
    tally.superseded += superseded
  }

  nextLocalVersion(): Version {
    const [epoch, sequence, count] = this.#nextLocal.get() as unknown as [number, number, number]
    return { epoch, sequence, index: LOCAL_INDEX_BASE + count - 1 }
  }

  recordReceipts(entries: readonly { key: string; namespace: string; receipt: Receipt }[]): boolean[] {
    let pushed = 0
    const taken = entries.map(({ key, namespace, receipt }) => {
      const { epoch, sequence, index } = receipt.version
      const { changes } = this.#recordReceipt.run(
        ...[namespace, key, receipt.lane, epoch, sequence, index],
        ...[receipt.remoteId ?? null, receipt.contentHash, receipt.atMs],
      )
      if (Number(changes) > 0 && receipt.lane === 'push') pushed++
      return Number(changes) > 0
    })
    if (pushed > 0) this.#countPushed.run(pushed)
    return taken
  }

  adoptRemote(identity: string): boolean {
    const changed = Number(this.#adoptRemote.run(identity).changes) > 0
    if (changed) this.#forgetPushes.run()
    return changed
  }

  forgetPushes(names: readonly MemoryName[]): void {
    for (const { namespace, key } of names) this.#forgetPush.run(namespace, key)
  }

  requestEmbedding(names: readonly MemoryName[]): void {
    for (const { namespace, key } of names) {
      this.#requestEmbedding.run(namespace, key)
      this.#forgetEmbedding.run(namespace, key)
    }
  }

  raiseEpochOffset(epochOffset: number): void {
    this.#raiseEpochOffset.run(epochOffset)
  }

  /** Changes a row, as a write that changes nothing is not written. */
  probe(): void {
    this.#probe.run()
  }
}

function countApplied(version: Version, tally: Tally): WriteOutcome {
  tally.synced++
  if (compareVersions(version, tally.head) > 0) tally.head = version
  return { outcome: 'applied', repeated: false }
}
