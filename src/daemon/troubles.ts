/** What a status says is wrong, and what to do about it. Pure. */
import { formatDuration } from '../duration.ts'
import { printable } from '../printable.ts'
import type { Status } from './status.ts'

/** Jobs that wait longer than this beside a daemon that runs are worth a word. */
const LONG_WAIT_MS = 60_000

interface Trouble {
  problem: string
  next: string
}

/** What keeps memories from arriving, worst first, each with what to do about it. */
export function findTroubles(status: Status, nowMs: number): Trouble[] {
  const { daemon, redis, store, lanes, deadLetters, spool } = status
  const troubles: Trouble[] = []
  const add = (problem: string, next: string) => troubles.push({ problem, next })
  if (!daemon.running) add('no daemon runs, so accepted memories wait in the queue', 'memsync daemon')
  if (daemon.progress.state === 'stalled') {
    add(
      daemon.pid === null ? 'the daemon runs and does not answer' : 'the daemon makes no progress',
      'read its log; where it does not recover by itself, restart it',
    )
  }
  // Without a daemon the private Redis is not meant to run.
  if (redis.state !== 'up' && (daemon.running || !redis.endpoint.startsWith('unix:'))) {
    const what = redis.state === 'refusing' ? 'Redis takes no writes' : 'Redis cannot be reached'
    add(withReason(what, redis.reason), 'mend or start it; what waits there goes on by itself')
  }
  if (store.state === 'down') {
    add(withReason('the store cannot be used', store.reason), 'mend it; what waits goes on by itself')
  }
  if (spool.records === null) add('the spool cannot be read', 'make its folder readable for this user')
  if (daemon.running && redis.state === 'up' && (spool.oldestMs ?? 0) > LONG_WAIT_MS) {
    add(
      `the oldest memory in the spool has waited ${formatDuration(spool.oldestMs ?? 0)}`,
      'read the log of the daemon: it says why the spool is not drained',
    )
  }
  if (status.remote.state === 'down') {
    const since =
      status.remote.since === null ? '' : ` for ${formatDuration(nowMs - Date.parse(status.remote.since))}`
    add(`the remote is away${since}`, 'mend or start it; what waits for it goes on by itself')
  }
  if (status.remote.state === 'credentials') {
    add('the remote refuses the credentials', 'correct MEMSYNC_REMOTE_KEY, or the key in the remote')
  }
  const { oldestWaitingMs, gate } = lanes.sync
  if (daemon.running && redis.state === 'up' && gate === 'open' && (oldestWaitingMs ?? 0) > LONG_WAIT_MS) {
    add(
      `the oldest job has waited ${formatDuration(oldestWaitingMs ?? 0)}`,
      'memsync status --watch, to see whether it falls',
    )
  }
  if (status.embedding.reason !== null && lanes.embed.gate !== 'off') {
    add(
      withReason('embedding waits', status.embedding.reason),
      'mend what it names (memsync config); what waits goes on by itself',
    )
  }
  if (deadLetters)
    add(
      `${deadLetters.toLocaleString('en-US')} ${deadLetters === 1 ? 'dead letter' : 'dead letters'}`,
      'memsync dlq list',
    )
  return troubles
}

/** For a person: what Redis or a file system said may hold anything. */
export function withReason(text: string, reason: string | null): string {
  return reason === null ? text : `${text} (${printable(reason)})`
}
