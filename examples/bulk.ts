/**
 * Many memories from a source of any length: read no faster than the queue takes them, and each with its receipt.
 * A line that breaks the contract stops the hand-over and is named; all before it are accepted.
 *
 *   npx node examples/bulk.ts notes.txt
 */
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { TypedWorkerQueue } from 'memsyncd'

async function* readNotes(path: string) {
  let line = 0
  for await (const text of createInterface({ input: createReadStream(path) })) {
    line++
    if (text !== '') yield { key: `note-${line}`, value: text, metadata: { source: path, line } }
  }
}

const [path] = process.argv.slice(2)
if (path === undefined) throw new Error('give the path of a text file')

const queue = new TypedWorkerQueue()
let lastJobId = ''
const { accepted } = await queue.enqueueMany(readNotes(path), {
  onAccepted: (_, { jobId }) => {
    lastJobId = jobId
  },
})
await queue.close()
console.log(`accepted ${accepted}, the last one as job ${lastJobId}`)
