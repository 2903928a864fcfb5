/** A test server that follows the predecessor's wrapper: it adds what it is given, and knows no keys. */
import { type FaultyHttp, startFaultyHttp } from './faultyHttp.ts'

export interface FakeLegacy extends FaultyHttp {
  readonly records: { user_id: string; content: string }[]
}

export async function startFakeLegacy(options: { token?: string } = {}): Promise<FakeLegacy> {
  const records: FakeLegacy['records'] = []
  const http = await startFaultyHttp({
    guard: ({ headers }) =>
      options.token === undefined || headers.authorization === `Bearer ${options.token}`
        ? undefined
        : { status: 401, body: { success: false } },
    routes: [
      { method: 'GET', path: '/health', answer: () => ({ status: 200, body: { status: 'ok' } }) },
      {
        method: 'POST',
        path: '/memory',
        answer: ({ body }) => {
          const { user_id, content } = JSON.parse(body) as { user_id?: string; content?: string }
          if (user_id === undefined || content === undefined) return { status: 400, body: { success: false } }
          records.push({ user_id, content })
          return { status: 200, body: { success: true } }
        },
      },
    ],
  })
  return Object.assign(http, { records })
}
