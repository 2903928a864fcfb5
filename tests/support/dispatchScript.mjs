/**
 * A script as the documents show it, for the tests that watch one end by itself. `node dispatchScript.mjs MODE`; it
 * reports by lines on stdout.
 */
import { memorySyncHandler } from '../../dist/handlers/memorySync.js'
import { TypedWorkerQueue } from '../../dist/queue/index.js'

const say = (line) => console.log(JSON.stringify(line))
const told = (promise) =>
  promise.then(
    (result) => say({ result }),
    (error) => say({ code: error.code ?? error.message }),
  )

const modes = {
  /** The snippet. */
  async snippet() {
    const queue = new TypedWorkerQueue()
    queue.register('MEMORY_SYNC', memorySyncHandler)
    await told(queue.dispatch('MEMORY_SYNC', { key: 'snippet', value: { from: 'a script' } }))
    await queue.close()
  },

  /** Hands over many to a handler that never ends, and closes on a word on stdin. */
  async closeWhilePending() {
    const queue = new TypedWorkerQueue()
    queue.register('MEMORY_SYNC', () => {
      say('in hand')
      return new Promise(() => undefined)
    })
    const pending = told(queue.dispatch('MEMORY_SYNC', { key: 'k', value: 1 }))
    process.stdin.once('data', async () => {
      process.stdin.destroy()
      await queue.close()
      await pending
      say('closed')
    })
  },

  /** Fails to open the store. */
  async storeFails() {
    const queue = new TypedWorkerQueue()
    queue.register('MEMORY_SYNC', memorySyncHandler)
    await told(queue.dispatch('MEMORY_SYNC', { key: 'k', value: 1 }))
    await queue.close()
  },
}

await modes[process.argv[2]]()
