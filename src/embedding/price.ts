/**
 * What embedding costs, as far as it is published. An estimate: the bill is the provider's.
 */

/** Published prices per million tokens, in US dollars, for calls outside the batch API. */
const PRICES: Record<string, { usdPerMillionTokens: number; asOf: string; source: string }> = {
  'text-embedding-3-large': {
    usdPerMillionTokens: 0.13,
    asOf: '2026-05',
    source: 'https://developers.openai.com/api/docs/models/text-embedding-3-large',
  },
  'text-embedding-3-small': {
    usdPerMillionTokens: 0.02,
    asOf: '2026-07',
    source: 'https://developers.openai.com/api/docs/models/text-embedding-3-small',
  },
}

export interface CostEstimate {
  usd: number
  /** Year and month in which the price was read. */
  asOf: string
}

/** What the tokens cost with a model; undefined where no price of it is known. Pure. */
export function estimateCost(model: string, tokens: number): CostEstimate | undefined {
  const price = Object.hasOwn(PRICES, model) ? PRICES[model] : undefined
  return price && { usd: (tokens / 1_000_000) * price.usdPerMillionTokens, asOf: price.asOf }
}
