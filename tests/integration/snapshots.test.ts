/** Making and reading snapshots: beside writers, whatever the file holds, and what is kept; and the housekeeping after it. */
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { MemsyncError } from '../../src/errors.ts'
import { storePath } from '../../src/infrastructure/memory/index.ts'
import { tidyStore } from '../../src/infrastructure/memory/sqliteTidy.ts'
import { checkFreeSpace, listSnapshots } from '../../src/snapshot/folder.ts'
import {
  formatHead,
  HEAD_BYTES,
  parseHead,
  parseSnapshotName,
  type SnapshotHead,
  snapshotName,
} from '../../src/snapshot/format.ts'
import { expired } from '../../src/snapshot/retention.ts'
import { unpackSnapshot } from '../../src/snapshot/unpack.ts'
import { expectPrompt } from '../support/promptness.ts'
import { printedSeed } from '../support/seed.ts'
import {
  contents,
  restore,
  snapshotOf,
  snapshotSettings,
  withStore,
  write,
  writeOf,
} from '../support/snapshots.ts'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

// Seconds on a machine that does nothing else.
vi.setConfig({ testTimeout: 120_000 })

/** A store, one snapshot of it, and a newer write. */
async function example() {
  const settings = snapshotSettings()
  await write(settings, [writeOf('a', 'old', 1), writeOf('b', 'x'.repeat(3000), 2)])
  const { snapshot } = await snapshotOf(settings)
  await write(settings, [writeOf('a', 'new', 3)], 2)
  const bytes = readFileSync(snapshot.path)
  const head = parseHead(bytes)
  const image = zstdDecompressSync(bytes.subarray(HEAD_BYTES))
  /** Restores what `path` then holds, which must be refused with the store left as it is. */
  const refused = async (content: Buffer): Promise<MemsyncError> => {
    const path = join(tempDir(), 'given.db.zst')
    writeFileSync(path, content)
    const before = readFileSync(storePath(settings))
    const error = await restore(settings, path).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(MemsyncError)
    expect(readFileSync(storePath(settings)).equals(before)).toBe(true)
    expect(readdirSync(settings.dataDir).filter((name) => /restoring|replaced/.test(name))).toEqual([])
    return error as MemsyncError
  }
  return { settings, snapshot, bytes, head, image, refused }
}

/** A snapshot file of this content, with a head that is right but for `change`. */
function fileOf(content: Buffer, head: SnapshotHead, change: Partial<SnapshotHead> = {}): Buffer {
  const packed = zstdCompressSync(content)
  const packedSha256 = createHash('sha256').update(packed).digest('hex')
  const facts = { bytes: content.length, packedBytes: packed.length, packedSha256 }
  return Buffer.concat([formatHead({ ...head, ...facts, ...change }), packed])
}

