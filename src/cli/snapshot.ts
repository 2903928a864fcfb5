/** `memsync snapshot create | list | verify | restore`. */
import { rmSync, statSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { formatDuration } from '../duration.ts'
import { MemsyncError } from '../errors.ts'
import { toStoreError } from '../infrastructure/memory/sqliteErrors.ts'
import { printable } from '../printable.ts'
import { createSnapshot } from '../snapshot/create.ts'
import { findSnapshot, listSnapshots, readHead, type Snapshot, snapshotFolder } from '../snapshot/folder.ts'
import { Restore, type RestorePlan } from '../snapshot/restore.ts'
import { unpackSnapshot } from '../snapshot/unpack.ts'
import { formatBytes } from './bytes.ts'
import { confirm } from './confirm.ts'
import type { CommandContext } from './context.ts'
import { errorDocument } from './failure.ts'
import { notice, paintStdout, print, printJson } from './output.ts'
import { ProgressBar } from './progressBar.ts'
import { counted } from './remote.ts'

const MIB = 1024 * 1024
/** Of a folder so old nobody verifies any more. */
const ABANDONED_MS = 86_400_000

/** A bar that counts MiB of what `word` says, for as long as `work` takes. */
async function withBar<T>(
  word: string,
  work: (tell: (done: number, total: number) => void) => Promise<T>,
): Promise<T> {
  // Made with the first figure, so that its rate is not that of what came before.
  let bar: ProgressBar | undefined
  try {
    return await work((done, total) => {
      bar ??= new ProgressBar(process.stderr)
      bar.update({ done, total, tallies: [[Math.round(done / MIB), `MiB ${word}`]] })
    })
  } finally {
    bar?.clear()
  }
}

export async function create(context: CommandContext): Promise<number> {
  const startedAtMs = performance.now()
  const { snapshot, removed } = await withBar('packed', (onProgress) =>
    createSnapshot(context.config, { onProgress }),
  )
  const durationMs = Math.round(performance.now() - startedAtMs)
  if (context.json) {
    await printJson({ ...document(snapshot), removed, durationMs })
    return 0
  }
  const { keys, bytes } = snapshot.head
  const sizes = `${formatBytes(bytes)} packed into ${formatBytes(snapshot.fileBytes)}`
  await print(`${snapshot.path}\n${counted(keys, 'memory', 'memories')}, ${sizes}\n`)
  if (removed.length > 0) notice(`${counted(removed.length, 'old snapshot', 'old snapshots')} removed`)
  return 0
}

export async function list(context: CommandContext): Promise<number> {
  const snapshots = listSnapshots(context.config)
  if (context.json) {
    for (const snapshot of snapshots) await printJson(document(snapshot))
    return 0
  }
  if (snapshots.length === 0) {
    notice(`there is no snapshot in ${snapshotFolder(context.config)}; \`memsync snapshot create\` makes one`)
  }
  const nowMs = Date.now()
  for (const { name, createdAtMs, fileBytes, head, problem } of snapshots) {
    const age = `${formatDuration(Math.max(0, nowMs - createdAtMs))} ago`
    const facts = head ? counted(head.keys, 'memory', 'memories') : paintStdout('bad', `damaged: ${problem}`)
    await print(`${name}  ${age.padStart(12)}  ${formatBytes(fileBytes).padStart(10)}  ${facts}\n`)
  }
  return 0
}

function document({ name, path, createdAtMs, fileBytes, head, problem }: Snapshot): Record<string, unknown> {
  return {
    ...{ name, path, createdAt: new Date(createdAtMs).toISOString(), fileBytes },
    ...{ keys: head?.keys ?? null, bytes: head?.bytes ?? null, schema: head?.schema ?? null },
    ...{ program: head?.program ?? null, night: head?.night ?? null, problem: problem ?? null },
  }
}

export async function verify(context: CommandContext, which: string[]): Promise<number> {
  const { config } = context
  const paths =
    which.length > 0
      ? which.map((one) => findSnapshot(config, one))
      : listSnapshots(config).map(({ path }) => path)
  if (paths.length === 0) notice(`there is no snapshot in ${snapshotFolder(config)}`)
  let bad = 0
  for (const path of paths) {
    const error = await problemOf(context, path)
    if (error) bad++
    if (context.json)
      await printJson({ name: basename(path), path, ok: !error, error: error ? errorDocument(error) : null })
    else if (error)
      await print(`${paintStdout('bad', 'bad')}  ${basename(path)}  ${printable(error.message)}\n`)
    else await print(`${paintStdout('good', 'ok')}   ${basename(path)}\n`)
  }
  return bad > 0 ? 1 : 0
}

/** What is wrong with the snapshot; it is unpacked into the data folder, where a restore would be. */
async function problemOf({ config }: CommandContext, path: string): Promise<MemsyncError | undefined> {
  let folder: string | undefined
  try {
    readHead(path)
    folder = await verifyFolder(config.dataDir)
    const image = join(folder, 'memory.db')
    await withBar('checked', (onProgress) => unpackSnapshot(path, image, onProgress))
    return undefined
  } catch (thrown) {
    const error = toStoreError(thrown, path)
    if (error instanceof MemsyncError) return error
    throw error
  } finally {
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true })
  }
}

