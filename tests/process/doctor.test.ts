/**
 * The doctor finds each planted fault and names what mends it: the real built command, one machine per fault, the real
 * parts broken for real. What is healthy is said to be so, and nothing that hangs makes it hang.
 */
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, readdirSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { Queue } from 'bullmq'
import { describe, expect, it, vi } from 'vitest'
import { openStore, storePath } from '../../src/infrastructure/memory/index.ts'
import { PROGRAM_FILE, renderUnit } from '../../src/service/template.ts'
import { setOf } from '../contract/writes.ts'
import { openBlackHole } from '../support/blackHole.ts'
import { type CommandLine, commandLine, privateRedisPid } from '../support/cli.ts'
import { startDaemon, type TestDaemon } from '../support/daemon.ts'
import { startFakeMem0 } from '../support/fakeMem0.ts'
import { startFakeOpenai } from '../support/fakeOpenai.ts'
import { startFaultyHttp } from '../support/faultyHttp.ts'
import { expectPrompt } from '../support/promptness.ts'
import { startTestRedis } from '../support/redis.ts'
import { signalProcess } from '../support/signalProcess.ts'
import { canMountDisk, mountSmallDisk, unmountSmallDisk } from '../support/smallDisk.ts'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

/** Some faults are found by a deadline, and the machine may be busy. */
vi.setConfig({ testTimeout: 60_000 })

/** Of one test, as they run beside each other: their deadlines are most of the time. */
type Later = (cleanUp: () => void | Promise<void>) => void

interface Finding {
  hop: string
  state: 'ok' | 'warning' | 'failure'
  says: string
  fix: string | null
}

interface Diagnosis {
  code: number | null
  ok: boolean
  findings: Finding[]
}

type Env = Record<string, string>

async function examine({ run }: CommandLine, env: Env = {}): Promise<Diagnosis> {
  const { code, stdout, stderr } = await run(['doctor', '--json'], { env })
  expect(stderr).toBe('')
  const document = JSON.parse(stdout) as Diagnosis
  return { ...document, code }
}

async function daemonOn(dataDir: string, later: Later, env: Env = {}): Promise<TestDaemon> {
  const daemon = await startDaemon(dataDir, env)
  later(async () => {
    daemon.kill('SIGKILL')
    await daemon.ended
  })
  return daemon
}

async function redisWith(later: Later, options?: Parameters<typeof startTestRedis>[0]) {
  const redis = await startTestRedis(options)
  later(() => redis.stop())
  return redis
}

// Comes with redis-server.
const REDIS_CLI = 'redis-cli'

function redisCli(socketPath: string, ...args: string[]): string {
  return execFileSync(REDIS_CLI, ['-s', socketPath, ...args], { encoding: 'utf8' })
}

async function mem0With(later: Later, apiKey: string) {
  const mem0 = await startFakeMem0({ apiKey })
  later(() => mem0.close())
  return mem0
}

/** Enough rows that a page in the middle holds some of them. */
async function fillStore(dataDir: string, acceptedAtMs = Date.now()): Promise<void> {
  const store = await openStore({ dataDir, historyVersions: 2 })
  const writes = Array.from({ length: 200 }, (_, at) =>
    setOf(`key-${at}`, 'x'.repeat(200), { epoch: 1, sequence: at + 1, index: 0 }, { acceptedAtMs }),
  )
  await store.apply(writes)
  await store.close()
}

function settingsFile(dataDir: string, content: string, mode = 0o600): void {
  const path = join(dataDir, '.config', 'memsyncd', 'memsync.env')
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, content, { mode })
}

