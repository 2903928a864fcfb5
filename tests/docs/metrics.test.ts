/** docs/metrics.md, the dashboard and the alert rules, held against the metrics that there are. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { METRICS, type Metric } from '../../src/metrics/catalogue.ts'
import { SETTINGS } from '../../src/settings.ts'
import { HAS_PROMTOOL, promtool, WITHOUT_PROMTOOL } from '../support/promtool.ts'
import { tempDir } from '../support/tempDir.ts'
import { fileLinks, ROOT, readDocument, tableBelow } from './markdown.ts'

const MONITORING = join(ROOT, 'monitoring')
const ALL = Object.entries<Metric>(METRICS)

interface Panel {
  title: string
  type: string
  gridPos: { x: number; y: number; w: number; h: number }
  targets?: { expr: string }[]
}

const dashboard = JSON.parse(readFileSync(join(MONITORING, 'grafana-dashboard.json'), 'utf8')) as {
  panels: Panel[]
  templating: { list: { name: string; definition?: string }[] }
}
const queries = [
  ...dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)),
  ...dashboard.templating.list.flatMap(({ definition }) => definition ?? []),
]
const rules = readFileSync(join(MONITORING, 'alerts.yml'), 'utf8')
const ruleTests = readFileSync(join(MONITORING, 'alerts.test.yml'), 'utf8')
const expressions = [...rules.matchAll(/^ +expr: (.*)$/gm)].map(([, expression = '']) => expression)

/** Names of series, without the ends that a histogram's have. */
function metricsIn(query: string): string[] {
  const bare = query.replaceAll(/"[^"]*"/g, '""')
  const names = [...bare.matchAll(/\b(?:memsync|process|nodejs)_\w+/g)].map(([name]) => name)
  return names.map((name) => {
    const base = name.replace(/_(bucket|sum|count)$/, '')
    return (METRICS as Record<string, Metric>)[base]?.type === 'histogram' ? base : name
  })
}

describe('the page', () => {
  it('has every metric with its type, labels and meaning, and no other', () => {
    const rows = tableBelow(readDocument('docs/metrics.md'), '<!-- table: metrics -->')
    expect(rows, 'run `npm run docs`').toEqual(
      ALL.map(([name, { type, labels = {}, help }]) => ({
        Metric: name,
        Type: type,
        Labels: Object.entries(labels)
          .map(([label, values]) => `\`${label}\`: ${values}`)
          .join('; '),
        Meaning: help,
      })),
    )
  })

  it('names settings and files that exist', () => {
    const page = readDocument('docs/metrics.md')
    for (const [name] of page.matchAll(/\bMEMSYNC_[A-Z_]+/g)) expect(Object.keys(SETTINGS)).toContain(name)
    for (const link of fileLinks(page)) expect(() => readDocument(join('docs', link))).not.toThrow()
  })
})

describe('the names', () => {
  it('follow the conventions of Prometheus', () => {
    for (const [name, { type, help }] of ALL) {
      expect(name).toMatch(/^(memsync|process|nodejs)_[a-z_]+$/)
      expect(name.endsWith('_total'), name).toBe(type === 'counter')
      expect(name, 'a unit that is no base unit').not.toMatch(/_(ms|millis|kb|mb|percent|minutes)\b/)
      expect(help, name).toMatch(/\.$/)
    }
  })
})

describe('the dashboard', () => {
  it('asks for metrics that exist, and shows every one of ours', () => {
    const asked = new Set(queries.flatMap(metricsIn))
    expect(asked.size).toBeGreaterThan(30)
    for (const name of asked) expect(Object.keys(METRICS)).toContain(name)
    const apart = [
      'memsync_daemon_running',
      'memsync_last_success_timestamp_seconds',
      'process_start_time_seconds',
    ]
    expect(
      Object.keys(METRICS)
        .filter((name) => !asked.has(name))
        .sort(),
    ).toEqual([...apart, 'memsync_spool_oldest_seconds'].sort())
  })

  it('has no two panels in one place', () => {
    const cells = new Set<string>()
    for (const { title, gridPos } of dashboard.panels) {
      expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24)
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          expect(cells.has(`${x},${y}`), `${title} at ${x},${y}`).toBe(false)
          cells.add(`${x},${y}`)
        }
      }
    }
  })

  it.skipIf(!HAS_PROMTOOL)(`asks in PromQL that Prometheus takes${WITHOUT_PROMTOOL}`, () => {
    const records = dashboard.panels
      .flatMap(({ targets = [] }) => targets)
      .map(({ expr }, index) => {
        const query = expr.replaceAll('$__rate_interval', '5m').replaceAll('$instance', '.*')
        return `      - record: query:${index}\n        expr: ${JSON.stringify(query)}\n`
      })
    const file = join(tempDir(), 'queries.yml')
    writeFileSync(file, `groups:\n  - name: dashboard\n    rules:\n${records.join('')}`)
    const { status, said } = promtool(['check', 'rules', file])
    expect(status, said).toBe(0)
    expect(said).toContain(`${records.length} rules found`)
  })
})

describe('the alert rules', () => {
  const alerts = [...rules.matchAll(/^ +- alert: (\w+)$/gm)].map(([, name = '']) => name)

  it('ask for metrics that exist', () => {
    expect(expressions).toHaveLength(alerts.length)
    for (const name of expressions.flatMap(metricsIn)) expect(Object.keys(METRICS)).toContain(name)
    // A state that is misspelt never comes true.
    for (const [, name = '', labels = ''] of expressions.join('\n').matchAll(/(memsync_\w+)\{([^}]*)\}/g)) {
      const known: Record<string, string> = (METRICS as Record<string, Metric>)[name]?.labels ?? {}
      for (const [, label = '', value = ''] of labels.matchAll(/(\w+)="([^"]*)"/g))
        expect(known[label]?.split(', '), `${name} ${label}`).toContain(value)
    }
  })

  it('are each tried with figures on which they fire and on which they do not', () => {
    expect(alerts.length).toBeGreaterThan(10)
    const tried = [...ruleTests.matchAll(/^ +- name: (.+)$/gm)].map(([, name]) => name)
    expect(tried).toEqual(alerts.flatMap((name) => [`${name} fires`, `${name} keeps silent`]))
  })

  it.skipIf(!HAS_PROMTOOL)(`pass promtool check rules and test rules${WITHOUT_PROMTOOL}`, () => {
    const checked = promtool(['check', 'rules', join(MONITORING, 'alerts.yml')])
    expect(checked.status, checked.said).toBe(0)
    const tested = promtool(['test', 'rules', join(MONITORING, 'alerts.test.yml')])
    expect(tested.status, tested.said).toBe(0)
  })
})
