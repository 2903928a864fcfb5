/** What is found when work has come to rest: read from Redis, the files and the remote, beside the program's own reports. */
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type Job, Queue } from 'bullmq'
import { contentHash, textOf } from '../../src/embedding/text.ts'
import { openStore } from '../../src/infrastructure/memory/index.ts'
import type { StoredMemory } from '../../src/infrastructure/memory/port.ts'
import { connectRedis, type RedisEndpoint, waitUntilReady } from '../../src/queue/connection.ts'
import type { FakeMem0 } from '../../tests/support/fakeMem0.ts'
import type {
  EmbeddedKey,
  Evidence,
  FoundDeadLetter,
  QueueCounts,
  RemoteRecord,
  RetriedJob,
  StoredKey,
  StoredWrite,
} from './ledger.ts'

const LANES = ['memory-sync', 'memory-push', 'memory-embed']
const REDIS_TIMEOUT_MS = 5_000
const SPACE = { model: 'text-embedding-3-large', dimensions: undefined }

export interface QueueEvidence {
  queues: Record<string, QueueCounts>
  deadLetters: FoundDeadLetter[]
  retried: RetriedJob[]
}

/** Everything in Redis. @throws where it does not answer */
export async function readQueues(endpoint: RedisEndpoint): Promise<QueueEvidence> {
  const redis = connectRedis(endpoint, 'producer')
  redis.on('error', () => undefined)
  try {
    await waitUntilReady(redis, REDIS_TIMEOUT_MS)
    const open = (name: string) => {
      const queue = new Queue(name, { connection: redis, skipVersionCheck: true, skipMetasUpdate: true })
      queue.on('error', () => undefined)
      return queue
    }
    const queues: Record<string, QueueCounts> = {}
    const retried: RetriedJob[] = []
    for (const name of LANES) {
      const queue = open(name)
      queues[name] = (await queue.getJobCounts(
        'waiting',
        'delayed',
        'active',
        'failed',
      )) as unknown as QueueCounts
      for (const job of await queue.getCompleted()) {
        if (job && job.attemptsMade > 1)
          retried.push({ queue: name, jobId: String(job.id), attempts: job.attemptsMade })
      }
    }
    const letters = await open('memory-dead-letter').getJobs(['waiting', 'delayed', 'active'])
    return { queues, retried, deadLetters: letters.map(toDeadLetter) }
  } finally {
    redis.disconnect()
  }
}

function toDeadLetter({ data }: Job): FoundDeadLetter {
  const operation: unknown = data.data?.metadata?.operation
  return {
    id: String(data.id),
    sourceQueue: String(data.sourceQueue),
    jobId: String(data.jobId),
    code: String(data.code),
    errorClass: String(data.class),
    operation: typeof operation === 'number' ? operation : undefined,
    attempts: Number(data.attempts),
  }
}

/** Why work has not come to rest; undefined where it has. */
export async function findUnrest(endpoint: RedisEndpoint, dataDir: string): Promise<string | undefined> {
  const { queues } = await readQueues(endpoint)
  const pending = Object.entries(queues).flatMap(([name, counts]) =>
    Object.entries(counts).flatMap(([state, count]) => (count > 0 ? [`${name}: ${count} ${state}`] : [])),
  )
  if (pending.length > 0) return pending.join(', ')
  const files = spoolFiles(dataDir)
  if (files.length > 0) return `the spool holds ${files.length} files`
  const store = await openStore({ dataDir, historyVersions: 10 }, { readOnly: true })
  try {
    for (const lane of ['push', 'embed'] as const) {
      const { names } = await store.behind(lane, { limit: 5 })
      if (names.length > 0)
        return `without a receipt of the lane ${lane}: ${names.map(({ key }) => key).join(', ')}`
    }
  } finally {
    await store.close()
  }
  return undefined
}

/** Files of the spool that hold accepted memories. */
export function spoolFiles(dataDir: string): string[] {
  const folder = join(dataDir, 'spool')
  return existsSync(folder) ? readdirSync(folder).filter((name) => /\.(spool|claimed)$/.test(name)) : []
}

/** Every key with its whole history, and what the store counts. */
export async function readStore(dataDir: string): Promise<Pick<Evidence, 'keys' | 'totals'>> {
  const store = await openStore({ dataDir, historyVersions: 10 }, { readOnly: true })
  try {
    const { memories } = await store.list({ limit: 10_000, includeDeleted: true })
    const keys: StoredKey[] = []
    for (const { namespace, key } of memories) {
      const writes = await store.history(key, namespace)
      keys.push({ namespace, key, writes: writes.map(toWrite).reverse() })
    }
    return { keys, totals: await store.totals() }
  } finally {
    await store.close()
  }
}

function toWrite({ version, deleted, value, embed, metadata }: StoredMemory): StoredWrite {
  const operation = metadata?.operation
  return {
    version,
    deleted,
    valueText: deleted ? undefined : JSON.stringify(value),
    embed,
    operation: typeof operation === 'number' ? operation : undefined,
  }
}

export function readRemote({ records }: FakeMem0): RemoteRecord[] {
  return [...records.values()].map(({ id, memory, user_id, metadata }) => ({
    id,
    text: memory,
    namespace: decodeURIComponent(user_id ?? ''),
    key: decodeURIComponent(String(metadata.sync_key)),
  }))
}

/** What a search would find, by memory. */
export function readVectors(dataDir: string): EmbeddedKey[] {
  const path = join(dataDir, 'vectors.db')
  if (!existsSync(path)) return []
  const db = new DatabaseSync(path, { readOnly: true })
  try {
    const rows = db
      .prepare(`
        SELECT n.name AS namespace, m.key, m.epoch, m.sequence, m.idx, v.content_hash AS hash
        FROM memories m JOIN namespaces n ON n.id = m.namespace_id
        LEFT JOIN chunks c ON c.memory_id = m.id LEFT JOIN vectors v ON v.id = c.vector_id
      `)
      .all()
    return [...Map.groupBy(rows, ({ namespace, key }) => JSON.stringify([namespace, key])).values()].flatMap(
      ([first, ...more]) =>
        first
          ? [
              {
                namespace: String(first.namespace),
                key: String(first.key),
                version: {
                  epoch: Number(first.epoch),
                  sequence: Number(first.sequence),
                  index: Number(first.idx),
                },
                contentHashes: [first, ...more].flatMap(({ hash }) => (hash === null ? [] : [String(hash)])),
              },
            ]
          : [],
    )
  } finally {
    db.close()
  }
}

export function expectedHash(valueText: string): string {
  return contentHash(SPACE, textOf(JSON.parse(valueText)))
}