describe('a snapshot', () => {
  it('is of one moment, while another process writes, which is held up by it for no longer than by anything else', async () => {
    const settings = snapshotSettings()
    const ballast = Array.from({ length: 4000 }, (_, key) =>
      writeOf(`ballast${key}`, 'x'.repeat(4000), key + 1),
    )
    await write(settings, ballast)
    const script = join(import.meta.dirname, '..', 'support', 'storeProcess.ts')
    const writer = spawn(process.execPath, [script, 'commitForEver', storePath(settings), '10000'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const ended = new Promise((resolve) => writer.on('close', resolve))
    try {
      let commits = 0
      writer.stdout.on('data', (chunk: Buffer) => {
        commits += chunk.toString().split('\n').length - 1
      })
      await waitFor('it writes', () => commits > 5)
      for (let round = 0; round < 2; round++) {
        const before = commits
        const { snapshot } = await snapshotOf(settings)
        // As many commits as there were before it, a round, is what "not held up" comes to.
        expect(commits).toBeGreaterThan(before)
        const image = join(tempDir(), 'memory.db')
        await unpackSnapshot(snapshot.path, image)
        const db = new DatabaseSync(image, { readOnly: true })
        const rows = db.prepare(`SELECT value FROM memories WHERE key LIKE 'k%'`).all()
        expect(rows).toHaveLength(20)
        expect(new Set(rows.map(({ value }) => String(value).split(':')[0])).size).toBe(1)
        db.close()
      }
    } finally {
      writer.kill('SIGKILL')
      await ended
    }
  })

  it('is a zstd file that anything can unpack, for its owner alone, with its head in a frame that is skipped', async () => {
    const { bytes, head, image, snapshot } = await example()
    expect(image.toString('latin1', 0, 15)).toBe('SQLite format 3')
    expect(image.length).toBe(head.bytes)
    expect(statSync(snapshot.path).mode & 0o777).toBe(0o600)
    expect(bytes.length).toBe(HEAD_BYTES + head.packedBytes)
  })

  it.runIf(spawnSync('zstd', ['--version']).status === 0)(
    'is unpacked by the zstd of the system',
    async () => {
      const { image, snapshot } = await example()
      const unpacked = spawnSync('zstd', ['-dc', snapshot.path], { maxBuffer: 2 ** 28 })
      expect(unpacked.status).toBe(0)
      expect(unpacked.stdout.equals(image)).toBe(true)
    },
  )

  it('leaves nothing where there is no room for it', () => {
    expect(() => checkFreeSpace(tempDir(), 2 ** 52)).toThrow(/MiB are needed and [\d,]+ MiB are free$/)
    expect(() => checkFreeSpace(tempDir(), 0)).not.toThrow()
  })
})

describe('a file that is no good snapshot is refused, and the store stays as it is:', () => {
  it('cut anywhere', async () => {
    const { bytes, refused } = await example()
    const cut = fc.integer({ min: 0, max: bytes.length - 1 })
    await fc.assert(
      fc.asyncProperty(cut, async (end) => {
        expect((await refused(bytes.subarray(0, end))).code).toBe('MEMSYNC_SNAPSHOT_DAMAGED')
      }),
      { numRuns: 15, seed: printedSeed('snapshots cut'), examples: [[0], [HEAD_BYTES - 1], [HEAD_BYTES]] },
    )
    expect((await refused(Buffer.concat([bytes, Buffer.from('x')]))).message).toMatch(/and should have/)
  })

  it('with any bit flipped', async () => {
    const { bytes, refused } = await example()
    const bit = fc.integer({ min: 0, max: bytes.length * 8 - 1 })
    await fc.assert(
      fc.asyncProperty(bit, async (place) => {
        const flipped = Buffer.from(bytes)
        flipped[place >> 3] = (flipped[place >> 3] ?? 0) ^ (1 << (place & 7))
        expect((await refused(flipped)).code).toBe('MEMSYNC_SNAPSHOT_DAMAGED')
      }),
      { numRuns: 40, seed: printedSeed('snapshots flipped') },
    )
  })

  it('with a head that lies, though its checksum is right', async () => {
    const { image, head, refused } = await example()
    const code = async (content: Buffer) => (await refused(content)).code
    // More than the disk holds, less than there is, more than there is, another store than there is.
    expect(await code(fileOf(image, head, { bytes: 2 ** 52 }))).toBe('MEMSYNC_STORE_UNAVAILABLE')
    expect((await refused(fileOf(image, head, { bytes: 100 }))).message).toContain(
      'it holds more than it says',
    )
    expect((await refused(fileOf(image, head, { bytes: image.length + 1 }))).message).toContain(
      'holds less than it says',
    )
    expect((await refused(fileOf(image, head, { keys: 99 }))).message).toContain('another store than it says')
    expect(await code(fileOf(image, head, { packedSha256: '0'.repeat(64) }))).toBe('MEMSYNC_SNAPSHOT_DAMAGED')
    for (const change of [
      { bytes: -1 },
      { bytes: 1.5 },
      { keys: null },
      { packedSha256: 'x' },
      { program: 1 },
      { night: '../x' },
    ]) {
      expect(await code(fileOf(image, head, change as never)), JSON.stringify(change)).toBe(
        'MEMSYNC_SNAPSHOT_DAMAGED',
      )
    }
    expect(await code(fileOf(image, head, { format: 2 } as never))).toBe('MEMSYNC_STORE_NEWER')
  })

  it('that unpacks to far more than it says: nothing above that is written', async () => {
    const { head, refused } = await example()
    const bomb = fileOf(Buffer.alloc(64 * 1024 * 1024), head, { bytes: 1000 })
    expect(bomb.length).toBeLessThan(20_000)
    expect((await refused(bomb)).message).toContain('it holds more than it says')
  })

  it('that holds no store: noise, another database, a damaged one, one with a trigger, one of a later program', async () => {
    const { image, head, refused } = await example()
    const changed = (sql: string) => {
      const path = join(tempDir(), 'changed.db')
      writeFileSync(path, image)
      const db = new DatabaseSync(path)
      db.exec(sql)
      db.close()
      return readFileSync(path)
    }
    const code = async (content: Buffer) => (await refused(fileOf(content, head))).code
    expect(await code(Buffer.from('noise'.repeat(1000)))).toBe('MEMSYNC_SNAPSHOT_DAMAGED')
    expect(await code(Buffer.alloc(0))).toBe('MEMSYNC_SNAPSHOT_DAMAGED')
    expect(await code(changed('PRAGMA application_id = 7'))).toBe('MEMSYNC_SNAPSHOT_DAMAGED')
    expect(await code(changed('DROP TABLE state'))).toBe('MEMSYNC_SNAPSHOT_DAMAGED')
    expect(
      await code(changed('CREATE TRIGGER t AFTER INSERT ON memories BEGIN DELETE FROM memories; END')),
    ).toBe('MEMSYNC_SNAPSHOT_DAMAGED')
    expect(await code(changed('PRAGMA user_version = 99'))).toBe('MEMSYNC_STORE_NEWER')
    const torn = Buffer.from(image)
    torn.fill(0xff, 4096 * 3, 4096 * 5)
    expect(await code(torn)).toBe('MEMSYNC_SNAPSHOT_DAMAGED')
  })

  it('of the head alone, whatever its bytes are', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2 * HEAD_BYTES }), (noise) => {
        expect(() => parseHead(Buffer.from(noise))).toThrow(MemsyncError)
      }),
      { numRuns: 300, seed: printedSeed('snapshots head') },
    )
  })
})

