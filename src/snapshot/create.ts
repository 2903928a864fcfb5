/**
 * Makes a snapshot: copies the store, checks the copy, packs it, and only then gives it its name. Whatever is interrupted
 * leaves files that no list shows, and that the next one removes. One process at a time makes snapshots of a data folder;
 * the copy is made beside the store, as the folder of the snapshots may be on a file system that cannot hold a database.
 *
 *   copy (one moment of the store) ─▶ integrity check ─▶ zstd into NAME.tmp ─▶ fsync ─▶ rename ─▶ fsync of the folder
 */
import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream, mkdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { constants, createZstdCompress } from 'node:zlib'
import type { Config } from '../config.ts'
import { acquireProcessLock } from '../daemon/processLock.ts'
import { MemsyncError } from '../errors.ts'
import { storePath } from '../infrastructure/memory/index.ts'
import { toStoreError } from '../infrastructure/memory/sqliteErrors.ts'
import { copyStore, storeBytes } from '../infrastructure/memory/sqliteImage.ts'
import { syncFolder } from '../infrastructure/memory/sqliteSchema.ts'
import { DAEMON_VERSION } from '../release.ts'
import {
  checkFreeSpace,
  DRAFT_SUFFIX,
  removeExpired,
  removeUnfinished,
  type Snapshot,
  snapshotFolder,
} from './folder.ts'
import { formatHead, HEAD_BYTES, type SnapshotHead, snapshotName } from './format.ts'

const CHUNK_BYTES = 1024 * 1024

export type SnapshotSettings = Pick<Config, 'dataDir' | 'snapshotDir' | 'snapshotKeep' | 'snapshotKeepDays'>

export interface CreateOptions {
  /** The night whose work it is. */
  night?: string
  /** Bytes of the copy that are packed, of all. */
  onProgress?: (done: number, total: number) => void
}

export interface Created {
  snapshot: Snapshot & { head: SnapshotHead }
  /** Names of the older ones that had had their time. */
  removed: string[]
}

/**
 * @throws MEMSYNC_NOT_FOUND where there is no store yet, MEMSYNC_ALREADY_RUNNING where another process makes one here,
 *   MEMSYNC_STORE_UNAVAILABLE (disk full, among others), MEMSYNC_STORE_CORRUPT, MEMSYNC_STORE_NEWER
 */
export async function createSnapshot(
  settings: SnapshotSettings,
  options: CreateOptions = {},
): Promise<Created> {
  const folder = snapshotFolder(settings)
  const store = storePath(settings)
  const bytes = storeBytes(store)
  if (bytes === 0) throw new MemsyncError('MEMSYNC_NOT_FOUND', `${store}: there is no store yet`)
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
  } catch (thrown) {
    throw toStoreError(thrown, folder)
  }
  const { dataDir } = settings
  const lock = acquireProcessLock(join(dataDir, 'snapshot.lock'), 0)
  if (!lock) {
    throw new MemsyncError('MEMSYNC_ALREADY_RUNNING', `another process makes a snapshot of ${dataDir}`)
  }
  const image = `${store}.copy`
  try {
    removeCopy(image)
    removeUnfinished(folder)
    // The packed one is no longer than the copy at worst.
    const isOneDisk = statSync(dataDir).dev === statSync(folder).dev
    checkFreeSpace(folder, isOneDisk ? 2 * bytes : bytes)
    checkFreeSpace(dataDir, bytes)
    const snapshot = await place(folder, store, image, options)
    return { snapshot, removed: removeExpired(settings, Date.now()) }
  } catch (thrown) {
    throw toStoreError(thrown, folder)
  } finally {
    removeCopy(image)
    removeUnfinished(folder)
    lock.release()
  }
}

function removeCopy(image: string): void {
  for (const suffix of ['', '-journal', '-wal', '-shm']) rmSync(`${image}${suffix}`, { force: true })
}

async function place(
  folder: string,
  store: string,
  image: string,
  options: CreateOptions,
): Promise<Created['snapshot']> {
  const createdAtMs = freeMoment(folder, Date.now())
  const name = snapshotName(createdAtMs)
  const path = join(folder, name)
  const draft = `${path}${DRAFT_SUFFIX}`
  const facts = await copyStore(store, image)
  const packed = await pack(image, draft, options.onProgress)
  const head: SnapshotHead = {
    ...{ ...packed, ...facts, createdAtMs, program: DAEMON_VERSION },
    ...(options.night === undefined ? {} : { night: options.night }),
  }
  const file = await open(draft, 'r+')
  try {
    await file.write(formatHead(head), 0, HEAD_BYTES, 0)
    await file.sync()
  } finally {
    await file.close()
  }
  renameSync(draft, path)
  syncFolder(folder)
  const fileBytes = HEAD_BYTES + packed.packedBytes
  return { name, path, createdAtMs, fileBytes, head, problem: undefined }
}

/** A name nothing has: two in one millisecond, or a clock that was set back, replace nothing. */
function freeMoment(folder: string, nowMs: number): number {
  for (let ms = nowMs; ; ms++) {
    if (!statSync(join(folder, snapshotName(ms)), { throwIfNoEntry: false })) return ms
  }
}

async function pack(
  image: string,
  draft: string,
  onProgress: CreateOptions['onProgress'],
): Promise<Pick<SnapshotHead, 'bytes' | 'packedBytes' | 'packedSha256'>> {
  const total = statSync(image).size
  const sum = createHash('sha256')
  let bytes = 0
  let packedBytes = 0
  const params = { [constants.ZSTD_c_checksumFlag]: 1 }
  await pipeline(
    createReadStream(image, { highWaterMark: CHUNK_BYTES }),
    async function* (chunks: AsyncIterable<Buffer>) {
      for await (const chunk of chunks) {
        bytes += chunk.length
        onProgress?.(bytes, total)
        yield chunk
      }
    },
    createZstdCompress({ params, chunkSize: CHUNK_BYTES }),
    async function* (chunks: AsyncIterable<Buffer>) {
      // The head's place, filled once it is known.
      yield Buffer.alloc(HEAD_BYTES)
      for await (const chunk of chunks) {
        packedBytes += chunk.length
        sum.update(chunk)
        yield chunk
      }
    },
    createWriteStream(draft, { flags: 'wx', mode: 0o600 }),
  )
  return { bytes, packedBytes, packedSha256: sum.digest('hex') }
}
