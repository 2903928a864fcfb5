/**
 * The sleep window: which night it is, and whether its work is due. Pure: clock and zone are passed in.
 *
 * A night is named by the local date on which its window starts, so a window over midnight is one night. Its work is due
 * from the start of the window on, for as long as it is not done: a machine that slept through the window catches up when
 * it wakes, with one run, for the newest night alone. Where clocks are set, the window starts at the first moment that
 * shows its time; where no moment does (the hour was skipped), at the first one after the gap.
 */
import type { SleepWindow } from '../settingFormats.ts'

const MINUTE_MS = 60_000
const DAY_MS = 86_400_000

export interface Night {
  /** The local date of its start, `YYYY-MM-DD`. */
  name: string
  startsAtMs: number
  endsAtMs: number
}

export interface NightDecision {
  /** The newest night that has begun. */
  night: Night
  /** Its work is to be done now. */
  isDue: boolean
  /** Whether its window is still open. */
  isWithin: boolean
}

/**
 * @param done names of nights whose work is done; those of days to come, from a clock that was wrong, do not count
 * @param timeZone IANA; the machine's where undefined
 */
export function decideNight(
  nowMs: number,
  window: SleepWindow,
  timeZone: string | undefined,
  done: readonly string[],
): NightDecision {
  const night = latestNight(nowMs, window, timeZone)
  const tomorrow = addDays(night.name, 1)
  const isDone = done.some((name) => name >= night.name && name <= tomorrow)
  return { night, isDue: !isDone, isWithin: nowMs < night.endsAtMs }
}

/** The newest night that has begun at `nowMs`. */
export function latestNight(nowMs: number, window: SleepWindow, timeZone: string | undefined): Night {
  const today = localTime(nowMs, timeZone).slice(0, 10)
  // From tomorrow down, as clocks that are set back at midnight show the day before again.
  for (let days = 1; ; days--) {
    const night = nightOf(addDays(today, days), window, timeZone)
    if (night.startsAtMs <= nowMs) return night
  }
}

function nightOf(name: string, { startMinute, endMinute }: SleepWindow, timeZone: string | undefined): Night {
  const startsAtMs = momentOf(name, startMinute, timeZone)
  const endDate = endMinute > startMinute ? name : addDays(name, 1)
  return { name, startsAtMs, endsAtMs: Math.max(startsAtMs, momentOf(endDate, endMinute, timeZone)) }
}

/** The first moment at which the wall clock shows this minute of this date; where none does, the first one after it. */
function momentOf(date: string, minute: number, timeZone: string | undefined): number {
  const wallMs = Date.parse(`${date}T00:00:00Z`) + minute * MINUTE_MS
  // Clocks are set at most once within two days, so one of these is in force.
  const offsets = [offsetAt(wallMs - DAY_MS, timeZone), offsetAt(wallMs + DAY_MS, timeZone)]
  const shown = offsets
    .map((offset) => wallMs - offset)
    .filter((moment) => moment + offsetAt(moment, timeZone) === wallMs)
  if (shown.length > 0) return Math.min(...shown)
  let before = wallMs - Math.max(...offsets)
  let after = wallMs - Math.min(...offsets)
  while (after - before > 1) {
    const middle = Math.floor((before + after) / 2)
    if (middle + offsetAt(middle, timeZone) < wallMs) before = middle
    else after = middle
  }
  return after
}

/** What is added to Unix time for the wall clock, in milliseconds. */
function offsetAt(ms: number, timeZone: string | undefined): number {
  const seconds = Math.floor(ms / 1000) * 1000
  return Date.parse(`${localTime(seconds, timeZone).replace(' ', 'T')}Z`) - seconds
}

function addDays(date: string, days: number): string {
  return new Date(Date.parse(`${date}T00:00:00Z`) + days * DAY_MS).toISOString().slice(0, 10)
}

const formats = new Map<string | undefined, Intl.DateTimeFormat>()

/** `YYYY-MM-DD HH:MM:SS` */
function localTime(ms: number, timeZone: string | undefined): string {
  let format = formats.get(timeZone)
  if (!format) {
    const twoDigits = {
      month: '2-digit',
      day: '2-digit',
      hour: '2-digit',
      minute: '2-digit',
      second: '2-digit',
    } as const
    const zone = timeZone === undefined ? {} : { timeZone }
    // Swedish dates are ISO dates.
    format = new Intl.DateTimeFormat('sv-SE', { ...zone, ...twoDigits, year: 'numeric', hourCycle: 'h23' })
    formats.set(timeZone, format)
  }
  return format.format(ms)
}
