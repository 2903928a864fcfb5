import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import {
  type KeyValueStore,
  MemoryStore,
  openMemoryStore,
  openStore,
} from '../../src/infrastructure/memory/index.ts'
import { tempDir } from '../support/tempDir.ts'

const MODULE = new URL('../../src/infrastructure/memory/index.ts', import.meta.url).href

/** Runs code with `MemoryStore` in a process of its own, which must end by itself, and returns its stdout. */
function runScript(dataDir: string, code: string): string {
  const script = `const { MemoryStore } = await import(${JSON.stringify(MODULE)})\n${code}`
  const env = { ...process.env, MEMSYNC_DATA_DIR: dataDir, XDG_CONFIG_HOME: dataDir }
  const args = ['--input-type=module', '--eval', script]
  return execFileSync(process.execPath, args, { env, timeout: 20_000 }).toString().trim()
}

describe('MemoryStore', () => {
  let dataDir: string
  let store: KeyValueStore

  beforeEach(() => {
    dataDir = join(tempDir(), 'data')
    vi.stubEnv('MEMSYNC_DATA_DIR', dataDir)
    vi.stubEnv('XDG_CONFIG_HOME', dataDir)
    store = openMemoryStore()
  })
  afterEach(async () => {
    await store.close()
    vi.unstubAllEnvs()
  })

  it('works as the documents show, on the folder the settings name', async () => {
    await MemoryStore.set('key', { data: 'value' })
    expect(await MemoryStore.get('key')).toEqual({ data: 'value' })
    expect(await MemoryStore.has('key')).toBe(true)
    await MemoryStore.delete('key')
    expect(await MemoryStore.has('key')).toBe(false)
    expect(await MemoryStore.get('key')).toBeUndefined()
    await MemoryStore.close()
    expect(readdirSync(dataDir)).toEqual(['memory.db'])
  })

  it('needs no close: the process ends, and the next one finds what was written', () => {
    runScript(dataDir, `await MemoryStore.set('key', { data: 'value' })`)
    expect(runScript(dataDir, `console.log(JSON.stringify(await MemoryStore.get('key')))`)).toBe(
      '{"data":"value"}',
    )
  })

  it('reads without making anything, and without loading the schema library', () => {
    const code = `
      const { registerHooks } = await import('node:module')
      const loaded = []
      registerHooks({ resolve: (name, context, next) => { loaded.push(name); return next(name, context) } })
      const found = [await MemoryStore.get('k'), await MemoryStore.has('k'), await MemoryStore.history('k')]
      found.push((await MemoryStore.list()).memories)
      const before = loaded.includes('zod')
      await MemoryStore.set('k', 1)
      console.log(JSON.stringify({ found, before, after: loaded.includes('zod') }))`
    const reading = code.replace(`await MemoryStore.set('k', 1)`, '')
    expect(JSON.parse(runScript(dataDir, reading))).toEqual({
      found: [null, false, [], []],
      before: false,
      after: false,
    })
    expect(existsSync(dataDir)).toBe(false)
    // The probe itself can see zod: a write loads it.
    expect(JSON.parse(runScript(dataDir, code))).toMatchObject({ before: false, after: true })
  })

  it('gives a fresh object each time', async () => {
    await store.set('k', { list: [1] })
    const first = (await store.get('k')) as { list: number[] }
    first.list.push(2)
    expect(await store.get('k')).toEqual({ list: [1] })
  })

  it('stores what was handed over at the call, in the order of the calls, awaited or not', async () => {
    const value = { count: 0 }
    const metadata = { step: 0 }
    const writes = Array.from({ length: 20 }, (_, index) => {
      value.count = index
      metadata.step = index
      return index % 5 === 4 ? store.delete('k') : store.set('k', value, { metadata })
    })
    const rolledBack = store.rollback('k')
    value.count = 99
    await Promise.all(writes)
    expect(await rolledBack).toEqual({ count: 18 })
    const history = await store.history('k')
    expect(history.map((memory) => memory.value)).toEqual([
      ...[{ count: 18 }, undefined, { count: 18 }, { count: 17 }, { count: 16 }, { count: 15 }, undefined],
      ...[{ count: 13 }, { count: 12 }, { count: 11 }],
    ])
    expect(history[0]?.metadata).toEqual({ step: 18 })
  })

  it('goes on after a write that was refused', async () => {
    const refused = store.set('k', undefined)
    const taken = store.set('k', 'next')
    await expect(refused).rejects.toMatchObject({ code: 'MEMSYNC_INVALID_VALUE' })
    await taken
    expect(await store.get('k')).toBe('next')
  })

  it('takes namespace, metadata and embed', async () => {
    await store.set('k', 1, { namespace: 'me', metadata: { a: true }, embed: true })
    expect(await store.get('k')).toBeUndefined()
    expect(await store.has('k', { namespace: 'me' })).toBe(true)
    const { memories } = await store.list({ namespace: 'me' })
    expect(memories).toMatchObject([{ key: 'k', value: 1, metadata: { a: true }, embed: true }])
    await store.delete('k', { namespace: 'me', metadata: { reason: 'asked' } })
    expect((await store.history('k', { namespace: 'me' }))[0]).toMatchObject({
      deleted: true,
      metadata: { reason: 'asked' },
    })
  })

  it('rolls back to the value before, and to nothing where there was none', async () => {
    await store.set('k', 'one')
    await store.set('k', 'two')
    expect(await store.rollback('k')).toBe('one')
    expect(await store.get('k')).toBe('one')
    await store.set('only', 1)
    expect(await store.rollback('only')).toBeUndefined()
    expect(await store.has('only')).toBe(false)
  })

  it('keeps as many versions as the settings say', async () => {
    vi.stubEnv('MEMSYNC_HISTORY_VERSIONS', '3')
    for (const value of [1, 2, 3, 4]) await store.set('k', value)
    expect((await store.history('k')).map((memory) => memory.value)).toEqual([4, 3, 2])
  })

  it('refuses what the wire refuses, naming the field, and stores none of it', async () => {
    const refusals: [() => Promise<unknown>, string, string][] = [
      [() => store.set('', 1), 'MEMSYNC_INVALID_MEMORY', 'key: is empty'],
      [() => store.set('x'.repeat(1025), 1), 'MEMSYNC_INVALID_MEMORY', 'key: is longer than 1024 bytes'],
      [() => store.set('\ud800', 1), 'MEMSYNC_INVALID_MEMORY', 'key: holds a lone surrogate'],
      [() => store.set('k', 1, { namespace: '' }), 'MEMSYNC_INVALID_MEMORY', 'namespace: is empty'],
      [() => store.set('k', { a: [1n] }), 'MEMSYNC_INVALID_VALUE', 'value.a[0]'],
      [
        () => store.set('k', 'x'.repeat(1024 * 1024 - 1)),
        'MEMSYNC_VALUE_TOO_LARGE',
        'MEMSYNC_MAX_VALUE_BYTES',
      ],
      [
        () => store.set('k', 1, JSON.parse('{"metadata":{"a":null}}')),
        'MEMSYNC_INVALID_MEMORY',
        'metadata.a',
      ],
      [() => store.set('k', 1, JSON.parse('{"embed":"yes"}')), 'MEMSYNC_INVALID_MEMORY', 'embed'],
      [() => store.delete(''), 'MEMSYNC_INVALID_MEMORY', 'key: is empty'],
      [() => store.get(''), 'MEMSYNC_INVALID_MEMORY', 'key: is empty'],
      [
        () => store.has('k', { namespace: 'x'.repeat(257) }),
        'MEMSYNC_INVALID_MEMORY',
        'namespace: is longer',
      ],
      [() => store.history('\udfff'), 'MEMSYNC_INVALID_MEMORY', 'key: holds a lone surrogate'],
      [() => store.rollback(''), 'MEMSYNC_INVALID_MEMORY', 'key: is empty'],
    ]
    for (const [refusal, code, text] of refusals) {
      await expect(refusal()).rejects.toMatchObject({ code, message: expect.stringContaining(text) })
    }
    expect(existsSync(dataDir)).toBe(false)
  })

  it('works beside a store that is open for a daemon, and writes after all it applied', async () => {
    const daemon = await openStore({ dataDir, historyVersions: 10 })
    const write = { op: 'set' as const, namespace: 'default', key: 'k', acceptedAtMs: 1 }
    await daemon.apply([{ ...write, valueJson: '"queue"', version: { epoch: 7, sequence: 41, index: 0 } }])
    expect(await store.get('k')).toBe('queue')
    await store.set('k', 'local')
    expect((await daemon.find('k'))?.value).toBe('local')
    await daemon.apply([
      { ...write, valueJson: '"queue again"', version: { epoch: 7, sequence: 42, index: 0 } },
    ])
    expect(await store.get('k')).toBe('queue again')
    await daemon.close()
  })

  it('can be closed twice, and opens again when it is used again', async () => {
    await store.close()
    await store.set('k', 1)
    await store.close()
    await store.close()
    expect(await store.get('k')).toBe(1)
  })

  it('tries again after a failure to open', async () => {
    vi.stubEnv('MEMSYNC_DATA_DIR', join(import.meta.filename, 'not a folder'))
    const blocked = openMemoryStore()
    await expect(blocked.set('k', 1)).rejects.toMatchObject({ code: 'MEMSYNC_STORE_UNAVAILABLE' })
    await expect(blocked.set('k', 1)).rejects.toMatchObject({ code: 'MEMSYNC_STORE_UNAVAILABLE' })
    await blocked.close()
  })
})
