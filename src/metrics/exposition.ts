/**
 * The metrics as Prometheus reads them, by prom-client, in a registry of their own. Loaded when somebody asks for them;
 * until then they cost no memory and no start-up.
 */
import { Counter, Gauge, type GaugeConfiguration, Registry } from 'prom-client'
import { METRICS, type Metric, type MetricName, type Sample } from './catalogue.ts'
import type { CallTimes, Distribution, Measurements } from './measurements.ts'

interface DistributionSample {
  name: MetricName
  labels?: Record<string, string>
  distribution: Distribution
}

/** Every metric of which there is a sample, with its help and type. */
export interface Exposition {
  /** Prometheus' text format, version 0.0.4. */
  text(): Promise<string>
  /** The same for a program. */
  json(): Promise<unknown[]>
}

/** @param measurements undefined where no daemon counts */
export function expose(samples: readonly Sample[], measurements?: Measurements): Exposition {
  const all = [...samples, ...(measurements ? counters(measurements) : [])]
  const distributions = measurements ? distributionsOf(measurements) : []
  const registry = new Registry()
  for (const name of Object.keys(METRICS) as MetricName[]) {
    const own = all.filter((sample) => sample.name === name)
    const ownDistributions = distributions.filter((sample) => sample.name === name)
    if (ownDistributions.length > 0) register(registry, name, ownDistributions)
    else if (own.length > 0) registerValues(registry, name, own)
  }
  return { text: () => registry.metrics(), json: () => jsonOf(registry) }
}

function registerValues(registry: Registry, name: MetricName, samples: readonly Sample[]): void {
  const { help, type } = METRICS[name]
  const options = { name, help, labelNames: labelNamesOf(name), registers: [registry] }
  if (type === 'counter') {
    const counter = new Counter(options)
    for (const { labels = {}, value } of samples) counter.inc(labels, value)
  } else {
    const gauge = new Gauge(options)
    for (const { labels = {}, value } of samples) gauge.set(labels, value)
  }
}

function register(registry: Registry, name: MetricName, samples: readonly DistributionSample[]): void {
  const options = { name, help: METRICS[name].help, labelNames: labelNamesOf(name), registers: [registry] }
  new Measured(options, samples)
}

function labelNamesOf(name: MetricName): string[] {
  const metric: Metric = METRICS[name]
  return Object.keys(metric.labels ?? {})
}

/** A histogram that was counted elsewhere: prom-client's own takes single observations only. */
class Measured extends Gauge {
  private readonly samples: readonly DistributionSample[]

  constructor(options: GaugeConfiguration<string>, samples: readonly DistributionSample[]) {
    super(options)
    this.samples = samples
  }

  override async get(): ReturnType<Gauge['get']> {
    const values = this.samples.flatMap((sample) => seriesOf(sample))
    return Object.assign(await super.get(), { type: 'histogram', values })
  }
}

interface Series {
  metricName: string
  labels: Record<string, string | number>
  value: number
}

function seriesOf({ name, labels = {}, distribution }: DistributionSample): Series[] {
  const { bounds, counts, sum } = distribution
  let below = 0
  const buckets = counts.map((count, index): Series => {
    below += count
    const le = bounds[index] ?? '+Inf'
    return { metricName: `${name}_bucket`, labels: { ...labels, le }, value: below }
  })
  return [
    ...buckets,
    { metricName: `${name}_sum`, labels, value: sum },
    { metricName: `${name}_count`, labels, value: below },
  ]
}

function counters({ lanes }: Measurements): Sample[] {
  return Object.entries(lanes).flatMap(([lane, { outcomes, deadLetters }]) => [
    ...[...outcomes].map(([outcome, value]): Sample => {
      return { name: 'memsync_outcomes_total', labels: { lane, outcome }, value }
    }),
    ...[...deadLetters].map(([errorClass, value]): Sample => {
      return { name: 'memsync_dead_letters_total', labels: { lane, class: errorClass }, value }
    }),
  ])
}

function distributionsOf(measurements: Measurements): DistributionSample[] {
  const { acceptToPersist, commit, commitWrites, pushCalls, embedCalls } = measurements
  const byResult = (name: MetricName, { ok, failed }: CallTimes, labels: Record<string, string> = {}) => [
    { name, labels: { ...labels, result: 'ok' }, distribution: ok },
    { name, labels: { ...labels, result: 'failed' }, distribution: failed },
  ]
  return [
    { name: 'memsync_accept_to_persist_seconds', distribution: acceptToPersist },
    { name: 'memsync_commit_seconds', distribution: commit },
    { name: 'memsync_commit_writes', distribution: commitWrites },
    ...Object.entries(pushCalls).flatMap(([operation, times]) =>
      byResult('memsync_push_call_seconds', times, { operation }),
    ),
    ...byResult('memsync_embed_call_seconds', embedCalls),
  ]
}

async function jsonOf(registry: Registry): Promise<unknown[]> {
  const metrics = (await registry.getMetricsAsJSON()) as unknown as {
    name: string
    help: string
    type: string
    values: { metricName?: string; labels: Record<string, string | number>; value: number }[]
  }[]
  return metrics.map(({ name, help, values }) => ({
    name,
    type: METRICS[name as MetricName].type,
    help,
    samples: values.map(({ metricName = name, labels, value }) => ({ name: metricName, labels, value })),
  }))
}
