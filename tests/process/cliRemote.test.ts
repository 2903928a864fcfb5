/** `memsync verify` and `reconcile`, and what is said of a remote that is set wrongly. */
import { createHash } from 'node:crypto'
import { afterEach, describe, expect, it } from 'vitest'
import { contentOf } from '../../src/infrastructure/remote/content.ts'
import { openRemote } from '../../src/infrastructure/remote/index.ts'
import { at } from '../contract/writes.ts'
import {
  type CommandLine,
  commandLine,
  HAS_TERMINAL,
  runOnTerminal,
  runProgram,
  WORKER,
} from '../support/cli.ts'
import { startDaemon, type TestDaemon } from '../support/daemon.ts'
import { type FakeMem0, type FakeMem0Record, startFakeMem0 } from '../support/fakeMem0.ts'
import { startMemoryServer } from '../support/memoryServerProcess.ts'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

const KEY = 'a-key-of-the-remote'

let cli: CommandLine
let server: FakeMem0 | undefined
let daemon: TestDaemon | undefined
let env: Record<string, string>

afterEach(async () => {
  daemon?.kill('SIGTERM')
  await daemon?.ended
  await server?.close()
  daemon = undefined
  server = undefined
})

/** A daemon whose `count` memories are all on a Mem0 server; `k0`, `k1` and so on. */
async function pushedMachine(count: number): Promise<FakeMem0> {
  cli = commandLine()
  server = await startFakeMem0({ apiKey: KEY })
  env = { MEMSYNC_REMOTE_KIND: 'mem0', MEMSYNC_REMOTE_URL: server.url, MEMSYNC_REMOTE_KEY: KEY }
  daemon = await startDaemon(cli.dataDir, env)
  const lines = Array.from({ length: count }, (_, n) => JSON.stringify({ key: `k${n}`, value: `v${n}` }))
  await cli.run(['enqueue', '--ndjson', '-'], { input: lines.join('\n'), env })
  await allPushed()
  return server
}

async function allPushed(): Promise<void> {
  await waitFor('all is pushed', async () => {
    const { code, document } = await cli.json(['verify'], { env })
    return code === 0 && document.waiting === 0 && Number(document.checked) > 0
  })
}

function recordOf({ records }: FakeMem0, key: string): FakeMem0Record {
  const record = [...records.values()].find(({ metadata }) => metadata.sync_key === key)
  if (!record) throw new Error(`no record of ${key}`)
  return record
}

