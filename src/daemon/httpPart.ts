/** The HTTP interface among the daemon's parts; its libraries are loaded only where it is set. */
import type { Config } from '../config.ts'
import type { Store } from '../infrastructure/memory/port.ts'
import type { MemoryInput } from '../jobs/index.ts'
import type { Logger } from '../logger.ts'
import type { HttpInterface } from '../producers/http.ts'
import type { Part } from './lifecycle.ts'
import type { Status } from './status.ts'

/** What the daemon answers for. */
interface Answers {
  enqueue(memory: MemoryInput): Promise<{ jobId: string }>
  /** @throws MEMSYNC_STORE_UNAVAILABLE before there is one */
  store(): Store
  status(): Promise<Status>
  isStalled(): boolean
}

export function httpPart(config: Config, logger: Logger, answers: Answers): Part {
  let http: HttpInterface | undefined
  const { http: endpoint, dataDir, maxValueBytes } = config
  return {
    name: 'HTTP',
    start: async () => {
      if (!endpoint) return
      const [{ HttpInterface }, { searchByWords }] = await Promise.all([
        import('../producers/http.ts'),
        import('../producers/search.ts'),
      ])
      const { enqueue, ...others } = answers
      const handOver = async (memory: MemoryInput) => ({
        accepted: 'queued' as const,
        ...(await enqueue(memory)),
      })
      const sources = { ...others, handOver, search: searchByWords, maxValueBytes }
      http = new HttpInterface({ endpoint, dataDir, sources, logger })
      await http.start()
    },
    stop: async () => http?.stop(),
  }
}
