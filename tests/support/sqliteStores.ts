/** SQLite stores and processes that work on them; whatever a test leaves open is closed or killed after it. */
import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterEach } from 'vitest'
import type { Store, StoreOptions } from '../../src/infrastructure/memory/port.ts'
import { openSqliteStore } from '../../src/infrastructure/memory/sqlite.ts'
import { at, setOf } from '../contract/writes.ts'
import { tempDir } from './tempDir.ts'

export const STORE_PROCESS = fileURLToPath(new URL('./storeProcess.ts', import.meta.url))

export const newPath = () => join(tempDir(), 'data', 'memory.db')

const children = new Set<ChildProcess>()
const stores = new Set<Store>()

afterEach(async () => {
  for (const child of children) child.kill('SIGKILL')
  children.clear()
  for (const store of stores) await store.close()
  stores.clear()
})

export async function open(path: string, options?: StoreOptions): Promise<Store> {
  const store = await openSqliteStore(path, options)
  stores.add(store)
  return store
}

/** Starts `storeProcess.ts` in a role; `lines` grows as it reports, `closed` has its exit code. */
export function start(...args: string[]) {
  const child = spawn(process.execPath, [STORE_PROCESS, ...args], { stdio: ['pipe', 'pipe', 'inherit'] })
  children.add(child)
  const lines: unknown[] = []
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(JSON.parse(line)))
  // 'close', not 'exit': by then every line has been read.
  const closed = new Promise<number | null>((resolve) => child.on('close', resolve))
  return { child, lines, closed }
}

/** Makes a store of `count` memories and closes it. */
export async function makeStore(path: string, count = 500): Promise<void> {
  const store = await openSqliteStore(path)
  await store.apply(
    Array.from({ length: count }, (_, index) => setOf(`k${index}`, 'x'.repeat(300), at(index + 1))),
  )
  await store.close()
}
