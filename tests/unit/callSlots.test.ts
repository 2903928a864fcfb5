/** Calls that take turns. */
import { expect, it } from 'vitest'
import { CallSlots } from '../../src/queue/callSlots.ts'

it('runs as many at once as it may, in order, and hands a slot on whatever a call came to', async () => {
  const slots = new CallSlots(2)
  const begun: number[] = []
  const ends = Array.from({ length: 5 }, () => Promise.withResolvers<number>())
  const results = ends.map(({ promise }, n) =>
    slots.run(() => {
      begun.push(n)
      if (n === 2) throw new Error('at once')
      return promise
    }),
  )
  const settled = Promise.allSettled(results)
  expect(begun).toEqual([0, 1])
  ends[1]?.reject(new Error('refused'))
  await expect(results[1]).rejects.toThrow('refused')
  await expect(results[2]).rejects.toThrow('at once')
  await Promise.resolve()
  expect(begun).toEqual([0, 1, 2, 3])
  for (const [n, { resolve }] of ends.entries()) resolve(n)
  expect((await settled).map(({ status }) => status)).toEqual([
    ...['fulfilled', 'rejected', 'rejected', 'fulfilled', 'fulfilled'],
  ])
  expect(begun).toEqual([0, 1, 2, 3, 4])
})
