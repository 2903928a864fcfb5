/**
 * Hand memories over and wait until each is persisted. Works beside a daemon and without one.
 *
 *   npx node examples/quick-start.ts
 */
import { MemoryStore, memorySyncHandler, TypedWorkerQueue } from 'memsyncd'

const queue = new TypedWorkerQueue()
queue.register('MEMORY_SYNC', memorySyncHandler)

const result = await queue.dispatch('MEMORY_SYNC', {
  key: 'user-preferences',
  value: { theme: 'dark', language: 'en' },
})
console.log(result)

const resultWithEmbedding = await queue.dispatch(
  'MEMORY_SYNC',
  { key: 'document-content', value: 'This is a sample document text', embed: true },
  { attempts: 5, backoffMs: 500 },
)
console.log(resultWithEmbedding)

// Releases everything, so that the script ends.
await queue.close()

console.log(await MemoryStore.get('user-preferences'))
