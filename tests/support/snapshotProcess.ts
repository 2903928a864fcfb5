/** A process that makes or restores a snapshot, for the tests that kill it. `node snapshotProcess.ts ROLE DATA_DIR` */
import { writeSync } from 'node:fs'
import { createSnapshot } from '../../src/snapshot/create.ts'
import { Restore } from '../../src/snapshot/restore.ts'

const [role, dataDir = ''] = process.argv.slice(2)
const limits = { snapshotDir: undefined, snapshotKeep: 5, snapshotKeepDays: 60, spoolMaxBytes: 2 ** 28 }
const settings = { dataDir, ...limits }

if (role === 'create') await createSnapshot(settings)
if (role === 'restore') {
  const restore = await Restore.prepare(settings, 'latest')
  await restore.carryOut()
  restore.close()
}
writeSync(1, 'done\n')
