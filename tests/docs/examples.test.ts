/** Every example runs as its first lines say, on a data folder of its own, prints what it shows, and ends by itself. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { commandLine, privateRedisPid, runProgram } from '../support/cli.ts'
import { startDaemon, type TestDaemon } from '../support/daemon.ts'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

const EXAMPLES = join(import.meta.dirname, '..', '..', 'examples')
const QUICK_START = [
  "{ status: 'success', key: 'user-preferences' }",
  "{ status: 'success', key: 'document-content' }",
  "{ theme: 'dark', language: 'en' }",
]

/** What an example prints, line by line; it must say nothing else and end well. */
async function runExample(name: string, dataDir: string, ...args: string[]): Promise<string[]> {
  const { code, stdout, stderr } = await runProgram(join(EXAMPLES, name), args, dataDir)
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return stdout.trimEnd().split('\n')
}

describe('without a daemon', () => {
  it('quick-start.ts persists what it hands over, and leaves no Redis behind', async () => {
    const { dataDir, json } = commandLine()
    expect(await runExample('quick-start.ts', dataDir)).toEqual(QUICK_START)
    expect((await json(['get', 'document-content'])).document).toMatchObject({ embed: true })
    await waitFor('the Redis it started is gone', async () => (await privateRedisPid(dataDir)) === undefined)
  })

  it('memory-store.ts sets, gets, deletes, and is refused what is not JSON', async () => {
    expect(await runExample('memory-store.ts', tempDir())).toEqual([
      "{ data: 'value' }",
      'true',
      'undefined',
      'false',
      'MEMSYNC_INVALID_VALUE: value.at.last is a Date: not JSON',
    ])
  })

  it('rollback.ts brings the value before back, as a write of its own', async () => {
    expect(await runExample('rollback.ts', tempDir())).toEqual([
      "{ status: 'rolled_back', key: 'user-preferences' }",
      "{ theme: 'light' }",
      "{ theme: 'dark' }",
      "{ theme: 'light' }",
    ])
  })
})

describe('beside a daemon', () => {
  const { dataDir, json } = commandLine()
  let daemon: TestDaemon
  beforeAll(async () => {
    daemon = await startDaemon(dataDir)
  })
  afterAll(async () => {
    daemon.kill('SIGTERM')
    await daemon.ended
  })
  const value = (key: string, ...args: string[]) =>
    waitFor(`${key} is there`, async () => {
      const { code, document } = await json(['get', key, ...args])
      return code === 0 ? document : undefined
    })

  it('quick-start.ts does the same, and the daemon goes on', async () => {
    expect(await runExample('quick-start.ts', dataDir)).toEqual(QUICK_START)
    expect(await daemon.status()).toMatchObject({ redis: { state: 'up' }, totals: { synced: 2 } })
  })

  it('bulk.ts hands over every line of a file', async () => {
    const file = join(tempDir(), 'notes.txt')
    writeFileSync(file, 'first\n\nthird\n')
    const [line] = await runExample('bulk.ts', dataDir, file)
    expect(line).toMatch(/^accepted 2, the last one as job \d+$/)
    expect(await value('note-3')).toMatchObject({ value: 'third', metadata: { source: file, line: 3 } })
    expect((await json(['has', 'note-2'])).document).toMatchObject({ exists: false })
  })

  it('bullmq-client.mjs needs nothing but the address and the contract', async () => {
    const { redis } = await daemon.status()
    const [line] = await runExample('bullmq-client.mjs', dataDir, redis.endpoint)
    expect(line).toMatch(/^accepted as job \d+$/)
    expect(await value('build-result', '--namespace', 'ci')).toMatchObject({
      value: { branch: 'main', passed: true },
      metadata: { host: 'builder-1' },
    })
    expect(readFileSync(join(EXAMPLES, 'bullmq-client.mjs'), 'utf8').match(/from '.*'/g)).toEqual([
      "from 'bullmq'",
    ])
  })
})

it('every example is run here', () => {
  const source = readFileSync(import.meta.filename, 'utf8')
  for (const name of readdirSync(EXAMPLES)) expect(source).toContain(`runExample('${name}'`)
})
