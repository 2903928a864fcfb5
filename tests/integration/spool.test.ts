/** The spool as files: what it promises to producers, and how it is drained into a real queue. */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, statSync, truncateSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { SPOOL_INDEX, SPOOL_REPEAT_INDEX } from '../../src/jobs/version.ts'
import { silentLogger } from '../../src/logger.ts'
import { Spool } from '../../src/producers/spool.ts'
import { SpoolDrain, type SpoolTarget } from '../../src/producers/spoolDrain.ts'
import { parseSpoolRecords, type SpoolRecord } from '../../src/producers/spoolRecord.ts'
import { addSpooled, lastJobId } from '../../src/queue/enqueue.ts'
import { type Machine, startMachine } from '../support/machine.ts'
import { PRODUCER_PROCESS } from '../support/producerRole.ts'
import { recordingLogger } from '../support/recordingLogger.ts'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

const LIMIT = 2 ** 30

let clock = 1_700_000_000_000
const recordOf = (key: string, value: unknown = key, more: Partial<SpoolRecord> = {}): SpoolRecord => ({
  uid: `uid-${key}`,
  acceptedAtMs: clock++,
  memory: { key, value },
  ...more,
})
const recordsIn = async (spool: Spool) =>
  (await spool.list()).flatMap(
    ({ name }) => parseSpoolRecords(readFileSync(join(spool.folder, name))).records,
  )
const mode = (path: string) => (statSync(path).mode & 0o777).toString(8)

describe('writing', () => {
  it('makes the folder at first use, for this user alone, and holds what was written in order', async () => {
    const dataDir = join(tempDir(), 'new', 'data')
    const spool = new Spool(dataDir, LIMIT)
    expect(await spool.isEmpty()).toBe(true)
    expect(await spool.depth(0)).toEqual({ records: 0, bytes: 0, oldestMs: null })
    const records = ['a', 'b', 'c', 'd'].map((key) => recordOf(key))
    await spool.write(records.slice(0, 1))
    await spool.write(records.slice(1, 3))
    await new Spool(dataDir, LIMIT).write(records.slice(3))
    expect(await recordsIn(spool)).toEqual(records)
    expect(await spool.isEmpty()).toBe(false)
    expect([mode(join(dataDir, '..')), mode(dataDir), mode(spool.folder)]).toEqual(['700', '700', '700'])
    const names = readdirSync(spool.folder)
    expect(names.map((name) => mode(join(spool.folder, name)))).toEqual(['600', '600', '600'])
    const depth = await spool.depth(Date.now() + 5000)
    expect(depth).toMatchObject({ records: 4, bytes: 3 * 4096 })
    expect(depth.oldestMs).toBeGreaterThanOrEqual(5000)
  })

  it('refuses beyond its limit by a code, and keeps what it holds', async () => {
    const spool = new Spool(tempDir(), 3 * 4096)
    for (const key of ['a', 'b', 'c']) await spool.write([recordOf(key)])
    await expect(spool.write([recordOf('d')])).rejects.toMatchObject({
      code: 'MEMSYNC_SPOOL_FULL',
      class: 'outage',
      message: 'the spool holds 12288 of 12288 bytes',
    })
    expect((await recordsIn(spool)).map(({ memory }) => memory.key)).toEqual(['a', 'b', 'c'])
    expect(readdirSync(spool.folder)).toHaveLength(3)
  })

  it('says by a code that it cannot be used', async () => {
    const file = join(tempDir(), 'file')
    writeFileSync(file, '')
    const spool = new Spool(file, LIMIT)
    const unusable = { code: 'MEMSYNC_SPOOL_UNAVAILABLE', message: 'the spool cannot be used (ENOTDIR)' }
    await expect(spool.write([recordOf('a')])).rejects.toMatchObject(unusable)
    await expect(spool.list()).rejects.toMatchObject(unusable)
  })

  const mayMount = () => {
    try {
      execFileSync('unshare', ['-rm', 'mount', '-t', 'tmpfs', 'tmpfs', tempDir()], { stdio: 'ignore' })
      return true
    } catch {
      // No user namespaces here: the one thing this probe is to find out.
      return false
    }
  }

  it.skipIf(!mayMount())(
    'takes whole memories until the disk is full, and leaves no half of one',
    async () => {
      const folder = tempDir()
      const mounted = `mount -t tmpfs -o size=1m tmpfs "$1" && "$2" "$3" fillDisk "$1" && ls -a "$1/spool" | grep -c tmp`
      const args = ['-rm', 'sh', '-c', mounted, 'sh', folder, process.execPath, PRODUCER_PROCESS]
      // grep ends with 1 where it found none, which is what is hoped for.
      const output = execFileSync('sh', ['-c', 'unshare "$@"; true', 'sh', ...args]).toString()
      const [report = '', drafts] = output.trim().split('\n')
      const { written, code, held } = JSON.parse(report)
      expect({ code, held, drafts }).toEqual({
        code: 'MEMSYNC_SPOOL_UNAVAILABLE',
        held: written,
        drafts: '0',
      })
      expect(written).toBeGreaterThan(5)
    },
  )

  it('by processes that are killed keeps every memory that was told accepted', async () => {
    const dataDir = tempDir()
    const told = new Set<string>()
    await Promise.all(
      ['a', 'b', 'c', 'd', 'e', 'f'].map(async (name, index) => {
        const child = spawn(process.execPath, [PRODUCER_PROCESS, 'spoolForEver', dataDir, name])
        let said = ''
        child.stdout.on('data', (chunk: Buffer) => {
          said += chunk
        })
        await waitFor('it has written some', () => said.split('\n').length > 20 + index * 7)
        child.kill('SIGKILL')
        await once(child, 'close')
        for (const line of said.trim().split('\n')) told.add(`${name}${line}`)
      }),
    )
    const spool = new Spool(dataDir, LIMIT)
    const held = new Set((await recordsIn(spool)).map(({ memory }) => memory.key))
    expect([...told].filter((key) => !held.has(key))).toEqual([])
    // At most one each was durable and not yet told.
    expect(held.size - told.size).toBeLessThanOrEqual(6)
  })

  it('leaves drafts of killed producers to whoever looks an hour later', async () => {
    const spool = new Spool(tempDir(), LIMIT)
    await spool.write([recordOf('a')])
    const [old, fresh] = ['old.tmp', 'fresh.tmp'].map((name) => join(spool.folder, name))
    for (const path of [old, fresh]) writeFileSync(path ?? '', 'half')
    utimesSync(old ?? '', 1, 1)
    await spool.prepare(Date.now())
    expect(readdirSync(spool.folder).sort()).toEqual([expect.stringMatching(/spool$/), 'fresh.tmp'])
  })
})

