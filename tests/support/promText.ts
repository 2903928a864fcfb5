/** Reading the text format of Prometheus. */

export interface ReadMetrics {
  /** By name; undefined where there is no such series. */
  value(name: string, labels?: Record<string, string>): number | undefined
  /** Names as the heads say them, each once. */
  names: string[]
}

export function readMetrics(text: string): ReadMetrics {
  const series = [...text.matchAll(/^([a-z_]+)(?:\{(.*)\})? (\S+)$/gm)].map(
    ([, name, labels = '', value]) => ({
      name,
      labels: Object.fromEntries(
        [...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, label = '', said = '']) => [label, said]),
      ),
      value: Number(value),
    }),
  )
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  if (series.length !== lines.length) throw new Error('a line is no sample')
  return {
    names: [...text.matchAll(/^# TYPE (\S+) /gm)].map(([, name = '']) => name),
    value: (name, labels = {}) => {
      const found = series.filter(
        (one) =>
          one.name === name && Object.entries(labels).every(([label, said]) => one.labels[label] === said),
      )
      if (found.length > 1) throw new Error(`${found.length} series of ${name}`)
      return found[0]?.value
    },
  }
}
