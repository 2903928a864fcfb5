/** The lock that the predecessor's producers take, taken by whichever program is there. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { LOCKERS, tryFlock } from '../../src/producers/flock.ts'
import { tempDir } from '../support/tempDir.ts'

const isThere = (program: string) => spawnSync(program, ['--version']).status === 0
const lockers = Object.keys(LOCKERS) as (keyof typeof LOCKERS)[]

/** Whether a Python program gets the lock now, as the predecessor's did. */
function pythonGets(path: string): boolean {
  const program = `import fcntl, sys\nfcntl.flock(open(sys.argv[1], 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)`
  return spawnSync('python3', ['-c', program, path]).status === 0
}

describe.skipIf(!isThere('python3'))('the lock shared with other programs (needs python3)', () => {
  for (const locker of lockers) {
    it.skipIf(!isThere(locker))(`taken by ${locker} keeps others out until it is given back`, async () => {
      const path = join(tempDir(), 'lock')
      const lock = await tryFlock(path, [locker])
      expect(lock).toBeDefined()
      expect(pythonGets(path)).toBe(false)
      // Also another open file of this very process.
      expect(await tryFlock(path, [locker])).toBeUndefined()
      lock?.release()
      expect(pythonGets(path)).toBe(true)
      const again = await tryFlock(path, [locker])
      expect(again).toBeDefined()
      again?.release()
    })
  }

  it('is not taken while a Python program holds it', async () => {
    const path = join(tempDir(), 'lock')
    const program = `import fcntl, sys\nf = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX)
print('held', flush=True); sys.stdin.read()`
    const holder = spawn('python3', ['-c', program, path])
    await once(holder.stdout, 'data')
    expect(await tryFlock(path)).toBeUndefined()
    holder.stdin.end()
    await once(holder, 'exit')
    const lock = await tryFlock(path)
    expect(lock).toBeDefined()
    lock?.release()
  })
})

it('without any program that can take it is a setting that cannot be used', async () => {
  const { PATH } = process.env
  process.env.PATH = tempDir()
  try {
    await expect(tryFlock(join(tempDir(), 'lock'))).rejects.toMatchObject({
      code: 'MEMSYNC_BAD_SETTING',
      message: expect.stringContaining('none of flock, perl, python3 is on the PATH'),
    })
  } finally {
    process.env.PATH = PATH
  }
})
