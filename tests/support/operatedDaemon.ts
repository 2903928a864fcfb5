/** The real daemon between a memory server and an embeddings server, with its HTTP interface on. */

import { startFakeMem0 } from './fakeMem0.ts'
import { type FakeOpenai, startFakeOpenai } from './fakeOpenai.ts'
import type { FaultyHttp } from './faultyHttp.ts'
import { type HttpDaemon, startHttpDaemon } from './httpDaemon.ts'
import { startTestRedis, type TestRedis } from './redis.ts'
import { waitFor } from './waitFor.ts'

export interface OperatedDaemon {
  http: HttpDaemon
  redis: TestRedis
  remote: FaultyHttp
  embedder: FakeOpenai
  env: Record<string, string>
  /** Resolves once so many memories are in each place. */
  arrived(counts: { synced?: number; pushed?: number; embedded?: number }): Promise<void>
  stop(): Promise<void>
}

export const REMOTE_KEY = 'a-key-of-the-remote'
export const EMBEDDER_KEY = 'a-key-of-the-embedder'

export async function startOperatedDaemon(extra: Record<string, string> = {}): Promise<OperatedDaemon> {
  const [redis, remote, embedder] = await Promise.all([
    startTestRedis(),
    startFakeMem0({ apiKey: REMOTE_KEY }),
    startFakeOpenai({ apiKey: EMBEDDER_KEY }),
  ])
  const env = {
    ...{ REDIS_URL: redis.url, MEMSYNC_HEALTH_INTERVAL_MS: '100', MEMSYNC_DRAIN_TIMEOUT_MS: '500' },
    ...{ MEMSYNC_REMOTE_KIND: 'mem0', MEMSYNC_REMOTE_URL: remote.url, MEMSYNC_REMOTE_KEY: REMOTE_KEY },
    ...{ OPENAI_BASE_URL: embedder.baseUrl, OPENAI_API_KEY: EMBEDDER_KEY },
    ...extra,
  }
  const http = await startHttpDaemon(env)
  await http.daemon.logged('ready')
  return {
    ...{ http, redis, remote, embedder, env },
    arrived: async (counts) => {
      await waitFor(
        JSON.stringify(counts),
        async () => {
          const { totals } = await http.daemon.status()
          return Object.entries(counts).every(
            ([name, count]) => (totals as Record<string, number | null>)[name] === count,
          )
        },
        { timeoutMs: 30_000 },
      )
    },
    stop: async () => {
      await http.stop()
      await Promise.all([remote.close(), embedder.close(), redis.stop()])
    },
  }
}
