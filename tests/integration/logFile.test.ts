/** The log as a file: rotated by size, bounded by count, and never in the way; and its reader, whom no rotation confuses. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { LogReader } from '../../src/cli/logFiles.ts'
import { LogFile } from '../../src/logFile.ts'
import { createLogger } from '../../src/logger.ts'
import { printedSeed } from '../support/seed.ts'
import { canMountDisk, mountSmallDisk, unmountSmallDisk } from '../support/smallDisk.ts'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

const cleanUps: (() => unknown)[] = []
afterEach(() => {
  for (let cleanUp = cleanUps.pop(); cleanUp; cleanUp = cleanUps.pop()) cleanUp()
})

/** A log whose clock the test moves. */
function openLog({ maxBytes = 1000, maxFiles = 3, path = join(tempDir(), 'memsync.log') } = {}) {
  const clock = { nowMs: 0 }
  const log = new LogFile({ path, maxBytes, maxFiles, now: () => clock.nowMs })
  cleanUps.push(() => log.close())
  /** Lets the writer look for its file again. */
  const later = () => {
    clock.nowMs += 1_000
  }
  return { log, path, folder: join(path, '..'), later }
}

const entry = (number: number) => `${JSON.stringify({ level: 'info', msg: 'line', number })}\n`
const linesOf = (path: string) => readFileSync(path, 'utf8').split('\n').slice(0, -1)
const numbersOf = (path: string) =>
  linesOf(path).map((line) => (JSON.parse(line) as { number: number }).number)
const mode = (path: string) => statSync(path).mode & 0o777

describe('the file', () => {
  it('is set aside before it would grow too long; so many are kept; whole lines; for this user alone', () => {
    const { log, path, folder } = openLog()
    for (let number = 0; number < 100; number++) log.write(entry(number))
    expect(readdirSync(folder).toSorted()).toEqual(['memsync.log', 'memsync.log.1', 'memsync.log.2'])
    const kept = [`${path}.2`, `${path}.1`, path].flatMap((file) => {
      expect(statSync(file).size).toBeLessThanOrEqual(1000)
      expect(mode(file)).toBe(0o600)
      return numbersOf(file)
    })
    expect(kept).toEqual(Array.from({ length: kept.length }, (_, at) => 100 - kept.length + at))
    expect(kept.length).toBeGreaterThan(40)
  })

  it('is one alone where one is kept, and takes a line that is longer than it may be', () => {
    const { log, path, folder } = openLog({ maxFiles: 1 })
    for (let number = 0; number < 100; number++) log.write(entry(number))
    log.write(`${'x'.repeat(5000)}\n`)
    expect(readdirSync(folder)).toEqual(['memsync.log'])
    expect(linesOf(path)).toEqual(['x'.repeat(5000)])
    log.write(entry(1))
    expect(numbersOf(path)).toEqual([1])
  })

  it('of a daemon before this one is gone on with, and closed to others', () => {
    const { log, path } = openLog()
    writeFileSync(path, entry(1))
    chmodSync(path, 0o644)
    log.write(entry(2))
    expect(numbersOf(path)).toEqual([1, 2])
    expect(mode(path)).toBe(0o600)
  })

  it('is begun anew within a second where someone removed it or set it aside', () => {
    const { log, path, later } = openLog()
    log.write(entry(1))
    renameSync(path, `${path}.old`)
    later()
    log.write(entry(2))
    expect(numbersOf(path)).toEqual([2])
    rmSync(path)
    later()
    log.write(entry(3))
    expect(numbersOf(path)).toEqual([3])
  })

  it('may be written by two at once: no line is lost or torn while it is kept', () => {
    const { log, path, later } = openLog({ maxFiles: 100 })
    const other = openLog({ maxFiles: 100, path })
    for (let number = 0; number < 400; number += 2) {
      log.write(entry(number))
      other.log.write(entry(number + 1))
      if (number % 10 === 0) later()
      if (number % 14 === 0) other.later()
    }
    const kept = readdirSync(join(path, '..')).flatMap((file) => numbersOf(join(path, '..', file)))
    expect(kept.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 400 }, (_, at) => at))
  })
})

