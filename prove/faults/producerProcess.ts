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
const say = (line: unknown) => writeSync(1, `${JSON.stringify(line)}\n`)

for await (const line of createInterface({ input: process.stdin })) {
  const { number, memory } = JSON.parse(line)
  producer.enqueue(memory).then(
    (told) => say({ number, told }),
    ({ code, class: errorClass }: { code: string; class: string }) => say({ number, code, errorClass }),
  )
}
await producer.close()