/** As `memsync service install` would write it, but for the Node it starts. */
function serviceFile(dataDir: string, program: string): void {
  const unit = join(dataDir, '.config', 'systemd', 'user', 'memsyncd.service')
  const agent = join(dataDir, 'Library', 'LaunchAgents', 'com.memsyncd.daemon.plist')
  for (const path of [unit, agent]) mkdirSync(dirname(path), { recursive: true })
  const values = {
    node: program,
    program: PROGRAM_FILE,
    path: '/usr/bin:/bin',
    configFile: join(dataDir, '.config', 'memsyncd', 'memsync.env'),
    dataDir,
    errorLog: join(dataDir, 'service.err.log'),
    user: 'nobody',
    writableFolders: [dataDir],
  }
  writeFileSync(unit, renderUnit('systemd-user', values))
  writeFileSync(agent, renderUnit('launchd', values))
}

interface Fault {
  name: string
  /** Breaks it; what the doctor is then run with. */
  plant: (cli: CommandLine, later: Later) => Env | undefined | Promise<Env | undefined>
  finds: { hop: string; state: 'warning' | 'failure'; says: RegExp; fix: RegExp }
  /** Where this cannot be planted. */
  skip?: boolean
  /** Found by a deadline, so it may run beside others. */
  hangs?: boolean
  /** Its fix is a command of this machine, which is run, and then nothing is wrong with that hop. */
  isMended?: boolean
}

