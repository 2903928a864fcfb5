/** The contract of a remote on each adapter, against its test server. */

import { openStore } from '../../src/infrastructure/memory/index.ts'
import { contentOf } from '../../src/infrastructure/remote/content.ts'
import { openRemote } from '../../src/infrastructure/remote/index.ts'
import type { RemoteKind, RemoteOptions } from '../../src/infrastructure/remote/port.ts'
import { unescapeName } from '../../src/infrastructure/remote/stamp.ts'
import { describeRemote } from '../contract/remote.ts'
import { REMOTE_KEY } from '../contract/remoteCases.ts'
import { startFakeHttpRemote } from '../support/fakeHttpRemote.ts'
import { startFakeLegacy } from '../support/fakeLegacy.ts'
import { startFakeMem0 } from '../support/fakeMem0.ts'
import { startFakeMem0Platform } from '../support/fakeMem0Platform.ts'
import { tempDir } from '../support/tempDir.ts'

const opener =
  (kind: RemoteKind, url: string) =>
  (options: Partial<RemoteOptions> = {}) =>
    openRemote(kind, { url, key: REMOTE_KEY, ...options })

function unstamped(record: {
  user_id: string | undefined
  metadata: Record<string, unknown>
  memory: string
}) {
  return {
    namespace: unescapeName(record.user_id ?? '') ?? '',
    key: unescapeName(String(record.metadata.sync_key)),
    text: record.memory,
  }
}

describeRemote('mem0', 'id', async () => {
  const server = await startFakeMem0({ apiKey: REMOTE_KEY })
  return {
    server,
    open: opener('mem0', server.url),
    held: async () => [...server.records.values()].map(unstamped),
    writeRoutes: ['POST /memories', 'PUT /memories/:id'],
    close: server.close,
  }
})

describeRemote('mem0-platform', 'id', async () => {
  const server = await startFakeMem0Platform({ apiKey: REMOTE_KEY })
  return {
    server,
    open: opener('mem0-platform', server.url),
    held: async () => [...server.records.values()].map(unstamped),
    writeRoutes: ['POST /v3/memories/add/', 'PUT /v1/memories/:id/'],
    close: server.close,
  }
})

describeRemote('legacy', 'nothing', async () => {
  const server = await startFakeLegacy({ token: REMOTE_KEY })
  return {
    server,
    open: opener('legacy', server.url),
    held: async () =>
      server.records.map(({ user_id, content }) => ({ namespace: user_id, key: undefined, text: content })),
    writeRoutes: ['POST /memory'],
    close: server.close,
  }
})

describeRemote('http', 'key', async () => {
  const store = await openStore({ dataDir: tempDir(), historyVersions: 2 })
  const server = await startFakeHttpRemote({ store, token: REMOTE_KEY })
  return {
    server,
    open: opener('http', server.url),
    async held() {
      const { memories } = await store.list({ limit: 10_000 })
      return memories.map(({ namespace, key, value }) => ({
        namespace,
        key,
        text: contentOf(value ?? null, undefined).text,
      }))
    },
    writeRoutes: ['PUT /v1/memory'],
    async close() {
      await server.close()
      await store.close()
    },
  }
})
