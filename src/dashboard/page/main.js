/** The page: which view is shown, and the poll that keeps it live while somebody looks. */
import { ApiError, get } from './api.js'
import { DeadLetters } from './deadLetters.js'
import { setAttribute, setText } from './dom.js'
import { count, duration, timeOf } from './format.js'
import { Memories } from './memories.js'
import { Overview } from './overview.js'

const POLL_MS = 2_000
const POLL_AFTER_FAILURE_MS = 4_000
const HISTORY_MS = 24 * 3_600_000
const MAX_EVENTS = 200

const main = document.getElementById('main')
const live = document.getElementById('live')
const deadCount = document.getElementById('dead-count')
const views = { overview: new Overview(), 'dead-letters': new DeadLetters(), memories: new Memories() }
const state = { samples: [], events: [], lastMs: 0, seenMs: 0, timer: undefined, isOut: false }

function viewName() {
  const [name] = location.hash.slice(1).split('?')
  return Object.hasOwn(views, name) ? name : 'overview'
}

function show() {
  const name = viewName()
  const view = views[name]
  if (main.firstElementChild !== view.node) {
    main.replaceChildren(view.node)
    scrollTo(0, 0)
  }
  for (const link of document.querySelectorAll('nav [data-view]')) {
    setAttribute(link, 'aria-current', link.dataset.view === name ? 'page' : null)
  }
  view.open?.(new URLSearchParams(location.hash.split('?')[1] ?? ''))
  if (state.data) view.update(state.data)
}

function take(answer) {
  const { nowMs, history, status } = answer
  // A server that began anew knows what this page saw before, or does not: its own is kept.
  const known = state.samples.at(-1)?.atMs ?? 0
  state.samples = [...state.samples, ...history.samples.filter(({ atMs }) => atMs > known)].filter(
    ({ atMs }) => atMs > nowMs - HISTORY_MS,
  )
  const told = new Set(state.events.map(({ atMs, what }) => `${atMs} ${what}`))
  const news = history.events.filter(({ atMs, what }) => !told.has(`${atMs} ${what}`))
  state.events = [...state.events, ...news].sort((a, b) => a.atMs - b.atMs).slice(-MAX_EVENTS)
  // What changed before the sample that showed it is older than that sample.
  state.lastMs = (history.samples.at(-1)?.atMs ?? state.lastMs) || 0
  state.seenMs = Date.now()
  state.data = { ...answer, samples: state.samples, events: state.events }
  setText(deadCount, status.deadLetters > 0 ? count(status.deadLetters) : '')
  document.title = status.deadLetters > 0 ? `(${count(status.deadLetters)}) memsyncd` : 'memsyncd'
}

async function poll() {
  clearTimeout(state.timer)
  if (document.hidden || state.isOut || state.isAsking) return
  state.isAsking = true
  let delayMs = POLL_MS
  try {
    take(await get('overview', { since: Math.max(0, state.lastMs - 60_000) }))
    if (!document.hidden) tell('live', `live · ${timeOf(Date.now())}`)
    views[viewName()].update(state.data)
    document.documentElement.dataset.ready = ''
  } catch (error) {
    if (!(error instanceof ApiError)) throw error
    delayMs = POLL_AFTER_FAILURE_MS
    if (!document.hidden) fail(error)
    document.documentElement.dataset.ready ??= 'failed'
  } finally {
    state.isAsking = false
  }
  state.timer = setTimeout(poll, delayMs)
}

function fail(error) {
  const since = state.seenMs === 0 ? '' : ` for ${duration(Date.now() - state.seenMs)}`
  views.overview.lose(`No answer${since}`)
  const seen = state.seenMs === 0 ? '' : ` What is shown is ${duration(Date.now() - state.seenMs)} old.`
  if (error.isOut) {
    state.isOut = true
    tell('gone', `The link of this page is over: run memsync dashboard.${seen}`)
  } else if (error.isGone) {
    const gone = state.data?.servedBy === 'daemon' ? 'The daemon' : 'The dashboard'
    tell('gone', `${gone} does not answer: run memsync dashboard.${seen}`)
  } else {
    tell('gone', `${error.message} (${error.code}).${seen}`)
  }
}

function tell(tone, text) {
  setAttribute(live, 'data-tone', tone)
  setAttribute(document.documentElement, 'data-stale', tone === 'gone' ? '' : null)
  // Each second's time is nothing to be read aloud.
  setAttribute(live, 'aria-live', tone === 'gone' ? 'polite' : 'off')
  setText(live, text)
}

addEventListener('hashchange', show)
document.addEventListener('visibilitychange', () => {
  if (document.hidden) {
    clearTimeout(state.timer)
    tell('paused', 'paused')
  } else {
    void poll()
  }
})
document.addEventListener('refresh', () => void poll())
show()
void poll()
