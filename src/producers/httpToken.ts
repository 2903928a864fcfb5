/** The bearer token of the HTTP interface: made once, kept in the data folder, readable by its owner alone. */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { chmod, link, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { MemsyncError } from '../errors.ts'

const TOKEN_BYTES = 32
const TOKEN = /^[\w~+/.=-]{32,256}$/

export function tokenPath(dataDir: string): string {
  return join(dataDir, 'http-token')
}

/**
 * The token of this data folder, made where there is none.
 * @throws MEMSYNC_BAD_SETTING where the file cannot be read or made, or holds no token
 */
export async function openToken(dataDir: string): Promise<string> {
  const path = tokenPath(dataDir)
  try {
    const { mode } = await stat(path).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error
      await makeToken(path)
      return stat(path)
    })
    if ((mode & 0o77) !== 0) await chmod(path, 0o600)
    const token = (await readFile(path, 'utf8')).trim()
    if (TOKEN.test(token)) return token
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code ?? 'unknown error'
    throw new MemsyncError(
      'MEMSYNC_BAD_SETTING',
      `MEMSYNC_HTTP: its token ${path} cannot be used (${reason})`,
      { cause },
    )
  }
  throw new MemsyncError(
    'MEMSYNC_BAD_SETTING',
    `MEMSYNC_HTTP: ${path} holds no token of 32 to 256 letters and digits; delete it, and a new one is made`,
  )
}

/** Compares in constant time. */
export function isSameSecret(presented: string, secret: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  // Digests have one length, so neither the time nor an exception tells how long the secret is.
  return timingSafeEqual(digest(presented), digest(secret))
}

/** Whole or not at all, so that nobody reads half a token. */
async function makeToken(path: string): Promise<void> {
  const own = `${path}.${process.pid}`
  await writeFile(own, `${randomBytes(TOKEN_BYTES).toString('base64url')}\n`, { mode: 0o600, flush: true })
  try {
    await link(own, path)
  } finally {
    await rm(own, { force: true })
  }
}
