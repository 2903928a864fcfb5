/**
 * A producer as a process of its own, on the public client of the build in `PROGRAM`: `node producerProcess.ts PROGRAM`.
 * It reads lines of `{ number, memory }` and writes, for each, a line with what it was told.
 */
import { writeSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

const [program = ''] = process.argv.slice(2)
const { createProducer } = (await import(
  join(program, 'dist', 'index.js')
)) as typeof import('../../src/index.ts')
const producer = createProducer()

// Synchronous, so that what was told is out before the process can be killed.
function say(line: unknown): void {
  let rest = Buffer.from(`${JSON.stringify(line)}\n`)
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(1, rest))
    } catch (error) {
      // The reader is behind.
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
    }
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const { number, memory } = JSON.parse(line)
  producer.enqueue(memory).then(
    (told) => say({ number, told }),
    ({ code, class: errorClass }: { code: string; class: string }) => say({ number, code, errorClass }),
  )
}
await producer.close()
