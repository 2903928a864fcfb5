/** The memory server behind the faults of `faultyHttp.ts`. */
import type { Store } from '../../src/infrastructure/memory/port.ts'
import { answerMemoryRequest } from '../../src/infrastructure/remote/memoryServer.ts'
import { type FaultyHttp, startFaultyHttp } from './faultyHttp.ts'

export async function startFakeHttpRemote(options: { store: Store; token: string }): Promise<FaultyHttp> {
  const route = (method: string, path: string) => ({
    method,
    path,
    answer: (request: Parameters<typeof answerMemoryRequest>[0]) => answerMemoryRequest(request, options),
  })
  return startFaultyHttp({
    routes: [
      route('PUT', '/v1/memory'),
      route('GET', '/v1/memory'),
      route('DELETE', '/v1/memory'),
      route('GET', '/v1/memories'),
      route('GET', '/v1/health'),
    ],
  })
}
