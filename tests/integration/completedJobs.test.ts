/** How long a job that is done stays in the queue, and that nothing of it is left afterwards. */
import { afterEach, expect, it } from 'vitest'
import { bareLaneOn } from '../support/bareLane.ts'
import { type Machine, startMachine } from '../support/machine.ts'
import { keysOf } from '../support/producer.ts'
import { waitFor } from '../support/waitFor.ts'

const KEPT_JOBS = 1_000
const TRIM_EVERY_JOBS = 100
const AN_HOUR_MS = 3_600_000

let machine: Machine
const cleanUps: (() => unknown)[] = []
afterEach(async () => {
  for (let cleanUp = cleanUps.pop(); cleanUp; cleanUp = cleanUps.pop()) await cleanUp()
  await machine.close()
})

/** A lane that has just begun, whose jobs are done as soon as they are taken. */
async function laneOn(machine: Machine): Promise<{ errors: Error[] }> {
  const errors: Error[] = []
  const { lane, close } = await bareLaneOn(machine, {
    concurrency: 50,
    onWorkerError: (error) => errors.push(error),
  })
  cleanUps.push(close)
  lane.start()
  return { errors }
}

async function add(count: number): Promise<string[]> {
  const jobs = await machine.queue.addBulk(
    keysOf('k', count).map((key) => ({ name: 'MEMORY_SYNC', data: { key, value: 1 } })),
  )
  return jobs.map(({ id }) => id ?? '')
}

const completedCount = () => machine.queue.getCompletedCount()

/** The ids of which Redis still has something: the job, or a part of it. */
async function idsInRedis(): Promise<Set<string>> {
  const begin = machine.queue.toKey('')
  const keys = await machine.redis.keys(`${begin}*`)
  const ids = keys.map((key) => /^(\d+)(:|$)/.exec(key.slice(begin.length))?.[1])
  return new Set(ids.filter((id) => id !== undefined))
}

it('the newest 1,000 stay, of the others nothing is left', async () => {
  machine = await startMachine()
  const ids = await add(KEPT_JOBS + 450)
  await machine.queue.addJobLog(ids[3] ?? '', 'a line of the log')
  await laneOn(machine)
  await machine.drained()
  await waitFor('those are gone', async () => (await completedCount()) < KEPT_JOBS + TRIM_EVERY_JOBS)
  const stay = (await machine.queue.getCompleted(0, -1)).map(({ id }) => id)
  expect(stay.length).toBeGreaterThanOrEqual(KEPT_JOBS)
  // Those in flight at the same time may be done in another order.
  expect(new Set(stay)).toEqual(new Set([...stay, ...ids.slice(-(KEPT_JOBS - 50))]))
  expect(await idsInRedis()).toEqual(new Set(stay))
})

it('none stays for longer than an hour once another is done, however few they are', async () => {
  machine = await startMachine()
  const old = await add(30)
  await laneOn(machine)
  await machine.drained()
  expect(await completedCount()).toBe(30)
  const key = machine.queue.toKey('completed')
  for (const id of old.slice(0, 20)) await machine.redis.zadd(key, Date.now() - AN_HOUR_MS - 1000, id)
  // What another process finds: its first job that is done is the next one after that hour.
  for (let cleanUp = cleanUps.pop(); cleanUp; cleanUp = cleanUps.pop()) await cleanUp()
  const [last] = await add(1)
  await laneOn(machine)
  await waitFor('the old ones are gone', async () => (await completedCount()) === 11)
  expect(await idsInRedis()).toEqual(new Set([...old.slice(20), last]))
})

it('a trim that Redis refuses is told, harms no job, and is made up for', async () => {
  machine = await startMachine()
  await machine.redis.call('ACL', 'SETUSER', 'default', '-zrevrange')
  const { errors } = await laneOn(machine)
  await add(KEPT_JOBS + 500)
  await machine.drained()
  await waitFor('it is told', () => errors.length > 0)
  expect(errors[0]?.message).toMatch(/can't run this command/)
  expect(await completedCount()).toBe(KEPT_JOBS + 500)
  await machine.redis.call('ACL', 'SETUSER', 'default', '+zrevrange')
  await add(TRIM_EVERY_JOBS)
  await waitFor('it is made up for', async () => (await completedCount()) < KEPT_JOBS + TRIM_EVERY_JOBS)
})
