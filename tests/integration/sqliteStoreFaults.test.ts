import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { describe, expect, it } from 'vitest'
import { openSqliteStore } from '../../src/infrastructure/memory/sqlite.ts'
import { compareVersions, type Version } from '../../src/jobs/version.ts'
import { APPLIED, APPLIED_BEFORE, at, setOf } from '../contract/writes.ts'
import { expectPrompt } from '../support/promptness.ts'
import { makeStore, newPath, open, STORE_PROCESS, start } from '../support/sqliteStores.ts'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

describe('several processes', () => {
  it('may make and write the same store at once', async () => {
    const path = newPath()
    const rivals = [start('compete', path, '0'), start('compete', path, '1')]
    for (const { lines } of rivals) await waitFor('the rival is ready', () => lines.length > 0)
    for (const { child } of rivals) child.stdin.write('go')
    expect(await Promise.all(rivals.map((rival) => rival.closed))).toEqual([0, 0])
    expect(readdirSync(dirname(path))).toEqual(['memory.db'])

    const store = await open(path)
    const { memories } = await store.list()
    expect(memories.map((memory) => memory.value)).toEqual(Array(10).fill(200))
    const { synced, superseded } = await store.totals()
    expect(synced + superseded).toBe(2 * 100 * 10)

    const local = rivals.map((rival) => rival.lines[1] as Version[])
    for (const versions of local) {
      for (const [index, version] of versions.entries()) {
        if (index > 0) expect(compareVersions(version, versions[index - 1] as Version)).toBeGreaterThan(0)
      }
    }
    expect(new Set(local.flat().map((version) => version.index)).size).toBe(200)
  })

  it('lose nothing that was acknowledged when one is killed at any moment', async () => {
    const path = newPath()
    let acknowledged = 0
    for (let life = 0; life < 8; life++) {
      const { child, lines, closed } = start('commitForEver', path, String(acknowledged + 1))
      await waitFor('batches are acknowledged', () => lines.length > 2 + ((life * 7) % 20), { intervalMs: 1 })
      child.kill('SIGKILL')
      await closed
      acknowledged = lines.at(-1) as number

      const store = await open(path)
      const { memories } = await store.list()
      expect(memories).toHaveLength(20)
      // One batch wrote them all, so all show the same one: the last acknowledged, or the one that was under way.
      const found = memories[0]?.version.sequence as number
      expect([acknowledged, acknowledged + 1]).toContain(found)
      for (const { value, version } of memories) {
        expect([version.sequence, String(value).split(':')[0]]).toEqual([found, String(found)])
      }
      // Run again after the crash, it is the first outcome once more.
      const again = memories.map(({ key, value, version }) => setOf(key, value, version))
      expect(await store.apply(again)).toEqual(Array(20).fill(APPLIED_BEFORE))
      expect((await store.totals()).synced).toBe(found * 20)
      acknowledged = found
      await store.close()
    }
  })

  it('wait for a writer that is slow, and report one that does not end', async () => {
    const path = newPath()
    const store = await open(path)
    const other = new DatabaseSync(path)
    other.exec('BEGIN IMMEDIATE')
    const started = performance.now()
    await expect(store.apply([setOf('k', 1, at(1))])).rejects.toMatchObject({
      ...{
        code: 'MEMSYNC_STORE_UNAVAILABLE',
        class: 'outage',
        message: expect.stringContaining('SQLITE_BUSY'),
      },
    })
    // Far below the 10 s after which the queue would hand the jobs to another worker.
    expectPrompt(performance.now() - started, 5000)
    expect(await store.find('k')).toBeUndefined()
    other.exec('COMMIT')
    other.close()
    expect(await store.apply([setOf('k', 1, at(1))])).toEqual([APPLIED])
  })
})

describe('an outage', () => {
  const mayMount = () => {
    try {
      execFileSync('unshare', ['-rm', 'mount', '-t', 'tmpfs', 'tmpfs', tempDir()], { stdio: 'ignore' })
      return true
    } catch {
      // No user namespaces here: the one thing this probe is to find out.
      return false
    }
  }

  it.skipIf(!mayMount())('of a full disk fails whole batches, loses none, and passes', async () => {
    const folder = tempDir()
    const mounted = `mount -t tmpfs -o size=3m tmpfs "$1" && exec "$2" "$3" fillDisk "$1/memory.db"`
    const output = execFileSync('unshare', [
      '-rm',
      'sh',
      '-c',
      mounted,
      'sh',
      folder,
      process.execPath,
      STORE_PROCESS,
    ])
    const report = JSON.parse(output.toString())
    expect(report).toMatchObject({ code: 'MEMSYNC_STORE_UNAVAILABLE', errorClass: 'outage', retried: false })
    expect(report.batch).toBeGreaterThan(3)
    const keysOf = (batches: number) =>
      Array.from({ length: batches * 4 }, (_, index) => `b${Math.floor(index / 4) + 1}-${index % 4}`).sort()
    expect(report.whenFull).toEqual({ keys: (report.batch - 1) * 4, listed: (report.batch - 1) * 4 })
    expect(report.appliedAgain).toBe(true)
    expect(report.keys).toEqual(keysOf(report.batch))
  })

  it('is what it calls a file that was moved away, until it is back', async () => {
    const path = newPath()
    const store = await open(path)
    await store.apply([setOf('k', 1, at(1))])
    renameSync(dirname(path), `${dirname(path)}-away`)
    const moved = { code: 'MEMSYNC_STORE_UNAVAILABLE', message: expect.stringContaining('moved') }
    await expect(store.apply([setOf('k', 2, at(2))])).rejects.toMatchObject(moved)
    await expect(store.probe()).rejects.toMatchObject(moved)
    await makeStore(path)
    await expect(store.apply([setOf('k', 2, at(2))])).rejects.toMatchObject(moved)
    renameSync(dirname(path), `${dirname(path)}-other`)
    renameSync(`${dirname(path)}-away`, dirname(path))
    expect(await store.apply([setOf('k', 2, at(2))])).toEqual([APPLIED])
  })

  it('is what it calls a place where no store can be made', async () => {
    const folder = tempDir()
    writeFileSync(join(folder, 'file'), '')
    mkdirSync(join(folder, 'memory.db'))
    const unavailable = { code: 'MEMSYNC_STORE_UNAVAILABLE', class: 'outage' }
    await expect(openSqliteStore(join(folder, 'file', 'memory.db'))).rejects.toMatchObject(unavailable)
    await expect(openSqliteStore(join(folder, 'memory.db'))).rejects.toMatchObject(unavailable)
    expect(readdirSync(folder).sort()).toEqual(['file', 'memory.db'])
  })
})
