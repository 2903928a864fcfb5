/**
 * A process that works on a store, for the tests that need one to die or to compete.
 * `node storeProcess.ts ROLE PATH [argument]`; it reports by lines on stdout.
 */
import { once } from 'node:events'
import { rmSync, writeFileSync, writeSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Write } from '../../src/infrastructure/memory/port.ts'
import { openSqliteStore } from '../../src/infrastructure/memory/sqlite.ts'

const [role, path = '', argument = ''] = process.argv.slice(2)

// Synchronous, so that a line is out before the process can be killed.
const say = (line: unknown) => writeSync(1, `${JSON.stringify(line)}\n`)

function setOf(key: string, value: unknown, sequence: number, index = 0): Write {
  const version = { epoch: 1, sequence, index }
  return { op: 'set', namespace: 'default', key, valueJson: JSON.stringify(value), version, acceptedAtMs: 1 }
}

const roles: Record<string, () => Promise<void>> = {
  /** Commits batch after batch for ever, from the number given, and says each once it is durable. */
  async commitForEver() {
    const store = await openSqliteStore(path)
    for (let batch = Number(argument); ; batch++) {
      const value = `${batch}:${'x'.repeat(300)}`
      await store.apply(Array.from({ length: 20 }, (_, index) => setOf(`k${index}`, value, batch, index)))
      say(batch)
    }
  },

  /**
   * On a word on stdin, writes the same keys as its rival, with every other sequence; says the local versions it
   * was given.
   */
  async compete() {
    say('ready')
    await once(process.stdin, 'data')
    process.stdin.destroy()
    const store = await openSqliteStore(path)
    const local = []
    for (let round = 0; round < 100; round++) {
      const sequence = round * 2 + Number(argument) + 1
      await store.apply(
        Array.from({ length: 10 }, (_, index) => setOf(`k${index}`, sequence, sequence, index)),
      )
      local.push(await store.nextLocalVersion())
    }
    await store.close()
    say(local)
  },

  /** Fills the file system that holds the store, makes room, and says what happened. */
  async fillDisk() {
    const ballast = join(dirname(path), 'ballast')
    const store = await openSqliteStore(path)
    writeFileSync(ballast, Buffer.alloc(1024 * 1024))
    const batchOf = (batch: number) =>
      Array.from({ length: 4 }, (_, index) => setOf(`b${batch}-${index}`, 'x'.repeat(20_000), batch, index))
    let batch = 1
    let failure: { code?: string; class?: string } = {}
    const applied = async () => {
      try {
        await store.apply(batchOf(batch))
        return true
      } catch (thrown) {
        failure = thrown as typeof failure
        return false
      }
    }
    while (batch < 1000 && (await applied())) batch++
    const whenFull = {
      keys: (await store.totals()).keys,
      listed: (await store.list({ limit: 10_000 })).memories.length,
    }
    const retried = await applied()
    rmSync(ballast)
    const appliedAgain = await applied()
    await store.probe()
    await store.close()
    const reopened = await openSqliteStore(path)
    const keys = (await reopened.list({ limit: 10_000 })).memories.map((memory) => memory.key)
    await reopened.close()
    const { code, class: errorClass } = failure
    say({ batch, code, errorClass, whenFull, retried, appliedAgain, keys })
  },
}

await roles[role ?? '']?.()
