/**
 * Undo the last write of a memory. The undoing is a write of its own, so it shows in the history.
 *
 *   npx node examples/rollback.ts
 */
import { MemoryStore, rollback } from 'memsyncd'

await MemoryStore.set('user-preferences', { theme: 'light' })
await MemoryStore.set('user-preferences', { theme: 'dark' })

console.log(await rollback({ key: 'user-preferences' }))

for (const { value } of await MemoryStore.history('user-preferences')) console.log(value)