/** A new folder; those that killed commands left are removed. */
async function verifyFolder(dataDir: string): Promise<string> {
  await mkdir(dataDir, { recursive: true, mode: 0o700 })
  for (const name of await readdir(dataDir)) {
    if (!name.startsWith('verify-')) continue
    // Whoever else tidies up, or is done with its own, may have been first.
    const about = statSync(join(dataDir, name), { throwIfNoEntry: false })
    if (about && Date.now() - about.mtimeMs > ABANDONED_MS)
      await rm(join(dataDir, name), { recursive: true, force: true })
  }
  return mkdtemp(join(dataDir, 'verify-'))
}

interface RestoreFlags {
  dryRun?: true
  yes?: true
}

export async function restore(context: CommandContext, which: string, flags: RestoreFlags): Promise<number> {
  const prepared = await withBar('unpacked', (onProgress) =>
    Restore.prepare(context.config, which, onProgress),
  )
  try {
    const { plan } = prepared
    if (!context.json) await print(planText(plan))
    if (flags.dryRun) {
      if (context.json) await printJson({ ...planDocument(plan), dryRun: true, keptAs: null })
      return 0
    }
    if (!flags.yes && !(await confirm('Put it in the place of the store?'))) {
      notice('nothing was changed')
      return 1
    }
    const { keptPath } = await prepared.carryOut()
    if (context.json) await printJson({ ...planDocument(plan), dryRun: false, keptAs: keptPath ?? null })
    else await print(doneText(context, keptPath))
    return 0
  } finally {
    prepared.close()
  }
}

function planDocument({
  path,
  head,
  replaced,
  memories,
  changed,
  removed,
}: RestorePlan): Record<string, unknown> {
  const createdAt = new Date(head.createdAtMs).toISOString()
  return { snapshot: basename(path), path, createdAt, memories, changed, removed, replaced }
}

function planText({ path, head, replaced, memories, changed, removed }: RestorePlan): string {
  const age = formatDuration(Math.max(0, Date.now() - head.createdAtMs))
  const lines = [`${basename(path)}: ${counted(memories, 'memory', 'memories')}, ${age} old, sound`]
  if (replaced === 'readable') {
    const back = `${changed.toLocaleString('en-US')} go back to what they were`
    lines.push(
      `of the store there is now, ${back}, ${removed.toLocaleString('en-US')} written since are deleted`,
    )
  } else if (replaced === 'unreadable') {
    lines.push('the store there is now cannot be read; it is kept as it is')
  }
  return `${lines.join('\n')}\n`
}

function doneText({ config }: CommandContext, keptPath: string | undefined): string {
  const lines = [paintStdout('good', 'restored')]
  if (keptPath !== undefined) lines.push(`what it replaced is kept as ${keptPath}`)
  if (config.remoteKind !== 'none')
    lines.push('what differs is pushed to the remote by the daemon: memsync daemon')
  return `${lines.join('\n')}\n`
}
