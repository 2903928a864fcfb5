import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  copyFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { describe, expect, it } from 'vitest'
import type { StoreOptions } from '../../src/infrastructure/memory/port.ts'
import { openSqliteStore } from '../../src/infrastructure/memory/sqlite.ts'
import { describeMemoryStore } from '../contract/memoryStore.ts'
import { APPLIED_BEFORE, at, SUPERSEDED_BEFORE, setOf } from '../contract/writes.ts'
import { makeStore, newPath, open, start } from '../support/sqliteStores.ts'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

describeMemoryStore('SQLite', async (options: StoreOptions = {}) => {
  const path = newPath()
  let store = await openSqliteStore(path, options)
  return {
    store,
    async reopen() {
      await store.close()
      store = await openSqliteStore(path, options)
      return store
    },
  }
})

/** Name, mode and content of every file in a folder. */
function picture(folder: string): string[] {
  return readdirSync(folder)
    .sort()
    .map((name) => {
      const hash = createHash('sha256')
        .update(readFileSync(join(folder, name)))
        .digest('hex')
      return `${name} ${(statSync(join(folder, name)).mode & 0o777).toString(8)} ${hash}`
    })
}

describe('the files', () => {
  it('belong to their owner alone, whatever the umask', async () => {
    const before = process.umask(0)
    try {
      const path = newPath()
      const store = await open(path)
      await store.apply([setOf('k', 1, at(1))])
      expect(statSync(dirname(path)).mode & 0o777).toBe(0o700)
      const modes = readdirSync(dirname(path)).map((name) => [
        name,
        statSync(join(dirname(path), name)).mode & 0o777,
      ])
      expect(modes).toEqual([
        ...[
          ['memory.db', 0o600],
          ['memory.db-shm', 0o600],
          ['memory.db-wal', 0o600],
        ],
      ])
    } finally {
      process.umask(before)
    }
  })

  it('are one file again once the store is closed', async () => {
    const path = newPath()
    await makeStore(path)
    expect(readdirSync(dirname(path))).toEqual(['memory.db'])
  })

  /** Runs a script on a store whose syncs of the log are counted, held back or made to fail; resolves with its output. */
  function withSyncsInHand(path: string, script: string): unknown {
    const module = new URL('../../src/infrastructure/memory/sqlite.ts', import.meta.url).href
    const output = execFileSync(process.execPath, [
      ...['--input-type=module', '--eval'],
      `import fs, { statSync } from 'node:fs'
       import { syncBuiltinESMExports } from 'node:module'
       import { DatabaseSync } from 'node:sqlite'
       const path = ${JSON.stringify(path)}
       const seen = []
       let failure
       let hold
       const fdatasync = fs.fdatasync
       fs.fdatasync = (file, done) => {
         seen.push('sync')
         if (failure) return setImmediate(done, Object.assign(new Error(failure), { code: failure, syscall: 'fdatasync' }))
         const held = hold
         fdatasync(file, (error) => (held ? held.then(() => done(error)) : done(error)))
       }
       syncBuiltinESMExports()
       const { openSqliteStore } = await import(${JSON.stringify(module)})
       const store = await openSqliteStore(path)
       const set = (key, sequence) => ({ op: 'set', namespace: 'default', key, valueJson: '1', acceptedAtMs: 1,
         version: { epoch: 1, sequence, index: 0 } })
       ${script}
       await store.close()
       console.log(JSON.stringify(seen))`,
    ])
    return JSON.parse(output.toString())
  }

  it('are on disk before a write of memories resolves, and not for the sake of a receipt', async () => {
    const path = newPath()
    await makeStore(path)
    const script = `
      const held = Promise.withResolvers()
      hold = held.promise
      const written = store.apply([set('a', 101)]).then(() => seen.push('resolved'))
      seen.push((await store.find('a')) ? 'visible' : 'missing')
      setTimeout(() => { seen.push('released'); held.resolve() }, 50)
      await written
      hold = undefined
      await store.nextLocalVersion()
      const receipt = { lane: 'push', version: { epoch: 1, sequence: 101, index: 0 }, contentHash: '', atMs: 1 }
      seen.push(await store.recordReceipt('a', 'default', receipt))`
    expect(withSyncsInHand(path, script)).toEqual(['visible', 'sync', 'released', 'resolved', true])
  })

  it('share a sync where they come at the same time, and none that began before them', async () => {
    const path = newPath()
    await makeStore(path)
    const script = `
      const held = Promise.withResolvers()
      hold = held.promise
      const first = [store.apply([set('a', 101)]), store.apply([set('b', 102)])]
      while (seen.length === 0) await new Promise(setImmediate)
      hold = undefined
      const later = ['c', 'd', 'e'].map((key, index) => store.apply([set(key, 103 + index)]).then(() => seen.push(key)))
      held.resolve()
      await Promise.all([...first, ...later])`
    expect(withSyncsInHand(path, script)).toEqual(['sync', 'sync', 'c', 'd', 'e'])
  })

  it('count for nothing after a sync that failed, until the log has been copied into the database', async () => {
    const path = newPath()
    await makeStore(path)
    const script = `
      const outcome = (write) => store.apply([write]).then(([{ outcome, repeated }]) => [outcome, repeated], ({ code }) => code)
      failure = 'EIO'
      seen.push(await outcome(set('a', 101)))
      failure = undefined
      const reader = new DatabaseSync(path, { readOnly: true })
      reader.exec('BEGIN; SELECT * FROM memories')
      seen.push(await outcome(set('a', 101)))
      reader.close()
      seen.push(await outcome(set('a', 101)), statSync(path + '-wal').size)
      seen.push(await outcome(set('b', 102)))`
    const away = 'MEMSYNC_STORE_UNAVAILABLE'
    expect(withSyncsInHand(path, script)).toEqual([
      'sync',
      away,
      away,
      'sync',
      ['applied', true],
      0,
      'sync',
      ['applied', false],
    ])
  })

  it('wait for other writers, and the log is synced before it is copied back', async () => {
    const path = newPath()
    await makeStore(path)
    const script = `
      const exec = DatabaseSync.prototype.exec
      DatabaseSync.prototype.exec = function (sql) {
        const read = (name) => Object.values(this.prepare('PRAGMA ' + name).get())[0]
        if (sql === 'COMMIT') seen.push(['journal_mode', 'synchronous', 'busy_timeout'].map(read))
        return exec.call(this, sql)
      }
      await store.apply([set('a', 101)])`
    expect(withSyncsInHand(path, script)).toEqual([['wal', 1, 2000], 'sync'])
  })
})

