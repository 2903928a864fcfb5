import { randomInt } from 'node:crypto'

/** The seed of a file's random tests, printed; MEMSYNC_TEST_SEED repeats a run. */
export function printedSeed(name: string): number {
  const given = process.env.MEMSYNC_TEST_SEED
  const seed = given === undefined ? randomInt(2 ** 31) : Number(given)
  console.log(`${name}: seed ${seed}`)
  return seed
}
