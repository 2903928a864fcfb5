/** What another program pipes in. */
import { MemsyncError } from '../errors.ts'
import { MAX_ESCAPED_LENGTH } from '../jobs/jsonText.ts'

/**
 * All of stdin.
 * @param maxValueBytes the longest value taken, in bytes of JSON
 * @throws MEMSYNC_VALUE_TOO_LARGE as soon as it cannot be within the limit any more
 */
export async function readStdin(maxValueBytes: number): Promise<Uint8Array> {
  const maxBytes = maxValueBytes * MAX_ESCAPED_LENGTH
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of process.stdin as AsyncIterable<Uint8Array>) {
    chunks.push(chunk)
    size += chunk.length
    if (size > maxBytes) {
      throw new MemsyncError(
        'MEMSYNC_VALUE_TOO_LARGE',
        `stdin is longer than ${maxBytes} bytes, the value limit is ${maxValueBytes} (MEMSYNC_MAX_VALUE_BYTES)`,
      )
    }
  }
  return Buffer.concat(chunks)
}
