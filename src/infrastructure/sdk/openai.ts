/**
 * The client of the embeddings API: OpenAI's own, or any server that speaks it (`OPENAI_BASE_URL`).
 *
 * Nothing is loaded, and no key is asked for, until the first call. The SDK's own retries are off, as the lane
 * decides when to try again, and so is its log, which could print what is embedded.
 */
import type OpenAI from 'openai'
import { loadConfig } from '../../config.ts'
import { MemsyncError } from '../../errors.ts'

const OPENAI_HOST = 'api.openai.com'
export const DEFAULT_BASE_URL = `https://${OPENAI_HOST}/v1`
/** A request of 300,000 tokens takes some 10 s; six times that means something is wrong. */
export const REQUEST_TIMEOUT_MS = 60_000

/** 2,048 vectors of 3,072 numbers take 33 MB in base64, and some 130 MB as text. */
const MAX_ANSWER_BYTES = 256 * 1024 * 1024

export interface ClientSettings {
  /** Needed for OpenAI's own server only. */
  apiKey?: string | undefined
  /** Up to and with `/v1`; OpenAI's unless given. */
  baseUrl?: string | undefined
  /** From the first byte sent to the last one read, in milliseconds. Default 60,000. */
  timeoutMs?: number | undefined
}

/**
 * A client for these settings.
 * @throws MEMSYNC_EMBEDDER_CREDENTIALS where OpenAI's server is meant and there is no key
 */
export async function createClient(settings: ClientSettings): Promise<OpenAI> {
  const baseURL = settings.baseUrl || DEFAULT_BASE_URL
  if (!settings.apiKey && new URL(baseURL).host === OPENAI_HOST) {
    throw new MemsyncError('MEMSYNC_EMBEDDER_CREDENTIALS', 'OPENAI_API_KEY is not set')
  }
  const { OpenAI } = await import('openai')
  return new OpenAI({
    baseURL,
    // The SDK does not start without a key; a server that needs none is sent none.
    apiKey: settings.apiKey || 'none',
    ...(settings.apiKey ? {} : { defaultHeaders: { Authorization: null } }),
    adminAPIKey: null,
    maxRetries: 0,
    timeout: settings.timeoutMs ?? REQUEST_TIMEOUT_MS,
    logLevel: 'off',
    fetch: fetchBounded,
  })
}

/** As `fetch`; an answer that is longer than any of ours can be, packed or not, breaks off, and memory with it. */
async function fetchBounded(...request: Parameters<typeof fetch>): Promise<Response> {
  const response = await fetch(...request)
  if (!response.body) return response
  let leftBytes = MAX_ANSWER_BYTES
  const bound = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      leftBytes -= chunk.length
      if (leftBytes < 0) controller.error(new Error('the answer is too long'))
      else controller.enqueue(chunk)
    },
  })
  const { status, statusText, headers } = response
  return new Response(response.body.pipeThrough(bound), { status, statusText, headers })
}

let shared: Promise<OpenAI> | undefined

async function openShared(): Promise<OpenAI> {
  const { openaiApiKey, openaiBaseUrl } = loadConfig().config
  return createClient({ apiKey: openaiApiKey, baseUrl: openaiBaseUrl })
}

function sharedClient(): Promise<OpenAI> {
  shared ??= openShared().catch((error: unknown) => {
    // The key may be there at the next call.
    shared = undefined
    throw error
  })
  return shared
}

type Embeddings = OpenAI['embeddings']
type CreateArguments = Parameters<Embeddings['create']>

/** The client of the process, by the settings `OPENAI_API_KEY` and `OPENAI_BASE_URL` as they are at its first call. */
const openai = {
  embeddings: {
    /** As the SDK's own, retries aside. @throws MEMSYNC_EMBEDDER_CREDENTIALS without a key; the SDK's errors */
    async create(...args: CreateArguments): Promise<Awaited<ReturnType<Embeddings['create']>>> {
      const client = await sharedClient()
      return client.embeddings.create(...args)
    },
  },
}

export default openai
