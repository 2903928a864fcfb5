/** How things are, in sentences, the worst first; and the tone of each state. Pure. */
import { count, counted, duration } from './format.js'

export const TONES = {
  daemon: { working: 'good', idle: 'good', waiting: 'warn', stalled: 'bad', stopped: 'bad' },
  redis: { up: 'good', down: 'bad', refusing: 'bad' },
  store: { up: 'good', down: 'bad' },
  remote: { up: 'good', down: 'bad', credentials: 'bad', unknown: 'none', none: 'none' },
  gate: { open: 'good', ramping: 'warn', shut: 'bad', off: 'none', unknown: 'none' },
}

export const WORDS = {
  remote: {
    up: 'up',
    down: 'away',
    credentials: 'refuses our key',
    unknown: 'not looked at',
    none: 'none set',
  },
}

const LANES = ['sync', 'embed', 'push']

export function pendingOf({ waiting, delayed, active }) {
  return waiting === null ? null : waiting + (delayed ?? 0) + (active ?? 0)
}

function since(text, nowMs) {
  return text === null ? '' : ` for ${duration(nowMs - Date.parse(text))}`
}

/** @returns sentences `{ tone, text, hint }`, at least one */
export function verdicts(status, nowMs) {
  const { daemon, redis, store, remote, lanes, deadLetters, spool } = status
  const pending = Object.fromEntries(LANES.map((lane) => [lane, pendingOf(lanes[lane])]))
  const all = []
  const say = (tone, text, hint = '') => all.push({ tone, text, hint })
  if (!daemon.running) {
    const waiting = (pending.sync ?? 0) + (spool.records ?? 0)
    const what = waiting > 0 ? `, and ${counted(waiting, 'memory waits', 'memories wait')}` : ''
    say('bad', `No daemon runs${what}`, 'Nothing is lost. Start it with memsync daemon.')
  } else if (daemon.progress.state === 'stalled') {
    say(
      'bad',
      'The daemon makes no progress',
      'It restarts its workers, then itself. memsync logs says more.',
    )
  }
  if (redis.state !== 'up') {
    const where =
      spool.records > 0 ? ` ${counted(spool.records, 'memory is', 'memories are')} in the spool.` : ''
    const state = redis.state === 'down' ? 'away' : 'refusing writes'
    say(
      'bad',
      `Redis is ${state}${since(redis.since, nowMs)}`,
      `Memories go into the spool meanwhile.${where}`,
    )
  }
  if (redis.state === 'up' && lanes.sync.waiting === null) {
    say('warn', 'Redis is slow to answer', 'What waits is not known until it does.')
  }
  if (store.state !== 'up') say('bad', 'The store cannot be written', store.reason ?? '')
  if (remote.state === 'credentials') {
    say(
      'bad',
      `The memory server refuses our key${since(remote.since, nowMs)}`,
      'Set MEMSYNC_REMOTE_KEY anew.',
    )
  } else if (remote.state === 'down') {
    const waiting =
      pending.push > 0 ? ` ${counted(pending.push, 'memory waits', 'memories wait')} for it.` : ''
    say('bad', `The memory server is away${since(remote.since, nowMs)}`, `Nothing is lost.${waiting}`)
  }
  if (status.embedding.reason !== null && pending.embed > 0) {
    say(
      'warn',
      `${counted(pending.embed, 'memory waits', 'memories wait')} to be embedded`,
      status.embedding.reason,
    )
  }
  if (deadLetters > 0) {
    say('warn', `${counted(deadLetters, 'dead letter waits', 'dead letters wait')} for a person`)
  }
  if (all.length === 0 || (all.every(({ tone }) => tone === 'warn') && sum(pending) > 0)) {
    say('good', ...progress(pending, daemon, nowMs))
  }
  return all
}

function sum(pending) {
  return LANES.reduce((total, lane) => total + (pending[lane] ?? 0), 0)
}

function progress(pending, { progress: { state, lastSuccess } }, nowMs) {
  const busy = LANES.filter((lane) => pending[lane] > 0)
  const last =
    lastSuccess === null ? '' : `The last job ended ${duration(nowMs - Date.parse(lastSuccess))} ago.`
  if (busy.length === 0) return [state === 'waiting' ? 'Waiting' : 'All caught up', last]
  const verbs = { sync: 'to persist', embed: 'to embed', push: 'to push' }
  return [`Working: ${busy.map((lane) => `${count(pending[lane])} ${verbs[lane]}`).join(', ')}`, last]
}