describe('what is kept', () => {
  const DAY_MS = 86_400_000
  const now = Date.parse('2026-06-01T00:00:00Z')
  const agedDays = (days: number) => ({ createdAtMs: now - days * DAY_MS })

  it('is the newest so many, none too old, and always the newest one', () => {
    const all = [0, 1, 2, 30, 100].map(agedDays)
    expect(expired(all, { keep: 3, keepDays: 60 }, now)).toEqual([agedDays(30), agedDays(100)])
    expect(expired(all, { keep: 10, keepDays: 60 }, now)).toEqual([agedDays(100)])
    expect(expired([agedDays(900)], { keep: 1, keepDays: 1 }, now)).toEqual([])
    expect(expired([agedDays(900), agedDays(901)], { keep: 5, keepDays: 1 }, now)).toEqual([agedDays(901)])
  })

  it('has names that tell when it was made, and no two are the same', async () => {
    for (const ms of [0, now, Date.parse('2026-11-22T02:00:13.007Z')])
      expect(parseSnapshotName(snapshotName(ms))).toBe(ms)
    for (const name of [
      'memory-.db.zst',
      'memory-20261322T000000000Z.db.zst',
      `${snapshotName(now)}.tmp`,
      'create.lock',
    ]) {
      expect(parseSnapshotName(name), name).toBeUndefined()
    }
    const settings = snapshotSettings()
    await write(settings, [writeOf('a', 1, 1)])
    const names = []
    for (let count = 0; count < 3; count++) names.push((await snapshotOf(settings)).snapshot.name)
    expect(listSnapshots(settings).map(({ name }) => name)).toEqual(names.toReversed())
  })
})

