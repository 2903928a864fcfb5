/** Numbers, times and text as they are shown. Pure. */
const count0 = new Intl.NumberFormat('en-US')
const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' })
const clockShort = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' })
const day = new Intl.DateTimeFormat('en-GB', {
  day: 'numeric',
  month: 'short',
  hour: '2-digit',
  minute: '2-digit',
})

export function count(value) {
  return value === null || value === undefined ? '?' : count0.format(value)
}

/** With the word for one or for many. */
export function counted(value, one, many = `${one}s`) {
  return `${count(value)} ${value === 1 ? one : many}`
}

/** The two largest units: `3 h 12 min`. */
export function duration(ms) {
  if (ms === null || ms === undefined || Number.isNaN(ms)) return '?'
  const seconds = Math.max(0, Math.round(ms / 1000))
  const units = [
    [86_400, 'd'],
    [3_600, 'h'],
    [60, 'min'],
    [1, 's'],
  ]
  const at = units.findIndex(([size]) => seconds >= size)
  if (at < 0) return '0 s'
  const [size, unit] = units[at]
  const [restSize, restUnit] = units[at + 1] ?? [1, 's']
  const rest = Math.floor((seconds % size) / restSize)
  const whole = `${Math.floor(seconds / size)} ${unit}`
  return rest === 0 || unit === 's' ? whole : `${whole} ${rest} ${restUnit}`
}

/** The largest unit alone, for a narrow column. */
export function age(ms) {
  return duration(ms).split(' ').slice(0, 2).join(' ')
}

export function bytes(value) {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB']
  const at = value < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(value) / 10))
  return `${at === 0 ? value : (value / 1024 ** at).toFixed(1)} ${units[at]}`
}

/** Memories a second. */
export function rate(perSecond) {
  if (perSecond === null || perSecond === undefined) return '?'
  if (perSecond === 0) return '0/s'
  if (perSecond < 0.1) return `${count0.format(Math.round(perSecond * 3600))}/h`
  if (perSecond < 10) return `${perSecond.toFixed(1)}/s`
  return `${count0.format(Math.round(perSecond))}/s`
}

export const timeOf = (ms) => clock.format(ms)
export const minuteOf = (ms) => clockShort.format(ms)

/** The time alone where it was today. */
export function whenOf(ms, nowMs = Date.now()) {
  if (ms === null || ms === undefined) return ''
  return new Date(ms).toDateString() === new Date(nowMs).toDateString() ? clock.format(ms) : day.format(ms)
}

/** What no eye can see, or what turns the text around it, as an escape. */
export function visible(text) {
  return text.replace(
    /[\p{Cc}\p{Bidi_C}\p{Cs}\u200b\u2028\u2029\ufeff]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

/** The same for text of many lines. */
export function visibleLines(text) {
  return text.replace(/[^\n\t]+/g, visible)
}
