/**
 * The store by itself: no queue and no daemon needed, and none disturbed.
 *
 *   npx node examples/memory-store.ts
 */
import { MemoryStore, MemsyncError } from 'memsyncd'

await MemoryStore.set('key', { data: 'value' })
console.log(await MemoryStore.get('key'))
console.log(await MemoryStore.has('key'))

await MemoryStore.delete('key')
console.log(await MemoryStore.get('key'))
console.log(await MemoryStore.has('key'))

// What is not JSON is refused, and the error says where it stands.
try {
  await MemoryStore.set('key', { at: { last: new Date(0) } })
} catch (error) {
  if (!(error instanceof MemsyncError)) throw error
  console.log(`${error.code}: ${error.message}`)
}
