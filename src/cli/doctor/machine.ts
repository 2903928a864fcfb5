/** Node and the data folder: what has to be there before anything else can work. */
import { accessSync, constants, statfsSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import type { Config } from '../../config.ts'
import { DAEMON_VERSION } from '../../release.ts'
import { isNodeNewEnough, LEAST_NODE } from '../../runtime.ts'
import { formatBytes } from '../bytes.ts'
import type { Finding, Say } from './finding.ts'
import { shellWord } from './shellWord.ts'

const MIB = 1024 * 1024
/** Below the first, the store and Redis soon cannot write; below the second it is time to look. */
const NO_SPACE_BYTES = 64 * MIB
const LITTLE_SPACE_BYTES = 1024 * MIB

export function checkNode(say: Say, version: string, program: string): Finding[] {
  if (!isNodeNewEnough(version)) {
    const needed = LEAST_NODE.join('.')
    return [
      say.failure(
        `Node ${version} is too old`,
        `install Node ${needed} or newer (https://nodejs.org/download)`,
      ),
    ]
  }
  return [say.ok(`${version} at ${program}; memsyncd ${DAEMON_VERSION}`)]
}

export function checkDataFolder(say: Say, { dataDir }: Pick<Config, 'dataDir'>): Finding[] {
  const found = statSync(dataDir, { throwIfNoEntry: false })
  if (!found) return checkPlaceOf(say, dataDir)
  const word = shellWord(dataDir)
  if (!found.isDirectory()) return [say.failure(`${dataDir} is no folder`, `mv ${word} ${word}.aside`)]
  const findings: Finding[] = []
  const userId = process.getuid?.() ?? found.uid
  if (found.uid !== userId) {
    findings.push(
      say.failure(
        `${dataDir} belongs to user ${found.uid}, and this is ${userId}`,
        `chown -R ${userId} ${word}`,
      ),
    )
  }
  if ((found.mode & 0o077) !== 0) {
    const mode = (found.mode & 0o777).toString(8)
    findings.push(say.warning(`${dataDir} is open to other users (mode ${mode})`, `chmod 700 ${word}`))
  }
  const refusal = accessProblem(dataDir)
  if (refusal !== undefined) {
    const fix =
      refusal === 'EROFS'
        ? 'mount its file system for writing'
        : `chmod u+rwx ${word}; chown ${userId} ${word}`
    findings.push(say.failure(`${dataDir} cannot be written (${refusal})`, fix))
  }
  findings.push(...checkSpace(say, dataDir))
  return findings.every(({ state }) => state === 'ok')
    ? [say.ok(`${dataDir}, ${freeText(dataDir)}`)]
    : findings
}

/** The daemon makes it at its first start, where it may. */
function checkPlaceOf(say: Say, dataDir: string): Finding[] {
  let parent = dirname(dataDir)
  while (!statSync(parent, { throwIfNoEntry: false }) && parent !== dirname(parent)) parent = dirname(parent)
  const refusal = accessProblem(parent)
  if (refusal === undefined) return [say.ok(`${dataDir} is not there yet; the first start makes it`)]
  return [
    say.failure(
      `${dataDir} is not there and cannot be made (${refusal} in ${parent})`,
      `mkdir -p -m 700 ${shellWord(dataDir)}, as a user who may, and chown it to this one`,
    ),
  ]
}

function accessProblem(path: string): string | undefined {
  try {
    accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK)
    return undefined
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code ?? 'unknown error'
  }
}

function checkSpace(say: Say, dataDir: string): Finding[] {
  const { bavail, bsize, files, ffree } = statfsSync(dataDir)
  const freeBytes = bavail * bsize
  const fix = `free space on the disk of ${shellWord(dataDir)} (df -h ${shellWord(dataDir)})`
  if (freeBytes < NO_SPACE_BYTES) {
    return [say.failure(`only ${formatBytes(freeBytes)} free in ${dataDir}: writes are about to fail`, fix)]
  }
  // Some file systems have no fixed number of files and say 0.
  if (files > 0 && ffree < 100) {
    return [say.failure(`only ${ffree} more files fit in ${dataDir}`, fix.replace('df -h', 'df -i'))]
  }
  if (freeBytes < LITTLE_SPACE_BYTES) {
    return [say.warning(`only ${formatBytes(freeBytes)} free in ${dataDir}`, fix)]
  }
  return []
}

function freeText(dataDir: string): string {
  const { bavail, bsize } = statfsSync(dataDir)
  return `${formatBytes(bavail * bsize)} free`
}
