/** The predecessor's folder as a part of the daemon, where MEMSYNC_LEGACY_DIR names one. */
import type { Config } from '../config.ts'
import type { Store } from '../infrastructure/memory/port.ts'
import type { Logger } from '../logger.ts'
import { LegacyIntake } from '../producers/legacyIntake.ts'
import { LegacyWatch } from '../producers/legacyWatch.ts'
import type { Spool } from '../producers/spool.ts'
import type { Part } from './lifecycle.ts'

/** @param openedStore there once the part starts */
export function legacyFilesPart(
  { legacyDir, maxValueBytes }: Config,
  logger: Logger,
  spool: Spool,
  openedStore: () => Store | undefined,
): Part {
  let watch: LegacyWatch | undefined
  return {
    name: 'legacy files',
    start: async () => {
      const store = openedStore()
      if (legacyDir === undefined || !store) return
      const intake = new LegacyIntake(spool, store)
      watch = new LegacyWatch({ folder: legacyDir, intake, maxValueBytes, logger })
      watch.start()
    },
    stop: async () => watch?.stop(),
  }
}
