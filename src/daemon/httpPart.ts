/** The HTTP interface among the daemon's parts; its libraries are loaded only where it is set. */
import type { Config } from '../config.ts'
import type { Store } from '../infrastructure/memory/port.ts'
import type { MemoryInput } from '../jobs/index.ts'
import type { Logger } from '../logger.ts'
import type { Part } from './lifecycle.ts'
import type { Status } from './status.ts'

/** What the daemon answers for. */
interface Answers {
  /** @throws MEMSYNC_STORE_UNAVAILABLE before there is one */
  store(): Store
  status(): Promise<Status>
  metrics(): Promise<string>
  isStalled(): boolean
}

export function httpPart(config: Config, logger: Logger, answers: Answers): Part {
  let stop: (() => Promise<void>) | undefined
  const { http: endpoint, dataDir, maxValueBytes } = config
  return {
    name: 'HTTP',
    start: async () => {
      if (!endpoint) return
      const [{ HttpInterface }, { createSearch }, { createProducer }] = await Promise.all([
        import('../producers/http.ts'),
        import('../producers/meaningSearch.ts'),
        import('../producers/client.ts'),
      ])
      // As any other producer: to the queue, or to the spool while Redis is away.
      const producer = createProducer({ config })
      const handOver = (memory: MemoryInput) => producer.enqueue(memory)
      const { search, close } = createSearch(config)
      const sources = { ...answers, handOver, search, maxValueBytes }
      const http = new HttpInterface({ endpoint, dataDir, sources, logger })
      stop = async () => {
        await http.stop()
        await producer.close()
        await close()
      }
      await http.start()
    },
    stop: async () => stop?.(),
  }
}
