/**
 * What a check says. A check never throws to its caller and never outlasts its deadline: both become a finding, so that
 * one thing that is broken, or hangs, does not hide the others.
 */
import { MemsyncError } from '../../errors.ts'

/** Everything a memory passes or depends on, in the order in which it is looked at. */
export type Hop =
  | 'node'
  | 'settings'
  | 'data folder'
  | 'redis'
  | 'durability'
  | 'redis memory'
  | 'store'
  | 'daemon'
  | 'lanes'
  | 'spool'
  | 'embedding'
  | 'remote'
  | 'service'
  | 'clock'

/** `failure`: memories do not arrive, or may be lost. `warning`: they do, and something should be looked at. */
export type FindingState = 'ok' | 'warning' | 'failure'

export interface Finding {
  hop: Hop
  state: FindingState
  says: string
  /** The command or the change that mends it; none where another finding has it. */
  fix: string | null
}

/** Findings of one hop. */
export interface Say {
  ok(says: string): Finding
  warning(says: string, fix?: string): Finding
  failure(says: string, fix?: string): Finding
}

export function sayOf(hop: Hop): Say {
  return {
    ok: (says) => ({ hop, state: 'ok', says, fix: null }),
    warning: (says, fix) => ({ hop, state: 'warning', says, fix: fix ?? null }),
    failure: (says, fix) => ({ hop, state: 'failure', says, fix: fix ?? null }),
  }
}

export interface Check {
  hop: Hop
  run: (say: Say, signal: AbortSignal) => Promise<Finding[]> | Finding[]
  /** From the start of the check to the finding that it does not end, in milliseconds. */
  timeoutMs: number
}

/** Runs the check to its end or its deadline, whichever is first; what it throws is a failure of its hop. */
export async function runCheck({ hop, run, timeoutMs }: Check): Promise<Finding[]> {
  const say = sayOf(hop)
  const abort = new AbortController()
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<Finding[]>((resolve) => {
    timer = setTimeout(() => {
      abort.abort()
      resolve([say.failure(`this check did not end within ${timeoutMs} ms`, 'run memsync doctor again')])
    }, timeoutMs)
  })
  try {
    return await Promise.race([settle(say, run, abort.signal), late])
  } finally {
    clearTimeout(timer)
  }
}

async function settle(say: Say, run: Check['run'], signal: AbortSignal): Promise<Finding[]> {
  try {
    return await run(say, signal)
  } catch (thrown) {
    if (thrown instanceof MemsyncError) return [say.failure(thrown.message, thrown.hint)]
    // A stranger's message may hold anything; its name and code do not.
    const { name = 'Error', code = '' } = thrown as NodeJS.ErrnoException
    return [
      say.failure(`this check itself failed (${name} ${code})`.replace(' )', ')'), 'report it with --bundle'),
    ]
  }
}
