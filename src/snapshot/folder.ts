/**
 * The folder of snapshots: what there is, and what goes. A snapshot is in its place whole or not at all; whatever else
 * ends in `.tmp` is what a process that was killed left, and the next one that makes a snapshot removes it.
 */
import { closeSync, openSync, readdirSync, readSync, rmSync, statfsSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Config } from '../config.ts'
import { MemsyncError, toMemsyncError } from '../errors.ts'
import { toStoreError } from '../infrastructure/memory/sqliteErrors.ts'
import { damaged, HEAD_BYTES, parseHead, parseSnapshotName, type SnapshotHead } from './format.ts'
import { expired } from './retention.ts'

/** What is left free beside a snapshot or a restored store, for all else that writes there. */
const SPARE_BYTES = 32 * 1024 * 1024

/** Of a snapshot that is being written. */
export const DRAFT_SUFFIX = '.tmp'

export interface Snapshot {
  name: string
  path: string
  createdAtMs: number
  /** Of the file. */
  fileBytes: number
  /** What its head says; undefined where that cannot be read. */
  head: SnapshotHead | undefined
  /** Why it cannot be used; undefined where nothing is known to be wrong. */
  problem: string | undefined
}

type FolderSettings = Pick<Config, 'dataDir' | 'snapshotDir'>

export function snapshotFolder({ dataDir, snapshotDir }: FolderSettings): string {
  return snapshotDir ?? join(dataDir, 'snapshots')
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw toStoreError(error, folder)
  }
}

/** Newest first. Reads the heads alone. @throws MEMSYNC_STORE_UNAVAILABLE where the folder cannot be read */
export function listSnapshots(settings: FolderSettings): Snapshot[] {
  const folder = snapshotFolder(settings)
  return namesIn(folder)
    .filter((name) => parseSnapshotName(name) !== undefined)
    .sort()
    .reverse()
    .map((name) => look(join(folder, name), name))
}

/** When the newest snapshot was made, by the names alone; undefined where there is none, or it cannot be seen. */
export function latestSnapshotAtMs(settings: FolderSettings): number | undefined {
  try {
    const times = namesIn(snapshotFolder(settings)).map(parseSnapshotName)
    return times.filter((time) => time !== undefined).sort((a, b) => b - a)[0]
  } catch (error) {
    if (error instanceof MemsyncError) return undefined
    throw error
  }
}

function look(path: string, name: string): Snapshot {
  const createdAtMs = parseSnapshotName(name) ?? 0
  const fileBytes = statSync(path, { throwIfNoEntry: false })?.size ?? 0
  try {
    const head = readHead(path)
    return { name, path, createdAtMs: head.createdAtMs, fileBytes, head, problem: undefined }
  } catch (thrown) {
    const { message } = toMemsyncError(thrown, 'MEMSYNC_SNAPSHOT_DAMAGED')
    return { name, path, createdAtMs, fileBytes, head: undefined, problem: message }
  }
}

/** @throws MEMSYNC_SNAPSHOT_DAMAGED, MEMSYNC_STORE_NEWER, MEMSYNC_NOT_FOUND, MEMSYNC_STORE_UNAVAILABLE */
export function readHead(path: string): SnapshotHead {
  let file: number | undefined
  try {
    file = openSync(path, 'r')
    const bytes = Buffer.alloc(HEAD_BYTES)
    const head = parseHead(bytes.subarray(0, readSync(file, bytes, 0, HEAD_BYTES, 0)))
    const expected = HEAD_BYTES + head.packedBytes
    const { size } = statSync(path)
    if (size !== expected) throw damaged(`it has ${size} bytes and should have ${expected}`)
    return head
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException
    if (code === 'ENOENT') throw new MemsyncError('MEMSYNC_NOT_FOUND', `there is no snapshot ${path}`)
    throw toStoreError(thrown, path)
  } finally {
    if (file !== undefined) closeSync(file)
  }
}

/**
 * The file that `which` names: `latest`, a name of the list, or a path.
 * @throws MEMSYNC_NOT_FOUND
 */
export function findSnapshot(settings: FolderSettings, which: string): string {
  if (which !== 'latest') {
    const listed = join(snapshotFolder(settings), which)
    const isListed = !which.includes('/') && statSync(listed, { throwIfNoEntry: false })?.isFile()
    const path = isListed ? listed : resolve(which)
    if (statSync(path, { throwIfNoEntry: false })?.isFile()) return path
    throw new MemsyncError('MEMSYNC_NOT_FOUND', `there is no snapshot ${which}`)
  }
  const newest = listSnapshots(settings).find(({ problem }) => problem === undefined)
  if (newest) return newest.path
  throw new MemsyncError('MEMSYNC_NOT_FOUND', `there is no snapshot in ${snapshotFolder(settings)}`)
}

/** Removes what `limits` let go. One whose head cannot be read is left for a person. @returns their names */
export function removeExpired(
  settings: FolderSettings & Pick<Config, 'snapshotKeep' | 'snapshotKeepDays'>,
  nowMs: number,
): string[] {
  const { snapshotKeep: keep, snapshotKeepDays: keepDays } = settings
  const sound = listSnapshots(settings).filter(({ problem }) => problem === undefined)
  const gone = expired(sound, { keep, keepDays }, nowMs)
  for (const { path } of gone) rmSync(path, { force: true })
  return gone.map(({ name }) => name)
}

/** Removes what a killed process left, and nothing that is not ours: the folder may be anybody's choice. */
export function removeUnfinished(folder: string): void {
  for (const name of namesIn(folder)) {
    const isDraft =
      name.endsWith(DRAFT_SUFFIX) && parseSnapshotName(name.slice(0, -DRAFT_SUFFIX.length)) !== undefined
    if (isDraft) rmSync(join(folder, name), { force: true })
  }
}

/** @throws MEMSYNC_STORE_UNAVAILABLE where `bytes` do not fit on the file system of `folder` */
export function checkFreeSpace(folder: string, bytes: number): void {
  const { bavail, bsize } = statfsSync(folder)
  const free = bavail * bsize
  if (free >= bytes + SPARE_BYTES) return
  const inMib = (count: number) => `${Math.ceil(count / 1024 / 1024).toLocaleString('en-US')} MiB`
  throw new MemsyncError(
    'MEMSYNC_STORE_UNAVAILABLE',
    `${folder}: ${inMib(bytes + SPARE_BYTES)} are needed and ${inMib(free)} are free`,
  )
}
