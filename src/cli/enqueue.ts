/** `memsync enqueue` and `memsync delete`: one write, accepted or carried through. */

import type { MemoryInput } from '../jobs/index.ts'
import { decodeUtf8 } from '../jobs/jsonText.ts'
import { checkJsonValue } from '../jobs/jsonValue.ts'
import { DEFAULT_NAMESPACE } from '../jobs/key.ts'
import { printable } from '../printable.ts'
import type { CommandContext } from './context.ts'
import { badUsage } from './failure.ts'
import { handOver, handOverAndWait } from './handOver.ts'
import { print, printJson } from './output.ts'
import { readStdin } from './stdin.ts'
import { parseMetadata, parseValueText } from './textInput.ts'

interface EnqueueFlags {
  embed?: true
  namespace?: string
  metadata?: string[]
  string?: true
  wait?: true
  ndjson?: string
  receipts?: string
}

export async function enqueue(
  context: CommandContext,
  key: string | undefined,
  valueText: string | undefined,
  flags: EnqueueFlags,
): Promise<number> {
  if (flags.ndjson !== undefined) return enqueueStream(context, key, flags, flags.ndjson)
  if (flags.receipts !== undefined) throw badUsage('--receipts goes with --ndjson')
  if (key === undefined) throw badUsage('KEY is missing; give KEY and VALUE, or --ndjson FILE')
  if (valueText === undefined) throw badUsage('VALUE is missing; - reads it from stdin')

  const { maxValueBytes } = context.config
  const text = valueText === '-' ? decodeUtf8(await readStdin(maxValueBytes), 'stdin') : valueText
  const value = flags.string ? text : parseValueText(text)
  // Here already, so that nothing oversized is sent; the rest of the contract is checked where the job is added.
  checkJsonValue(value, maxValueBytes)
  const memory: MemoryInput = {
    key,
    value,
    ...(flags.embed ? { embed: true } : {}),
    ...(flags.namespace === undefined ? {} : { namespace: flags.namespace }),
    ...(flags.metadata ? { metadata: parseMetadata(flags.metadata) } : {}),
  }
  return write(context, memory, flags.wait === true)
}

export async function deleteMemory(
  context: CommandContext,
  key: string,
  flags: { namespace?: string; wait?: true },
): Promise<number> {
  const namespace = flags.namespace === undefined ? {} : { namespace: flags.namespace }
  return write(context, { key, op: 'delete', ...namespace }, flags.wait === true)
}

async function write(context: CommandContext, memory: MemoryInput, wait: boolean): Promise<number> {
  const { key, namespace = DEFAULT_NAMESPACE } = memory
  if (wait) {
    const result = await handOverAndWait(context, 'MEMORY_SYNC', memory)
    const done = memory.op === 'delete' ? 'deleted' : 'persisted'
    const end = result.superseded
      ? `superseded by a newer write: ${printable(key)}`
      : `${done} ${printable(key)}`
    await (context.json ? printJson({ ...result, namespace }) : print(`${end}\n`))
    return 0
  }
  const receipt = await handOver(context, memory)
  if (context.json) {
    const spooled = 'uid' in receipt ? { spooled: true } : {}
    await printJson({ accepted: true, key, namespace, ...spooled, ...receipt })
  } else {
    const place = 'uid' in receipt ? `into the spool as ${receipt.uid}` : `as job ${receipt.jobId}`
    await print(`accepted ${printable(key)} ${place}\n`)
  }
  return 0
}

async function enqueueStream(
  context: CommandContext,
  key: string | undefined,
  flags: EnqueueFlags,
  source: string,
): Promise<number> {
  if (key !== undefined) throw badUsage('--ndjson takes no KEY and no VALUE: every line brings its own')
  const { ndjson: _, receipts, ...others } = flags
  const [other] = Object.keys(others)
  if (other !== undefined)
    throw badUsage(`--${other} goes with KEY and VALUE; with --ndjson every line says it itself`)
  const { enqueueNdjson } = await import('./enqueueNdjson.ts')
  return enqueueNdjson(context, source, receipts)
}
