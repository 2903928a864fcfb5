/**
 * The sleep window among the daemon's parts: once a night it has a snapshot made and the store tidied (`nightWork.ts`).
 *
 * The clock is looked at now and then rather than waited for, as a timer does not see that the laptop slept or that the
 * clock was set; what is due is `decideNight`'s to say. A data folder's first night is the one that begins next.
 */
import { type ChildProcess, fork } from 'node:child_process'
import type { Config } from '../config.ts'
import { toMemsyncError } from '../errors.ts'
import { storePath } from '../infrastructure/memory/index.ts'
import { undoHalfRestore } from '../infrastructure/memory/sqliteRestore.ts'
import type { Logger } from '../logger.ts'
import type { SleepWindow } from '../settingFormats.ts'
import { nightsOfSnapshots, notedNight, noteNight } from '../snapshot/nights.ts'
import { NIGHT_WORK_ENTRY, type NightMessage, type NightTask } from '../snapshot/nightWork.ts'
import { decideNight, type Night } from '../snapshot/sleepWindow.ts'
import type { Part } from './lifecycle.ts'

const LOOK_INTERVAL_MS = 30_000
/** After a failure: often enough to catch a disk that was freed, seldom enough for the log. */
const RETRY_MS = 15 * 60_000
/** How long the store is tidied at most where the window was slept through: somebody may be at work. */
const CATCH_UP_TIDY_MS = 10 * 60_000

/** To come after the lock and before the store: removes what a restore that was killed left. */
export function halfRestorePart(config: Config, logger: Logger): Part {
  return {
    name: 'half restore',
    start: async () => {
      if (undoHalfRestore(storePath(config))) {
        logger.warn('a restore did not come to its end: the store is the one before it')
      }
    },
    stop: async () => undefined,
  }
}

export function sleepWindowPart(config: Config, logger: Logger): Part {
  const { sleepWindow } = config
  if (sleepWindow === 'off') {
    return { name: 'sleep window', start: async () => undefined, stop: async () => undefined }
  }
  const nights = new Nights(config, sleepWindow, logger)
  return { name: 'sleep window', start: async () => nights.start(), stop: () => nights.stop() }
}

class Nights {
  private readonly config: Config
  private readonly window: SleepWindow
  private readonly logger: Logger
  private timer: NodeJS.Timeout | undefined
  private child: ChildProcess | undefined
  private retryAtMs = 0

  constructor(config: Config, window: SleepWindow, logger: Logger) {
    this.config = config
    this.window = window
    this.logger = logger
  }

  start(): void {
    this.timer = setInterval(() => this.look(), LOOK_INTERVAL_MS)
    this.timer.unref()
    this.look()
  }

  async stop(): Promise<void> {
    clearInterval(this.timer)
    const { child } = this
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const { promise, resolve } = Promise.withResolvers<void>()
    child.once('exit', () => resolve())
    this.child = undefined
    // At any moment, as after a power cut: what is unfinished is no snapshot.
    child.kill('SIGKILL')
    await promise
  }

  private look(): void {
    if (this.child || performance.now() < this.retryAtMs) return
    const { timeZone, dataDir } = this.config
    const nowMs = Date.now()
    try {
      const noted = notedNight(dataDir)
      const decide = (done: string[]) => decideNight(nowMs, this.window, timeZone, done)
      if (noted !== undefined && !decide([noted]).isDue) return
      // Only now, as their disk may sleep.
      const done = nightsOfSnapshots(this.config)
      const { night, isDue, isWithin } = decide(done)
      const isFirst = noted === undefined && done.length === 0
      if (isFirst || !isDue) noteNight(dataDir, night.name)
      else this.run(night, isWithin)
    } catch (thrown) {
      const { code, message } = toMemsyncError(thrown, 'MEMSYNC_STORE_UNAVAILABLE')
      this.fail('snapshot', code, message)
    }
  }

  private run(night: Night, isWithin: boolean): void {
    const { dataDir, snapshotDir, snapshotKeep, snapshotKeepDays, historyVersions } = this.config
    const task: NightTask = {
      settings: { dataDir, snapshotDir, snapshotKeep, snapshotKeepDays, historyVersions },
      night: night.name,
      tidyUntilMs: isWithin ? night.endsAtMs : Date.now() + CATCH_UP_TIDY_MS,
    }
    const child = fork(NIGHT_WORK_ENTRY, [JSON.stringify(task)], { execArgv: [], stdio: 'ignore' })
    this.child = child
    child.on('message', (message) => this.hear(night.name, message as NightMessage))
    child.on('error', (error) => this.end('snapshot', `could not be started: ${error.message}`))
    child.on('exit', (code, signal) => {
      this.end('snapshot', code === 0 ? undefined : `ended with ${signal ?? `exit code ${code}`}`)
    })
  }

  private hear(night: string, message: NightMessage): void {
    const { step: _step, ...facts } = message
    switch (message.step) {
      case 'snapshot':
        this.logger.info({ night, ...facts }, 'snapshot made')
        noteNight(this.config.dataDir, night)
        return
      case 'tidied':
        this.logger.info({ night, ...facts }, 'store tidied')
        return
      case 'failed':
        this.fail(message.at, message.code, message.reason)
        return
      default:
        message satisfies never
    }
  }

  private end(at: 'snapshot', problem: string | undefined): void {
    if (!this.child) return
    this.child = undefined
    if (problem !== undefined) this.fail(at, 'MEMSYNC_HANDLER_FAILED', `the night's work ${problem}`)
  }

  private fail(at: 'snapshot' | 'housekeeping', code: string, reason: string): void {
    this.retryAtMs = performance.now() + RETRY_MS
    this.logger.error(
      { at, code, reason, retryInMs: at === 'snapshot' ? RETRY_MS : null },
      "the night's work failed",
    )
  }
}
