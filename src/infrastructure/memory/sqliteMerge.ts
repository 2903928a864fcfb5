/**
 * The SQL of a restore: what makes an image the next state of the store it replaces, or of none. Why, see
 * `sqliteRestore.ts`. Only the image is written to (and, where there is no store to go by, the versions of the vectors).
 */
import { existsSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { LOCAL_INDEX_BASE } from '../../jobs/version.ts'

export interface RestoreCounts {
  /** Live memories of the image. */
  memories: number
  /** Of these, how many differ from what is there now: all, where nothing that can be read is. */
  changed: number
  /** Live memories of the store that the image does not have, or has deleted. */
  removed: number
}

interface State {
  epoch: number
  token: string
  batch: number
  head_epoch: number
  head_sequence: number
  local_writes: number
  epoch_offset: number
}

const CONTENT = 'epoch, sequence, idx, embed, accepted_at_ms, persisted_at_ms, metadata, value'
const STATE = 'epoch, token, batch, head_epoch, head_sequence, local_writes, epoch_offset'

/** `i` of the image and `o` of the old store are one and the same write. */
const IS_SAME = `(i.epoch, i.sequence, i.idx) = (o.epoch, o.sequence, o.idx)
  AND i.value IS o.value AND i.metadata IS o.metadata`

/** Counts what differs; reads alone. */
export function compareWithReplaced(imagePath: string, storePath: string | undefined): RestoreCounts {
  const db = new DatabaseSync(storePath ?? imagePath, { readOnly: true })
  try {
    if (storePath === undefined) {
      const memories = countOf(db, 'SELECT count(*) AS n FROM memories WHERE value IS NOT NULL')
      return { memories, changed: memories, removed: 0 }
    }
    db.prepare('ATTACH ? AS image').run(imagePath)
    const same = 'SELECT 1 FROM main.memories o WHERE (o.namespace, o.key) = (i.namespace, i.key)'
    return {
      memories: countOf(db, 'SELECT count(*) AS n FROM image.memories WHERE value IS NOT NULL'),
      changed: countOf(
        db,
        `SELECT count(*) AS n FROM image.memories i WHERE value IS NOT NULL
         AND NOT EXISTS (${same} AND i.value IS o.value AND i.metadata IS o.metadata)`,
      ),
      removed: countOf(
        db,
        `SELECT count(*) AS n FROM main.memories o WHERE value IS NOT NULL AND NOT EXISTS
         (SELECT 1 FROM image.memories i WHERE (i.namespace, i.key) = (o.namespace, o.key) AND i.value IS NOT NULL)`,
      ),
    }
  } finally {
    db.close()
  }
}

/**
 * Makes the attached `image` the next state of the store that is open. Within a transaction of the caller's.
 * @param heldEpoch the newest epoch that something outside the store holds
 */
export function mergeReplaced(
  db: DatabaseSync,
  { nowMs, heldEpoch }: { nowMs: number; heldEpoch: number },
): void {
  const old = readState(db, 'main')
  const image = readState(db, 'image')
  const head = newerHead(old, image)
  const localBase = LOCAL_INDEX_BASE + Math.max(old.local_writes, image.local_writes)
  const highestId = countOf(db, 'SELECT ifnull(max(id), 0) AS n FROM image.memories')
  const oldHighestId = countOf(db, 'SELECT ifnull(max(id), 0) AS n FROM main.memories')
  db.exec(`
    CREATE TEMP TABLE changed AS SELECT i.id AS image_id, o.id AS old_id
      FROM image.memories i LEFT JOIN main.memories o ON o.namespace = i.namespace AND o.key = i.key
      WHERE o.id IS NULL OR NOT (${IS_SAME});
    CREATE UNIQUE INDEX temp.changed_by_image ON changed (image_id);
    INSERT INTO image.history (memory_id, revision, ${CONTENT})
      SELECT i.id, i.revision, ${CONTENT} FROM changed JOIN image.memories i ON i.id = image_id;
    INSERT INTO image.history (memory_id, revision, ${CONTENT})
      SELECT i.id, i.revision + 1, ${columnsOf('o')} FROM changed
      JOIN image.memories i ON i.id = image_id JOIN main.memories o ON o.id = old_id;
  `)
  db.prepare(
    `UPDATE image.memories AS i SET epoch = ?1, sequence = ?2, idx = ?3 + i.id, persisted_at_ms = ?4,
       revision = revision + 1 + (old_id IS NOT NULL),
       accepted_at_ms = max(i.accepted_at_ms, ifnull(
         (SELECT o.accepted_at_ms FROM main.memories o WHERE o.id = old_id), 0))
     FROM temp.changed WHERE image_id = i.id`,
  ).run(head.epoch, head.sequence, localBase, nowMs)
  buryMissing(db, head, localBase + highestId, nowMs)
  takeReceipts(db)
  // Of what is the same, whether it is to be embedded is the newer wish.
  db.exec(`
    UPDATE image.memories AS i SET embed = o.embed FROM main.memories o
      WHERE o.namespace = i.namespace AND o.key = i.key AND ${IS_SAME} AND i.embed <> o.embed;
    DROP TABLE temp.changed;
  `)
  const localWrites = localBase - LOCAL_INDEX_BASE + highestId + oldHighestId + 1
  mergeState(db, laterLife(old, image, heldEpoch), head, localWrites, epochOffsetOf([old, image], nowMs))
}

/** Tombstones for the keys that only the old store has; its own tombstones are taken over as they are. */
function buryMissing(db: DatabaseSync, head: Head, indexBase: number, nowMs: number): void {
  const isMissing =
    'NOT EXISTS (SELECT 1 FROM image.memories i WHERE i.namespace = o.namespace AND i.key = o.key)'
  db.exec(`CREATE TEMP TABLE missing AS SELECT o.id AS old_id FROM main.memories o WHERE ${isMissing}`)
  db.prepare(
    `INSERT INTO image.memories
       (namespace, key, epoch, sequence, idx, revision, embed, accepted_at_ms, persisted_at_ms, metadata, value)
     SELECT namespace, key, iif(value IS NULL, epoch, ?1), iif(value IS NULL, sequence, ?2),
       iif(value IS NULL, idx, ?3 + id), iif(value IS NULL, 1, 2), 0, accepted_at_ms, ?4, NULL, NULL
     FROM temp.missing JOIN main.memories ON id = old_id`,
  ).run(head.epoch, head.sequence, indexBase, nowMs)
  db.exec(`
    INSERT INTO image.history (memory_id, revision, ${CONTENT})
      SELECT i.id, 1, ${columnsOf('o')} FROM temp.missing JOIN main.memories o ON o.id = old_id
      JOIN image.memories i ON i.namespace = o.namespace AND i.key = o.key WHERE o.value IS NOT NULL;
    DROP TABLE temp.missing;
  `)
}

/** What the old store knows of the lanes and of finished writes is newer than what the image does. */
function takeReceipts(db: DatabaseSync): void {
  db.exec(`
    DELETE FROM image.receipts;
    INSERT INTO image.receipts (memory_id, lane, epoch, sequence, idx, remote_id, content_hash, at_ms)
      SELECT i.id, r.lane, r.epoch, r.sequence, r.idx, r.remote_id, r.content_hash, r.at_ms FROM main.receipts r
      JOIN main.memories o ON o.id = r.memory_id
      JOIN image.memories i ON i.namespace = o.namespace AND i.key = o.key;
    DELETE FROM image.outcomes;
    INSERT INTO image.outcomes SELECT * FROM main.outcomes;
    UPDATE image.state SET (remote, outcomes) = (SELECT remote, outcomes FROM main.state);
    UPDATE image.state AS i SET synced = max(i.synced, o.synced), superseded = max(i.superseded, o.superseded),
      pushed = max(i.pushed, o.pushed) FROM main.state o;
  `)
}

interface Head {
  epoch: number
  sequence: number
}

function mergeState(
  db: DatabaseSync,
  life: Pick<State, 'epoch' | 'token' | 'batch'>,
  head: Head,
  localWrites: number,
  epochOffset: number,
): void {
  db.prepare(
    `UPDATE image.state SET epoch = ?, token = ?, batch = ?, head_epoch = ?, head_sequence = ?, local_writes = ?,
     epoch_offset = ?`,
  ).run(life.epoch, life.token, life.batch, head.epoch, head.sequence, localWrites, epochOffset)
}

/**
 * Makes the image, which is open as `main`, a store of its own where the one before it cannot be read. The vectors are
 * given versions that no write is older than, but those that belong to the image.
 */
export function adoptAlone(
  db: DatabaseSync,
  { vectorsPath, nowMs, heldEpoch }: { vectorsPath: string; nowMs: number; heldEpoch: number },
): void {
  const state = readState(db, 'main')
  const { epoch, token, batch } = laterLife(undefined, state, heldEpoch)
  db.exec('BEGIN')
  db.exec(`DELETE FROM receipts WHERE lane IN ('push', 'push-refused')`)
  db.prepare('UPDATE state SET epoch = ?, token = ?, batch = ?, epoch_offset = ?').run(
    ...([epoch, token, batch, epochOffsetOf([state], nowMs)] as const),
  )
  db.exec('COMMIT')
  if (!existsSync(vectorsPath) || !matchVectors(db, vectorsPath, nowMs)) {
    db.exec(`DELETE FROM receipts WHERE lane IN ('embed', 'embed-refused')`)
  }
}

/** False where the vectors cannot be read, which is told by whoever uses them. */
function matchVectors(db: DatabaseSync, vectorsPath: string, nowMs: number): boolean {
  const isVector = `v.namespace_id = n.id AND n.name = m.namespace AND v.key = m.key`
  const isOfVersion = `(v.epoch, v.sequence, v.idx) = (m.epoch, m.sequence, m.idx)`
  try {
    db.prepare('ATTACH ? AS vectors').run(vectorsPath)
    db.exec(`
      BEGIN IMMEDIATE;
      DELETE FROM main.receipts AS r WHERE lane IN ('embed', 'embed-refused') AND NOT EXISTS (
        SELECT 1 FROM main.memories m, vectors.namespaces n, vectors.memories v
        WHERE m.id = r.memory_id AND ${isVector} AND ${isOfVersion});
      UPDATE vectors.memories AS v SET epoch = 0, sequence = 0, idx = 0 WHERE NOT EXISTS (
        SELECT 1 FROM main.memories m, vectors.namespaces n WHERE ${isVector} AND ${isOfVersion});
    `)
    // So that the lane takes away what is embedded and is not to be.
    db.prepare(
      `INSERT OR IGNORE INTO main.receipts (memory_id, lane, epoch, sequence, idx, content_hash, at_ms)
       SELECT m.id, 'embed', 0, 0, 0, '', ? FROM main.memories m, vectors.namespaces n, vectors.memories v
       WHERE ${isVector} AND v.space_id IS NOT NULL AND (m.embed = 0 OR m.value IS NULL)`,
    ).run(nowMs)
    db.exec('COMMIT; DETACH vectors')
    return true
  } catch (thrown) {
    if (db.isTransaction) db.exec('ROLLBACK')
    if (typeof (thrown as { errcode?: unknown }).errcode !== 'number') throw thrown
    return false
  }
}

/**
 * Which record of the queue's life goes on: that of the old store, unless it is of another past than the image and no
 * later one. Pure.
 */
export function laterLife<L extends Pick<State, 'epoch' | 'token' | 'batch'>>(
  old: L | undefined,
  image: L,
  heldEpoch: number,
): Pick<State, 'epoch' | 'token' | 'batch'> {
  const isOneLife = old?.epoch === image.epoch && old.token === image.token
  const later = old && (old.epoch > image.epoch || (isOneLife && old.batch > image.batch)) ? old : image
  // A life that the store does not know of held this: the next one is then later than it too.
  if (heldEpoch > later.epoch) return { epoch: heldEpoch, token: '', batch: 0 }
  return later
}

function newerHead(a: State, b: State): Head {
  const isFirst =
    a.head_epoch > b.head_epoch || (a.head_epoch === b.head_epoch && a.head_sequence >= b.head_sequence)
  const { head_epoch: epoch, head_sequence: sequence } = isFirst ? a : b
  return { epoch, sequence }
}

/** Above every epoch that these can have pushed, and above what a store that is lost pushed before now. */
function epochOffsetOf(states: readonly State[], nowMs: number): number {
  const pushed = states.map((state) => state.epoch_offset + Math.max(state.epoch, state.head_epoch))
  return Math.max(nowMs, ...pushed.map((epoch) => epoch + 1))
}

function readState(db: DatabaseSync, schema: 'main' | 'image'): State {
  return db.prepare(`SELECT ${STATE} FROM ${schema}.state`).get() as unknown as State
}

function countOf(db: DatabaseSync, sql: string): number {
  return Number(db.prepare(sql).get()?.n)
}

function columnsOf(table: string): string {
  return CONTENT.split(', ')
    .map((column) => `${table}.${column}`)
    .join(', ')
}
