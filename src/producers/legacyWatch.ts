/**
 * The predecessor's folder, watched while its producers go on writing there: what they queue is made durable here, and
 * only then taken out of their files.
 *
 *   mem0_queue.json, mem0_queue_dlq.json   entries are taken out under the producers' own lock
 *   mem0_emergency.json                    written without a lock, so it is renamed, and read until nobody writes to it
 *
 * No entry is lost by a crash at any point, and none taken twice: what was made durable and not yet taken out is
 * recognised the next time. A file that cannot be read whole is given time, then set aside, reported, and taken in as far
 * as it can be read. Entries that break the contract stay where they are and are reported once.
 */
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { toMemsyncError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { FolderWatch } from './folderWatch.ts'
import { readLegacyEntry } from './legacyEntry.ts'
import { type LegacyFile, parseLegacyFile } from './legacyFile.ts'
import type { LegacyIntake } from './legacyIntake.ts'
import { LegacyList } from './legacyList.ts'
import type { SpoolRecord } from './spoolRecord.ts'

const LIST_FILES = ['mem0_queue.json', 'mem0_queue_dlq.json'] as const
const EMERGENCY_FILE = 'mem0_emergency.json'
const LOCK_FILE = 'mem0_queue.lock'
const TAKING = `${EMERGENCY_FILE}.taking-`

export interface LegacyWatchOptions {
  folder: string
  intake: LegacyIntake
  maxValueBytes: number
  logger: Logger
  /** Between two looks where no change is told, in milliseconds. */
  intervalMs?: number
  /** How long a file may be half written, or be written to under its old name, in milliseconds. */
  graceMs?: number
}

interface ListState {
  list: LegacyList
  name: string
  /** The state that was looked at to the end: until it changes there is nothing to do. */
  doneWith: string | undefined
  /** The state in which it was found damaged, and when. */
  damaged: { state: string; sinceMs: number } | undefined
}

export class LegacyWatch {
  private readonly options: Required<LegacyWatchOptions>
  private readonly lists: ListState[]
  private readonly told = new Set<string>()
  /** Whether a renamed emergency file may be there; one of a process before this, too. */
  private mayBeTaking = true
  private readonly watch: FolderWatch
  private stopped = false

  constructor(options: LegacyWatchOptions) {
    this.options = { intervalMs: 1_000, graceMs: 5_000, ...options }
    this.watch = new FolderWatch({
      folder: options.folder,
      slowMs: this.options.intervalMs,
      fastMs: this.options.intervalMs,
      concerns: (name) => name === EMERGENCY_FILE || LIST_FILES.some((file) => file === name),
      delayMs: Math.min(100, this.options.intervalMs),
      look: () => this.look(),
    })
    const lock = join(options.folder, LOCK_FILE)
    this.lists = LIST_FILES.map((name) => ({
      list: new LegacyList(join(options.folder, name), lock),
      name,
      doneWith: undefined,
      damaged: undefined,
    }))
  }

  start(): void {
    this.watch.start()
    this.watch.request()
  }

  async stop(): Promise<void> {
    this.stopped = true
    await this.watch.stop()
  }

  /** One look at every file. */
  private async look(): Promise<void> {
    const { folder } = this.options
    if (!existsSync(folder)) {
      this.warnOnce('no folder', 'the legacy folder does not exist: it is looked for', { folder })
      return
    }
    for (const list of this.lists) await this.guarded(list.name, () => this.lookAtList(list))
    await this.guarded(EMERGENCY_FILE, () => this.lookAtEmergency())
  }

  /** What goes wrong is told once, until it goes well again; the other files are looked at all the same. */
  private async guarded(name: string, work: () => Promise<void>): Promise<void> {
    if (this.stopped) return
    try {
      await work()
      this.told.delete(`${name} failed`)
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return
      const { code, message } = toMemsyncError(thrown, 'MEMSYNC_HANDLER_FAILED')
      this.warnOnce(`${name} failed`, 'a legacy file is not taken in: it is tried again', {
        file: name,
        code,
        reason: message,
      })
    }
  }

  private async lookAtList(at: ListState): Promise<void> {
    const state = at.list.state()
    if (state === undefined || state === at.doneWith) return
    const file = at.list.read()
    if (file.kind === undefined || file.unreadable.length > 0) {
      await this.lookAtDamaged(at, state, file)
      return
    }
    at.damaged = undefined
    const durable = await this.takeIn(at.name, file)
    const changed = durable.size > 0 ? await this.removeFrom(at, durable) : 'unchanged'
    // Where it was changed, by whomever, the next look finds it in another state.
    if (changed === 'unchanged') at.doneWith = state
  }

  private async removeFrom(at: ListState, durable: ReadonlySet<string>): Promise<string> {
    const changed = await at.list.remove(durable)
    const lockKey = `${at.name} locked`
    if (changed === 'locked') {
      this.warnOnce(lockKey, 'another process holds the lock of the legacy queue: its file stays as it is', {
        file: at.name,
      })
    } else this.told.delete(lockKey)
    return changed
  }

  /** A file that stays damaged is not being written: it is set aside, so that nobody overwrites it. */
  private async lookAtDamaged(at: ListState, state: string, file: LegacyFile): Promise<void> {
    if (at.damaged?.state !== state) at.damaged = { state, sinceMs: performance.now() }
    if (performance.now() - at.damaged.sinceMs < this.options.graceMs) return
    const durable = await this.takeIn(at.name, file)
    const keptAs = join(this.options.folder, `${at.name}.corrupt-${Date.now()}`)
    if ((await at.list.setAside(keptAs)) !== 'changed') return
    at.damaged = undefined
    this.options.logger.error(
      { file: at.name, taken: durable.size, keptAs },
      'a legacy file is damaged: it is set aside, and what can be read of it is taken in',
    )
  }

  private async lookAtEmergency(): Promise<void> {
    const { folder } = this.options
    const path = join(folder, EMERGENCY_FILE)
    const about = statSync(path, { throwIfNoEntry: false })
    if (about && about.size > 0) {
      renameSync(path, join(folder, `${TAKING}${Date.now()}`))
      this.mayBeTaking = true
    }
    if (!this.mayBeTaking) return
    const names = readdirSync(folder).filter((name) => name.startsWith(TAKING))
    this.mayBeTaking = names.length > 0
    for (const name of names) await this.lookAtTaking(name)
  }

  /** Who opened it under its old name may still write to it, so it is read again until that is over. */
  private async lookAtTaking(name: string): Promise<void> {
    const path = join(this.options.folder, name)
    const { mtimeMs, size } = statSync(path)
    const content = readFileSync(path)
    const file = parseLegacyFile(content)
    const durable = await this.takeIn(name, file)
    if (Date.now() - mtimeMs < this.options.graceMs || content.length !== size) return
    if (file.unreadable.length === 0 && !this.hasRefused(file)) {
      rmSync(path)
      return
    }
    const keptAs = join(this.options.folder, name.replace(TAKING, `${EMERGENCY_FILE}.corrupt-`))
    renameSync(path, keptAs)
    this.options.logger.error(
      { file: EMERGENCY_FILE, taken: durable.size, unreadable: file.unreadable.length, keptAs },
      'not every line of the legacy emergency file can be taken in: it is set aside',
    )
  }

  private hasRefused({ entries }: LegacyFile): boolean {
    return entries.some(({ entry }) => 'refusal' in readLegacyEntry(entry, this.options.maxValueBytes))
  }

  /** Makes what can be taken durable here, and resolves with those entries, each as its JSON. */
  private async takeIn(name: string, { entries }: LegacyFile): Promise<Set<string>> {
    const { maxValueBytes, intake, logger } = this.options
    const records: SpoolRecord[] = []
    const durable = new Set<string>()
    for (const { place, entry } of entries) {
      const read = readLegacyEntry(entry, maxValueBytes)
      if ('record' in read) {
        records.push(read.record)
        durable.add(JSON.stringify(entry))
      } else {
        const { code, message } = read.refusal
        this.warnOnce(`${name} ${place} ${message}`, 'a legacy entry is refused and stays where it is', {
          file: name,
          place,
          code,
          reason: message,
        })
      }
    }
    const { accepted } = await intake.take(records)
    if (accepted > 0) logger.info({ file: name, memories: accepted }, 'legacy entries are taken in')
    return durable
  }

  /** Once for each `key`. */
  private warnOnce(key: string, message: string, fields: Record<string, unknown>): void {
    if (this.told.has(key)) return
    this.told.add(key)
    this.options.logger.warn(fields, message)
  }
}