describe('a file that cannot be trusted', () => {
  async function expectRefused(path: string, code: string, message: RegExp) {
    const before = picture(dirname(path)).filter((line) => !line.startsWith(`${basename(path)}-shm`))
    await expect(openSqliteStore(path)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    })
    const after = picture(dirname(path)).filter((line) => !/-(shm|wal) \d+ e3b0c44298/.test(line))
    expect(after.filter((line) => !line.startsWith(`${basename(path)}-shm`))).toEqual(before)
  }

  it('is refused where its pages are damaged, and left as it was', async () => {
    const path = newPath()
    await makeStore(path)
    const bytes = readFileSync(path)
    bytes.fill(0xa5, 4096 * 5, 4096 * 12)
    writeFileSync(path, bytes)
    await expectRefused(path, 'MEMSYNC_STORE_CORRUPT', /memory\.db/)
  })

  it.each([1, 50, 99, 100, 4096, 10_000, 0.5, 0.99])('is refused where it was cut to %s', async (length) => {
    const path = newPath()
    await makeStore(path)
    const { size } = statSync(path)
    truncateSync(path, length < 1 ? Math.floor((size * length) / 4096) * 4096 : length)
    await expectRefused(path, 'MEMSYNC_STORE_CORRUPT', /memory\.db/)
    if (length >= 1) {
      await expect(openSqliteStore(path, { readOnly: true })).rejects.toMatchObject({
        code: 'MEMSYNC_STORE_CORRUPT',
      })
    }
  })

  it('is refused where it was cut to nothing, for reading too', async () => {
    const path = newPath()
    await makeStore(path)
    truncateSync(path)
    await expectRefused(path, 'MEMSYNC_STORE_CORRUPT', /empty/)
    await expect(openSqliteStore(path, { readOnly: true })).rejects.toMatchObject({
      code: 'MEMSYNC_STORE_CORRUPT',
    })
  })

  it('is refused with its log, which is left as it was too', async () => {
    const path = newPath()
    const live = await open(path)
    await live.apply(
      Array.from({ length: 500 }, (_, index) => setOf(`k${index}`, 'x'.repeat(300), at(index + 1))),
    )
    const copy = join(tempDir(), 'memory.db')
    copyFileSync(path, copy)
    copyFileSync(`${path}-wal`, `${copy}-wal`)
    truncateSync(copy)
    await expectRefused(copy, 'MEMSYNC_STORE_CORRUPT', /empty/)
    expect(statSync(`${copy}-wal`).size).toBeGreaterThan(100_000)
  })

  it('is refused where it is not a database', async () => {
    const path = join(tempDir(), 'memory.db')
    writeFileSync(path, 'this is a text, and a rather long one\n'.repeat(200))
    await expectRefused(path, 'MEMSYNC_STORE_CORRUPT', /not a database/)
  })

  it("is refused where it is another program's database", async () => {
    const path = join(tempDir(), 'memory.db')
    const other = new DatabaseSync(path)
    other.exec('CREATE TABLE cookies (id); PRAGMA user_version = 1')
    other.close()
    await expectRefused(path, 'MEMSYNC_STORE_CORRUPT', /not a memory store/)
  })

  it('is refused where a newer program wrote it, with both schemas named', async () => {
    const path = newPath()
    await makeStore(path)
    const newer = new DatabaseSync(path)
    newer.exec('PRAGMA user_version = 99; PRAGMA journal_mode = DELETE')
    newer.close()
    await expectRefused(path, 'MEMSYNC_STORE_NEWER', /schema 99.*none above 3/)
    await expect(openSqliteStore(path, { readOnly: true })).rejects.toMatchObject({
      code: 'MEMSYNC_STORE_NEWER',
    })
  })
})