describe('housekeeping', () => {
  const tidy = (settings: ReturnType<typeof snapshotSettings>, nowMs = Date.now()) =>
    tidyStore(storePath(settings), { historyVersions: 3, nowMs, goesOn: () => true })

  it('cuts history to the limit, also of keys that nobody writes, and remembers what it cut', async () => {
    const settings = snapshotSettings()
    const writes = Array.from({ length: 8 }, (_, round) =>
      Array.from({ length: 300 }, (_, key) => writeOf(`k${key}`, round, round * 300 + key + 1)),
    ).flat()
    await write(settings, writes)
    expect((await tidy(settings)).historyRows).toBe(300 * 5)
    expect((await tidy(settings)).historyRows).toBe(0)
    await withStore(settings, async (store) => {
      expect((await store.history('k7')).map(({ value }) => value)).toEqual([7, 6, 5])
      const { synced, superseded } = await store.totals()
      // Run again after a crash, it is the same write, and counts once.
      expect(await store.apply(writes.slice(0, 300))).toEqual(
        Array.from({ length: 300 }, () => ({ outcome: 'applied', repeated: true })),
      )
      expect(await store.totals()).toMatchObject({ synced, superseded })
    })
  })

  it('keeps tombstones for ever, and what a deleted key held for 90 days', async () => {
    const settings = snapshotSettings()
    await write(settings, [
      writeOf('gone', 'secret', 1),
      writeOf('gone', undefined, 5),
      writeOf('stays', 1, 6),
    ])
    const days = (count: number) => Date.now() + count * 86_400_000
    expect((await tidy(settings, days(89))).historyRows).toBe(0)
    expect((await tidy(settings, days(91))).historyRows).toBe(1)
    await write(settings, [writeOf('gone', 'late', 4)], 2)
    expect(await contents(settings)).toEqual({ stays: 1 })
  })

  it('gives back what is free, in steps between which writers get their turn, and cuts the log', async () => {
    const settings = snapshotSettings()
    const value = 'x'.repeat(40_000)
    await write(
      settings,
      Array.from({ length: 500 }, (_, key) => writeOf(`k${key}`, value, key + 1)),
    )
    await write(
      settings,
      Array.from({ length: 500 }, (_, key) => writeOf(`k${key}`, 1, 1000 + key)),
      2,
    )
    await write(
      settings,
      Array.from({ length: 500 }, (_, key) => writeOf(`k${key}`, 2, 2000 + key)),
      3,
    )
    const path = storePath(settings)
    await withStore({ ...settings }, async (store) => {
      await tidyStore(path, { historyVersions: 2, nowMs: Date.now(), goesOn: () => false })
      const before = statSync(path).size
      const tidying = tidyStore(path, { historyVersions: 2, nowMs: Date.now(), goesOn: () => true })
      let done = false
      void tidying.finally(() => {
        done = true
      })
      let longestMs = 0
      for (let sequence = 5000; !done; sequence++) {
        const startedAtMs = performance.now()
        await store.apply([writeOf('busy', sequence, sequence)])
        longestMs = Math.max(longestMs, performance.now() - startedAtMs)
        await new Promise((resolve) => setTimeout(resolve, 1))
      }
      const { freedBytes } = await tidying
      expect(freedBytes).toBeGreaterThan(16 * 1024 * 1024)
      expect(statSync(path).size).toBeLessThan(before - freedBytes / 2)
      expectPrompt(longestMs, 2000)
      expect((await store.find('busy'))?.value).toBeGreaterThan(5000)
      expect((await store.find('k1'))?.value).toBe(2)
    })
  })

  it('says what is wrong with a store it cannot read', async () => {
    const settings = snapshotSettings()
    await write(settings, [writeOf('a', 1, 1)])
    truncateSync(storePath(settings), 50)
    await expect(tidy(settings)).rejects.toMatchObject({ code: 'MEMSYNC_STORE_CORRUPT' })
  })
})
