/** The daemon and what waits for it: it runs, answers, makes progress, and nothing waits longer than it should. */
import { access, constants } from 'node:fs/promises'
import { join } from 'node:path'
import type { Config } from '../../config.ts'
import type { Status } from '../../daemon/status.ts'
import { formatDuration } from '../../duration.ts'
import { DAEMON_VERSION } from '../../release.ts'
import { formatBytes } from '../bytes.ts'
import type { Finding, Say } from './finding.ts'
import { shellWord } from './shellWord.ts'

/** As `memsync status` has it. */
const LONG_WAIT_MS = 60_000
const NEARLY_FULL = 0.8
const RESTART = 'memsync service restart, or end it and run memsync daemon'

/** @param status what the daemon says, or what was found without it */
export function checkDaemon(say: Say, status: Status): Finding[] {
  const { running, pid, since, progress } = status.daemon
  if (!running) {
    return [
      say.failure(
        'no daemon runs, so what is accepted waits',
        'memsync service start, or memsync daemon in a terminal',
      ),
    ]
  }
  if (pid === null) return [say.failure('the daemon runs and does not answer', RESTART)]
  const findings: Finding[] = []
  if (status.store.state === 'down') {
    const reason = status.store.reason ?? 'it does not say why'
    findings.push(
      say.failure(
        `process ${pid} cannot write the store (${reason})`,
        'free space or mend the disk; it goes on by itself',
      ),
    )
  }
  if (progress.state === 'stalled') {
    findings.push(say.failure(`process ${pid} runs and makes no progress`, RESTART))
  }
  if (status.version !== DAEMON_VERSION) {
    findings.push(
      say.warning(`process ${pid} is release ${status.version}, and this command ${DAEMON_VERSION}`, RESTART),
    )
  }
  if (findings.length > 0) return findings
  const up = since === null ? '' : ` for ${formatDuration(Date.now() - Date.parse(since))}`
  return [say.ok(`process ${pid} runs${up}, ${progress.state}`)]
}

/**
 * @param pauses what was found of queues that were paused
 * @param rests whether the private Redis is not meant to run now
 */
export function checkLanes(say: Say, status: Status, pauses: Finding[], rests: boolean): Finding[] {
  const findings = [...pauses]
  const { lanes, daemon, redis, deadLetters } = status
  for (const [name, lane] of Object.entries(lanes)) {
    const { gate, waiting, oldestWaitingMs } = lane
    const waits = `${(waiting ?? 0).toLocaleString('en-US')} wait`
    if (gate === 'shut' && (waiting ?? 0) > 0 && pauses.length === 0) {
      findings.push(say.warning(`${name}: its gate is shut, and ${waits}`, mendedBy(name)))
    } else if (
      daemon.running &&
      redis.state === 'up' &&
      gate === 'open' &&
      (oldestWaitingMs ?? 0) > LONG_WAIT_MS
    ) {
      const since = formatDuration(oldestWaitingMs ?? 0)
      findings.push(
        say.warning(
          `${name}: ${waits}, the oldest for ${since}`,
          'memsync status --watch, to see whether it falls',
        ),
      )
    }
  }
  if (deadLetters) {
    const count = `${deadLetters.toLocaleString('en-US')} dead ${deadLetters === 1 ? 'letter waits' : 'letters wait'}`
    findings.push(say.warning(`${count} for a person`, 'memsync dlq list'))
  }
  if (findings.length > 0) return findings
  const { waiting } = lanes.sync
  if (waiting === null) {
    return [
      rests
        ? say.ok('what waits is not seen while Redis rests')
        : say.warning('cannot be seen while Redis does not answer'),
    ]
  }
  const pending = Object.values(lanes).reduce((sum, lane) => sum + (lane.waiting ?? 0), 0)
  return [say.ok(pending === 0 ? 'nothing waits' : `${pending.toLocaleString('en-US')} wait, none for long`)]
}

function mendedBy(lane: string): string {
  if (lane === 'push') return 'mend the remote (below); it goes on by itself'
  if (lane === 'embed') return 'mend embedding (below); it goes on by itself'
  return 'mend the store or Redis (above); it goes on by itself'
}

/** Where memories go while Redis is away, so it must take them before that happens. */
export async function checkSpool(
  say: Say,
  config: Pick<Config, 'dataDir' | 'spoolMaxBytes'>,
  status: Status,
): Promise<Finding[]> {
  const folder = join(config.dataDir, 'spool')
  const { records, bytes, oldestMs } = status.spool
  const rights = `chmod -R u+rwX ${shellWord(folder)}`
  if (records === null || bytes === null) return [say.failure(`${folder} cannot be read`, rights)]
  const findings: Finding[] = []
  const problem = await writeProblem(folder)
  if (problem !== undefined) findings.push(say.failure(`${folder} cannot be written (${problem})`, rights))
  const holds = `${records.toLocaleString('en-US')} ${records === 1 ? 'memory waits' : 'memories wait'} in it, ${formatBytes(bytes)} of ${formatBytes(config.spoolMaxBytes)}`
  const raise = `bring Redis and the daemon back, or raise MEMSYNC_SPOOL_MAX_BYTES (now ${config.spoolMaxBytes})`
  if (bytes + 4096 > config.spoolMaxBytes) {
    findings.push(say.failure(`it is full, so memories are refused: ${holds}`, raise))
  } else if (bytes > config.spoolMaxBytes * NEARLY_FULL) {
    findings.push(say.warning(`it is nearly full: ${holds}`, raise))
  } else if (status.daemon.running && status.redis.state === 'up' && (oldestMs ?? 0) > LONG_WAIT_MS) {
    findings.push(
      say.failure(
        `${holds}, the oldest for ${formatDuration(oldestMs ?? 0)}, and it is not drained`,
        'memsync logs',
      ),
    )
  }
  if (findings.length > 0) return findings
  return [say.ok(records === 0 ? 'empty' : holds)]
}

async function writeProblem(folder: string): Promise<string | undefined> {
  try {
    await access(folder, constants.R_OK | constants.W_OK | constants.X_OK)
    return undefined
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException
    // The first memory that needs it makes it.
    return code === 'ENOENT' ? undefined : (code ?? 'unknown error')
  }
}
