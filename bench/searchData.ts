/** The data of the search bench, the same in every process. */
import type { ClusterOptions } from '../tests/support/clusters.ts'

export const DIMENSIONS = 3072
export const CLUSTERS: ClusterOptions = { dimensions: DIMENSIONS, centres: 1000, seed: 20_260_101 }
export const SPACE = { model: 'text-embedding-3-large', dimensions: DIMENSIONS }
/** How many nearest are asked for. */
export const K = 10

export function vectorKey(position: number): string {
  return `memory-${position}`
}
