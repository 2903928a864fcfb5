/**
 * A producer that knows BullMQ and the contract, and nothing of memsyncd: this could be any language BullMQ speaks.
 * It takes the address of the Redis, which `memsync status --json` prints as `redis.endpoint`:
 *
 *   npx node examples/bullmq-client.mjs unix:/home/me/.local/share/memsyncd/redis/redis.sock
 */
import { Queue } from 'bullmq'

const [endpoint = 'redis://127.0.0.1:6379'] = process.argv.slice(2)
const connection = endpoint.startsWith('unix:') ? { path: endpoint.slice('unix:'.length) } : { url: endpoint }

const queue = new Queue('memory-sync', { connection })
// No job id: its number is the memory's place in the order of acceptance.
const job = await queue.add('MEMORY_SYNC', {
  key: 'build-result',
  value: { branch: 'main', passed: true },
  namespace: 'ci',
  metadata: { host: 'builder-1' },
})
console.log(`accepted as job ${job.id}`)
await queue.close()
