/** The one call of the API that costs nothing and needs a key: `GET /models`. For who looks whether the key is taken. */
import { MemsyncError } from '../../errors.ts'
import { type ClientSettings, createClient, DEFAULT_BASE_URL } from './openai.ts'
import { toEmbedderError } from './openaiEmbedder.ts'

/**
 * The models the key may use, as far as the first page of the answer lists them.
 * @throws MEMSYNC_EMBEDDER_CREDENTIALS, _MISCONFIGURED (also where the server has no such call), _RATE_LIMITED,
 *   _UNAVAILABLE
 */
export async function listModels(settings: ClientSettings, timeoutMs: number): Promise<string[]> {
  const client = await createClient(settings)
  const server = new URL(settings.baseUrl || DEFAULT_BASE_URL).host
  const deadline = AbortSignal.timeout(timeoutMs)
  let answer: unknown
  try {
    answer = await client.models.list({ signal: deadline, timeout: timeoutMs })
  } catch (error) {
    throw toEmbedderError(error, server, deadline.aborted ? timeoutMs : undefined)
  }
  const { data } = answer as { data?: unknown }
  if (!Array.isArray(data)) {
    throw new MemsyncError('MEMSYNC_EMBEDDER_MISCONFIGURED', `${server} did not answer with a list of models`)
  }
  return data.map((model) => String((model as { id?: unknown } | null)?.id))
}