const FAULTS: Fault[] = [
  {
    name: 'a setting with a value that cannot be used, and one that there is not',
    plant: ({ dataDir }) => {
      settingsFile(dataDir, 'MEMSYNC_CONCURRENCY=many\nMEMSYNC_REMOTE_KIND=mem0\nOPENAI_KEY=sk-typo\n')
      return undefined
    },
    finds: {
      hop: 'settings',
      state: 'failure',
      says: /^MEMSYNC_CONCURRENCY \(from file\): "many" is not a whole number/,
      fix: /^correct MEMSYNC_CONCURRENCY in .*memsync\.env$/,
    },
  },
  {
    name: 'a settings file that is not there',
    plant: () => ({ MEMSYNC_CONFIG: '/nowhere/memsync.env' }),
    finds: { hop: 'settings', state: 'failure', says: /cannot be read \(ENOENT\)/, fix: /^make \/nowhere/ },
  },
  {
    name: 'secrets that others may read',
    isMended: true,
    plant: ({ dataDir }) => {
      settingsFile(dataDir, 'MEMSYNC_SERVE_TOKEN=0123456789abcdef\n', 0o644)
      return undefined
    },
    finds: { hop: 'settings', state: 'warning', says: /other users/, fix: /^chmod 600 .*memsync\.env$/ },
  },
  {
    name: 'a data folder that others may enter',
    isMended: true,
    plant: ({ dataDir }) => {
      chmodSync(dataDir, 0o755)
      return undefined
    },
    finds: { hop: 'data folder', state: 'warning', says: /mode 755/, fix: /^chmod 700 \// },
  },
  {
    name: 'a file where the data folder should be',
    plant: ({ dataDir }) => {
      const path = join(dataDir, 'file')
      writeFileSync(path, '')
      return { MEMSYNC_DATA_DIR: path }
    },
    finds: { hop: 'data folder', state: 'failure', says: /is no folder/, fix: /^mv / },
  },
  {
    name: 'a disk that is nearly full',
    skip: !canMountDisk(tempDir()),
    plant: (_cli, later) => {
      const folder = tempDir()
      mountSmallDisk(folder, '16m')
      later(() => unmountSmallDisk(folder))
      return { MEMSYNC_DATA_DIR: folder }
    },
    finds: { hop: 'data folder', state: 'failure', says: /only 16\.0 MiB free/, fix: /^free space .*df -h/ },
  },
  {
    name: 'no Redis server on the PATH',
    plant: () => ({ PATH: '/nowhere' }),
    finds: {
      hop: 'redis',
      state: 'failure',
      says: /no redis-server or valkey-server on the PATH/,
      fix: /install redis/,
    },
  },
  {
    name: 'a Redis that does not run',
    plant: async (_cli, later) => {
      const { url, kill } = await redisWith(later, { tcp: true })
      await kill()
      return { REDIS_URL: url }
    },
    finds: {
      hop: 'redis',
      state: 'failure',
      says: /ECONNREFUSED/,
      fix: /start redis.* or correct REDIS_URL/,
    },
  },
  {
    name: 'a Redis that hangs',
    hangs: true,
    plant: async (_cli, later) => {
      const { url, freeze } = await redisWith(later, { tcp: true })
      freeze()
      return { REDIS_URL: url }
    },
    finds: { hop: 'redis', state: 'failure', says: /did not answer within/, fix: /start redis/ },
  },
  {
    name: 'a private Redis that hangs',
    hangs: true,
    plant: async ({ dataDir }, later) => {
      await daemonOn(dataDir, later)
      signalProcess(await privateRedisPid(dataDir), 'SIGSTOP')
      return undefined
    },
    finds: { hop: 'redis', state: 'failure', says: /process \d+\) .* does not answer/, fix: /^kill -9 \d+ / },
  },
  {
    name: 'a Redis that refuses the password',
    plant: async (_cli, later) => {
      const { port } = await redisWith(later, { tcp: true, settings: { requirepass: 'right' } })
      return { REDIS_URL: `redis://:wrong@127.0.0.1:${port}` }
    },
    finds: { hop: 'redis', state: 'failure', says: /refuses this user/, fix: /password in REDIS_URL/ },
  },
  {
    name: 'a Redis that is a replica',
    plant: async (_cli, later) => {
      const { socketPath } = await redisWith(later)
      redisCli(socketPath, 'REPLICAOF', '127.0.0.1', '1')
      return { REDIS_URL: `unix://${socketPath}` }
    },
    finds: { hop: 'redis', state: 'failure', says: /it is a replica/, fix: /point REDIS_URL at the primary/ },
  },
  {
    name: 'a Redis that keeps nothing',
    isMended: true,
    plant: async (_cli, later) => ({ REDIS_URL: (await redisWith(later, { persist: false })).url }),
    finds: {
      hop: 'durability',
      state: 'failure',
      says: /no append-only file/,
      fix: /CONFIG SET appendonly yes/,
    },
  },
  {
    name: 'a Redis that syncs once a second',
    plant: async (_cli, later) => ({
      REDIS_URL: (await redisWith(later, { settings: { appendfsync: 'everysec' } })).url,
    }),
    finds: { hop: 'durability', state: 'warning', says: /last second/, fix: /CONFIG SET appendfsync always/ },
  },
  {
    name: 'a Redis that throws jobs out',
    isMended: true,
    plant: async (_cli, later) => ({
      REDIS_URL: (await redisWith(later, { settings: { 'maxmemory-policy': 'allkeys-lru' } })).url,
    }),
    finds: {
      hop: 'redis memory',
      state: 'failure',
      says: /allkeys-lru/,
      fix: /CONFIG SET maxmemory-policy noeviction/,
    },
  },
  {
    name: 'a Redis that is full',
    isMended: true,
    plant: async (_cli, later) => ({ REDIS_URL: (await redisWith(later, { maxmemory: '1' })).url }),
    finds: {
      hop: 'redis memory',
      state: 'failure',
      says: /full and takes no writes/,
      fix: /CONFIG SET maxmemory \d{10}/,
    },
  },
  {
    name: 'a store that is damaged',
    plant: async ({ dataDir }) => {
      await fillStore(dataDir)
      const path = storePath({ dataDir })
      const db = new DatabaseSync(path)
      db.exec('PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE')
      db.close()
      truncateSync(path, statSync(path).size - 8192)
      return undefined
    },
    finds: { hop: 'store', state: 'failure', says: /memory\.db/, fix: /memsync snapshot restore/ },
  },
  {
    name: 'a store of a newer release',
    plant: async ({ dataDir }) => {
      await fillStore(dataDir)
      const db = new DatabaseSync(storePath({ dataDir }))
      db.exec('PRAGMA user_version = 999')
      db.close()
      return undefined
    },
    finds: { hop: 'store', state: 'failure', says: /has schema 999/, fix: /Upgrade this memsyncd/ },
  },
  {
    name: 'no daemon',
    plant: () => undefined,
    finds: {
      hop: 'daemon',
      state: 'failure',
      says: /no daemon runs/,
      fix: /^memsync service start, or memsync daemon/,
    },
  },
  {
    name: 'a daemon that hangs',
    hangs: true,
    plant: async ({ dataDir }, later) => {
      const daemon = await daemonOn(dataDir, later)
      daemon.kill('SIGSTOP')
      return undefined
    },
    finds: { hop: 'daemon', state: 'failure', says: /does not answer/, fix: /^memsync service restart/ },
  },
  {
    name: 'a queue that was paused',
    isMended: true,
    plant: async (_cli, later) => {
      const { url, socketPath } = await redisWith(later)
      const queue = new Queue('memory-sync', { connection: { path: socketPath } })
      await queue.pause()
      await queue.close()
      return { REDIS_URL: url }
    },
    finds: {
      hop: 'lanes',
      state: 'failure',
      says: /memory-sync was paused/,
      fix: /^redis-cli -s \S+ HDEL bull:memory-sync:meta paused$/,
    },
  },
  {
    name: 'dead letters',
    plant: async (cli, later) => {
      await daemonOn(cli.dataDir, later)
      const queue = new Queue('memory-sync', {
        connection: { path: join(cli.dataDir, 'redis', 'redis.sock') },
      })
      await queue.add('NO_SUCH_JOB', {})
      await waitFor('it is dead', async () => (await cli.json(['status'])).document.deadLetters === 1)
      await queue.close()
      return undefined
    },
    finds: { hop: 'lanes', state: 'warning', says: /1 dead letter waits/, fix: /^memsync dlq list$/ },
  },
  {
    name: 'a spool that is full',
    plant: async ({ run }) => {
      const env = { MEMSYNC_SPOOL_MAX_BYTES: '4096' }
      expect((await run(['enqueue', 'k', '1'], { env })).code).toBe(0)
      return env
    },
    finds: { hop: 'spool', state: 'failure', says: /full.*1 memory waits/, fix: /MEMSYNC_SPOOL_MAX_BYTES/ },
  },
  {
    name: 'a spool that is no folder',
    plant: ({ dataDir }) => {
      writeFileSync(join(dataDir, 'spool'), '')
      return undefined
    },
    finds: { hop: 'spool', state: 'failure', says: /spool cannot be read/, fix: /^chmod -R u\+rwX / },
  },
  {
    name: 'an OpenAI key that is refused',
    plant: async (_cli, later) => {
      const openai = await startFakeOpenai({ apiKey: 'sk-right' })
      later(() => openai.close())
      return { OPENAI_API_KEY: 'sk-wrong-key', OPENAI_BASE_URL: openai.baseUrl }
    },
    finds: {
      hop: 'embedding',
      state: 'failure',
      says: /refuses the key \(HTTP 401\)/,
      fix: /^set OPENAI_API_KEY in /,
    },
  },
  {
    name: 'an embedding server that is away',
    plant: async () => {
      const openai = await startFakeOpenai()
      const { baseUrl } = openai
      await openai.close()
      return { OPENAI_BASE_URL: baseUrl }
    },
    finds: { hop: 'embedding', state: 'failure', says: /cannot be reached/, fix: /correct OPENAI_BASE_URL/ },
  },
  {
    name: 'a model that the server does not have',
    plant: async (_cli, later) => {
      const openai = await startFakeOpenai({ model: 'another' })
      later(() => openai.close())
      return { OPENAI_BASE_URL: openai.baseUrl }
    },
    finds: {
      hop: 'embedding',
      state: 'warning',
      says: /not among the 1 models/,
      fix: /^correct EMBEDDING_MODEL/,
    },
  },
  {
    name: 'a remote that is away',
    plant: async () => {
      const mem0 = await startFakeMem0()
      await mem0.close()
      return { MEMSYNC_REMOTE_KIND: 'mem0', MEMSYNC_REMOTE_URL: mem0.url }
    },
    finds: {
      hop: 'remote',
      state: 'failure',
      says: /cannot be reached/,
      fix: /^start it, or correct MEMSYNC_REMOTE_URL/,
    },
  },
  {
    name: 'a remote that refuses the key',
    plant: async (_cli, later) => ({
      MEMSYNC_REMOTE_KIND: 'mem0',
      MEMSYNC_REMOTE_URL: (await mem0With(later, 'right')).url,
      MEMSYNC_REMOTE_KEY: 'wrong',
    }),
    finds: { hop: 'remote', state: 'failure', says: /answered 401/, fix: /^set MEMSYNC_REMOTE_KEY in / },
  },
  {
    name: 'a remote of another kind',
    plant: async (_cli, later) => {
      const server = await startFaultyHttp({ routes: [], notFound: { status: 200, body: { hello: 1 } } })
      later(() => server.close())
      return { MEMSYNC_REMOTE_KIND: 'legacy', MEMSYNC_REMOTE_URL: server.url }
    },
    finds: { hop: 'remote', state: 'failure', says: /another shape/, fix: /correct MEMSYNC_REMOTE_KIND/ },
  },
  {
    name: 'no service',
    plant: () => undefined,
    finds: { hop: 'service', state: 'warning', says: /none is installed/, fix: /^memsync service install$/ },
  },
  {
    name: 'a service whose Node was upgraded away',
    plant: ({ dataDir }) => {
      serviceFile(dataDir, '/opt/node-24.1/bin/node')
      return undefined
    },
    finds: {
      hop: 'service',
      state: 'failure',
      says: /starts \/opt\/node-24\.1\/bin\/node, which is not there/,
      fix: /^memsync service install$/,
    },
  },
  {
    name: 'a clock that is off',
    plant: async (_cli, later) => {
      const date = new Date(Date.now() - 3_600_000).toUTCString()
      const answer = { status: 200, headers: { date }, body: { status: 'ok' } }
      const server = await startFaultyHttp({ routes: [], notFound: answer })
      later(() => server.close())
      return { MEMSYNC_REMOTE_KIND: 'legacy', MEMSYNC_REMOTE_URL: server.url }
    },
    finds: {
      hop: 'clock',
      state: 'failure',
      says: /clock is (59|60) min ahead of|clock is 1 h ahead of/,
      fix: /^sudo (timedatectl|sntp) /,
    },
  },
  {
    name: 'a memory from the future',
    plant: async ({ dataDir }) => {
      await fillStore(dataDir, Date.now() + 7_200_000)
      return undefined
    },
    finds: { hop: 'clock', state: 'warning', says: /written 1 h from now/, fix: /^sudo (timedatectl|sntp) / },
  },
]