describe('verify and reconcile', () => {
  it('say what is wrong and mend it beside the daemon', async () => {
    const remote = await pushedMachine(30)
    expect((await cli.run(['verify'], { env })).stdout).toBe('30 memories checked: 30 equal\n')
    expect((await cli.run(['reconcile'], { env })).stdout).toBe('nothing to do\n')

    for (let n = 0; n < 25; n++) remote.records.delete(recordOf(remote, `k${n}`).id)
    recordOf(remote, 'k29').memory = 'edited there'
    const { code, stdout } = await cli.run(['verify'], { env })
    expect(code).toBe(1)
    expect(stdout).toMatch(
      /^30 memories checked: 4 equal, 26 wrong\n\nmissing 25 {2}pushed, and not on the remote\n {2}k0\n/,
    )
    expect(stdout).toContain('  and 5 more (--json has all)\n')
    expect(stdout).toContain('\ndifferent 1  on the remote with another content\n  k29\n')
    expect(stdout).toContain('\nnext: memsync reconcile --dry-run\n')
    expect(stdout).not.toContain('edited')
    const whole = await cli.json(['verify'], { env })
    expect(whole).toMatchObject({ code: 1, document: { counts: { missing: 25, different: 1 } } })
    expect(whole.document.findings).toHaveLength(26)

    const before = remote.calls.get('POST /memories')
    expect((await cli.run(['reconcile', '--dry-run'], { env })).stdout).toBe(
      'found 25 missing, 1 different\n26 memories would be marked to be pushed again\n',
    )
    expect((await cli.json(['verify'], { env })).code).toBe(1)
    expect(remote.calls.get('POST /memories')).toBe(before)
    expect(await cli.json(['reconcile'], { env })).toEqual({
      code: 0,
      document: {
        ...{ dryRun: false, marked: 26, removed: 0, left: 0, raised: false },
        found: { missing: 25, different: 1, duplicate: 0, unknown: 0 },
      },
    })
    await allPushed()
    expect(remote.records.size).toBe(30)
  })

  it('leave what is unknown here until they are told to remove it', async () => {
    const remote = await pushedMachine(2)
    const record = recordOf(remote, 'k1')
    const stranger = { ...record, id: '00000000-0000-4000-8000-000000000001', run_id: 'k_of-another' }
    remote.records.set(stranger.id, { ...stranger, metadata: { ...record.metadata, sync_key: 'stranger' } })
    // By the run id, which is how a key is looked up.
    const runId = `k_${createHash('sha256').update('stranger').digest('hex').slice(0, 32)}`
    Object.assign(recordOf(remote, 'stranger'), { run_id: runId })
    expect((await cli.run(['verify'], { env })).stdout).toContain(
      '\nunknown 1  on the remote, and not in the store\n  stranger\n',
    )
    expect((await cli.run(['reconcile'], { env })).stdout).toContain(
      '1 unknown key left (--remove-unknown removes them)',
    )
    const wrongFolder = ['reconcile', '--remove-unknown', '--namespace', 'nobody']
    expect(await cli.run(wrongFolder, { env })).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('"nobody"'),
    })
    expect((await cli.run(['reconcile', '--remove-unknown'], { env })).stdout).toContain(
      '1 unknown key removed',
    )
    expect((await cli.run(['verify'], { env })).code).toBe(0)
    expect(remote.records.size).toBe(2)
  })

  it('work without a daemon, whose next start pushes what was marked', async () => {
    const remote = await pushedMachine(3)
    daemon?.kill('SIGTERM')
    await daemon?.ended
    remote.records.clear()
    const { stdout, stderr } = await cli.run(['reconcile'], { env })
    expect(stdout).toContain('3 memories marked to be pushed again\n')
    expect(stderr).toContain('no daemon runs, so they are pushed when one does')
    expect((await cli.run(['verify'], { env })).stdout).toBe(
      '3 memories checked: 0 equal, 3 waiting to be pushed\n',
    )
    daemon = await startDaemon(cli.dataDir, env)
    await allPushed()
    expect(remote.records.size).toBe(3)
  })

  it.runIf(HAS_TERMINAL)('show how far they are on a terminal, and ask before they remove', async () => {
    cli = commandLine()
    const vps = await startMemoryServer(tempDir(), KEY)
    env = { MEMSYNC_REMOTE_KIND: 'http', MEMSYNC_REMOTE_URL: `http://${vps.listen}`, MEMSYNC_REMOTE_KEY: KEY }
    daemon = await startDaemon(cli.dataDir, env)
    await cli.run(['enqueue', 'k', 'v'], { env })
    await allPushed()
    const remote = openRemote('http', { url: `http://${vps.listen}`, key: KEY })
    const stranger = {
      namespace: 'default',
      key: 'stranger',
      content: contentOf('s', undefined),
      version: at(1),
    }
    const signal = new AbortController().signal
    await remote.push(stranger, { signal })
    const seen = runOnTerminal(['verify'], cli.dataDir, { env })
    expect(seen).toMatchObject({ code: 1, shown: expect.stringMatching(/\[#*-*\] +\d+ % .* checked/) })
    const asked = runOnTerminal(['reconcile', '--remove-unknown'], cli.dataDir, { env, typed: 'n\n' })
    expect(asked.shown).toContain('Remove 1 key from the remote for good? [y/N]')
    expect(await remote.find(stranger, signal)).toHaveLength(1)
    const agreed = runOnTerminal(['reconcile', '--remove-unknown'], cli.dataDir, { env, typed: 'y\n' })
    expect(agreed).toMatchObject({ code: 0, shown: expect.stringContaining('1 unknown key removed') })
    expect(await remote.find(stranger, signal)).toEqual([])
    remote.close()
    vps.kill('SIGTERM')
    await vps.ended
  })
})

describe('a remote that is set wrongly', () => {
  const run = (settings: Record<string, string>, args = ['verify']) => {
    cli = commandLine()
    return cli.run(args, { env: settings })
  }
  const mem0 = { MEMSYNC_REMOTE_KIND: 'mem0', MEMSYNC_REMOTE_URL: 'https://vps.example' }
  const key = { MEMSYNC_REMOTE_KEY: 'a-secret-key' }

  it.each<[what: string, settings: Record<string, string>, says: RegExp]>([
    ['none', {}, /^memsync: MEMSYNC_REMOTE_KIND: is none, so there is no remote/],
    [
      'an unknown kind',
      { MEMSYNC_REMOTE_KIND: 'mem1' },
      /MEMSYNC_REMOTE_KIND .*"mem1" is not one of none, mem0, /,
    ],
    [
      'no URL',
      { MEMSYNC_REMOTE_KIND: 'mem0' },
      /MEMSYNC_REMOTE_URL: missing, and MEMSYNC_REMOTE_KIND=mem0 needs one; for example MEMSYNC_REMOTE_URL=https/,
    ],
    [
      'no key',
      { MEMSYNC_REMOTE_KIND: 'mem0-platform' },
      /MEMSYNC_REMOTE_KEY: missing, and MEMSYNC_REMOTE_KIND=mem0-platform needs one; for example MEMSYNC_REMOTE_KEY=/,
    ],
    [
      'no token',
      { ...mem0, MEMSYNC_REMOTE_KIND: 'http' },
      /MEMSYNC_REMOTE_KEY: missing, and MEMSYNC_REMOTE_KIND=http needs one/,
    ],
    [
      'no URL at all',
      { ...mem0, MEMSYNC_REMOTE_URL: 'vps.example:8888' },
      /MEMSYNC_REMOTE_URL .* is not a URL of http or https/,
    ],
    [
      'a password in the URL',
      { ...mem0, MEMSYNC_REMOTE_URL: 'https://me:secret-word@vps.example' },
      /MEMSYNC_REMOTE_URL: holds credentials; put the key in MEMSYNC_REMOTE_KEY/,
    ],
    [
      'a key no header can carry',
      { ...mem0, MEMSYNC_REMOTE_KEY: 'a-secret key\u00e9' },
      /MEMSYNC_REMOTE_KEY: its value holds a space, a line break or a letter/,
    ],
    [
      'a key in the open',
      { ...mem0, ...key, MEMSYNC_REMOTE_URL: 'http://vps.example:8888' },
      /MEMSYNC_REMOTE_URL: plain http to vps\.example would carry MEMSYNC_REMOTE_KEY .*MEMSYNC_REMOTE_INSECURE=true/,
    ],
    [
      'neither yes nor no',
      { ...mem0, MEMSYNC_REMOTE_INSECURE: 'yes' },
      /MEMSYNC_REMOTE_INSECURE .*"yes" is not true or false/,
    ],
  ])('%s: says so in one line', async (_what, settings, says) => {
    const { code, stdout, stderr } = await run(settings)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toMatch(says)
    expect(stderr).toMatch(/^memsync: [^\n]*\(MEMSYNC_BAD_SETTING\)\n {2}[^\n]*\n$/)
    expect(stderr).not.toContain('secret')
  })

  it('stops the start of the daemon in the same way', async () => {
    cli = commandLine()
    const wrong = { ...mem0, MEMSYNC_REMOTE_URL: 'https://me:secret-word@vps.example' }
    const ended = await runProgram(WORKER, [], cli.dataDir, { env: wrong })
    expect(ended.code).toBe(2)
    expect(`${ended.stdout}${ended.stderr}`).toContain('MEMSYNC_REMOTE_URL: holds credentials')
    expect(`${ended.stdout}${ended.stderr}`).not.toContain('secret-word')
  })

  it.each(['http://127.0.0.1:1', 'http://localhost:1', 'http://[::1]:1'])(
    'takes a key over plain http to %s',
    async (url) => {
      const { code, stderr } = await run({ ...mem0, ...key, MEMSYNC_REMOTE_URL: url }, ['config'])
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    },
  )

  it('takes it to another machine where the operator says that the link is private', async () => {
    const settings = {
      ...mem0,
      ...key,
      MEMSYNC_REMOTE_URL: 'http://vps.example',
      MEMSYNC_REMOTE_INSECURE: 'true',
    }
    expect((await run(settings, ['config'])).code).toBe(0)
    const open = { ...mem0, MEMSYNC_REMOTE_URL: 'http://vps.example' }
    expect((await run(open, ['config'])).code).toBe(0)
  })

  it('tells from the receipts what it can where a remote cannot be read back', async () => {
    const legacy = { MEMSYNC_REMOTE_KIND: 'legacy', MEMSYNC_REMOTE_URL: 'https://vps.example' }
    const { code, stdout, stderr } = await run(legacy)
    expect(code).toBe(2)
    expect(stdout).toBe('by the receipts alone: 0 pushed, 0 waiting, 0 refused\n')
    expect(stderr).toContain('a remote of the kind legacy cannot be read back, so nothing is verified')
    expect(await cli.json(['verify'], { env: legacy })).toMatchObject({
      code: 2,
      document: { error: { code: 'MEMSYNC_BAD_USAGE' }, receipts: { pushed: 0, waiting: 0, refused: 0 } },
    })
    expect((await cli.run(['reconcile'], { env: legacy })).code).toBe(2)
  })

  it('does not take the receipts of one remote for those of another', async () => {
    await pushedMachine(1)
    const { code, stderr } = await cli.run(['verify'], {
      env: { ...env, MEMSYNC_REMOTE_URL: 'https://elsewhere.example' },
    })
    expect(code).toBe(2)
    expect(stderr).toContain('names another remote (mem0 https://elsewhere.example)')
  })
})
