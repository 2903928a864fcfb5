/** The least store that keeps the promises of the port, for tests of what stands on one. */

import { MemsyncError } from '../../src/errors.ts'
import type { Metadata, Store, StoredMemory, Write } from '../../src/infrastructure/memory/port.ts'
import type { JsonValue } from '../../src/jobs/jsonValue.ts'
import { compareVersions } from '../../src/jobs/version.ts'

export interface MemoryStore extends Store {
  /** While true, every write and probe fails as on a full disk. */
  full: boolean
}

const order = (a: StoredMemory, b: { namespace: string; key: string }) =>
  Buffer.compare(Buffer.from(a.namespace), Buffer.from(b.namespace)) ||
  Buffer.compare(Buffer.from(a.key), Buffer.from(b.key))

function stored(write: Write): StoredMemory {
  const deleted = write.op === 'delete'
  return {
    namespace: write.namespace,
    key: write.key,
    value: deleted ? undefined : (JSON.parse(write.valueJson ?? 'null') as JsonValue),
    deleted,
    metadata: write.metadataJson ? (JSON.parse(write.metadataJson) as Metadata) : undefined,
    embed: write.embed ?? false,
    version: write.version,
    acceptedAtMs: write.acceptedAtMs,
    persistedAtMs: write.acceptedAtMs,
  }
}

export function openMemoryStore(): MemoryStore {
  const rows = new Map<string, StoredMemory>()
  const idOf = (namespace: string, key: string) => JSON.stringify([namespace, key])
  const unused = () => Promise.reject(new Error('this test store has no such part'))
  const checkDisk = () => {
    if (store.full) throw new MemsyncError('MEMSYNC_STORE_UNAVAILABLE', 'the disk is full')
  }
  const store: MemoryStore = {
    full: false,
    async apply(writes) {
      checkDisk()
      return writes.map((write) => {
        const id = idOf(write.namespace, write.key)
        const held = rows.get(id)
        const order = held ? compareVersions(write.version, held.version) : 1
        if (order > 0) rows.set(id, stored(write))
        return { outcome: order < 0 ? 'superseded' : 'applied', repeated: order === 0 }
      })
    },
    async find(key, namespace = 'default') {
      return rows.get(idOf(namespace, key))
    },
    async list({ namespace, limit = 100, after, includeDeleted = false } = {}) {
      const found = [...rows.values()]
        .filter((row) => namespace === undefined || row.namespace === namespace)
        .filter((row) => (includeDeleted || !row.deleted) && (!after || order(row, after) > 0))
        .sort(order)
      const memories = found.slice(0, limit)
      const last = memories.at(-1)
      return {
        memories,
        next: found.length > limit && last ? { namespace: last.namespace, key: last.key } : undefined,
      }
    },
    async probe() {
      checkDisk()
    },
    async close() {},
    nextLocalVersion: unused,
    readEpoch: unused,
    history: unused,
    totals: unused,
    recordReceipt: unused,
    receipts: unused,
  }
  return store
}
