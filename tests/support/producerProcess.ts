/**
 * A process that hands memories over, for the tests that need one to die, to be starved of Redis, or to end by itself.
 * `node producerProcess.ts ROLE DATA_DIR [argument [rounds]]`; it reports by lines on stdout. Settings come from the
 * environment.
 */
import { once } from 'node:events'
import { writeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Queue } from 'bullmq'
import { SYNC_QUEUE } from '../../src/jobs/index.ts'
import { createProducer } from '../../src/producers/client.ts'
import { Spool } from '../../src/producers/spool.ts'
import { connectRedis, waitUntilReady } from '../../src/queue/connection.ts'
import { withinDeadline } from '../../src/queue/enqueue.ts'

const [role, dataDir = '', argument = '', roundsText = ''] = process.argv.slice(2)
const rounds = Number(roundsText)

// Synchronous, so that a line is out before the process can be killed.
const say = (line: unknown) => writeSync(1, `${JSON.stringify(line)}\n`)

const roles: Record<string, () => Promise<void>> = {
  /** Writes into the spool for ever, and says each memory's number once it is durable. */
  async spoolForEver() {
    const spool = new Spool(dataDir, 2 ** 30)
    for (let number = 0; ; number++) {
      const memory = { key: `${argument}${number}`, value: 'x'.repeat(500) }
      await spool.write([{ uid: String(number), acceptedAtMs: Date.now(), memory }])
      say(number)
    }
  },

  /** Fills the disk that the spool is on, makes room, and says what it was told and what is there. */
  async fillDisk() {
    const spool = new Spool(dataDir, 2 ** 30)
    let written = 0
    let code: string | undefined
    while (code === undefined) {
      const memory = { key: `k${written}`, value: 'x'.repeat(100_000) }
      await spool.write([{ uid: 'u', acceptedAtMs: 1, memory }]).then(
        () => written++,
        (error: { code: string }) => {
          code = error.code
        },
      )
    }
    say({ written, code, held: (await spool.list()).length })
  },

  /**
   * Calls `enqueue` as often as said, one after another, and says for each how long it took and what came of it. Where
   * WAITS_FOR_A_WORD is set it goes on after the first at a word on stdin.
   */
  async host() {
    const producer = createProducer({ config: { dataDir } })
    for (let call = 0; call < Number(argument); call++) {
      const startedAt = performance.now()
      const settled = await producer.enqueue({ key: `k${call}`, value: 'x'.repeat(2000) }).then(
        ({ accepted }) => accepted,
        (error: { code: string }) => error.code,
      )
      say({ settled, tookMs: performance.now() - startedAt })
      if (call === 0 && process.env.WAITS_FOR_A_WORD) {
        await once(process.stdin, 'data')
        process.stdin.destroy()
      }
    }
    // Neither closed nor told to exit: what the producer holds open must not keep this process.
    say({ doneAtMs: Date.now() })
  },

  /**
   * Hands over rounds of ten memories, paced, some one by one and some many at a time, and says each once it is accepted:
   * nine under keys of their own, one under a key that each round overwrites. The last line is how many were spooled.
   */
  async client() {
    const producer = createProducer({ config: { dataDir } })
    let spooled = 0
    for (let round = 0; round < rounds; round++) {
      const memories = memoriesOf(round)
      if (round % 2 === 0) spooled += (await producer.enqueueMany(memories)).spooled
      else {
        const receipts = await Promise.all(memories.map((memory) => producer.enqueue(memory)))
        spooled += receipts.filter(({ accepted }) => accepted === 'spooled').length
      }
      for (const memory of memories) say(memory)
      await sleep(PACE_MS)
    }
    say({ spooled })
  },

  /** The same straight into the spool, as a hook with a second to live does. */
  async hook() {
    const spool = new Spool(dataDir, 2 ** 30)
    for (let round = 0; round < rounds; round++) {
      const memories = memoriesOf(round)
      const acceptedAtMs = Date.now()
      await spool.write(memories.map((memory) => ({ uid: 'u', acceptedAtMs, memory })))
      for (const memory of memories) say(memory)
      await sleep(PACE_MS)
    }
    say({ spooled: rounds * 10 })
  },

  /** The same by BullMQ alone, as another language does; what is not answered is handed over under another key. */
  async plain() {
    const redis = connectRedis(
      { kind: 'socket', path: fileURLToPath(process.env.REDIS_URL?.replace('unix:', 'file:') ?? '') },
      'producer',
    )
    redis.on('error', () => undefined)
    // BullMQ takes a first connect that fails for the last word.
    await waitUntilReady(redis, 60_000)
    const queue = new Queue(SYNC_QUEUE, { connection: redis, skipMetasUpdate: true })
    queue.on('error', () => undefined)
    for (let round = 0, tries = 0; round < rounds; tries++) {
      const memories = memoriesOf(round).map((memory) => ({ ...memory, key: `${memory.key}-${tries}` }))
      try {
        const jobs = memories.map((data) => ({ name: 'MEMORY_SYNC', data }))
        // BullMQ itself may wait for ever where Redis goes away under a pipeline.
        await withinDeadline(queue.addBulk(jobs), PLAIN_TIMEOUT_MS)
        for (const memory of memories) say(memory)
        round++
      } catch {
        // Redis is away: nobody knows what of it was taken, so nothing of it is said.
      }
      await sleep(PACE_MS)
    }
    redis.disconnect()
  },
}

const PACE_MS = 150
const PLAIN_TIMEOUT_MS = 2_000

function memoriesOf(round: number): { key: string; value: string }[] {
  const names = Array.from({ length: 10 }, (_, index) => (index === 9 ? 'last' : `${round}-${index}`))
  return names.map((name) => ({ key: `${argument}-${name}`, value: `${argument}-${round}` }))
}

await roles[role ?? '']?.()
