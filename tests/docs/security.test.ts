/** The pages on faults, security and redaction name tests that are there, and the packages are held to what they say. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { SECRET_PATTERNS } from '../../src/jobs/redact.ts'
import { fileLinks, ROOT, readDocument, tableBelow } from './markdown.ts'

const PAGES = ['docs/faults.md', 'docs/threat-model.md', 'docs/redaction.md', 'SECURITY.md']

/** The tests a text names: a file alone, or a file and the name of a test, or the beginning of one, in it. */
function namedTests(text: string): { file: string; name: string | undefined }[] {
  return [...text.matchAll(/`(tests\/[\w./-]+\.test\.ts)`(?: › `([^`]+)`)?/g)].map(([, file = '', name]) => ({
    file,
    name,
  }))
}

/** The text of the code, with its quotes as they are read. */
function codeOf(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8').replace(/\\(['"`])/g, '$1')
}

describe.each(['docs/faults.md', 'docs/threat-model.md'])('%s', (page) => {
  const rows = tableBelow(readDocument(page), '<!-- table -->')

  it('names a test in each row, or says why it cannot run here', () => {
    expect(rows.length).toBeGreaterThan(15)
    for (const row of rows) {
      const text = Object.values(row).map(String).join(' ')
      const says = namedTests(text).length > 0 || /cannot run here/.test(text)
      expect(says, text).toBe(true)
    }
  })

  it('names no test that is not there', () => {
    for (const { file, name } of namedTests(readDocument(page))) {
      expect(existsSync(join(ROOT, file)), file).toBe(true)
      if (name !== undefined) expect(codeOf(file).includes(name), `${file} › ${name}`).toBe(true)
    }
  })
})

it('the page on faults has a row for each fault of the list', () => {
  const rows = tableBelow(readDocument('docs/faults.md'), '<!-- table -->')
  expect(rows.map((row) => row['#'])).toEqual(rows.map((_, index) => String(index + 1)))
  expect(rows).toHaveLength(30)
})

it.each(PAGES)('%s: every link leads somewhere', (page) => {
  const folder = page.includes('/') ? 'docs' : ''
  for (const target of fileLinks(readDocument(page))) {
    expect(existsSync(join(ROOT, folder, target)), target).toBe(true)
  }
})

it('the table of what is redacted is that of the code', () => {
  const rows = tableBelow(readDocument('docs/redaction.md'), '<!-- patterns -->')
  expect(rows.map(({ Finds, 'Written down at': source }) => [Finds, source])).toEqual(
    SECRET_PATTERNS.map(({ name, source }) => [name, source]),
  )
})

describe('the packages', () => {
  const { allowScripts, dependencies, devDependencies } = JSON.parse(readDocument('package.json'))
  const { packages } = JSON.parse(readDocument('package-lock.json')) as {
    packages: Record<
      string,
      { version: string; integrity?: string; hasInstallScript?: boolean; link?: boolean }
    >
  }

  it('no install script may run but the one that is allowed', () => {
    const scripted = Object.entries(packages).filter(([, { hasInstallScript }]) => hasInstallScript)
    const names = scripted.map(([path]) => path.replace(/^.*node_modules\//, ''))
    // Whoever brings another one decides here, by name, whether it runs.
    expect(names.filter((name) => !Object.hasOwn(allowScripts, name))).toEqual([])
    expect(Object.keys(allowScripts).filter((name) => allowScripts[name])).toEqual(['node'])
  })

  it('are named exactly, and locked by hash', () => {
    for (const version of Object.values({ ...dependencies, ...devDependencies }))
      expect(version).toMatch(/^\d+\.\d+\.\d+$/)
    for (const [path, { integrity }] of Object.entries(packages)) {
      if (path !== '') expect(integrity, path).toMatch(/^sha512-/)
    }
  })

  it('are installed from the lockfile alone', () => {
    const scripts = readdirSync(join(ROOT, 'scripts')).map((name) => `scripts/${name}`)
    for (const file of [...scripts, '.ci/run']) {
      const text = readDocument(file)
      expect(text, file).not.toMatch(/npm['", [\]]+(install|i|add|update)\b/)
    }
    expect(readDocument('scripts/setup.mjs')).toContain("'ci'")
  })
})
