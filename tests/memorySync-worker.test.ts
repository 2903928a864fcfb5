/** The memory sync worker as its founding document describes it: synchronisation, retries, embed flag, rollback. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { MemsyncError } from '../src/errors.ts'
import { memorySyncHandler, rollback } from '../src/handlers/memorySync.ts'
import { type KeyValueStore, openMemoryStore } from '../src/infrastructure/memory/index.ts'
import { TypedWorkerQueue } from '../src/queue/index.ts'
import { commandLine, privateRedisPid } from './support/cli.ts'
import { isolatedEnvironment } from './support/daemon.ts'

const ROOT = join(import.meta.dirname, '..')

let dataDir: string
let queue: TypedWorkerQueue
let store: KeyValueStore
beforeEach(() => {
  dataDir = commandLine().dataDir
  queue = new TypedWorkerQueue({ config: { dataDir } })
  store = openMemoryStore({ dataDir })
})
afterEach(async () => {
  await queue.close()
  await store.close()
})

describe('basic data synchronisation', () => {
  it('persists the value and returns { status, key }', async () => {
    queue.register('MEMORY_SYNC', memorySyncHandler)
    const result = await queue.dispatch('MEMORY_SYNC', { key: 'test', value: 'data' })
    expect(result).toEqual({ status: 'success', key: 'test' })
    expect(await store.get('test')).toBe('data')
    expect(await store.has('test')).toBe(true)
  })

  it('takes the embed flag', async () => {
    queue.register('MEMORY_SYNC', memorySyncHandler)
    const memory = { key: 'document-content', value: 'This is a sample document text', embed: true }
    expect(await queue.dispatch('MEMORY_SYNC', memory)).toEqual({
      status: 'success',
      key: 'document-content',
    })
    const [written] = await store.history('document-content')
    expect(written).toMatchObject({ value: memory.value, embed: true })
  })

  it('refuses what breaks the contract, and nothing is stored', async () => {
    queue.register('MEMORY_SYNC', memorySyncHandler)
    const dispatched = queue.dispatch('MEMORY_SYNC', { key: 'test', value: undefined })
    await expect(dispatched).rejects.toMatchObject({ code: 'MEMSYNC_INVALID_VALUE' })
    expect(await store.has('test')).toBe(false)
  })
})

describe('complex object synchronisation', () => {
  it('brings any JSON value back exactly', async () => {
    queue.register('MEMORY_SYNC', memorySyncHandler)
    const value = {
      theme: 'dark',
      nested: { list: [1, 2.5, -1e21, null, true, { deeper: [[], {}] }], text: '👩‍👧 \u0000 "quoted"' },
      'a:b': { wait: [], meta: '' },
    }
    await queue.dispatch('MEMORY_SYNC', { key: 'user-preferences', value })
    expect(await store.get('user-preferences')).toEqual(value)
  })
})

describe('retry behaviour on transient errors', () => {
  it('runs the handler again until it succeeds', async () => {
    const attempts: number[] = []
    queue.register('MEMORY_SYNC', async (payload, context) => {
      attempts.push(context.attempt)
      if (attempts.length < 3) throw new Error('the connection was reset')
      return memorySyncHandler(payload, context)
    })
    const memory = { key: 'flaky', value: 1 }
    const result = await queue.dispatch('MEMORY_SYNC', memory, { attempts: 3, backoffMs: 10 })
    expect(result).toEqual({ status: 'success', key: 'flaky' })
    expect(attempts).toEqual([1, 2, 3])
    expect(await store.get('flaky')).toBe(1)
  })

  it('gives up after the attempts asked for, with the error of the handler', async () => {
    let runs = 0
    queue.register('MEMORY_SYNC', async () => {
      runs++
      throw new Error('the connection was reset')
    })
    const dispatched = queue.dispatch('MEMORY_SYNC', { key: 'k', value: 1 }, { attempts: 2, backoffMs: 10 })
    await expect(dispatched).rejects.toMatchObject({
      code: 'MEMSYNC_HANDLER_FAILED',
      message: 'the connection was reset',
    })
    expect(runs).toBe(2)
  })

  it('does not repeat what cannot succeed', async () => {
    let runs = 0
    queue.register('MEMORY_SYNC', async () => {
      runs++
      throw new MemsyncError('MEMSYNC_INVALID_MEMORY', 'this one never')
    })
    const dispatched = queue.dispatch('MEMORY_SYNC', { key: 'k', value: 1 })
    await expect(dispatched).rejects.toMatchObject({ code: 'MEMSYNC_INVALID_MEMORY' })
    expect(runs).toBe(1)
  })
})

describe('rollback', () => {
  it('restores the value before the last write, and deletes where there was none', async () => {
    queue.register('MEMORY_SYNC', memorySyncHandler)
    queue.register('MEMORY_ROLLBACK', rollback)
    await queue.dispatch('MEMORY_SYNC', { key: 'user-preferences', value: 'one' })
    await queue.dispatch('MEMORY_SYNC', { key: 'user-preferences', value: 'two' })
    const rolledBack = { status: 'rolled_back', key: 'user-preferences' }
    expect(await queue.dispatch('MEMORY_ROLLBACK', { key: 'user-preferences' })).toEqual(rolledBack)
    expect(await store.get('user-preferences')).toBe('one')

    await queue.dispatch('MEMORY_SYNC', { key: 'once', value: 1 })
    await queue.dispatch('MEMORY_ROLLBACK', { key: 'once' })
    expect(await store.has('once')).toBe(false)
  })
})

describe('a script of its own', () => {
  it('as the document writes it works with nothing running, and ends by itself after close', async () => {
    const module = (path: string) => pathToFileURL(join(ROOT, 'dist', path)).href
    const script = join(dataDir, 'script.mjs')
    writeFileSync(
      script,
      `
      import { TypedWorkerQueue } from '${module('queue/index.js')}'
      import { memorySyncHandler, rollback } from '${module('handlers/memorySync.js')}'
      import { MemoryStore } from '${module('infrastructure/memory/index.js')}'

      const queue = new TypedWorkerQueue()
      queue.register('MEMORY_SYNC', memorySyncHandler)
      const result = await queue.dispatch('MEMORY_SYNC', {
        key: 'user-preferences',
        value: { theme: 'dark', language: 'en' },
      })
      const stored = await MemoryStore.get('user-preferences')
      await MemoryStore.set('key', { data: 'value' })
      const rolledBack = await rollback({ key: 'user-preferences' })
      const gone = await MemoryStore.has('user-preferences')
      await MemoryStore.delete('key')
      await queue.close()
      console.log(JSON.stringify({ result, stored, rolledBack, gone, deleted: await MemoryStore.has('key') }))
      `,
    )
    const child = spawn(process.execPath, [script], { env: isolatedEnvironment(dataDir) })
    let output = ''
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk
    })
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk
    })
    const [code] = await once(child, 'close')
    expect(code, output).toBe(0)
    expect(JSON.parse(output)).toEqual({
      result: { status: 'success', key: 'user-preferences' },
      stored: { theme: 'dark', language: 'en' },
      rolledBack: { status: 'rolled_back', key: 'user-preferences' },
      gone: false,
      deleted: false,
    })
    expect(await privateRedisPid(dataDir)).toBe(undefined)
  })
})
