/**
 * Reads a snapshot back: unpacks it into a file of its own and checks that file as the store it is to be. Nothing else is
 * touched. What a file claims is believed only as far as it is cheap: its length before it is read, its checksum before it
 * is used, and no more is written than it says and the disk has.
 */
import { createHash, type Hash } from 'node:crypto'
import { createReadStream, createWriteStream, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createZstdDecompress } from 'node:zlib'
import { MemsyncError } from '../errors.ts'
import { toStoreError } from '../infrastructure/memory/sqliteErrors.ts'
import { checkImage } from '../infrastructure/memory/sqliteImage.ts'
import { checkFreeSpace, readHead } from './folder.ts'
import { damaged, HEAD_BYTES, type SnapshotHead } from './format.ts'

const CHUNK_BYTES = 1024 * 1024

/**
 * Unpacks the snapshot at `path` to `imagePath`, which must not be there, and checks it whole. Where it throws, there is
 * no such file.
 * @param onProgress packed bytes that are read, of all
 * @throws MEMSYNC_SNAPSHOT_DAMAGED, MEMSYNC_STORE_NEWER, MEMSYNC_NOT_FOUND, MEMSYNC_STORE_UNAVAILABLE (disk full)
 */
export async function unpackSnapshot(
  path: string,
  imagePath: string,
  onProgress?: (done: number, total: number) => void,
): Promise<SnapshotHead> {
  const head = readHead(path)
  checkFreeSpace(dirname(imagePath), head.bytes)
  try {
    await unpack(path, head, imagePath, onProgress)
    const { keys, schema } = checkImage(imagePath)
    if (keys !== head.keys || schema !== head.schema) throw damaged('it holds another store than it says')
    return head
  } catch (thrown) {
    rmSync(imagePath, { force: true })
    throw toSnapshotError(thrown, path)
  }
}

async function unpack(
  path: string,
  head: SnapshotHead,
  imagePath: string,
  onProgress: ((done: number, total: number) => void) | undefined,
): Promise<void> {
  const sum = createHash('sha256')
  await pipeline(
    createReadStream(path, { start: HEAD_BYTES, highWaterMark: CHUNK_BYTES }),
    (chunks: AsyncIterable<Buffer>) => summed(chunks, sum, (done) => onProgress?.(done, head.packedBytes)),
    createZstdDecompress({ chunkSize: CHUNK_BYTES }),
    (chunks: AsyncIterable<Buffer>) => bounded(chunks, head.bytes),
    createWriteStream(imagePath, { flags: 'wx', mode: 0o600 }),
  )
  if (sum.digest('hex') !== head.packedSha256) throw damaged('its checksum does not match')
  const file = await open(imagePath, 'r+')
  try {
    await file.sync()
  } finally {
    await file.close()
  }
}

async function* summed(chunks: AsyncIterable<Buffer>, sum: Hash, tell: (done: number) => void) {
  let done = 0
  for await (const chunk of chunks) {
    sum.update(chunk)
    done += chunk.length
    tell(done)
    yield chunk
  }
}

async function* bounded(chunks: AsyncIterable<Buffer>, bytes: number) {
  let seen = 0
  for await (const chunk of chunks) {
    seen += chunk.length
    if (seen > bytes) throw damaged('it holds more than it says')
    yield chunk
  }
  if (seen < bytes) throw damaged('it holds less than it says')
}

function toSnapshotError(thrown: unknown, path: string): unknown {
  const { code = '', message } = thrown as NodeJS.ErrnoException
  if (thrown instanceof MemsyncError) {
    if (code === 'MEMSYNC_STORE_NEWER' || code === 'MEMSYNC_STORE_UNAVAILABLE') return thrown
    return damaged(`${path}: ${message}`, thrown)
  }
  // What zstd cannot read: its own codes, or the stream's where it ends too early.
  if (code.startsWith('ZSTD_') || code === 'Z_BUF_ERROR')
    return damaged(`${path}: cannot be unpacked (${code})`, thrown)
  return toStoreError(thrown, path)
}
