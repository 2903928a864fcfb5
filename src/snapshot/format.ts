/**
 * What a snapshot is on disk: one file, which is a plain zstd file, so that `zstd -d` reads it without this program.
 *
 *   skippable frame (RFC 8878, 3.1.2)    the head: JSON, padded with spaces, then its SHA-256 in hex
 *   zstd frame, with zstd's own checksum the SQLite database
 *
 * The head says how long both are and what SHA-256 the packed database has, so that a file that was cut or changed is
 * known before anything is unpacked, and one that unpacks to more than it says is stopped there.
 */
import { createHash } from 'node:crypto'
import { MemsyncError } from '../errors.ts'

const FRAME_MAGIC = 0x184d2a5d
const FRAME_HEAD_BYTES = 8
const SUM_CHARACTERS = 64
/** Of JSON, padded: several times what it ever needs. */
const JSON_BYTES = 1024
/** Of the head as a whole. */
export const HEAD_BYTES = FRAME_HEAD_BYTES + JSON_BYTES + SUM_CHARACTERS

const FORMAT = 1
const NAME = /^memory-(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(\d{3})Z\.db\.zst$/

export interface SnapshotHead {
  /** Of the database, unpacked. */
  bytes: number
  packedBytes: number
  /** SHA-256 of the packed database, in hex. */
  packedSha256: string
  /** When the copy was made, in Unix milliseconds. */
  createdAtMs: number
  /** Live keys in it. */
  keys: number
  /** Of the database's schema. */
  schema: number
  /** The version of the program that made it. */
  program: string
  /** The night whose work it was; absent where a person asked for it. */
  night?: string
}

export function snapshotName(createdAtMs: number): string {
  return `memory-${new Date(createdAtMs).toISOString().replace(/[-:.]/g, '')}.db.zst`
}

/** When the snapshot of this name was made; undefined where it is no name of one. */
export function parseSnapshotName(name: string): number | undefined {
  const match = NAME.exec(name)
  if (!match) return undefined
  const [, year, month, day, hour, minute, second, ms] = match
  const createdAtMs = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}.${ms}Z`)
  return Number.isNaN(createdAtMs) ? undefined : createdAtMs
}

export function formatHead(head: SnapshotHead): Buffer {
  const json = JSON.stringify({ memsync: 'snapshot', format: FORMAT, ...head }).padEnd(JSON_BYTES)
  const body = Buffer.from(json + sumOf(json))
  const frame = Buffer.alloc(FRAME_HEAD_BYTES)
  frame.writeUInt32LE(FRAME_MAGIC, 0)
  frame.writeUInt32LE(body.length, 4)
  return Buffer.concat([frame, body])
}

/** @throws MEMSYNC_SNAPSHOT_DAMAGED, MEMSYNC_STORE_NEWER where a newer program made it */
export function parseHead(bytes: Buffer): SnapshotHead {
  if (bytes.length < HEAD_BYTES || bytes.readUInt32LE(0) !== FRAME_MAGIC) throw damaged('it is no snapshot')
  const json = bytes.toString('latin1', FRAME_HEAD_BYTES, FRAME_HEAD_BYTES + JSON_BYTES)
  const sum = bytes.toString('latin1', FRAME_HEAD_BYTES + JSON_BYTES, HEAD_BYTES)
  if (bytes.readUInt32LE(4) !== HEAD_BYTES - FRAME_HEAD_BYTES || sum !== sumOf(json)) {
    throw damaged('its head is damaged')
  }
  let fields: Record<string, unknown>
  try {
    fields = Object(JSON.parse(json)) as Record<string, unknown>
  } catch {
    // Its checksum holds, so a program wrote it so, and not this one.
    throw damaged('its head is not JSON')
  }
  if (typeof fields.format === 'number' && fields.format > FORMAT) {
    throw new MemsyncError(
      'MEMSYNC_STORE_NEWER',
      'the snapshot has a format that this memsyncd does not know',
    )
  }
  return checkHead(fields)
}

function checkHead(fields: Record<string, unknown>): SnapshotHead {
  const { memsync, format, bytes, packedBytes, packedSha256, createdAtMs, keys, schema, program, night } =
    fields
  const numbers = [bytes, packedBytes, createdAtMs, keys, schema]
  const isWhole = (value: unknown) => Number.isSafeInteger(value) && Number(value) >= 0
  if (memsync !== 'snapshot' || format !== FORMAT || !numbers.every(isWhole))
    throw damaged('its head is wrong')
  if (typeof packedSha256 !== 'string' || !/^[0-9a-f]{64}$/.test(packedSha256))
    throw damaged('its head is wrong')
  if (typeof program !== 'string' || !(night === undefined || isDate(night))) {
    throw damaged('its head is wrong')
  }
  return {
    bytes: Number(bytes),
    packedBytes: Number(packedBytes),
    packedSha256,
    createdAtMs: Number(createdAtMs),
    keys: Number(keys),
    schema: Number(schema),
    program,
    ...(night === undefined ? {} : { night }),
  }
}

export function damaged(problem: string, cause?: unknown): MemsyncError {
  return new MemsyncError('MEMSYNC_SNAPSHOT_DAMAGED', problem, cause === undefined ? {} : { cause })
}

function isDate(value: unknown): value is string {
  return typeof value === 'string' && /^\d{4}-\d\d-\d\d$/.test(value)
}

function sumOf(text: string): string {
  return createHash('sha256').update(text, 'latin1').digest('hex')
}
