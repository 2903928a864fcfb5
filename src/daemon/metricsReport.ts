/** What the daemon says to whoever asks for its metrics, over HTTP or over its socket. */
import type { Config } from '../config.ts'
import type { Exposition } from '../metrics/exposition.ts'
import { Measurements } from '../metrics/measurements.ts'
import type { ProcessWatch } from '../metrics/processSamples.ts'
import type { Status } from './status.ts'

type MetricsConfig = Pick<Config, 'spoolMaxBytes' | 'embedDailyTokens'>

export class MetricsReport {
  readonly measurements = new Measurements()
  private readonly config: MetricsConfig
  private readonly status: () => Promise<Status>
  private watch: ProcessWatch | undefined

  /** @param status throws MEMSYNC_STORE_UNAVAILABLE before there is a store */
  constructor(config: MetricsConfig, status: () => Promise<Status>) {
    this.config = config
    this.status = status
  }

  /** In Prometheus' text format. @throws MEMSYNC_STORE_UNAVAILABLE */
  async text(): Promise<string> {
    return (await this.read()).text()
  }

  /** The answer to the request `metrics` of the socket. @throws MEMSYNC_STORE_UNAVAILABLE */
  async answer({ format }: Record<string, unknown>): Promise<Record<string, unknown>> {
    const exposition = await this.read()
    return format === 'json' ? { metrics: await exposition.json() } : { text: await exposition.text() }
  }

  private async read(): Promise<Exposition> {
    const [{ expose }, { statusSamples }, { ProcessWatch }] = await Promise.all([
      import('../metrics/exposition.ts'),
      import('../metrics/statusSamples.ts'),
      import('../metrics/processSamples.ts'),
    ])
    this.watch ??= new ProcessWatch()
    return expose(
      [...statusSamples(await this.status(), this.config), ...this.watch.samples()],
      this.measurements,
    )
  }
}