describe('only reading', () => {
  it('finds nothing where there is no store, and makes none', async () => {
    const folder = tempDir()
    const path = join(folder, 'data', 'memory.db')
    const reader = await open(path, { readOnly: true })
    expect(await reader.find('k')).toBeUndefined()
    expect(await reader.history('k')).toEqual([])
    expect(await reader.list()).toEqual({ memories: [], next: undefined })
    expect(await reader.receipts('k')).toEqual([])
    expect(await reader.totals()).toEqual({ keys: 0, synced: 0, superseded: 0, pushed: 0, bytes: 0 })
    expect(await reader.readEpoch()).toEqual({ epoch: 0, token: '', batch: 0 })
    expect(await reader.behind('push', { limit: 1 })).toEqual({ names: [], next: undefined })
    expect(await reader.remoteState()).toEqual({ identity: '', epochOffset: 0 })
    expect(await reader.namespaces()).toEqual([])
    expect(readdirSync(folder)).toEqual([])

    const writer = await open(path)
    await writer.apply([setOf('k', 'now', at(1))])
    expect((await reader.find('k'))?.value).toBe('now')
  })

  it('sees each commit of a writer beside it, and none of its unfinished ones', async () => {
    const path = newPath()
    const { lines } = start('commitForEver', path, '1')
    await waitFor('the writer has committed', () => lines.length > 5)
    const reader = await open(path, { readOnly: true })
    for (let look = 0; look < 50; look++) {
      const acknowledged = lines.at(-1) as number
      const sequences = new Set((await reader.list()).memories.map((memory) => memory.version.sequence))
      expect(sequences.size).toBe(1)
      expect([...sequences][0]).toBeGreaterThanOrEqual(acknowledged)
      await waitFor('the writer goes on', () => (lines.at(-1) as number) > acknowledged, { intervalMs: 1 })
    }
  })

  it('reads a store whose writer was killed, and one that was closed', async () => {
    const path = newPath()
    const { child, lines, closed } = start('commitForEver', path, '1')
    await waitFor('the writer has committed', () => lines.length > 3)
    child.kill('SIGKILL')
    await closed
    expect(statSync(`${path}-wal`).size).toBeGreaterThan(0)
    const reader = await open(path, { readOnly: true })
    expect((await reader.list()).memories[0]?.version.sequence).toBeGreaterThanOrEqual(lines.at(-1) as number)
    await reader.close()

    await (await open(path)).close()
    expect(existsSync(`${path}-wal`)).toBe(false)
    const again = await open(path, { readOnly: true })
    expect((await again.list()).memories).toHaveLength(20)
  })

  it('refuses to write', async () => {
    const path = newPath()
    const absent = await open(path, { readOnly: true })
    const refused = { code: 'MEMSYNC_STORE_UNAVAILABLE', message: expect.stringContaining('reading only') }
    await expect(absent.apply([setOf('k', 1, at(1))])).rejects.toMatchObject(refused)
    await makeStore(path)
    const present = await open(path, { readOnly: true })
    await expect(present.apply([setOf('k', 1, at(1))])).rejects.toMatchObject(refused)
    await expect(present.nextLocalVersion()).rejects.toMatchObject(refused)
    await expect(present.probe()).rejects.toMatchObject(refused)
  })
})

