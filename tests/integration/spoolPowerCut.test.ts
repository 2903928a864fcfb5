/** What a drained spool leaves to a power cut: nothing that would be handed over once more. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect, it } from 'vitest'
import { findUnsynced } from '../../prove/faults/powerCut.ts'
import { tempDir } from '../support/tempDir.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const inRoot = (...path: string[]) => pathToFileURL(join(ROOT, ...path)).href

const SCRIPT = `
import { Spool } from '${inRoot('src', 'producers', 'spool.ts')}'
import { SpoolDrain } from '${inRoot('src', 'producers', 'spoolDrain.ts')}'
const spool = new Spool(process.argv[1], 2 ** 20)
for (const key of ['a', 'b']) await spool.write([{ uid: 'uid-' + key, acceptedAtMs: 1, memory: { key, value: 1 } }])
const target = { nextPlace: async () => ({ epoch: 1, sequence: 1 }), add: async () => undefined }
console.log(await new SpoolDrain(spool, target, console).drain(new AbortController().signal))`

it('the removal of what was drained is on disk when the drain is done', () => {
  const dataDir = tempDir()
  const [journal, kept] = [join(dataDir, 'journal'), join(dataDir, 'kept')]
  mkdirSync(kept)
  const args = ['--import', inRoot('prove', 'faults', 'recordFiles.mjs'), '--input-type=module', '-e', SCRIPT]
  const env = {
    ...process.env,
    MEMSYNC_PROOF_SPOOL: join(dataDir, 'spool'),
    MEMSYNC_PROOF_JOURNAL: journal,
    MEMSYNC_PROOF_KEPT: kept,
  }
  expect(execFileSync(process.execPath, [...args, dataDir], { env }).toString()).toBe('2\n')
  const entries = readFileSync(journal, 'utf8').trim().split('\n')
  const done = entries.map((line) => JSON.parse(line) as Parameters<typeof findUnsynced>[0][number])
  expect(done.filter(({ did }) => did === 'remove').length).toBeGreaterThan(0)
  expect(findUnsynced(done)).toEqual({ contents: [], names: [] })
})
