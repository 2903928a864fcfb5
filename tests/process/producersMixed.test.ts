/** Producers of every kind at once, while Redis and the daemon die: what was accepted arrives, once, and the last wins. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { loadConfig } from '../../src/config.ts'
import { openStore } from '../../src/infrastructure/memory/index.ts'
import { commandLine, MEMSYNC } from '../support/cli.ts'
import { isolatedEnvironment, startDaemon } from '../support/daemon.ts'
import { PRODUCER_PROCESS } from '../support/producerRole.ts'
import { startTestRedis } from '../support/redis.ts'
import { printedSeed } from '../support/seed.ts'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

const SUPPORT = join(import.meta.dirname, '..', 'support')
const HAS_PYTHON = spawnSync('python3', ['--version']).status === 0
const LEGACY_ENTRIES = 200

interface Accepted {
  key: string
  value: string
  namespace?: string
}

it('every accepted memory is applied or superseded, once', async () => {
  const seed = printedSeed('mixed producers')
  const { dataDir } = commandLine()
  const legacyDir = tempDir()
  const redis = await startTestRedis()
  const env = { REDIS_URL: redis.url, MEMSYNC_LEGACY_DIR: legacyDir }
  const accepted: Accepted[] = []
  const running: Promise<unknown>[] = []

  const run = (child: ChildProcess, onOutput: (output: string) => void) => {
    let output = ''
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk
    })
    running.push(once(child, 'close').then(() => onOutput(output)))
  }
  const environment = isolatedEnvironment(dataDir, env)
  const producer = (role: string, name: string) =>
    run(
      spawn(process.execPath, [PRODUCER_PROCESS, role, dataDir, name], {
        env: environment,
        stdio: ['ignore', 'pipe', 'inherit'],
      }),
      (output) => {
        const lines = output.trim().split('\n')
        expect(lines).toHaveLength(300)
        accepted.push(...lines.map((line) => JSON.parse(line) as Accepted))
      },
    )

  let daemon = await startDaemon(dataDir, env)
  try {
    for (const name of ['c1', 'c2', 'c3']) producer('client', name)
    for (const name of ['p1', 'p2']) producer('plain', name)
    producer('hook', 'h1')
    if (HAS_PYTHON) {
      const args = [join(SUPPORT, 'legacyProducer.py'), legacyDir, String(LEGACY_ENTRIES), 'legacy', '2']
      run(spawn('python3', args, { stdio: ['ignore', 'pipe', 'inherit'] }), (output) => {
        const { ids, timeouts } = JSON.parse(output) as { ids: string[]; timeouts: number }
        expect(timeouts).toBe(0)
        accepted.push(
          ...ids.map((id, index) => ({
            key: `legacy/${id}`,
            value: `legacy ${index} é`,
            namespace: 'legacy',
          })),
        )
      })
    }
    running.push(runCommands(dataDir, env, accepted))

    const faults = (async () => {
      for (let fault = 0; fault < 4; fault++) {
        await sleep(300 + ((seed >> (fault * 4)) % 500))
        // A killed daemon's jobs come back after ten seconds, so that comes first.
        if (fault % 2 === 1) {
          await redis.kill()
          await sleep(300 + ((seed >> fault) % 900))
          await redis.restart()
        } else {
          daemon.kill('SIGKILL')
          await daemon.ended
          await sleep((seed >> fault) % 500)
          daemon = await startDaemon(dataDir, env)
        }
      }
    })()
    await Promise.all([...running, faults])

    const store = await openStore({ ...loadConfig({}, {}).config, dataDir }, { readOnly: true })
    try {
      await waitFor(
        'everything is settled',
        async () => {
          const { spool, lanes } = await daemon.status()
          const { waiting, active, delayed } = lanes.sync
          const left = [spool.records, waiting, active, delayed]
          if (left.some((count) => count !== 0)) return false
          const missing = await Promise.all(
            accepted.map(async ({ key, namespace }) => (await store.find(key, namespace)) === undefined),
          )
          return !missing.includes(true)
        },
        { timeoutMs: 40_000, intervalMs: 200 },
      )
      const last = new Map(accepted.map(({ key, value }) => [key, value]))
      const wrong: unknown[] = []
      for (const { key, namespace } of accepted) {
        const writes = await store.history(key, namespace)
        const isShared = key.endsWith('-last')
        const values = new Set(writes.map(({ value }) => value))
        const ok = writes[0]?.value === last.get(key) && (isShared || writes.length === 1)
        if (!ok || values.size !== writes.length)
          wrong.push({ key, writes: writes.map(({ value }) => value) })
      }
      expect(wrong).toEqual([])
      expect((await daemon.status()).deadLetters).toBe(0)
      expect(accepted.length).toBeGreaterThan(1800)
      console.log(`${accepted.length} memories accepted`)
    } finally {
      await store.close()
    }
  } finally {
    daemon.kill('SIGTERM')
    await daemon.ended
    await redis.stop()
  }
})

/** The command, again and again, as a cron script calls it. */
async function runCommands(
  dataDir: string,
  env: Record<string, string>,
  accepted: Accepted[],
): Promise<void> {
  for (let call = 0; call < 8; call++) {
    const key = `command-${call}`
    const child = spawn(process.execPath, [MEMSYNC, 'enqueue', key, key], {
      env: isolatedEnvironment(dataDir, env),
      stdio: 'ignore',
    })
    const [code] = await once(child, 'close')
    expect(code).toBe(0)
    accepted.push({ key, value: key })
  }
}
