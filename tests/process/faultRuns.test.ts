/** Random fault runs on the real program, short and of fixed seeds; `npm run test:faults` runs others, and longer. */
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { describePlan, makePlan } from '../../prove/faults/plan.ts'
import { runFaults } from '../../prove/faults/run.ts'
import { canMountDisk } from '../support/smallDisk.ts'
import { tempDir } from '../support/tempDir.ts'

const PROGRAM = join(import.meta.dirname, '..', '..')
/** One with a private Redis, and one whose Redis is behind a link, on a small disk where one can be had. */
const SEEDS = [12, 13]
const SECONDS = 6

describe('every promise is kept under random faults', () => {
  it.concurrent.each(SEEDS)(
    'seed %i',
    async (seed) => {
      const plan = makePlan(seed, SECONDS, { canFillDisk: canMountDisk(tempDir()) })
      const { violations, counts } = await runFaults({ plan, program: PROGRAM, folder: tempDir() })
      expect(violations, describePlan(plan)).toEqual([])
      expect(counts.kills).toBeGreaterThan(0)
      expect(counts.accepted).toBeGreaterThan(50)
    },
    180_000,
  )
})