async function isFound({ plant, finds, isMended }: Fault, later: Later): Promise<void> {
  const cli = commandLine()
  const env = await plant(cli, later)
  const { code, ok, findings } = await examine(cli, env)
  const { hop, state, says, fix } = finds
  const found = findings.filter((finding) => finding.hop === hop)
  expect(found).toContainEqual({
    ...{ hop, state },
    says: expect.stringMatching(says),
    fix: expect.stringMatching(fix),
  })
  // Nothing but the fault is told of its hop.
  expect(found.every((finding) => finding.state !== 'ok')).toBe(true)
  const fails = findings.some((finding) => finding.state === 'failure')
  expect({ code, ok }).toEqual({ code: fails ? 1 : 0, ok: !fails })
  if (!isMended) return
  execFileSync('sh', ['-c', found[0]?.fix ?? ''], { stdio: 'ignore' })
  const after = (await examine(cli, env)).findings.filter((finding) => finding.hop === hop)
  expect(after).toMatchObject([{ state: 'ok' }])
}

describe('a planted fault is found, and its fix named', () => {
  for (const fault of FAULTS.filter(({ hangs }) => !hangs)) {
    it.skipIf(fault.skip)(fault.name, ({ onTestFinished }) => isFound(fault, onTestFinished))
  }
})

