/** The daemon's state in one line, for `systemctl status`. Pure. */
import type { Status } from './status.ts'

/** Holds no key, no value and no secret. */
export function statusLine({ daemon, redis, lanes, deadLetters, remote, spool, store }: Status): string {
  const { state } = daemon.progress
  const waiting = (lanes.sync.waiting ?? 0) + (lanes.embed.waiting ?? 0) + (lanes.push.waiting ?? 0)
  const active = (lanes.sync.active ?? 0) + (lanes.embed.active ?? 0) + (lanes.push.active ?? 0)
  const facts = [
    redis.state === 'up' ? `${waiting} waiting, ${active} in flight` : `redis is ${redis.state}`,
    spool.records ? `${spool.records} in the spool` : undefined,
    deadLetters ? `${deadLetters} dead letters` : undefined,
    store.state === 'up' ? undefined : 'the store is away',
    remote.state === 'none' ? undefined : `remote ${remote.state}`,
  ]
  return `${state}: ${facts.filter((fact) => fact !== undefined).join('; ')}`
}
