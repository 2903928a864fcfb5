/** The vectors of the data folder and the embedder, as the settings name them. Loaded by who needs either. */
import type { Config } from '../../config.ts'
import type { Embedder } from '../../embedding/embedder.ts'
import type { VectorSpace } from '../../embedding/text.ts'
import { createOpenaiEmbedder } from '../sdk/openaiEmbedder.ts'
import { vectorsPath } from './index.ts'
import { openVectorStore, type VectorStore } from './vectors.ts'

type EmbeddingConfig = Pick<
  Config,
  'dataDir' | 'embeddingModel' | 'embedDimensions' | 'openaiApiKey' | 'openaiBaseUrl'
>

function configuredSpace(config: EmbeddingConfig): VectorSpace {
  return { model: config.embeddingModel, dimensions: config.embedDimensions }
}

/** @throws MEMSYNC_STORE_UNAVAILABLE, MEMSYNC_STORE_CORRUPT, MEMSYNC_STORE_NEWER */
export function openVectors(config: EmbeddingConfig): VectorStore {
  const path = vectorsPath(config)
  // One that is written is made where there is none.
  return openVectorStore({ path, space: configuredSpace(config) }) as VectorStore
}

/** The same beside a daemon that writes; undefined where nothing was ever embedded. */
export function readVectors(config: EmbeddingConfig): VectorStore | undefined {
  const path = vectorsPath(config)
  return openVectorStore({ path, space: configuredSpace(config), readOnly: true })
}

export function openEmbedder(config: EmbeddingConfig): Embedder {
  return createOpenaiEmbedder({
    space: configuredSpace(config),
    apiKey: config.openaiApiKey,
    baseUrl: config.openaiBaseUrl,
  })
}
