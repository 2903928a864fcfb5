/** Stores of vectors in temporary folders, closed after each test, and memories that are their own texts. */
import { join } from 'node:path'
import { afterEach } from 'vitest'
import {
  type EmbeddedMemory,
  openVectorStore,
  type VectorStore,
  type VectorStoreOptions,
} from '../../src/infrastructure/memory/vectors.ts'
import type { Version } from '../../src/jobs/version.ts'
import { fakeVector } from './fakeOpenai.ts'
import { tempDir } from './tempDir.ts'

export const SPACE = { model: 'text-embedding-3-large', dimensions: 8 }
const opened = new Set<VectorStore>()

afterEach(async () => {
  for (const store of opened) await store.close()
  opened.clear()
})

export function openStore(path: string, changes: Partial<VectorStoreOptions> = {}): VectorStore {
  const store = openVectorStore({ path, space: SPACE, ...changes })
  if (!store) throw new Error('there is no such file')
  opened.add(store)
  return store
}

export function newPath(): string {
  return join(tempDir(), 'data', 'vectors.db')
}

export function version(sequence: number): Version {
  return { epoch: 1, sequence, index: 0 }
}

/** A memory whose chunks are these texts; a text stands for its own hash. */
export function memory(
  key: string,
  sequence: number,
  texts: string[],
  namespace = 'default',
): EmbeddedMemory {
  return {
    namespace,
    key,
    version: version(sequence),
    chunks: texts.map((text) => ({ contentHash: text, excerpt: `begins ${text}` })),
  }
}

export async function saveTexts(store: VectorStore, texts: string[], length = 8): Promise<void> {
  await store.save(texts.map((text) => ({ contentHash: text, vector: fakeVector(text, length) })))
}

export async function embed(store: VectorStore, ...memories: EmbeddedMemory[]) {
  await saveTexts(
    store,
    memories.flatMap((each) => each.chunks.map((chunk) => chunk.contentHash)),
  )
  return store.put(memories)
}

export async function foundKeys(store: VectorStore, text: string, k = 1000): Promise<string[]> {
  return (await store.search(fakeVector(text, 8), { k })).map((hit) => hit.key)
}

export function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number)
  return sum
}
