/** A spool file that a power cut tore at any byte: its whole records are taken, the torn one is told, none is invented. */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import type { Logger } from '../../src/logger.ts'
import { Spool } from '../../src/producers/spool.ts'
import { nextBatch, SpoolDrain } from '../../src/producers/spoolDrain.ts'
import { claimedName, newSpoolFileName, type SpoolFile } from '../../src/producers/spoolFile.ts'
import { formatSpoolRecord } from '../../src/producers/spoolRecord.ts'
import type { SpooledMemory } from '../../src/queue/enqueue.ts'
import { recordingLogger } from '../support/recordingLogger.ts'
import { printedSeed } from '../support/seed.ts'
import { tempDir } from '../support/tempDir.ts'

const seed = printedSeed('spool recovery')

/** Drains the folder as the daemon does; the queue is a list. */
async function drained(dataDir: string, logger: Logger): Promise<SpooledMemory[]> {
  const taken: SpooledMemory[] = []
  const target = {
    nextPlace: async () => ({ epoch: 1, sequence: 100 }),
    add: async (memories: readonly SpooledMemory[]) => void taken.push(...memories),
  }
  await new SpoolDrain(new Spool(dataDir, 1 << 30), target, logger).drain(new AbortController().signal)
  return taken
}

it.each(['accepted', 'claimed'] as const)('torn at each of its bytes while it was %s', async (state) => {
  const records = ['a', 'b é', 'c'].map((key, index) => ({
    uid: `uid-${index}`,
    acceptedAtMs: 1_000 + index,
    memory: { key, value: { n: index, text: '\n"\\' } },
  }))
  const lines = records.map((record) => Buffer.from(formatSpoolRecord(record)))
  const whole = Buffer.concat(lines)
  const ends = lines.map((_, index) => Buffer.concat(lines.slice(0, index + 1)).length)
  const accepted = newSpoolFileName(1_000, 1, 1, records.length, whole.length)
  const name = state === 'accepted' ? accepted : claimedName(accepted, { epoch: 1, sequence: 7 })
  const dataDir = tempDir()
  const folder = join(dataDir, 'spool')
  for (let length = 0; length <= whole.length; length++) {
    mkdirSync(folder, { recursive: true })
    const torn = whole.subarray(0, length)
    writeFileSync(join(folder, name), torn)
    const { logger, log } = recordingLogger()
    const taken = await drained(dataDir, logger)
    const kept = ends.filter((end) => end <= length).length
    const first = state === 'accepted' ? 100 : 7
    expect(
      taken.map(({ memory, version, acceptedAtMs }) => ({
        memory,
        acceptedAtMs,
        sequence: version.sequence,
      })),
    ).toEqual(
      records
        .slice(0, kept)
        .map(({ memory, acceptedAtMs }, index) => ({ memory, acceptedAtMs, sequence: first + index })),
    )
    const aside = readdirSync(folder).filter((file) => file.endsWith('.corrupt'))
    expect(log).toHaveLength(kept === records.length ? 0 : 1)
    expect(aside).toHaveLength(kept === records.length ? 0 : 1)
    for (const file of aside) expect(readFileSync(join(folder, file))).toEqual(torn)
    // Nothing of it is drained again.
    expect(await drained(dataDir, logger)).toEqual([])
    rmSync(folder, { recursive: true })
  }
})

it('what is drained together is the oldest, all of it claimed or none, within the limits, and never nothing', () => {
  const file = fc.record({
    name: fc.string(),
    writtenAtMs: fc.nat(),
    records: fc.nat(700),
    bytes: fc.nat(5_000_000),
    claim: fc.option(fc.constant({ epoch: 1, sequence: 1 }), { nil: undefined }),
  })
  fc.assert(
    fc.property(fc.array(file, { maxLength: 12 }), (held: SpoolFile[]) => {
      const batch = nextBatch(held)
      const claimed = held.filter(({ claim }) => claim)
      const from = claimed.length > 0 ? claimed : held
      expect(batch).toEqual(from.slice(0, batch.length))
      if (held.length > 0) expect(batch.length).toBeGreaterThan(0)
      const sum = (of: 'records' | 'bytes') => batch.reduce((total, one) => total + one[of], 0)
      if (batch.length > 1) {
        expect(sum('records')).toBeLessThanOrEqual(500)
        expect(sum('bytes')).toBeLessThanOrEqual(4 * 1024 * 1024)
      }
    }),
    { seed, numRuns: 1_000 },
  )
})