describe.concurrent('what hangs is found, and its fix named', () => {
  for (const fault of FAULTS.filter(({ hangs }) => hangs)) {
    it.skipIf(fault.skip)(fault.name, ({ onTestFinished }) => isFound(fault, onTestFinished))
  }
})

describe('a machine that is well', () => {
  it('has no finding but ok, in the order in which a memory passes, and exit code 0', async ({
    onTestFinished: later,
  }) => {
    const cli = commandLine()
    const [mem0, openai] = [
      await mem0With(later, 'right-key'),
      await startFakeOpenai({ model: 'm', apiKey: 'sk-key' }),
    ]
    later(() => openai.close())
    settingsFile(
      cli.dataDir,
      `MEMSYNC_REMOTE_KIND=mem0\nMEMSYNC_REMOTE_URL=${mem0.url}\nMEMSYNC_REMOTE_KEY=right-key\n` +
        `OPENAI_API_KEY=sk-key\nOPENAI_BASE_URL=${openai.baseUrl}\nEMBEDDING_MODEL=m\n`,
    )
    serviceFile(cli.dataDir, process.execPath)
    await daemonOn(cli.dataDir, later)
    expect((await cli.run(['enqueue', 'k', '1', '--wait'])).code).toBe(0)
    const { code, findings } = await examine(cli)
    expect(findings.filter(({ state }) => state !== 'ok')).toEqual([])
    expect(findings.map(({ hop }) => hop)).toEqual([
      ...['node', 'settings', 'data folder', 'redis', 'durability', 'redis memory', 'store', 'daemon'],
      ...['lanes', 'spool', 'embedding', 'remote', 'service', 'clock'],
    ])
    expect(code).toBe(0)
    expect(openai.calls).toBe(0)
  })

  it('is told to a person with a word for each state, and what mends it below', async () => {
    const { run } = commandLine()
    const { code, stdout } = await run(['doctor'])
    expect(code).toBe(1)
    expect(stdout).toMatch(/^ok {7}node {10}\d+\.\d+/m)
    expect(stdout).toMatch(/^failure {2}daemon .*\n {23}fix: memsync service start/m)
    expect(stdout).toMatch(/\n\n1 failure, 1 warning\n$/)
  })
})