describe('draining', () => {
  let machine: Machine
  let now: Spool
  beforeAll(async () => {
    machine = await startMachine()
  })
  afterAll(() => machine.close())

  const target = (): SpoolTarget => ({
    nextPlace: async () => ({ epoch: 1, sequence: (await lastJobId(machine.queue)) + 1 }),
    add: (memories) => addSpooled(machine.queue, memories),
  })
  const signal = new AbortController().signal
  const drainWith = (changed: Partial<SpoolTarget> = {}, logger = silentLogger) =>
    new SpoolDrain(now, { ...target(), ...changed }, logger).drain(signal)
  const newSpool = () => {
    now = new Spool(tempDir(), LIMIT)
    return now
  }
  const inQueue = async () => {
    const jobs = await machine.queue.getJobs(['waiting'], 0, -1, true)
    await machine.queue.drain()
    return jobs.map(({ id = '', data, timestamp }) => ({ id, key: data.key as string, timestamp }))
  }

  it('takes everything once, in order, each with a version, its acceptance time and whether it may repeat', async () => {
    const spool = newSpool()
    await spool.write([recordOf('a', 1), recordOf('b', 2, { mayRepeat: true })])
    await spool.write([recordOf('c', 3)])
    const first = clock - 3
    expect(await drainWith()).toBe(3)
    expect(await spool.list()).toEqual([])
    const jobs = await inQueue()
    const sequence = Number(jobs[0]?.id.split('-')[2])
    expect(jobs).toEqual([
      { id: `spool-1-${sequence}-${SPOOL_INDEX}`, key: 'a', timestamp: first },
      { id: `spool-1-${sequence + 1}-${SPOOL_REPEAT_INDEX}`, key: 'b', timestamp: first + 1 },
      { id: `spool-1-${sequence + 2}-${SPOOL_INDEX}`, key: 'c', timestamp: first + 2 },
    ])
    // Whatever is accepted from here on stands behind it.
    expect(Number((await machine.queue.add('MEMORY_SYNC', { key: 'd', value: 1 })).id)).toBe(sequence + 3)
    await machine.queue.drain()
    expect(await drainWith()).toBe(0)
  })

  it('that ends at any point goes on to the same end', async () => {
    const crash = new Error('killed here')
    const crashes: Partial<SpoolTarget>[] = [
      { nextPlace: () => Promise.reject(crash) },
      { add: () => Promise.reject(crash) },
      {
        add: async (memories) =>
          target()
            .add(memories.slice(0, 2))
            .then(() => Promise.reject(crash)),
      },
      {
        add: async (memories) =>
          target()
            .add(memories)
            .then(() => Promise.reject(crash)),
      },
    ]
    for (const [index, crashing] of crashes.entries()) {
      const spool = newSpool()
      const keys = ['a', 'b', 'c', 'd'].map((name) => `${name}${index}`)
      await spool.write(keys.slice(0, 3).map((key) => recordOf(key)))
      await spool.write(keys.slice(3).map((key) => recordOf(key)))
      for (let again = 0; again < 3; again++) await expect(drainWith(crashing)).rejects.toBe(crash)
      // While anything of it may not be in the queue, producers see that the spool holds it.
      expect(await spool.isEmpty()).toBe(false)
      expect((await spool.depth(0)).records).toBe(4)
      expect(await drainWith()).toBe(4)
      expect((await inQueue()).map(({ key }) => key)).toEqual(keys)
      expect(await spool.isEmpty()).toBe(true)
    }
  })

  it('takes what is written meanwhile, and leaves none behind', async () => {
    const spool = newSpool()
    await spool.write([recordOf('a')])
    let more = 3
    const add: SpoolTarget['add'] = async (memories) => {
      if (more-- > 0) await spool.write([recordOf(`more${more}`)])
      await target().add(memories)
    }
    expect(await drainWith({ add })).toBe(4)
    expect((await inQueue()).map(({ key }) => key)).toEqual(['a', 'more2', 'more1', 'more0'])
  })

  it('is done by one process at a time', async () => {
    const spool = newSpool()
    await spool.write([recordOf('a')])
    const other = Promise.withResolvers<number | undefined>()
    const add: SpoolTarget['add'] = async (memories) => {
      other.resolve(await new SpoolDrain(spool, target(), silentLogger).drain(signal))
      await target().add(memories)
    }
    expect(await drainWith({ add })).toBe(1)
    expect(await other.promise).toBeUndefined()
    expect(await inQueue()).toHaveLength(1)
  })

  it('takes what can be read of a damaged file, keeps the file aside and says so', async () => {
    const spool = newSpool()
    await spool.write([recordOf('a'), recordOf('b'), recordOf('c')])
    const [file] = await spool.list()
    const path = join(spool.folder, file?.name ?? '')
    truncateSync(path, (file?.bytes ?? 0) - 5)
    const damaged = readFileSync(path)
    const { logger, log } = recordingLogger()
    expect(await drainWith({}, logger)).toBe(2)
    expect((await inQueue()).map(({ key }) => key)).toEqual(['a', 'b'])
    const [kept = ''] = readdirSync(spool.folder).filter((name) => name.endsWith('.corrupt'))
    expect(readFileSync(join(spool.folder, kept))).toEqual(damaged)
    expect(log).toMatchObject([{ level: 'error', fields: { written: 3, readable: 2 } }])
    expect(await spool.isEmpty()).toBe(true)
  })

  it('stops between batches when it is told to', async () => {
    const spool = newSpool()
    for (let file = 0; file < 3; file++) {
      await spool.write(Array.from({ length: 300 }, (_, index) => recordOf(`s${file}-${index}`)))
    }
    const stopping = new AbortController()
    const add: SpoolTarget['add'] = async (memories) => {
      stopping.abort()
      await target().add(memories)
    }
    expect(await new SpoolDrain(spool, { ...target(), add }, silentLogger).drain(stopping.signal)).toBe(300)
    expect((await spool.depth(0)).records).toBe(600)
    expect(await drainWith()).toBe(600)
    expect(await inQueue()).toHaveLength(900)
  })
})
