/**
 * The night's work as a process of its own: a snapshot, then housekeeping. Checking and packing take processor time that
 * the daemon's event loop must not lose, so it runs beside it, at low priority, and ends with it, however that ends.
 *
 * It is given its `NightTask` as JSON, and tells the daemon by messages how far it has come.
 */
import { constants, setPriority } from 'node:os'
import type { Config } from '../config.ts'
import { type ErrorCode, toMemsyncError } from '../errors.ts'
import { storePath, vectorsPath } from '../infrastructure/memory/index.ts'
import { type Tidied, tidyStore, tidyVectors } from '../infrastructure/memory/sqliteTidy.ts'
import { createSnapshot, type SnapshotSettings } from './create.ts'

export interface NightTask {
  settings: SnapshotSettings & Pick<Config, 'historyVersions'>
  night: string
  /** When housekeeping ends though it is not done, in Unix milliseconds; the next night goes on with it. */
  tidyUntilMs: number
}

export type NightMessage =
  | { step: 'snapshot'; name: string; keys: number; fileBytes: number; removed: string[]; durationMs: number }
  | ({ step: 'tidied'; durationMs: number } & Tidied)
  | { step: 'failed'; at: 'snapshot' | 'housekeeping'; code: ErrorCode; reason: string }

/** Where the daemon finds this file, to start it. */
export const NIGHT_WORK_ENTRY = import.meta.filename

async function work({ settings, night, tidyUntilMs }: NightTask): Promise<void> {
  let at: 'snapshot' | 'housekeeping' = 'snapshot'
  try {
    let startedAtMs = performance.now()
    const lasted = () => Math.round(performance.now() - startedAtMs)
    const { snapshot, removed } = await createSnapshot(settings, { night })
    const { name, fileBytes, head } = snapshot
    await tell({ step: 'snapshot', name, keys: head.keys, fileBytes, removed, durationMs: lasted() })
    at = 'housekeeping'
    startedAtMs = performance.now()
    const nowMs = Date.now()
    const goesOn = () => Date.now() < tidyUntilMs
    const { historyVersions } = settings
    const tidied = await tidyStore(storePath(settings), { historyVersions, nowMs, goesOn })
    tidyVectors(vectorsPath(settings))
    await tell({ step: 'tidied', durationMs: lasted(), ...tidied })
  } catch (thrown) {
    const { code, message } = toMemsyncError(thrown, 'MEMSYNC_HANDLER_FAILED')
    await tell({ step: 'failed', at, code, reason: message })
  }
}

function tell(message: NightMessage): Promise<void> {
  return new Promise((resolve) => {
    if (process.send) process.send(message, undefined, {}, () => resolve())
    else resolve()
  })
}

if (import.meta.main) {
  // A daemon that is gone, by whatever signal, wants nothing any more; what is unfinished is no snapshot yet.
  process.on('disconnect', () => process.exit(1))
  setPriority(constants.priority.PRIORITY_LOW)
  await work(JSON.parse(process.argv[2] ?? '') as NightTask)
  process.exit(0)
}