describe('a file of an older program', () => {
  /** A store of ten memories, as the first schema had it. */
  async function makeFirstSchema(path: string): Promise<void> {
    await makeStore(path, 10)
    const db = new DatabaseSync(path)
    for (const column of ['remote', 'pushed', 'epoch_offset'])
      db.exec(`ALTER TABLE state DROP COLUMN ${column}`)
    db.exec('PRAGMA user_version = 1')
    db.close()
  }
  const schemaOf = (path: string) => {
    const db = new DatabaseSync(path, { readOnly: true })
    const version = db.prepare('PRAGMA user_version').get()
    const tables = db.prepare('SELECT name, sql FROM sqlite_schema ORDER BY name').all()
    db.close()
    return { version, tables }
  }

  it.each([false, true])('is migrated and keeps what it holds; read only: %s', async (readOnly) => {
    const [old, fresh] = [newPath(), newPath()]
    await makeFirstSchema(old)
    await makeStore(fresh)
    const store = await open(old, { readOnly })
    expect((await store.list()).memories).toHaveLength(10)
    expect(await store.totals()).toMatchObject({ keys: 10, synced: 10, pushed: 0 })
    expect(await store.remoteState()).toEqual({ identity: '', epochOffset: 0 })
    expect((await store.behind('push', { limit: 100 })).names).toHaveLength(10)
    await store.close()
    expect(schemaOf(old)).toEqual(schemaOf(fresh))
  })
})

describe('what it remembers of settled writes', () => {
  it('is bounded, and reaches back over 50,000 of them', async () => {
    const path = newPath()
    const store = await open(path)
    const batchOf = (batch: number) =>
      Array.from({ length: 1000 }, (_, index) => setOf('hot', index, at(batch * 1000 + index + 1)))
    // The oldest of all is late: what it lost is remembered in order of settling, not of version.
    await store.apply([setOf('hot', 'first', at(1000))])
    for (let batch = 1; batch < 110; batch++) await store.apply(batchOf(batch))
    await store.apply([setOf('hot', 'late', at(1))])
    for (let batch = 110; batch < 155; batch++) await store.apply(batchOf(batch))
    const { synced } = await store.totals()
    expect(await store.apply([setOf('hot', 'late', at(1))])).toEqual([SUPERSEDED_BEFORE])
    expect(await store.apply(batchOf(110))).toEqual(Array(1000).fill(APPLIED_BEFORE))
    expect(await store.totals()).toMatchObject({ synced, superseded: 1 })
    await store.close()
    const db = new DatabaseSync(path)
    const rows = db
      .prepare('SELECT count(*) AS outcomes, (SELECT count(*) FROM history) AS history FROM outcomes')
      .get()
    db.close()
    expect(rows?.history).toBe(9)
    expect(rows?.outcomes).toBeGreaterThan(50_000)
    expect(rows?.outcomes).toBeLessThan(102_000)
  })
})