describe('what hangs', () => {
  it('does not make it hang: Redis, the daemon, the remote and the embedding server at once', async ({
    onTestFinished: later,
  }) => {
    const cli = commandLine()
    const redis = await redisWith(later, { tcp: true })
    const hole = await openBlackHole()
    later(() => hole.close())
    const env = {
      REDIS_URL: redis.url,
      MEMSYNC_REMOTE_KIND: 'legacy',
      MEMSYNC_REMOTE_URL: hole.url,
      OPENAI_BASE_URL: `${hole.url}/v1`,
    }
    const daemon = await daemonOn(cli.dataDir, later, env)
    daemon.kill('SIGSTOP')
    redis.freeze()
    const timed = async <T>(run: () => Promise<T>) => {
      const startedAt = performance.now()
      const result = await run()
      return { result, tookMs: performance.now() - startedAt }
    }
    // How long a process of this program takes here and now.
    const { tookMs: startMs } = await timed(() => cli.run(['version']))
    const { result, tookMs } = await timed(() => examine(cli, env))
    // Its own deadlines come to 12 s.
    expectPrompt(tookMs, 15_000 + 10 * startMs)
    const { code, findings } = result
    expect(code).toBe(1)
    const failed = findings.filter(({ state }) => state === 'failure').map(({ hop }) => hop)
    expect(failed).toEqual(expect.arrayContaining(['redis', 'daemon', 'embedding', 'remote']))
  })

  it('changes nothing: no file is made where none was', async () => {
    const cli = commandLine()
    await examine(cli)
    // Node's own, where it keeps what it compiled.
    expect(readdirSync(cli.dataDir).filter((name) => name !== '.cache')).toEqual([])
  })
})
