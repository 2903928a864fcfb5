// A bare BullMQ worker whose handler does nothing, as its own process: what the daemon's idle cost is held against.
import { Worker } from 'bullmq'
import { Redis } from 'ioredis'

const redis = new Redis(process.argv[2], { maxRetriesPerRequest: null })
const worker = new Worker('memory-sync', async () => ({ status: 'success' }), {
  connection: redis,
  prefix: 'bare',
  concurrency: 100,
})
await worker.waitUntilReady()
console.log('ready')
