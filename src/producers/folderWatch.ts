/**
 * Hears of changes in a folder at once where the system tells of them, and looks now and then in any case: what is told
 * may be lost, and not every file system tells. One look at a time; a change during one is followed by another. Idle, it
 * costs next to nothing.
 */
import { type FSWatcher, watch } from 'node:fs'

interface FolderWatchOptions {
  folder: string
  /** Between two looks while changes are told, in milliseconds. */
  slowMs: number
  /** The same while they are not: the folder is missing, or cannot be watched. */
  fastMs: number
  /** From a change to the look, so that many changes are one; in milliseconds. */
  delayMs: number
  /** Whether a change of this name is worth a look. */
  concerns: (name: string) => boolean
  /** Never rejects. */
  look: () => Promise<void>
}

export class FolderWatch {
  private readonly options: FolderWatchOptions
  private watcher: FSWatcher | undefined
  private timer: NodeJS.Timeout | undefined
  private delay: NodeJS.Timeout | undefined
  private looking: Promise<void> | undefined
  private again = false
  private stopped = false

  constructor(options: FolderWatchOptions) {
    this.options = options
  }

  start(): void {
    this.watch()
    this.schedule()
  }

  /** Resolves once the look under way is over. */
  async stop(): Promise<void> {
    this.stopped = true
    clearTimeout(this.timer)
    clearTimeout(this.delay)
    this.unwatch()
    await this.looking
  }

  /** Looks now, or once more after the look under way. */
  request(): void {
    this.again = true
    this.looking ??= this.lookWhileAsked()
  }

  private async lookWhileAsked(): Promise<void> {
    while (this.again && !this.stopped) {
      this.again = false
      await this.options.look()
    }
    this.looking = undefined
  }

  private schedule(): void {
    const { slowMs, fastMs } = this.options
    this.timer = setTimeout(
      () => {
        if (!this.watcher) this.watch()
        this.request()
        this.schedule()
      },
      this.watcher ? slowMs : fastMs,
    )
  }

  private watch(): void {
    const { folder, concerns, delayMs } = this.options
    try {
      this.watcher = watch(folder, (_event, name) => {
        if (name !== null && !concerns(name)) return
        this.delay ??= setTimeout(() => {
          this.delay = undefined
          this.request()
        }, delayMs)
      })
      this.watcher.on('error', () => this.unwatch())
    } catch {
      // Missing, or no watches left: it is looked at more often instead, and tried again then.
      this.unwatch()
    }
  }

  private unwatch(): void {
    this.watcher?.close()
    this.watcher = undefined
  }
}
