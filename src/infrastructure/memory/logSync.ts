/**
 * Brings SQLite's write-ahead log to the disk away from the main thread: what `synchronous=FULL` does within the
 * commit, done after it, so that the event loop goes on while the disk works. A commit counts as durable once a sync
 * that began after it has ended; commits that wait at the same time share one.
 *
 * With `synchronous=NORMAL` SQLite itself still syncs the log before it copies it into the database, and the database
 * before it begins the log anew: https://www.sqlite.org/wal.html#performance_considerations
 *
 * After a sync that failed the kernel may take lost pages for written ones, so the next sync would prove nothing:
 * nothing is durable again before `recover` has brought the commits to the disk another way.
 */
import { close, fdatasync, open } from 'node:fs'
import { promisify } from 'node:util'

const openFile = promisify(open)
const closeFile = promisify(close)
const syncFile = promisify(fdatasync)

export class LogSync {
  readonly #path: string
  readonly #recover: () => void
  #file: number | undefined
  #running: Promise<void> | undefined
  #next: Promise<void> | undefined
  #isSuspect = false

  /**
   * @param path of the log; its file must stay the same from the first commit until `close`
   * @param recover copies all commits into the database and syncs that, or throws
   */
  constructor(path: string, recover: () => void) {
    this.#path = path
    this.#recover = recover
  }

  /** Resolves once every commit made so far is on disk. @throws what the file system or `recover` throws */
  durable(): Promise<void> {
    // One that runs may have begun before the last commit.
    this.#next ??= this.#afterRunning()
    return this.#next
  }

  /** To be called once nothing is written any more. */
  async close(): Promise<void> {
    await (this.#next ?? this.#running)?.catch(ignore)
    if (this.#file !== undefined) await closeFile(this.#file)
    this.#file = undefined
  }

  async #afterRunning(): Promise<void> {
    await this.#running?.catch(ignore)
    this.#running = this.#next
    this.#next = undefined
    await this.#sync()
  }

  async #sync(): Promise<void> {
    if (this.#isSuspect) {
      this.#recover()
      this.#isSuspect = false
    }
    try {
      this.#file ??= await openFile(this.#path, 'r')
      await syncFile(this.#file)
    } catch (error) {
      this.#isSuspect = true
      throw error
    }
  }
}

/** Told to those who waited for it. */
function ignore(): void {}
