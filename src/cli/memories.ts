/** `memsync get`, `has`, `list`, `history`: straight from the store, beside a daemon or without, and no Redis. */
import { MemsyncError } from '../errors.ts'
import { memoryDocument } from '../infrastructure/memory/document.ts'
import { openStore } from '../infrastructure/memory/index.ts'
import type { ListPage, Store, StoredMemory } from '../infrastructure/memory/port.ts'
import { DEFAULT_NAMESPACE, findTextProblem, MAX_KEY_BYTES, MAX_NAMESPACE_BYTES } from '../jobs/key.ts'
import { formatVersion } from '../jobs/version.ts'
import { printable, printableLines } from '../printable.ts'
import type { CommandContext } from './context.ts'
import { badUsage } from './failure.ts'
import { notice, paintStdout, print, printJson } from './output.ts'

const PAGE_SIZE = 500
const DEFAULT_LIST_LIMIT = 100

interface NamespaceFlag {
  namespace?: string
}

async function read<T>(context: CommandContext, work: (store: Store) => Promise<T>): Promise<T> {
  const store = await openStore(context.config, { readOnly: true })
  try {
    return await work(store)
  } finally {
    await store.close()
  }
}

/** The namespace meant, once both are names that a memory can have. */
function checkName(key: string, { namespace = DEFAULT_NAMESPACE }: NamespaceFlag): string {
  const keyProblem = findTextProblem(key, MAX_KEY_BYTES)
  if (keyProblem) throw badUsage(`KEY ${keyProblem}`)
  const namespaceProblem = findTextProblem(namespace, MAX_NAMESPACE_BYTES)
  if (namespaceProblem) throw badUsage(`--namespace ${namespaceProblem}`)
  return namespace
}

function notFound(key: string, namespace: string): MemsyncError {
  const where = namespace === DEFAULT_NAMESPACE ? '' : ` in the namespace ${JSON.stringify(namespace)}`
  return new MemsyncError('MEMSYNC_NOT_FOUND', `there is no memory ${JSON.stringify(key)}${where}`)
}

export async function get(context: CommandContext, key: string, flags: NamespaceFlag): Promise<number> {
  const namespace = checkName(key, flags)
  const memory = await read(context, (store) => store.find(key, namespace))
  if (!memory || memory.deleted) throw notFound(key, namespace)
  if (context.json) await printJson(memoryDocument(memory))
  else if (process.stdout.isTTY) await print(`${printableLines(valueText(memory, 2))}\n`)
  else await print(`${valueText(memory)}\n`)
  return 0
}

/** A string as it is, everything else as JSON. */
function valueText(memory: StoredMemory, indent?: number): string {
  return typeof memory.value === 'string' ? memory.value : JSON.stringify(memory.value, null, indent)
}

export async function has(context: CommandContext, key: string, flags: NamespaceFlag): Promise<number> {
  const namespace = checkName(key, flags)
  const memory = await read(context, (store) => store.find(key, namespace))
  const exists = memory?.deleted === false
  if (context.json) await printJson({ key, namespace, exists })
  else await print(`${exists}\n`)
  return exists ? 0 : 1
}

interface ListFlags extends NamespaceFlag {
  allNamespaces?: true
  limit?: string
  all?: true
  deleted?: true
}

export async function list(
  context: CommandContext,
  prefix: string | undefined,
  flags: ListFlags,
): Promise<number> {
  const limit = listLimit(flags)
  if (flags.allNamespaces && flags.namespace !== undefined) {
    throw badUsage('--namespace and --all-namespaces exclude each other')
  }
  const namespace = flags.allNamespaces ? {} : { namespace: flags.namespace ?? DEFAULT_NAMESPACE }
  return read(context, async (store) => {
    let left = limit
    for (let after: ListPage['next'], more = true; more && left > 0; ) {
      const page = await store.list({
        ...namespace,
        ...(prefix === undefined ? {} : { prefix }),
        ...(after ? { after } : {}),
        limit: Math.min(PAGE_SIZE, left),
        includeDeleted: flags.deleted === true,
      })
      left -= page.memories.length
      after = page.next
      more = after !== undefined
      await printPage(context, page.memories, flags.allNamespaces === true)
      if (more && left === 0)
        notice(`the first ${limit}; --all lists every one, --limit N as many as asked for`)
    }
    return 0
  })
}

function listLimit(flags: ListFlags): number {
  if (flags.all && flags.limit !== undefined) throw badUsage('--all and --limit exclude each other')
  if (flags.all) return Number.POSITIVE_INFINITY
  if (flags.limit === undefined) return DEFAULT_LIST_LIMIT
  if (!/^[1-9]\d{0,8}$/.test(flags.limit)) throw badUsage('--limit: is not a whole number from 1')
  return Number(flags.limit)
}

async function printPage(
  context: CommandContext,
  memories: StoredMemory[],
  withNamespace: boolean,
): Promise<void> {
  for (const memory of memories) {
    if (context.json) {
      await printJson(memoryDocument(memory))
    } else {
      const namespace = withNamespace ? `${printable(memory.namespace)}\t` : ''
      await print(`${namespace}${printable(memory.key)}${memory.deleted ? '\t(deleted)' : ''}\n`)
    }
  }
}

export async function history(context: CommandContext, key: string, flags: NamespaceFlag): Promise<number> {
  const namespace = checkName(key, flags)
  const versions = await read(context, (store) => store.history(key, namespace))
  if (versions.length === 0) throw notFound(key, namespace)
  for (const [age, memory] of versions.entries()) {
    if (context.json) {
      await printJson(memoryDocument(memory))
      continue
    }
    const at = new Date(memory.persistedAtMs).toISOString()
    const value = memory.deleted
      ? paintStdout('quiet', '(deleted)')
      : printable(shorten(JSON.stringify(memory.value)))
    const mark = age === 0 ? paintStdout('good', '*') : ' '
    await print(`${mark} ${at}  ${formatVersion(memory.version).padEnd(12)}  ${value}\n`)
  }
  return 0
}

function shorten(text: string): string {
  const characters = Array.from(text.slice(0, 200))
  return characters.length > 80 || text.length > 200 ? `${characters.slice(0, 79).join('')}…` : text
}
