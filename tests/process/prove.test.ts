/** The proof of `npm run prove`, a tenth of its size: real producers, a real daemon, real kills. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { checkPromises } from '../../prove/check.ts'
import { runProof } from '../../prove/run.ts'
import { printedSeed } from '../support/seed.ts'
import { tempDir } from '../support/tempDir.ts'

it('nothing accepted is lost, twice or out of order, though the daemon is killed in the middle of its work', async () => {
  const seed = printedSeed('prove')
  const told: string[] = []
  const evidence = await runProof({
    memories: 2000,
    kills: 2,
    seed,
    folder: tempDir(),
    tell: (line) => told.push(line),
  })
  expect(checkPromises(evidence).filter(({ problems }) => problems.length > 0)).toEqual([])
  expect(evidence.receipts).toHaveLength(2004)
  expect(evidence.killsInFlight).toHaveLength(2)
  expect(told.filter((line) => line.startsWith('kill '))).toHaveLength(2)
})

it('refuses wrong usage by name', () => {
  const entry = join(import.meta.dirname, '..', '..', 'prove', 'index.ts')
  for (const args of [['--kills', '0'], ['--memories', 'many'], ['--seed', '-1'], ['--surprise']]) {
    const { status, stderr } = spawnSync(process.execPath, [entry, ...args], { encoding: 'utf8' })
    expect(status, args.join(' ')).toBe(2)
    expect(stderr).toContain(args[0])
  }
})
