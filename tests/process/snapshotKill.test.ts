/** kill -9 at any point of a snapshot or a restore leaves a good store and a good list; with real processes. */
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cp } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { beforeAll, describe, expect, it } from 'vitest'
import { storePath } from '../../src/infrastructure/memory/index.ts'
import { undoHalfRestore } from '../../src/infrastructure/memory/sqliteRestore.ts'
import { listSnapshots } from '../../src/snapshot/folder.ts'
import { unpackSnapshot } from '../../src/snapshot/unpack.ts'
import { isolatedEnvironment } from '../support/daemon.ts'
import { printedSeed } from '../support/seed.ts'
import {
  contents,
  type SnapshotTestSettings,
  snapshotOf,
  snapshotSettings,
  withStore,
  write,
  writeOf,
} from '../support/snapshots.ts'
import { tempDir } from '../support/tempDir.ts'

const PRELOAD = fileURLToPath(new URL('../support/killAt.mjs', import.meta.url))
const PROCESS = fileURLToPath(new URL('../support/snapshotProcess.ts', import.meta.url))
const KEYS = 300
const DAMAGED = 'SQLite format 3\0 and then nothing'
/** Of many processes, one after the other, on a machine that does other things. */
const LONG_MS = 180_000

interface Run {
  done: boolean
  /** Calls that change names or make durable, as `killAt.mjs` counts them. */
  calls: number
  durationMs: number
}

/** Runs the role to its end, or to its kill: before the nth call, or after so many milliseconds. */
async function run(
  role: string,
  dataDir: string,
  kill: { at?: number; afterMs?: number } = {},
): Promise<Run> {
  const startedAtMs = performance.now()
  const child = spawn(process.execPath, ['--import', PRELOAD, PROCESS, role, dataDir], {
    env: isolatedEnvironment(dataDir, { MEMSYNC_TEST_KILL_AT: String(kill.at ?? 0) }),
  })
  let out = ''
  let told = ''
  child.stdout.on('data', (chunk) => {
    out += chunk
  })
  child.stderr.on('data', (chunk) => {
    told += chunk
  })
  const ended = new Promise<void>((resolve) => child.on('close', () => resolve()))
  if (kill.afterMs !== undefined)
    await Promise.race([sleep(kill.afterMs).then(() => child.kill('SIGKILL')), ended])
  await ended
  const done = out === 'done\n'
  if (!done && kill.at === undefined && kill.afterMs === undefined) throw new Error(told)
  const calls = Number(/(\d+) \w+\n$/.exec(told)?.[1] ?? 0)
  return { done, calls, durationMs: performance.now() - startedAtMs }
}

/** Every snapshot of the list is whole; returns how many there are. */
async function countSound(settings: SnapshotTestSettings): Promise<number> {
  const listed = listSnapshots(settings)
  for (const { path, problem } of listed) {
    expect(problem).toBeUndefined()
    await unpackSnapshot(path, join(tempDir(), 'image'))
  }
  return listed.length
}

const master = snapshotSettings()
let before: Record<string, unknown>
let after: Record<string, unknown>

beforeAll(async () => {
  const value = (key: number, round: number) => `${round}:${key}:${'x'.repeat(500)}`
  const all = Array.from({ length: KEYS }, (_, key) => key)
  await write(
    master,
    all.map((key) => writeOf(`k${key}`, value(key, 1), key + 1)),
  )
  await snapshotOf(master)
  after = await contents(master)
  await write(
    master,
    all.slice(0, 200).map((key) => writeOf(`k${key}`, value(key, 2), 1000 + key)),
    2,
  )
  await write(master, [writeOf('k299', undefined, 2000), writeOf('new', 1, 2001)], 3)
  before = await contents(master)
})

async function copyOfMaster(): Promise<SnapshotTestSettings> {
  const dataDir = tempDir()
  await cp(master.dataDir, dataDir, { recursive: true })
  return snapshotSettings(dataDir)
}

/** What a daemon does first, then what anybody sees. */
async function stateAfterStart(settings: SnapshotTestSettings): Promise<'before' | 'after'> {
  undoHalfRestore(storePath(settings))
  const seen = await contents(settings)
  const state = JSON.stringify(seen) === JSON.stringify(after) ? 'after' : 'before'
  expect(seen).toEqual(state === 'after' ? after : before)
  // A second name is the whole store that was replaced, or is not there.
  const kept = readdirSync(settings.dataDir).filter((name) => /restoring|replaced/.test(name))
  expect(kept).toHaveLength(state === 'after' ? 1 : 0)
  for (const name of kept) {
    const other = tempDir()
    await cp(join(settings.dataDir, name), join(other, 'memory.db'))
    expect(await contents(snapshotSettings(other))).toEqual(before)
  }
  // And it goes on: newer than all there was.
  await write(settings, [writeOf('k0', 'later', 5000)], 9)
  expect((await contents(settings)).k0).toBe('later')
  return state
}

