/** What the status says of embedding: how much was embedded, and what it took. */
import type { Config } from '../config.ts'
import { dayOf } from '../embedding/budget.ts'
import { estimateCost } from '../embedding/price.ts'
import type { VectorStore } from '../infrastructure/memory/vectors.ts'

export interface EmbeddingStatus {
  model: string
  /** Spent with this model since the vectors were first kept, and on this day. */
  tokens: number
  tokensToday: number
  calls: number
  /** Texts that needed no call. */
  cacheHits: number
  /** In US dollars, by the published price; null where no price of the model is known. */
  estimatedCost: number | null
  /** Why nothing is embedded now. */
  reason: string | null
}

export interface EmbeddingFigures {
  /** Memories that have vectors of this model. */
  embedded: number
  embedding: EmbeddingStatus
}

/** Where nothing was ever embedded. */
export function noEmbedding({ embeddingModel }: Pick<Config, 'embeddingModel'>): EmbeddingFigures {
  const spent = { tokens: 0, tokensToday: 0, calls: 0, cacheHits: 0, estimatedCost: null }
  return { embedded: 0, embedding: { model: embeddingModel, ...spent, reason: null } }
}

/** @throws MEMSYNC_STORE_UNAVAILABLE */
export async function readEmbeddingFigures(
  config: Pick<Config, 'embeddingModel' | 'timeZone'>,
  vectors: VectorStore,
  reason: string | undefined,
): Promise<EmbeddingFigures> {
  const { embeddingModel: model, timeZone } = config
  const [totals, all, today] = await Promise.all([
    vectors.totals(),
    vectors.spending(),
    vectors.spending(dayOf(Date.now(), timeZone)),
  ])
  const { calls, tokens, cacheHits } = all.get(model) ?? { calls: 0, tokens: 0, cacheHits: 0 }
  return {
    embedded: totals.memories,
    embedding: {
      model,
      tokens,
      tokensToday: today.get(model)?.tokens ?? 0,
      calls,
      cacheHits,
      estimatedCost: estimateCost(model, tokens)?.usd ?? null,
      reason: reason ?? null,
    },
  }
}
