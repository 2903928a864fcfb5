/** A real Chromium without a window: that of CHROMIUM_PATH, or the first on the PATH. */
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core'

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']

const CHROMIUM =
  process.env.CHROMIUM_PATH ??
  (process.env.PATH ?? '')
    .split(delimiter)
    .flatMap((folder) => NAMES.map((name) => join(folder, name)))
    .find((path) => existsSync(path))

/** Why tests in a browser are left out; undefined where they are not. */
export const NO_BROWSER = CHROMIUM
  ? undefined
  : 'no Chromium: install one, or say where it is by CHROMIUM_PATH'

export async function launchBrowser(): Promise<Browser> {
  if (CHROMIUM === undefined) throw new Error(NO_BROWSER)
  // Root has no sandbox to give.
  const isRoot = process.getuid?.() === 0
  return chromium.launch({ executablePath: CHROMIUM, chromiumSandbox: !isRoot })
}

export interface WatchedPage {
  page: Page
  /** What the console said was wrong, and errors nobody caught. */
  troubles: string[]
  /** The origins that were asked for anything. */
  origins: Set<string>
  close(): Promise<void>
}

/** A page in a profile of its own. */
export async function openPage(browser: Browser, options: BrowserContextOptions = {}): Promise<WatchedPage> {
  const context = await browser.newContext(options)
  const page = await context.newPage()
  const troubles: string[] = []
  const origins = new Set<string>()
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type()))
      troubles.push(`${message.text()} (${message.location().url})`)
  })
  page.on('pageerror', (error) => troubles.push(String(error)))
  page.on('request', (request) => origins.add(new URL(request.url()).origin))
  page.setDefaultTimeout(20_000)
  return { page, troubles, origins, close: () => context.close() }
}