/** A store that cannot be read any more, with a log beside it. */
async function damagedCopy(): Promise<SnapshotTestSettings> {
  const settings = await copyOfMaster()
  writeFileSync(storePath(settings), DAMAGED)
  writeFileSync(`${storePath(settings)}-wal`, 'log')
  return settings
}

describe('a process killed before each of its calls', () => {
  it(
    'that makes a snapshot leaves the list good, and the next one succeeds',
    async () => {
      const { calls } = await run('create', (await copyOfMaster()).dataDir)
      expect(calls).toBeGreaterThan(2)
      for (let at = 1; at <= calls; at++) {
        const settings = await copyOfMaster()
        expect((await run('create', settings.dataDir, { at })).done).toBe(false)
        const left = await countSound(settings)
        expect([1, 2], `killed before call ${at}`).toContain(left)
        await snapshotOf(settings)
        expect(listSnapshots(settings)).toHaveLength(left + 1)
        expect(
          readdirSync(join(settings.dataDir, 'snapshots')).filter((name) => name.includes('.tmp')),
        ).toEqual([])
        rmSync(settings.dataDir, { recursive: true })
      }
    },
    LONG_MS,
  )

  it(
    'that restores leaves the store as it was or as the snapshot is, and goes on',
    async () => {
      const { calls } = await run('restore', (await copyOfMaster()).dataDir)
      expect(calls).toBeGreaterThan(2)
      const states: string[] = []
      for (let at = 1; at <= calls; at++) {
        const settings = await copyOfMaster()
        expect((await run('restore', settings.dataDir, { at })).done).toBe(false)
        expect(await countSound(settings)).toBe(1)
        states.push(await stateAfterStart(settings))
        rmSync(settings.dataDir, { recursive: true })
      }
      // One moment decides, and both sides of it were met.
      expect(new Set(states)).toEqual(new Set(['before', 'after']))
      expect(states).toEqual(states.toSorted().reverse())
    },
    LONG_MS,
  )

  it(
    'that restores over a damaged store leaves that one, byte for byte, or the snapshot',
    async () => {
      const { calls } = await run('restore', (await damagedCopy()).dataDir)
      const outcomes = new Set<string>()
      for (let at = 1; at <= calls; at++) {
        const settings = await damagedCopy()
        expect((await run('restore', settings.dataDir, { at })).done).toBe(false)
        undoHalfRestore(storePath(settings))
        const names = readdirSync(settings.dataDir)
        const kept = names.filter((name) => name.startsWith('memory.db.replaced-'))
        if (kept.length === 0) {
          outcomes.add('damaged')
          expect(readFileSync(storePath(settings), 'utf8')).toBe(DAMAGED)
          expect(readFileSync(`${storePath(settings)}-wal`, 'utf8')).toBe('log')
          await expect(contents(settings)).rejects.toMatchObject({ code: 'MEMSYNC_STORE_CORRUPT' })
        } else {
          outcomes.add('restored')
          expect(kept.filter((name) => name.endsWith('-wal'))).toHaveLength(1)
          expect(await contents(settings)).toEqual(after)
        }
        rmSync(settings.dataDir, { recursive: true })
      }
      expect(outcomes).toEqual(new Set(['damaged', 'restored']))
    },
    LONG_MS,
  )
})

describe('a process killed at any moment', () => {
  it(
    'leaves a good store and a good list',
    async () => {
      const random = seededRandom(printedSeed('snapshotKill'))
      const lasts = { create: 0, restore: 0 }
      for (const role of ['create', 'restore'] as const) {
        lasts[role] = (await run(role, (await copyOfMaster()).dataDir)).durationMs
      }
      for (let round = 0; round < 8; round++) {
        const role = round % 2 === 0 ? 'create' : 'restore'
        const settings = await copyOfMaster()
        await run(role, settings.dataDir, { afterMs: lasts[role] * (0.3 + 0.7 * random()) })
        await countSound(settings)
        await stateAfterStart(settings)
        await withStore(settings, (store) => store.probe())
        rmSync(settings.dataDir, { recursive: true })
      }
    },
    LONG_MS,
  )
})

/** Numerical Recipes' linear congruential generator, from 0 to 1. */
function seededRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}
