/** `memsync import`: the predecessor's files, each entry once, and the files left as they were. */
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { Spool } from '../../src/producers/spool.ts'
import { commandLine, HAS_TERMINAL, runOnTerminal } from '../support/cli.ts'
import { startDaemon } from '../support/daemon.ts'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

const entry = (id: string, more: Record<string, unknown> = {}) => ({
  id,
  project_id: 'my project',
  content: `content of ${id}`,
  timestamp: 1_764_000_000,
  retries: 0,
  ...more,
})

/** All of the predecessor's files; 6 entries that can be taken, one of them in two files, and one that cannot. */
function predecessor() {
  const folder = join(tempDir(), 'a folder')
  mkdirSync(folder)
  const files: Record<string, string> = {
    'mem0_queue.json': JSON.stringify({
      queue: [entry('a'), { ...entry('bad'), content: null }, entry('b')],
      last_100: [entry('seen')],
      failed: [entry('c', { retries: 5 })],
      stats: { total_queued: 4 },
    }),
    'mem0_emergency.json': [entry('d', { emergency: true }), entry('e', { emergency: true })]
      .map((one) => `${JSON.stringify(one)}\n`)
      .join(''),
    'mem0_queue_dlq.json': JSON.stringify({
      items: [entry('c', { moved_to_dlq_at: 1.5, retry_count: 2 }), entry('f')],
      last_update: '2025-12-02T10:00:00',
    }),
  }
  const paths = Object.keys(files).map((name) => join(folder, name))
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content)
  const look = () => paths.map((path) => [readFileSync(path, 'utf8'), statSync(path).mtimeMs])
  return { folder, paths, look }
}

describe('memsync import', () => {
  it('takes each entry of all files once, however often it is run, and changes none of them', async () => {
    const cli = commandLine()
    const { paths, look } = predecessor()
    const before = look()
    const importAll = (...more: string[]) => cli.json(['import', ...paths, ...more])
    const refused = [
      {
        file: paths[0],
        place: 'queue[1]',
        code: 'MEMSYNC_INVALID_MEMORY',
        message: 'content: is null, not a string',
      },
    ]
    const found = { found: 8, refused, unreadable: [] }

    expect(await importAll('--dry-run')).toEqual({
      code: 1,
      document: { dryRun: true, ...found, accepted: 6, alreadyThere: 1 },
    })
    expect((await new Spool(cli.dataDir, 2 ** 30).depth(0)).records).toBe(0)
    expect(await importAll()).toEqual({
      code: 1,
      document: { dryRun: false, ...found, accepted: 6, alreadyThere: 1 },
    })
    // Waiting in the spool, then in the store.
    expect((await importAll()).document).toMatchObject({ accepted: 0, alreadyThere: 7 })
    const daemon = await startDaemon(cli.dataDir)
    try {
      await waitFor('all are there', async () => (await daemon.status()).totals.synced === 6)
      expect((await importAll()).document).toMatchObject({ accepted: 0, alreadyThere: 7 })
      const get = async (id: string) =>
        (await cli.json(['get', `my project/${id}`, '--namespace', 'my project'])).document
      expect(await get('c')).toMatchObject({
        key: 'my project/c',
        namespace: 'my project',
        value: 'content of c',
        metadata: { source: 'legacy', timestamp: 1_764_000_000 },
        acceptedAt: '2025-11-24T16:00:00.000Z',
      })
      expect((await cli.run(['list', '--all-namespaces'])).stdout.split('\n')).toHaveLength(7)
      // What was changed or deleted since stays so.
      await cli.run(['delete', 'my project/a', '--namespace', 'my project', '--wait'])
      expect((await importAll()).document).toMatchObject({ accepted: 0, alreadyThere: 7 })
      expect((await daemon.status()).totals).toMatchObject({ synced: 7, superseded: 0 })
    } finally {
      daemon.kill('SIGTERM')
      await daemon.ended
    }
    expect(look()).toEqual(before)
  })

  it('tells a person what was taken, and what was not and why', async () => {
    const cli = commandLine()
    const { paths } = predecessor()
    const [queue = ''] = paths
    expect(await cli.run(['import', ...paths])).toEqual({
      code: 1,
      stdout: 'accepted 6 of 8, 1 already there, refused 1\n',
      stderr:
        'memsync: no daemon runs, so they wait in the spool: start one with `memsync daemon`\n' +
        `memsync: ${queue}: queue[1]: content: is null, not a string\n`,
    })
  })

  it('takes what can be read of a file that is cut off, and says where it is', async () => {
    const cli = commandLine()
    const { paths } = predecessor()
    const [queue = ''] = paths
    const whole = readFileSync(queue, 'utf8')
    const end = whole.indexOf('content of b')
    writeFileSync(queue, whole.slice(0, end))
    const { code, stdout, stderr } = await cli.run(['import', queue])
    expect({ code, stdout }).toEqual({
      code: 1,
      stdout: 'accepted 1 of 2, 0 already there, refused 1, could not read 1\n',
    })
    expect(stderr).toMatch(/mem0_queue\.json: byte \d+: the file is cut off or damaged here$/m)
  })

  it('takes nothing where one of the files is none of the predecessor', async () => {
    const cli = commandLine()
    const { folder, paths } = predecessor()
    const metrics = join(folder, 'mem0_metrics.json')
    writeFileSync(metrics, JSON.stringify({ vps_status: 'down', queue_size: 3 }))
    for (const other of [metrics, join(folder, 'missing.json'), folder]) {
      const { code, document } = await cli.json(['import', ...paths, other])
      expect(code).toBe(2)
      expect(document).toEqual({
        error: expect.objectContaining({
          code: 'MEMSYNC_BAD_USAGE',
          message: expect.stringContaining(other),
        }),
      })
    }
    expect(await new Spool(cli.dataDir, 2 ** 30).isEmpty()).toBe(true)
  })

  it('that the spool has no room for says how far it came, and goes on from there', async () => {
    const cli = commandLine()
    const path = join(tempDir(), 'queue.json')
    const queue = Array.from({ length: 1200 }, (_, index) => entry(`id-${index}`))
    writeFileSync(path, JSON.stringify({ queue, failed: [], last_100: [] }))
    const env = { MEMSYNC_SPOOL_MAX_BYTES: String(300_000) }
    const { code, document } = await cli.json(['import', path], { env })
    expect(code).toBe(1)
    expect(document).toMatchObject({ found: 1200, accepted: 1000, error: { code: 'MEMSYNC_SPOOL_FULL' } })
    expect((await cli.json(['import', path])).document).toMatchObject({ accepted: 200, alreadyThere: 1000 })
  })

  it.runIf(HAS_TERMINAL)('shows how far it is on a terminal', () => {
    const { dataDir } = commandLine()
    const path = join(tempDir(), 'queue.json')
    const queue = Array.from({ length: 5000 }, (_, index) => entry(`id-${index}`))
    writeFileSync(path, JSON.stringify({ queue, failed: [], last_100: [] }))
    const { code, shown } = runOnTerminal(['import', path], dataDir)
    expect(code).toBe(0)
    expect(shown).toMatch(/\[#+-*\] +\d+ % .* accepted/)
    expect(shown).toContain('accepted 5000 of 5000')
  })
})
