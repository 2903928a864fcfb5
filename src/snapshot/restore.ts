/**
 * A restore, in two steps with a person's word between them: what it would do, and the doing.
 *
 *   lock out daemons ─▶ unpack beside the store ─▶ check ─▶ compare ─▶ (go on?) ─▶ replace (`sqliteRestore.ts`)
 *
 * Until the replacement the store is not touched; it is one rename, so a kill leaves either the old store or the new one.
 * What it leaves beside that (`RESTORING` files, a second name of the store) the next restore or daemon removes.
 */
import { mkdirSync, rmSync } from 'node:fs'
import type { Config } from '../config.ts'
import { acquireProcessLock, instanceLockPath, type ProcessLock } from '../daemon/processLock.ts'
import { MemsyncError } from '../errors.ts'
import { storePath, vectorsPath } from '../infrastructure/memory/index.ts'
import { toStoreError } from '../infrastructure/memory/sqliteErrors.ts'
import type { RestoreCounts } from '../infrastructure/memory/sqliteMerge.ts'
import {
  keptName,
  lookAtReplaced,
  migrateImage,
  previewRestore,
  type Replaced,
  replaceStore,
  undoHalfRestore,
} from '../infrastructure/memory/sqliteRestore.ts'
import { Spool } from '../producers/spool.ts'
import { findSnapshot, type Snapshot } from './folder.ts'
import type { SnapshotHead } from './format.ts'
import { unpackSnapshot } from './unpack.ts'

type RestoreSettings = Pick<Config, 'dataDir' | 'snapshotDir' | 'spoolMaxBytes'>

export interface RestorePlan extends RestoreCounts {
  path: Snapshot['path']
  head: SnapshotHead
  replaced: Replaced
}

export class Restore {
  readonly plan: RestorePlan
  private readonly settings: RestoreSettings
  private readonly image: string
  private readonly lock: ProcessLock

  private constructor(settings: RestoreSettings, plan: RestorePlan, image: string, lock: ProcessLock) {
    this.settings = settings
    this.plan = plan
    this.image = image
    this.lock = lock
  }

  /**
   * Checks everything and changes nothing. Whoever gets one closes it; until then no daemon starts on the data folder.
   * @param which `latest`, a name of the list, or a path
   * @throws MEMSYNC_ALREADY_RUNNING while a daemon runs, MEMSYNC_NOT_FOUND, MEMSYNC_SNAPSHOT_DAMAGED,
   *   MEMSYNC_STORE_NEWER, MEMSYNC_STORE_UNAVAILABLE
   */
  static async prepare(
    settings: RestoreSettings,
    which: string,
    onProgress?: (done: number, total: number) => void,
  ): Promise<Restore> {
    const path = findSnapshot(settings, which)
    const lock = lockOutDaemons(settings.dataDir)
    const store = storePath(settings)
    const image = `${store}.restoring`
    try {
      undoHalfRestore(store)
      const head = await unpackSnapshot(path, image, onProgress)
      migrateImage(image)
      const replaced = lookAtReplaced(store)
      const plan = { path, head, replaced, ...previewRestore(image, store, replaced) }
      return new Restore(settings, plan, image, lock)
    } catch (thrown) {
      removeImage(image)
      lock.release()
      throw thrown
    }
  }

  /**
   * Replaces the store; durable when it resolves.
   * @returns the name that the replaced store has now; undefined where there was none
   * @throws MEMSYNC_STORE_IN_USE, MEMSYNC_STORE_UNAVAILABLE; the store is as it was then
   */
  async carryOut(): Promise<{ keptPath: string | undefined }> {
    const store = storePath(this.settings)
    const nowMs = Date.now()
    const keptPath = keptName(store, nowMs)
    const { replaced } = this.plan
    const heldEpoch = await this.claimedEpoch()
    const paths = {
      storePath: store,
      imagePath: this.image,
      vectorsPath: vectorsPath(this.settings),
      keptPath,
    }
    replaceStore({ ...paths, nowMs, heldEpoch }, replaced)
    return { keptPath: replaced === 'none' ? undefined : keptPath }
  }

  /** Idempotent. */
  close(): void {
    // Of one that failed too: the store keeps its one name.
    undoHalfRestore(storePath(this.settings))
    this.lock.release()
  }

  /** Of what stands in the spool with a version already. */
  private async claimedEpoch(): Promise<number> {
    const { dataDir, spoolMaxBytes } = this.settings
    const files = await new Spool(dataDir, spoolMaxBytes).list()
    return Math.max(0, ...files.map(({ claim }) => claim?.epoch ?? 0))
  }
}

function removeImage(image: string): void {
  for (const suffix of ['', '-wal', '-shm', '-journal']) rmSync(`${image}${suffix}`, { force: true })
}

function lockOutDaemons(dataDir: string): ProcessLock {
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 })
  } catch (thrown) {
    throw toStoreError(thrown, dataDir)
  }
  const lock = acquireProcessLock(instanceLockPath(dataDir))
  if (lock) return lock
  throw new MemsyncError('MEMSYNC_ALREADY_RUNNING', `a daemon runs on ${dataDir}: stop it, then restore`)
}
