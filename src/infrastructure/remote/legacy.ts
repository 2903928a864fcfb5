/**
 * The predecessor's private wrapper: `POST /memory {"user_id", "content"}` answered by `{"success": true}`, and
 * `GET /health` answered by `{"status": "ok"}`. A key, where one is set, goes as a bearer token for a proxy in
 * front; the wrapper itself asks for none.
 *
 * What it cannot do:
 * - keys, updates, ids: every push adds a memory, and the key is not sent
 * - be looked up: **an answer lost after it stored leads to a second copy**, as it always did
 * - delete: `remove` says `unsupported`
 * - be read back: `find` and `readAll` are refused, so nothing can be verified
 */
import { z } from 'zod'
import { MemsyncError } from '../../errors.ts'
import { createHttpClient, expectShape, storedNothing } from './httpClient.ts'
import type { Remote, RemoteOptions } from './port.ts'

const REMOTE = 'legacy'

const storedSchema = z.object({ success: z.boolean() })
const healthSchema = z.object({ status: z.literal('ok') })

export function openLegacy(options: RemoteOptions): Remote {
  const client = createHttpClient({
    remote: REMOTE,
    baseUrl: options.url,
    headers: options.key === undefined ? {} : { authorization: `Bearer ${options.key}` },
    connectTimeoutMs: options.connectTimeoutMs ?? 5000,
    callTimeoutMs: options.callTimeoutMs ?? 30_000,
  })
  const unreadable = () =>
    new MemsyncError('MEMSYNC_BAD_USAGE', 'a remote of the kind legacy cannot be read back')
  return {
    kind: 'legacy',
    can: { lookup: false, remove: false, readBack: false },
    async probe(signal) {
      const path = options.probePath ?? '/health'
      const timeoutMs = options.probeTimeoutMs ?? 5000
      const accept = options.probePath === undefined ? [] : [200, 204]
      const answer = await client.json({ method: 'GET', route: path, path, timeoutMs, accept }, signal)
      if (options.probePath === undefined) expectShape(REMOTE, answer, healthSchema)
    },
    async push(memory, { signal }) {
      const body = JSON.stringify({ user_id: memory.namespace, content: memory.content.text })
      const answer = await client.json({ method: 'POST', route: '/memory', path: '/memory', body }, signal)
      if (!expectShape(REMOTE, answer, storedSchema).success) throw storedNothing(REMOTE, answer)
      return { outcome: 'stored', requestId: answer.requestId }
    },
    remove: async () => ({ outcome: 'unsupported' }),
    find: () => Promise.reject(unreadable()),
    readAll: () => ({ [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(unreadable()) }) }),
    close: client.close,
  }
}
