/** Changes in a folder are heard of at once, and none is missed for good. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, it } from 'vitest'
import { FolderWatch } from '../../src/producers/folderWatch.ts'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

const ends: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0)) await end()
})

function watchOn(
  folder: string,
  {
    slowMs = 60_000,
    fastMs = 60_000,
    look,
  }: { slowMs?: number; fastMs?: number; look?: () => Promise<void> },
) {
  let looks = 0
  const watch = new FolderWatch({
    folder,
    slowMs,
    fastMs,
    delayMs: 0,
    concerns: (name) => name.endsWith('.mine'),
    look: async () => {
      looks++
      await look?.()
    },
  })
  ends.push(() => watch.stop())
  watch.start()
  return { watch, looks: () => looks }
}

it('a change that concerns it is a look, others are not', async () => {
  const folder = tempDir()
  const { looks } = watchOn(folder, {})
  writeFileSync(join(folder, 'other'), '')
  writeFileSync(join(folder, 'a.mine'), '')
  await waitFor('it has looked', () => looks() > 0)
  const before = looks()
  writeFileSync(join(folder, 'b.mine'), '')
  await waitFor('it has looked again', () => looks() > before)
})

it('a change during a look is followed by another, one at a time', async () => {
  let running = 0
  const gates: (() => void)[] = []
  const { watch, looks } = watchOn(tempDir(), {
    look: async () => {
      expect(++running).toBe(1)
      await new Promise<void>((resolve) => gates.push(resolve))
      running--
    },
  })
  for (let request = 0; request < 3; request++) watch.request()
  expect(looks()).toBe(1)
  gates.shift()?.()
  await waitFor('it looks once more', () => looks() === 2)
  gates.shift()?.()
  await waitFor('that is over', () => running === 0)
  expect(looks()).toBe(2)
})

it('a folder that is missing is looked at now and then, and watched once it is there', async () => {
  const folder = join(tempDir(), 'later')
  const { looks } = watchOn(folder, { fastMs: 10 })
  await waitFor('it has looked', () => looks() > 1)
  mkdirSync(folder)
  // Nothing but a watch tells of it now.
  const before = looks()
  await waitFor('it has found the folder', () => looks() > before)
  const found = looks()
  writeFileSync(join(folder, 'a.mine'), '')
  await waitFor('it has looked', () => looks() > found)
})

it('a change that nobody tells of is found all the same', async () => {
  const { looks } = watchOn(tempDir(), { slowMs: 10 })
  await waitFor('it has looked', () => looks() > 2)
})
