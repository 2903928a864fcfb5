/**
 * How fast the dashboard is with much to show: `node bench/dashboard.ts [waiting jobs] [dead letters]`, 100,000 and
 * 1,000 unless given. Each page is opened in a fresh profile of a real Chromium until all of it is drawn, and each
 * answer is asked for again and again.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadConfig } from '../src/config.ts'
import { launchBrowser, NO_BROWSER, openPage } from '../tests/support/browser.ts'
import { deadLetter, fillQueues, startDashboard } from '../tests/support/dashboard.ts'
import { startTestRedis } from '../tests/support/redis.ts'

const [waiting = 100_000, dead = 1_000] = process.argv.slice(2).map(Number)
const OPENINGS = 7
const REQUESTS = 40
const PAGES = [
  // What a browser takes to open anything here, for comparison.
  ['with nothing on it', undefined, 'p'],
  ['overview', '#overview', '.verdict[data-tone]'],
  ['dead letters', '#dead-letters', '.dl:nth-child(100)'],
  ['memories', '#memories', '.memory-list li'],
] as const
const ANSWERS = ['overview', 'dead-letters', 'dead-letters?class=transient&limit=500', 'memories']

function percentile(values: number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0)
}

function tell(what: string, times: number[]): void {
  const figures = `median ${percentile(times, 0.5)} ms, 95 % ${percentile(times, 0.95)} ms, most ${percentile(times, 1)} ms`
  process.stdout.write(`${what.padEnd(44)} ${figures}\n`)
}

if (NO_BROWSER) throw new Error(NO_BROWSER)
const server = await startTestRedis({ persist: false })
const dataDir = mkdtempSync(join(tmpdir(), 'memsync-bench-'))
const config = { ...loadConfig({}, {}).config, dataDir, redisUrl: server.url }
const entries = Array.from({ length: dead }, (_, n) =>
  deadLetter(n + 1, { class: n % 3 === 0 ? 'transient' : 'permanent' }),
)
await fillQueues(config, { waiting, dead: entries })
const dashboard = await startDashboard(dataDir, { REDIS_URL: server.url })
const browser = await launchBrowser()
try {
  process.stdout.write(`${waiting} jobs wait, ${dead} dead letters\n`)
  for (const [name, hash, drawn] of PAGES) {
    const times: number[] = []
    for (let n = 0; n < OPENINGS; n++) {
      const { page, close } = await openPage(browser)
      // The cookie first: what is timed is the page.
      await page.goto(dashboard.link)
      await page.waitForSelector('html[data-ready]')
      await page.goto('about:blank')
      const startedMs = performance.now()
      await page.goto(hash === undefined ? 'data:text/html,<p>empty' : `${dashboard.origin}/${hash}`)
      await page.waitForSelector(hash === undefined ? drawn : `html[data-ready] ${drawn}`)
      times.push(performance.now() - startedMs)
      await close()
    }
    tell(`page ${name}, opened and drawn`, times)
  }
  const opened = await fetch(dashboard.link)
  const cookie = opened.headers.getSetCookie()[0]?.split(';')[0] ?? ''
  for (const path of ANSWERS) {
    const times: number[] = []
    for (let n = 0; n < REQUESTS; n++) {
      const startedMs = performance.now()
      const response = await fetch(`${dashboard.origin}/api/${path}`, { headers: { cookie } })
      await response.arrayBuffer()
      if (!response.ok) throw new Error(`/api/${path} answers ${response.status}`)
      times.push(performance.now() - startedMs)
    }
    tell(`GET /api/${path}`, times)
  }
} finally {
  await browser.close()
  await dashboard.stop()
  await server.stop()
  rmSync(dataDir, { recursive: true, force: true })
}
