/**
 * Embeds one memory: reads the newest version when it runs, sees to it that every chunk of its text has a vector,
 * gives the memory those vectors under its version, and records how far it has come.
 *
 * A memory that is deleted, or not to be embedded (any more), loses its vectors.
 */
import type { EmbedBatcher, Text } from '../embedding/batcher.ts'
import { splitIntoChunks } from '../embedding/chunk.ts'
import { contentHash, excerptOf, textOf, type VectorSpace } from '../embedding/text.ts'
import { loadTokenCounter } from '../embedding/tokens.ts'
import { MemsyncError } from '../errors.ts'
import type { MemoryName, Receipt, Store } from '../infrastructure/memory/port.ts'
import type {
  EmbeddedMemory,
  MemoryVersion,
  PutOutcome,
  VectorStore,
} from '../infrastructure/memory/vectors.ts'
import { compareVersions } from '../jobs/version.ts'

/** Vectors saved a moment ago may be pruned before they are used; far more than once means something is wrong. */
const MAX_ROUNDS = 3

/** What an embedding needs of the lane. */
export interface EmbedContext {
  store: Pick<Store, 'find'>
  vectors: Pick<VectorStore, 'space' | 'find'>
  batcher: Pick<EmbedBatcher, 'embed'>
  put(memory: EmbeddedMemory): Promise<PutOutcome>
  remove(memory: MemoryVersion): Promise<boolean>
  /** Resolves once the receipt is durable. */
  recordReceipt(name: MemoryName, receipt: Receipt): Promise<void>
  signal: AbortSignal
}

/**
 * - `embedded`: a search finds this version
 * - `unchanged`: it did already
 * - `removed`: it is deleted or not to be embedded, and has no vectors
 * - `superseded`: a newer version was embedded meanwhile
 * - `absent`: the store has no such memory any more
 */
export interface EmbedOutcome {
  outcome: 'embedded' | 'unchanged' | 'removed' | 'superseded' | 'absent'
}

/** The texts that need vectors, and what is to be done once each has its own. */
interface Loaded {
  texts: readonly Text[]
  end: { act: 'none' } | ({ act: 'remove' | 'keep' } & MemoryVersion) | ({ act: 'put' } & EmbeddedMemory)
}

/** @throws what the embedder refused or failed with; MEMSYNC_STORE_UNAVAILABLE */
export async function memoryEmbed(name: MemoryName, context: EmbedContext): Promise<EmbedOutcome> {
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const { end } = await context.batcher.embed(() => load(name, context), context.signal)
    switch (end.act) {
      case 'none':
        return { outcome: 'absent' }
      case 'remove':
        await removeVectors(end, context)
        await removeIfUnwanted(end, context)
        return { outcome: 'removed' }
      case 'keep':
        await record(end, 'kept', context)
        return { outcome: (await removeIfUnwanted(end, context)) ? 'removed' : 'unchanged' }
      case 'put': {
        const outcome = await context.put(end)
        if (outcome === 'incomplete') continue
        await record(end, end.chunks[0]?.contentHash ?? 'empty', context)
        if (await removeIfUnwanted(end, context)) return { outcome: 'removed' }
        return { outcome: outcome === 'stored' ? 'embedded' : 'superseded' }
      }
    }
  }
  throw new MemsyncError('MEMSYNC_HANDLER_FAILED', 'vectors are gone before they are used')
}

async function load(name: MemoryName, { store, vectors }: EmbedContext): Promise<Loaded> {
  const memory = await store.find(name.key, name.namespace)
  if (!memory) return { texts: [], end: { act: 'none' } }
  const { namespace, key, version } = memory
  const of = { namespace, key, version }
  if (!memory.embed || memory.value === undefined) return { texts: [], end: { act: 'remove', ...of } }
  const found = await vectors.find(key, namespace)
  if (found?.current && compareVersions(found.version, version) >= 0) {
    return { texts: [], end: { act: 'keep', ...of } }
  }
  const texts = await readTexts(textOf(memory.value), vectors.space)
  const chunks = texts.map(({ contentHash: hash, text }) => ({ contentHash: hash, excerpt: excerptOf(text) }))
  return { texts, end: { act: 'put', ...of, chunks } }
}

async function readTexts(text: string, space: VectorSpace): Promise<Text[]> {
  const chunks = await splitIntoChunks(text, await loadTokenCounter())
  return chunks.map((chunk) => ({
    text: chunk.text,
    tokens: chunk.tokens,
    contentHash: contentHash(space, chunk.text),
  }))
}

/**
 * A write that asks for no vectors wakes this lane only where a receipt says that there may be some. One that came
 * before the receipt of `done` was written found none, so it is looked for here; one that comes later finds it.
 * @returns whether there was one, and the memory has no vectors any more
 */
async function removeIfUnwanted(done: MemoryVersion, context: EmbedContext): Promise<boolean> {
  for (let last = done; ; ) {
    const newest = await context.store.find(done.key, done.namespace)
    const isUnwanted = newest && (newest.value === undefined || !newest.embed)
    if (!isUnwanted || compareVersions(newest.version, last.version) <= 0) return last !== done
    const { namespace, key, version } = newest
    last = { namespace, key, version }
    await removeVectors(last, context)
  }
}

async function removeVectors(memory: MemoryVersion, context: EmbedContext): Promise<void> {
  await context.remove(memory)
  await record(memory, 'removed', context)
}

async function record(memory: MemoryVersion, hash: string, { recordReceipt }: EmbedContext): Promise<void> {
  const { version } = memory
  await recordReceipt(memory, { lane: 'embed', version, contentHash: hash, atMs: Date.now() })
}
