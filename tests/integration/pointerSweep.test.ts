/** A pointer that the queue did not take is made up for soon, whatever was told of Redis meanwhile. */
import { afterEach, expect, it } from 'vitest'
import { type EmbedMachine, startEmbedMachine } from '../support/embedMachine.ts'
import { type FakeOpenai, startFakeOpenai } from '../support/fakeOpenai.ts'
import { waitFor } from '../support/waitFor.ts'

let machine: EmbedMachine
let server: FakeOpenai

afterEach(async () => {
  await machine.close()
  await server.close()
})

it('a sweep whose marks Redis refused is repeated, long before the next one is due', async () => {
  server = await startFakeOpenai({ apiKey: 'a-key-of-the-embedder' })
  machine = await startEmbedMachine(server)
  await machine.write([['first', 'wakes the lane']])
  await machine.embedded()
  await machine.redis.config('SET', 'maxmemory', '1')
  await machine.store.apply([
    {
      op: 'set',
      namespace: 'default',
      key: 'k',
      valueJson: '"unmarked"',
      embed: true,
      acceptedAtMs: Date.now(),
      version: { epoch: 1, sequence: 1000, index: 0 },
    },
  ])
  const sweeps = () =>
    machine.log.filter(({ message }) => message === 'memories without a receipt were marked').length
  const before = sweeps()
  await machine.embed.sweep()
  await waitFor('the marks are refused', () => sweeps() > before)
  expect(await machine.embedQueue.getJobCountByTypes('waiting', 'delayed', 'active')).toBe(0)
  await machine.redis.config('SET', 'maxmemory', '0')
  await machine.embedded()
})
