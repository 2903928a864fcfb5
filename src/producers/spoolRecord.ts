/**
 * The lines of a spool file, as data. Pure.
 *
 * A record is one line: the CRC-32 of its JSON in 8 hex digits, a space, the JSON, a line feed. A line is taken only
 * where its end is there and its checksum fits, so that no half of a memory is ever taken for one.
 */
import { crc32 } from 'node:zlib'
import type { MemoryInput } from '../jobs/index.ts'

/** One accepted memory. */
export interface SpoolRecord {
  /** What its producer was given for it. */
  uid: string
  /** When it was handed over, in Unix milliseconds. */
  acceptedAtMs: number
  /** Present and true where it may have been handed over before, at the same `acceptedAtMs`. */
  mayRepeat?: true
  memory: MemoryInput
}

/** What can be read of a spool file. */
export interface ReadRecords {
  records: SpoolRecord[]
  /** Lines whose checksum does not fit, and what stands behind the last line end. */
  unreadable: number
}

const LINE_FEED = 10
const CHECKSUM_LENGTH = 8

/** The record as a line, with its line feed. */
export function formatSpoolRecord(record: SpoolRecord): string {
  const json = JSON.stringify(record)
  return `${crc32(json).toString(16).padStart(CHECKSUM_LENGTH, '0')} ${json}\n`
}

/** Every whole record, in the order of the file. */
export function parseSpoolRecords(bytes: Buffer): ReadRecords {
  const records: SpoolRecord[] = []
  let unreadable = 0
  let start = 0
  while (start < bytes.length) {
    const lineFeed = bytes.indexOf(LINE_FEED, start)
    const end = lineFeed < 0 ? bytes.length : lineFeed
    const record = lineFeed < 0 ? undefined : parseLine(bytes.subarray(start, end))
    if (record) records.push(record)
    else unreadable++
    start = end + 1
  }
  return { records, unreadable }
}

function parseLine(line: Buffer): SpoolRecord | undefined {
  const json = line.subarray(CHECKSUM_LENGTH + 1)
  const checksum = line.toString('latin1', 0, CHECKSUM_LENGTH + 1)
  if (!/^[0-9a-f]{8} $/.test(checksum) || Number.parseInt(checksum, 16) !== crc32(json)) return undefined
  // What has its checksum was written by `formatSpoolRecord`, whole.
  return JSON.parse(json.toString('utf8')) as SpoolRecord
}
