/** What is elsewhere: the embedding server and the memory server, each asked once, by a call that stores and costs nothing. */
import type { Config } from '../../config.ts'
import type { Status } from '../../daemon/status.ts'
import { MemsyncError } from '../../errors.ts'
import { openConfiguredRemote, remoteIdentity } from '../../infrastructure/remote/configured.ts'
import type { Finding, Say } from './finding.ts'

const TIMEOUT_MS = 5_000

/** Whether anything is to be embedded with these settings. */
export function embeds({
  openaiApiKey,
  openaiBaseUrl,
}: Pick<Config, 'openaiApiKey' | 'openaiBaseUrl'>): boolean {
  return openaiApiKey !== undefined || openaiBaseUrl !== undefined
}

function setIn(name: string, path: string): string {
  return `set ${name} in ${path}, then memsync service restart`
}

/** @param status where it is known what waits to be embedded */
export async function checkEmbedding(
  say: Say,
  config: Config,
  settingsPath: string,
  status: Status | undefined,
): Promise<Finding[]> {
  const waiting = status?.lanes.embed.waiting ?? 0
  if (!embeds(config)) {
    if (waiting === 0) return [say.ok('not set up: no memory is embedded')]
    return [
      say.failure(
        `${waiting} wait to be embedded, and there is no key`,
        setIn('OPENAI_API_KEY', settingsPath),
      ),
    ]
  }
  const { listModels } = await import('../../infrastructure/sdk/openaiModels.ts')
  try {
    const settings = { apiKey: config.openaiApiKey, baseUrl: config.openaiBaseUrl }
    const models = await listModels(settings, TIMEOUT_MS)
    return [judgeModels(say, config, models, status)]
  } catch (thrown) {
    if (!(thrown instanceof MemsyncError)) throw thrown
    return [judgeEmbedderError(say, config, settingsPath, thrown)]
  }
}

function judgeModels(say: Say, config: Config, models: string[], status: Status | undefined): Finding {
  // Of which the free call knows nothing: no money, a text budget, a model it may not use.
  const reason = status?.embedding.reason ?? null
  if (reason !== null)
    return say.failure(`the daemon says: ${reason}`, 'mend what it names; memories wait until then')
  const { embeddingModel } = config
  if (models.includes(embeddingModel)) return say.ok(`the key is taken, and ${embeddingModel} is there`)
  return say.warning(
    `the key is taken, and ${embeddingModel} is not among the ${models.length} models listed`,
    'correct EMBEDDING_MODEL, unless memsync search finds something',
  )
}

function judgeEmbedderError(say: Say, config: Config, settingsPath: string, error: MemsyncError): Finding {
  const { code, message } = error
  if (code === 'MEMSYNC_EMBEDDER_CREDENTIALS')
    return say.failure(message, setIn('OPENAI_API_KEY', settingsPath))
  if (code === 'MEMSYNC_EMBEDDER_MISCONFIGURED' && config.openaiBaseUrl !== undefined) {
    return say.warning(
      `${message}: it may have no such list, or OPENAI_BASE_URL is wrong`,
      'see that OPENAI_BASE_URL ends in /v1, and that memsync search finds something',
    )
  }
  const isHere = config.openaiBaseUrl !== undefined
  const fix = isHere ? 'start it, or correct OPENAI_BASE_URL' : 'see that this machine reaches the internet'
  return say.failure(message, code === 'MEMSYNC_EMBEDDER_UNAVAILABLE' ? fix : error.hint)
}

export async function checkRemote(
  say: Say,
  config: Config,
  settingsPath: string,
  signal: AbortSignal,
): Promise<Finding[]> {
  const remote = await openConfiguredRemote(config)
  if (!remote) return [say.ok('none: memories stay on this machine')]
  const identity = remoteIdentity(config)
  const startedAt = performance.now()
  try {
    await remote.probe(signal)
    const tookMs = Math.round(performance.now() - startedAt)
    return [
      say.ok(
        `${identity} is up${config.remoteKey === undefined ? '' : ' and takes the key'}, in ${tookMs} ms`,
      ),
    ]
  } catch (thrown) {
    if (!(thrown instanceof MemsyncError)) throw thrown
    // The request's id is for whoever searches the logs.
    const message = thrown.message.replace(/ \(request [\w.-]+\)/, '').replace(`${config.remoteKind}: `, '')
    return [say.failure(`${identity}: ${message}`, remoteFix(config, settingsPath, thrown))]
  } finally {
    remote.close()
  }
}

function remoteFix(config: Config, settingsPath: string, { code, hint }: MemsyncError): string {
  const { remoteKind, remoteUrl } = config
  switch (code) {
    case 'MEMSYNC_REMOTE_CREDENTIALS':
    case 'MEMSYNC_REMOTE_FORBIDDEN':
      return setIn('MEMSYNC_REMOTE_KEY', settingsPath)
    case 'MEMSYNC_REMOTE_UNAVAILABLE':
      return `start it, or correct MEMSYNC_REMOTE_URL (curl -sSv ${remoteUrl ?? 'https://api.mem0.ai'})`
    case 'MEMSYNC_REMOTE_UNCLEAR':
      return `see that a server of the kind ${remoteKind} is there: correct MEMSYNC_REMOTE_KIND or MEMSYNC_REMOTE_URL in ${settingsPath}`
    default:
      return hint
  }
}
