/** The real daemon with a remote: what it is handed, what its store holds, and whether the remote holds the same. */
import { Queue } from 'bullmq'
import { expect } from 'vitest'
import type { Config } from '../../src/config.ts'
import { openStore } from '../../src/infrastructure/memory/index.ts'
import { openRemote } from '../../src/infrastructure/remote/index.ts'
import type { RemoteKind } from '../../src/infrastructure/remote/port.ts'
import { type Finding, verify } from '../../src/infrastructure/remote/verify.ts'
import { PUSH_QUEUE, SYNC_QUEUE } from '../../src/jobs/index.ts'
import { connectRedis, redisEndpoint, waitUntilReady } from '../../src/queue/connection.ts'
import { type LogLine, startDaemon, type TestDaemon } from './daemon.ts'
import { endWithThisProcess } from './lifeline.ts'
import { tempDir } from './tempDir.ts'
import { waitFor } from './waitFor.ts'

export interface RemoteMachine {
  daemon: TestDaemon
  /** Hands over writes and waits until they are in the store. */
  write(writes: readonly [key: string, value: unknown][]): Promise<void>
  /** Resolves once every memory has its receipt and no pointer is left. */
  pushed(timeoutMs?: number): Promise<void>
  /** Resolves once the remote's state, or the gate, is as wanted. */
  becomes(wanted: { state?: string; gate?: string }, timeoutMs?: number): Promise<void>
  /** What `verify` finds on the remote, which is asked at its own address and not through any proxy. */
  wrong(): Promise<Finding[]>
  /** The tries that the push of each memory took. */
  attempts(): Promise<number[]>
  /** Log lines about the remote since the last call. */
  said(): LogLine['msg'][]
  close(): Promise<void>
}

export async function startRemoteMachine(options: {
  kind: RemoteKind
  /** What the daemon is told. */
  url: string
  /** The server's own address; `url` unless given. */
  directUrl?: string
  key: string
  env?: Record<string, string>
}): Promise<RemoteMachine> {
  const { kind, url, key } = options
  const dataDir = tempDir()
  const daemon = await startDaemon(dataDir, {
    MEMSYNC_REMOTE_KIND: kind,
    MEMSYNC_REMOTE_URL: url,
    ...(kind === 'legacy' ? {} : { MEMSYNC_REMOTE_KEY: key }),
    MEMSYNC_HEALTH_INTERVAL_MS: '100',
    MEMSYNC_PUSH_TIMEOUT_MS: '1500',
    ...options.env,
  })
  const endLifeline = endWithThisProcess(daemon.pid)
  const config: Pick<Config, 'redisUrl' | 'dataDir' | 'historyVersions'> = {
    ...{ redisUrl: undefined, dataDir, historyVersions: 10 },
  }
  const redis = connectRedis(redisEndpoint(config), 'worker')
  redis.on('error', () => undefined)
  await waitUntilReady(redis, 5000)
  const sync = new Queue(SYNC_QUEUE, { connection: redis })
  const push = new Queue(PUSH_QUEUE, { connection: redis })
  for (const queue of [sync, push]) queue.on('error', () => undefined)
  const store = await openStore(config, { readOnly: true })
  const remote = openRemote(kind, { url: options.directUrl ?? url, ...(kind === 'legacy' ? {} : { key }) })
  let read = 0
  const isEmpty = async (queue: Queue) => {
    const counts = await queue.getJobCounts('waiting', 'delayed', 'active', 'prioritized')
    return Object.values(counts).every((count) => count === 0)
  }
  return {
    daemon,
    async write(writes) {
      const jobs = writes.map(([name, value]) => ({ name: 'MEMORY_SYNC', data: { key: name, value } }))
      for (let start = 0; start < jobs.length; start += 500)
        await sync.addBulk(jobs.slice(start, start + 500))
      await waitFor('all is in the store', () => isEmpty(sync), { timeoutMs: 60_000 })
    },
    async pushed(timeoutMs = 60_000) {
      await waitFor(
        'all is pushed',
        async () => (await store.behind('push', { limit: 1 })).names.length === 0 && (await isEmpty(push)),
        { timeoutMs },
      )
    },
    async becomes({ state, gate }, timeoutMs = 30_000) {
      await waitFor(
        `the remote is ${state ?? 'as it was'} and the gate ${gate ?? 'as it was'}`,
        async () => {
          const status = await daemon.status()
          const isGate = gate === undefined || status.lanes.push.gate === gate
          return isGate && (state === undefined || status.remote.state === state)
        },
        { timeoutMs },
      )
    },
    async wrong() {
      const findings: Finding[] = []
      const { signal } = new AbortController()
      const onFinding = (finding: Finding) => findings.push(finding)
      const { waiting, refused } = await verify({ store, remote, concurrency: 8, signal, onFinding })
      expect({ waiting, refused }).toEqual({ waiting: 0, refused: 0 })
      return findings
    },
    async attempts() {
      return (await push.getCompleted(0, -1)).map(({ attemptsMade }) => attemptsMade)
    },
    said() {
      const lines = daemon.log.slice(read).map(({ msg }) => msg)
      read = daemon.log.length
      return lines.filter((msg) => msg.startsWith('the remote '))
    },
    async close() {
      remote.close()
      await store.close()
      redis.disconnect()
      daemon.kill('SIGTERM')
      await daemon.ended
      endLifeline()
    },
  }
}
