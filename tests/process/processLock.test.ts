import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { acquireProcessLock, instanceLockPath, isLocked } from '../../src/daemon/processLock.ts'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

const holders = new Set<ChildProcess>()

afterEach(() => {
  for (const holder of holders) holder.kill('SIGKILL')
  holders.clear()
})

/** Another process that takes the lock, says what it got, and sits there. */
async function holdInAnotherProcess(path: string): Promise<{ process: ChildProcess; got: string }> {
  const module = new URL('../../src/daemon/processLock.ts', import.meta.url).href
  const program = `
    import { acquireProcessLock } from ${JSON.stringify(module)}
    const lock = acquireProcessLock(${JSON.stringify(path)})
    console.log(lock ? 'held' : 'refused')
    process.stdin.on('data', () => { lock?.release(); console.log('released') })`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  holders.add(child)
  const [chunk] = await once(child.stdout, 'data')
  return { process: child, got: String(chunk).trim() }
}

async function killAndWait(child: ChildProcess): Promise<void> {
  const exited = once(child, 'exit')
  child.kill('SIGKILL')
  await exited
}

describe('the process lock', () => {
  it('is held by one at a time, within a process too, and is free after a release', () => {
    const path = instanceLockPath(tempDir())
    const lock = acquireProcessLock(path)
    expect(lock).toBeDefined()
    expect(acquireProcessLock(path)).toBeUndefined()
    lock?.release()
    lock?.release()
    expect(isLocked(path)).toBe(false)
    const again = acquireProcessLock(path)
    expect(again).toBeDefined()
    again?.release()
  })

  it('keeps other processes out, and a release lets them in', async () => {
    const path = instanceLockPath(tempDir())
    const first = await holdInAnotherProcess(path)
    expect(first.got).toBe('held')
    expect(acquireProcessLock(path)).toBeUndefined()
    expect((await holdInAnotherProcess(path)).got).toBe('refused')
    first.process.stdin?.write('go')
    await waitFor('the lock is free', () => !isLocked(path))
    expect((await holdInAnotherProcess(path)).got).toBe('held')
  })

  it('dies with its holder, however that ends', async () => {
    const path = instanceLockPath(tempDir())
    const holder = await holdInAnotherProcess(path)
    expect(isLocked(path)).toBe(true)
    await killAndWait(holder.process)
    expect(isLocked(path)).toBe(false)
    expect((await holdInAnotherProcess(path)).got).toBe('held')
  })

  it('is still held by a process that was stopped', async () => {
    const path = instanceLockPath(tempDir())
    const holder = await holdInAnotherProcess(path)
    holder.process.kill('SIGSTOP')
    expect(isLocked(path)).toBe(true)
    expect(acquireProcessLock(path)).toBeUndefined()
  })

  it('is not dropped by a look from the process that holds it', async () => {
    const path = instanceLockPath(tempDir())
    const lock = acquireProcessLock(path)
    for (let look = 0; look < 20; look++) expect(isLocked(path)).toBe(true)
    expect((await holdInAnotherProcess(path)).got).toBe('refused')
    lock?.release()
  })

  it('is never refused because somebody merely looks', async () => {
    const path = instanceLockPath(tempDir())
    acquireProcessLock(path)?.release()
    const module = new URL('../../src/daemon/processLock.ts', import.meta.url).href
    const looker = spawn(
      process.execPath,
      [
        '--input-type=module',
        '-e',
        `import { isLocked } from ${JSON.stringify(module)}
         console.log('looking')
         for (;;) isLocked(${JSON.stringify(path)})`,
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    )
    holders.add(looker)
    await once(looker.stdout, 'data')
    for (let round = 0; round < 50; round++) {
      const lock = acquireProcessLock(path)
      expect(lock).toBeDefined()
      lock?.release()
    }
  })

  it('leaves one file, and looking makes none', async () => {
    const folder = tempDir()
    const path = instanceLockPath(folder)
    expect(isLocked(path)).toBe(false)
    expect(readdirSync(folder)).toEqual([])
    const holder = await holdInAnotherProcess(path)
    expect(readdirSync(folder)).toEqual(['daemon.lock'])
    await killAndWait(holder.process)
    isLocked(path)
    expect(readdirSync(folder)).toEqual(['daemon.lock'])
  })

  it('says so when it cannot be taken at all', () => {
    const folder = tempDir()
    writeFileSync(join(folder, 'file'), '')
    expect(() => acquireProcessLock(join(folder, 'file', 'daemon.lock'))).toThrowError(
      expect.objectContaining({ code: 'MEMSYNC_STORE_UNAVAILABLE' }),
    )
    writeFileSync(instanceLockPath(folder), 'not a lock, but long enough to be read as a page'.repeat(100))
    expect(() => isLocked(instanceLockPath(folder))).toThrowError(
      expect.objectContaining({ code: 'MEMSYNC_STORE_UNAVAILABLE' }),
    )
  })
})
