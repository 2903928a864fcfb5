/**
 * The dashboard among the daemon's parts. Its history is kept always, so that one opened later shows the past; it is
 * served, and its libraries are loaded, only where MEMSYNC_DASHBOARD says where.
 */
import type { Config } from '../config.ts'
import { StatusHistory } from '../dashboard/history.ts'
import type { Store } from '../infrastructure/memory/port.ts'
import type { Logger } from '../logger.ts'
import type { Part } from './lifecycle.ts'
import type { Status } from './status.ts'

const SAMPLE_INTERVAL_MS = 10_000

/** What the daemon answers for. */
interface Answers {
  /** @throws MEMSYNC_STORE_UNAVAILABLE before there is one */
  store(): Store
  /** @param figuresAgeMs how old the figures of the queues may be; not at all unless given */
  status(figuresAgeMs?: number): Promise<Status>
}

export class DashboardPart implements Part {
  readonly name = 'dashboard'
  private readonly config: Config
  private readonly logger: Logger
  private readonly answers: Answers
  private readonly history = new StatusHistory()
  private sampling: NodeJS.Timeout | undefined
  private served: { link(): string | undefined; stop(): Promise<void> } | undefined

  constructor(config: Config, logger: Logger, answers: Answers) {
    this.config = config
    this.logger = logger
    this.answers = answers
  }

  async start(): Promise<void> {
    this.sampling = setInterval(() => void this.sample(), SAMPLE_INTERVAL_MS)
    this.sampling.unref()
    const { dashboard: endpoint } = this.config
    if (!endpoint) return
    const { serveInDaemon } = await import('../dashboard/serve.ts')
    const { config, logger, history, answers } = this
    this.served = await serveInDaemon({ config, endpoint, logger, history, ...answers })
  }

  async stop(): Promise<void> {
    clearInterval(this.sampling)
    await this.served?.stop()
  }

  /** What `memsync dashboard` asks for: a link that opens once (null where it is not served), and the past. */
  answer(): Record<string, unknown> {
    return { link: this.served?.link() ?? null, history: this.history.since(0) }
  }

  private async sample(): Promise<void> {
    try {
      this.history.record(await this.answers.status(SAMPLE_INTERVAL_MS), Date.now())
    } catch {
      // A gap in the chart; who asks for the status is told why there is none.
    }
  }
}
