/**
 * The archive for a bug report: what the doctor found, the settings without secrets, the status, versions, and the last
 * lines of the logs. No value, no key, no secret: names of memories are hashes, and every text that is secret in the
 * settings in force is struck out of every file, whoever wrote it there.
 */
import { randomBytes } from 'node:crypto'
import { open, readFile, writeFile } from 'node:fs/promises'
import { availableParallelism, homedir, release, totalmem, uptime } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { MemsyncError } from '../../errors.ts'
import { tokenPath } from '../../producers/httpToken.ts'
import { newestDeadLetters } from '../../queue/deadLetterGlance.ts'
import { DAEMON_VERSION } from '../../release.ts'
import type { Diagnosis } from './index.ts'
import { hashName, maskedSettings, redactLog, scrub, secretTexts } from './redact.ts'
import { type TarFile, tarOf } from './tar.ts'

const MAX_LOG_LINES = 500
const MAX_LOG_BYTES = 256 * 1024
const MAX_DEAD_LETTERS = 50
const REDIS_TIMEOUT_MS = 2_000

const ABOUT = `What memsync doctor --bundle collected for a bug report. It is text; look into it before you send it.

doctor.json        what memsync doctor found
config.json        every setting and where it came from; secrets masked
status.json        what memsync status --json shows
versions.json      this program, Node, the system
dead-letters.json  the newest dead letters: what failed and why; names of memories as hashes
memsync.log        the last lines of the daemon's log; names of memories as hashes
redis.log          the last lines of the private Redis's log
`

/**
 * Writes it, readable for this user alone, and never over a file that is there.
 * @param target its path; a name with the time in this folder unless given
 * @returns where it is
 * @throws MEMSYNC_BAD_USAGE where it cannot be written there
 */
export async function writeBundleFile(target: string | undefined, diagnosis: Diagnosis): Promise<string> {
  const now = new Date()
  const stamp = now
    .toISOString()
    .replace(/[-:]|\.\d+Z$/g, '')
    .replace('T', '-')
  const name = `memsync-doctor-${stamp}`
  const path = resolve(target ?? `${name}.tar.gz`)
  const files = await collect(diagnosis)
  const tar = tarOf(
    files.map((file) => ({ ...file, name: `${name}/${file.name}` })),
    now.getTime(),
  )
  try {
    await writeFile(path, await promisify(gzip)(tar), { flag: 'wx', mode: 0o600 })
  } catch (cause) {
    const { code = 'unknown error' } = cause as NodeJS.ErrnoException
    throw new MemsyncError('MEMSYNC_BAD_USAGE', `--bundle: ${path} cannot be written (${code})`, { cause })
  }
  return path
}

async function collect(diagnosis: Diagnosis): Promise<TarFile[]> {
  const { settings, findings, status } = diagnosis
  const { config } = settings
  const salt = randomBytes(16).toString('hex')
  const httpToken = await readFile(tokenPath(config.dataDir), 'utf8').catch(() => '')
  const secrets = secretTexts(settings, process.env, [httpToken.trim()])
  const log = config.logFile === undefined ? [] : await lastLines(config.logFile)
  const document = (content: unknown) => `${JSON.stringify(content, null, 2)}\n`
  const files = [
    { name: 'README.txt', content: ABOUT },
    { name: 'doctor.json', content: document(findings) },
    { name: 'config.json', content: document(maskedSettings(settings)) },
    { name: 'status.json', content: document(status ?? null) },
    { name: 'versions.json', content: document(versionsOf(diagnosis)) },
    { name: 'dead-letters.json', content: document(await describeDeadLetters(diagnosis, salt)) },
    { name: 'memsync.log', content: textOf(redactLog(log, salt)) },
    // It names files and clients, and at its level no command's arguments.
    { name: 'redis.log', content: textOf(await lastLines(join(config.dataDir, 'redis', 'redis.log'))) },
  ]
  return files.map(({ name, content }) => ({ name, content: scrub(content, secrets, homedir()) }))
}

/** Where the daemon of this data folder writes its log. */
function textOf(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join('')
}

function versionsOf({ redis }: Diagnosis): Record<string, unknown> {
  const { node, sqlite, openssl, uv } = process.versions
  return {
    memsyncd: DAEMON_VERSION,
    ...{ node, sqlite, openssl, uv },
    redis: redis?.state === 'answers' ? redis.inspection.version : null,
    system: `${process.platform} ${process.arch} ${release()}`,
    processors: availableParallelism(),
    memoryBytes: totalmem(),
    uptimeSeconds: Math.round(uptime()),
    timeZone: Intl.DateTimeFormat().resolvedOptions().timeZone,
    at: new Date().toISOString(),
  }
}

/** Why, and of what lane; neither the message, which may name a key, nor the data. */
async function describeDeadLetters({ settings, redis }: Diagnosis, salt: string): Promise<unknown> {
  if (redis?.state !== 'answers') return null
  try {
    const letters = await newestDeadLetters(settings.config, MAX_DEAD_LETTERS, REDIS_TIMEOUT_MS)
    return letters.map((letter) => {
      const { id, sourceQueue, name, version, redrives, attempts, code, class: errorClass } = letter
      const key = (letter.data as { key?: unknown } | null)?.key
      const keyHash = typeof key === 'string' ? hashName(JSON.stringify(key), salt) : null
      return { id, sourceQueue, name, version, redrives, attempts, code, class: errorClass, keyHash }
    })
  } catch (thrown) {
    if (!(thrown instanceof MemsyncError)) throw thrown
    return null
  }
}

/** The last whole lines of a file; none where there is none, or it cannot be read. */
async function lastLines(path: string): Promise<string[]> {
  try {
    const file = await open(path, 'r')
    try {
      const { size } = await file.stat()
      const start = Math.max(0, size - MAX_LOG_BYTES)
      const buffer = Buffer.alloc(Math.min(size, MAX_LOG_BYTES))
      const { bytesRead } = await file.read(buffer, 0, buffer.length, start)
      const lines = buffer.subarray(0, bytesRead).toString('utf8').split('\n')
      if (start > 0) lines.shift()
      return lines.filter((line) => line !== '').slice(-MAX_LOG_LINES)
    } finally {
      await file.close()
    }
  } catch (thrown) {
    if (typeof (thrown as NodeJS.ErrnoException).code === 'string') return []
    throw thrown
  }
}
