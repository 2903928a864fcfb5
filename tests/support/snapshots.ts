/** Stores to be backed up and restored, without a queue. */
import type { Config } from '../../src/config.ts'
import { openStore } from '../../src/infrastructure/memory/index.ts'
import type { Store, Write } from '../../src/infrastructure/memory/port.ts'
import { type Created, createSnapshot } from '../../src/snapshot/create.ts'
import { Restore, type RestorePlan } from '../../src/snapshot/restore.ts'
import { tempDir } from './tempDir.ts'

export type SnapshotTestSettings = Pick<
  Config,
  'dataDir' | 'snapshotDir' | 'snapshotKeep' | 'snapshotKeepDays' | 'spoolMaxBytes' | 'historyVersions'
>

export function snapshotSettings(dataDir = tempDir()): SnapshotTestSettings {
  const limits = { snapshotKeep: 5, snapshotKeepDays: 60, spoolMaxBytes: 2 ** 28, historyVersions: 10 }
  return { dataDir, snapshotDir: undefined, ...limits }
}

/** Opens the store for as long as `work` takes. */
export async function withStore<T>(
  settings: SnapshotTestSettings,
  work: (store: Store) => Promise<T>,
): Promise<T> {
  const store = await openStore(settings)
  try {
    return await work(store)
  } finally {
    await store.close()
  }
}

export function writeOf(key: string, value: unknown, sequence: number, epoch = 1): Write {
  const version = { epoch, sequence, index: 0 }
  const shared = { namespace: 'default', key, version, acceptedAtMs: sequence }
  return value === undefined
    ? { ...shared, op: 'delete' }
    : { ...shared, op: 'set', valueJson: JSON.stringify(value) }
}

/** Writes as the queue would, under the life of this epoch, whose token is `life` and the epoch. */
export async function write(
  settings: SnapshotTestSettings,
  writes: readonly Write[],
  batch = 1,
): Promise<void> {
  const epoch = Math.max(0, ...writes.map(({ version }) => version.epoch))
  await withStore(settings, (store) => store.apply(writes, { epoch, token: `life${epoch}`, batch }))
}

/** Key to value of every live memory. */
export function contents(settings: SnapshotTestSettings): Promise<Record<string, unknown>> {
  return withStore(settings, async (store) => {
    const { memories } = await store.list({ limit: 10_000 })
    return Object.fromEntries(memories.map(({ key, value }) => [key, value]))
  })
}

export function snapshotOf(settings: SnapshotTestSettings): Promise<Created> {
  return createSnapshot(settings)
}

export async function restore(
  settings: SnapshotTestSettings,
  which = 'latest',
): Promise<RestorePlan & { keptPath: string | undefined }> {
  const prepared = await Restore.prepare(settings, which)
  try {
    return { ...prepared.plan, ...(await prepared.carryOut()) }
  } finally {
    prepared.close()
  }
}