describe('a log that cannot be written', () => {
  it('never throws, and says afterwards how many lines were lost', () => {
    const { log, path, later } = openLog({ maxBytes: 10_000 })
    mkdirSync(path)
    for (let number = 0; number < 7; number++) log.write(entry(number))
    rmSync(path, { recursive: true })
    later()
    log.write(entry(7))
    log.write(entry(8))
    const lines = linesOf(path).map((line) => JSON.parse(line))
    expect(lines).toEqual([
      {
        level: 'warn',
        time: expect.any(String),
        pid: process.pid,
        lines: 7,
        msg: 'log lines could not be written',
      },
      { level: 'info', msg: 'line', number: 7 },
      { level: 'info', msg: 'line', number: 8 },
    ])
  })

  it('as it is a device is left alone: neither set aside nor closed to others', () => {
    const before = statSync('/dev/null').mode
    const { log } = openLog({ path: '/dev/null', maxBytes: 10 })
    for (let number = 0; number < 5; number++) log.write(entry(number))
    expect(statSync('/dev/null').mode).toBe(before)
    expect(existsSync('/dev/null.1')).toBe(false)
  })

  it('as it cannot be set aside is cut rather than growing without end', () => {
    const { log, path } = openLog({ maxFiles: 2 })
    mkdirSync(`${path}.1`)
    for (let number = 0; number < 200; number++) log.write(entry(number))
    expect(statSync(path).size).toBeLessThanOrEqual(1000)
    expect(numbersOf(path).at(-1)).toBe(199)
  })

  it.skipIf(!canMountDisk(tempDir()))(
    'as the disk is full: what fits is whole lines, and it goes on when there is room',
    () => {
      const disk = tempDir()
      mountSmallDisk(disk, '64k')
      cleanUps.push(() => unmountSmallDisk(disk))
      const { log, path, later } = openLog({ path: join(disk, 'memsync.log'), maxBytes: 1024 ** 2 })
      const { bavail, bsize } = statfsSync(disk)
      writeFileSync(join(disk, 'ballast'), Buffer.alloc((bavail - 2) * bsize))
      for (let number = 0; number < 1000; number++) log.write(entry(number))
      rmSync(join(disk, 'ballast'))
      later()
      log.write(entry(1000))
      const lines = linesOf(path)
      // One was torn by the end of the disk; it stands alone, and every other can be read.
      const whole = lines.filter((line) => line.endsWith('}')).map((line) => JSON.parse(line))
      expect(lines.length - whole.length).toBeLessThanOrEqual(1)
      const written = whole.filter((line) => line.msg === 'line').length
      const lost = whole.find((line) => line.msg === 'log lines could not be written')
      expect(written + lost.lines).toBe(1001)
      expect(whole.at(-1)).toMatchObject({ number: 1000 })
    },
  )
})

it('the logger writes every line to it, whatever stdout gets', async () => {
  const { log, path } = openLog({ maxBytes: 100_000 })
  const logger = await createLogger('warn', false, log)
  logger.info('not this')
  logger.warn({ code: 'MEMSYNC_STALLED' }, 'this')
  expect(linesOf(path).map((line) => JSON.parse(line))).toEqual([
    { level: 'warn', time: expect.any(String), pid: process.pid, code: 'MEMSYNC_STALLED', msg: 'this' },
  ])
})

describe('its reader', () => {
  const all = () => true

  it('reads what is kept, oldest first; the last so many; and nothing where nothing is', () => {
    const { log, path } = openLog()
    expect([...new LogReader(join(tempDir(), 'none', 'memsync.log')).kept(all, {})]).toEqual([])
    for (let number = 0; number < 60; number++) log.write(entry(number))
    const read = (limit?: number, isWanted: (line: string) => boolean = all) => {
      const reader = new LogReader(path)
      const numbers = [...reader.kept(isWanted, limit === undefined ? {} : { limit })].map(
        (line) => JSON.parse(line).number as number,
      )
      reader.close()
      return numbers
    }
    expect(read()).toEqual(Array.from({ length: 60 }, (_, at) => at))
    expect(read(30)).toEqual(Array.from({ length: 30 }, (_, at) => 30 + at))
    expect(read(0)).toEqual([])
    expect(read(2, (line) => JSON.parse(line).number % 20 === 0)).toEqual([20, 40])
  })

  it('follows through rotations of every speed: each line once and in order', async () => {
    const seed = printedSeed('bursts of lines')
    let state = seed
    // A linear congruential generator: any will do.
    const random = () => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
      return state / 2 ** 32
    }
    const { log, path } = openLog({ maxBytes: 2000, maxFiles: 8 })
    const reader = new LogReader(path)
    const over = new AbortController()
    const seen: number[] = []
    for (let number = 0; number < 10; number++) log.write(entry(number))
    for (const line of reader.kept(all, { limit: 5 })) seen.push(JSON.parse(line).number)
    const following = (async () => {
      for await (const line of reader.follow(all, over.signal)) seen.push(JSON.parse(line).number)
    })()
    let number = 10
    for (let burst = 0; burst < 12; burst++) {
      // Up to five files between two looks, of the eight that are kept.
      const end = number + Math.floor(random() * 250)
      while (number < end) log.write(entry(number++))
      const last = number - 1
      await waitFor(`line ${last} is seen (seed ${seed})`, () => seen.at(-1) === last)
      await turn()
    }
    over.abort()
    await following
    expect(seen, `seed ${seed}`).toEqual(Array.from({ length: number - 5 }, (_, at) => at + 5))
  })

  it('waits for a log that is not there yet, and gives half a line only once it is whole', async () => {
    const path = join(tempDir(), 'memsync.log')
    const over = new AbortController()
    const seen: string[] = []
    const reader = new LogReader(path)
    const following = (async () => {
      for await (const line of reader.follow(all, over.signal)) seen.push(line)
    })()
    writeFileSync(path, 'one\ntw')
    await waitFor('the first is seen', () => seen.length === 1)
    writeFileSync(path, 'o\nthree\n', { flag: 'a' })
    await waitFor('the rest is seen', () => seen.length === 3)
    over.abort()
    await following
    expect(seen).toEqual(['one', 'two', 'three'])
  })
})
