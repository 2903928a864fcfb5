/** The files of the store: whole, ours, and not newer than this program. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, statSync } from 'node:fs'
import { extname, join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Config } from '../../config.ts'
import { ERROR_CODES, type ErrorCode } from '../../errors.ts'
import { storePath, vectorsPath } from '../../infrastructure/memory/index.ts'
import { formatBytes } from '../bytes.ts'
import type { Finding, Say } from './finding.ts'
import { shellWord } from './shellWord.ts'

/** What a look at one file came to; a field is missing where the look did not get so far. */
interface FileLook {
  absent?: true
  keys?: number
  /** When the newest memory was accepted or persisted, in Unix milliseconds; null where there is none. */
  newestMs?: number | null
  ok?: true
  code?: ErrorCode
  message?: string
}

export interface StoreLook {
  memories: FileLook
  vectors: FileLook
}

// Beside this file, built or not.
const PROCESS = join(import.meta.dirname, `storeProcess${extname(import.meta.filename)}`)

/** Never rejects for what the files are; ends within `timeoutMs` with what was seen until then. */
export async function lookAtStore(config: Pick<Config, 'dataDir'>, timeoutMs: number): Promise<StoreLook> {
  const [memories, vectors] = await Promise.all([
    lookAtFile('memories', storePath(config), timeoutMs),
    lookAtFile('vectors', vectorsPath(config), timeoutMs),
  ])
  return { memories, vectors }
}

async function lookAtFile(kind: string, path: string, timeoutMs: number): Promise<FileLook> {
  if (!existsSync(path)) return { absent: true }
  const child = spawn(process.execPath, [PROCESS, kind, path], { stdio: ['ignore', 'pipe', 'ignore'] })
  const look: FileLook = {}
  const lines = createInterface({ input: child.stdout })
  lines.on('line', (line) => Object.assign(look, JSON.parse(line)))
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs)
  // One that waits for a disk cannot be killed, and is not waited for either.
  const given = new Promise((resolve) => setTimeout(resolve, timeoutMs + 500).unref())
  child.unref()
  await Promise.race([once(lines, 'close'), given])
  clearTimeout(timer)
  return look
}

export function checkStore(say: Say, config: Pick<Config, 'dataDir'>, look: StoreLook): Finding[] {
  const memories = checkFile(say, 'memories', storePath(config), look.memories)
  const { vectors } = look
  // Where nothing was ever embedded there is nothing to say.
  if (vectors.absent || (vectors.ok && memories.state !== 'ok')) return [memories]
  const embedded = checkFile(say, 'vectors', vectorsPath(config), vectors)
  if (memories.state === 'ok' && embedded.state === 'ok') {
    return [say.ok(`${memories.says}; vectors of ${vectors.keys} of them`)]
  }
  return [memories, embedded].filter(({ state }) => state !== 'ok')
}

function checkFile(say: Say, what: 'memories' | 'vectors', path: string, look: FileLook): Finding {
  if (look.absent) return say.ok('none yet: the first memory makes it')
  if (look.code !== undefined) {
    const fix = what === 'vectors' ? vectorsFix(look.code, path) : storeFix(look.code)
    return say.failure(look.message ?? look.code, fix)
  }
  const bytes = statSync(path, { throwIfNoEntry: false })?.size ?? 0
  if (!look.ok) {
    const command = `node -e "console.log(new (require('node:sqlite').DatabaseSync)('${path}').prepare('PRAGMA quick_check').all())"`
    return say.warning(`${path} (${formatBytes(bytes)}) is not checked to its end in time`, command)
  }
  return say.ok(
    `whole: ${look.keys?.toLocaleString('en-US')} ${what === 'memories' ? 'keys' : 'memories'} in ${formatBytes(bytes)}`,
  )
}

function storeFix(code: ErrorCode): string {
  if (code !== 'MEMSYNC_STORE_CORRUPT') return ERROR_CODES[code].hint
  return 'memsync service stop, then memsync snapshot restore latest'
}

/** Vectors can be made again, so nothing of worth is lost with them. */
function vectorsFix(code: ErrorCode, path: string): string {
  if (code !== 'MEMSYNC_STORE_CORRUPT') return ERROR_CODES[code].hint
  const word = shellWord(path)
  return `stop the daemon, mv ${word} ${word}.aside, start it, then memsync embed --all`
}
