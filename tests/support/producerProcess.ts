/**
 * A process that hands memories over, for the tests that need one to die, to be starved of Redis, or to end by itself.
 * `node producerProcess.ts ROLE DATA_DIR [argument]`; it reports by lines on stdout. Settings come from the environment.
 */
import { writeSync } from 'node:fs'
import { createProducer } from '../../src/producers/client.ts'
import { Spool } from '../../src/producers/spool.ts'

const [role, dataDir = '', argument = ''] = process.argv.slice(2)

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

  /** Calls `enqueue` as often as said, one after another, and says for each how long it took and what came of it. */
  async host() {
    const producer = createProducer({ config: { dataDir } })
    for (let call = 0; call < Number(argument); call++) {
      const startedAt = performance.now()
      const settled = await producer.enqueue({ key: `k${call}`, value: 'x'.repeat(2000) }).then(
        ({ accepted }) => accepted,
        (error: { code: string }) => error.code,
      )
      say({ settled, tookMs: performance.now() - startedAt })
    }
    // Neither closed nor told to exit: what the producer holds open must not keep this process.
    say({ doneAtMs: Date.now() })
  },

  /** Hands memories over for ever, many at a time, and says each key once it is accepted. */
  async enqueueForEver() {
    const producer = createProducer({ config: { dataDir } })
    for (let round = 0; ; round++) {
      const keys = Array.from({ length: 20 }, (_, index) => `${argument}-${round}-${index}`)
      await Promise.all(
        keys.map(async (key) => {
          await producer.enqueue({ key, value: key })
          say(key)
        }),
      )
    }
  },
}

await roles[role ?? '']?.()
