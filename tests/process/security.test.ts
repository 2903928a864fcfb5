/** Invariant 10 and the threat model: what is on disk is its owner's alone, and no secret leaves its place. */
import { lstatSync, readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { tokenPath } from '../../src/producers/httpToken.ts'
import { SETTINGS } from '../../src/settings.ts'
import { filesBelow, PLANTED, PLANTED_VALUE, runFullSession } from '../support/fullSession.ts'

const umask = process.umask()
afterEach(() => {
  process.umask(umask)
})

const CACHE = '.cache/memsyncd/compile'

/** What below the folder somebody else could open, and what is missing that the test must have seen. */
function openToOthers(folder: string): string[] {
  const paths = ['', ...(readdirSync(folder, { recursive: true }) as string[])]
  return paths.flatMap((path) => {
    const found = lstatSync(join(folder, path), { throwIfNoEntry: false })
    // What is gone again was a file of a moment.
    if (!found) return []
    const mode = found.mode & 0o777
    // What Node puts into the cache's folder, which is private, has modes of Node's own.
    const isPrivate = (mode & 0o077) === 0 || path.startsWith(`${CACHE}/`)
    return isPrivate ? [] : [`${path || '.'} ${mode.toString(8)}`]
  })
}

const SEEN = [
  'memory.db',
  'vectors.db',
  'daemon.lock',
  'control.sock',
  'http-token',
  'spool',
  'redis/redis.sock',
]

describe.each([
  { mask: 0o000, commands: 'few' },
  { mask: 0o022, commands: 'all' },
] as const)('a session with everything on, under umask $mask', ({ mask, commands }) => {
  it('leaves nothing open to other users, and tells no secret', async () => {
    process.umask(mask)
    const open: string[] = []
    const session = await runFullSession({
      commands,
      whileRunning: (dataDir) => {
        const there = readdirSync(dataDir, { recursive: true }) as string[]
        expect(there).toEqual(expect.arrayContaining(SEEN))
        expect(there.some((path) => path.endsWith('.corrupt'))).toBe(true)
        open.push(...openToOthers(dataDir))
      },
    })
    expect(open).toEqual([])
    expect(openToOthers(session.dataDir)).toEqual([])

    const secrets = [...Object.values(PLANTED), session.httpToken]
    expect(session.said.length).toBeGreaterThan(30)
    for (const { by, text, mayShowValues } of session.said) {
      for (const secret of secrets) expect(text, by).not.toContain(secret)
      if (!mayShowValues) expect(text, by).not.toContain(PLANTED_VALUE)
    }
    // On disk there is the token in its own file, and no other; the values are where they belong.
    const files = [session.dataDir, ...session.otherFolders].flatMap(filesBelow)
    for (const file of new Set(files)) {
      const content = readFileSync(file)
      for (const secret of secrets) {
        if (file === tokenPath(session.dataDir)) continue
        // The one job of the session is a memory like any other.
        if (secret === PLANTED.WORKER_PAYLOAD) continue
        expect(content.includes(secret), `${relative(session.dataDir, file)} holds ${secret}`).toBe(false)
      }
    }
    expect(files.some((file) => readFileSync(file).includes(PLANTED_VALUE))).toBe(true)
  })
})

it('a secret is planted in every setting that is one', () => {
  const secret = Object.entries(SETTINGS).filter(([, setting]) => 'secret' in setting)
  expect(secret.map(([name]) => name).sort()).toEqual(Object.keys(PLANTED).sort())
})
