/** Receipts of many memories: which job each became, told once it is durable. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type Accepted, type MemoryInput, MemsyncError, TypedWorkerQueue } from '../../src/index.ts'
import { commandLine } from '../support/cli.ts'
import { startTestRedis } from '../support/redis.ts'
import { tempDir } from '../support/tempDir.ts'

describe('memsync enqueue --ndjson --receipts', () => {
  const cli = commandLine()
  const ndjson = (...lines: unknown[]) =>
    lines.map((line) => (typeof line === 'string' ? line : JSON.stringify(line))).join('\n')
  const enqueue = (input: string, receipts: string) =>
    cli.json(['enqueue', '--ndjson', '-', '--receipts', receipts], { input })
  const read = (path: string) =>
    readFileSync(path, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))

  it('names line, key, namespace and job of each accepted memory, in order, and of no other line', async () => {
    const out = join(tempDir(), 'receipts')
    const input = ndjson({ key: 'a', value: 1 }, '', 'nonsense', { key: 'b', value: 2, namespace: 'other' })
    expect(await enqueue(input, out)).toMatchObject({ code: 1, document: { accepted: 2, refused: 1 } })
    expect(read(out)).toEqual([
      { line: 1, key: 'a', namespace: 'default', jobId: '1' },
      { line: 4, key: 'b', namespace: 'other', jobId: '2' },
    ])
  })

  it('has one line for each of many batches, and goes on in the same file', async () => {
    const out = join(tempDir(), 'receipts')
    const many = Array.from({ length: 1203 }, (_, index) => ({ key: `k${index}`, value: index }))
    expect(await enqueue(ndjson(...many), out)).toMatchObject({ code: 0, document: { accepted: 1203 } })
    const before = read(out)
    expect(before.map(({ line, key }) => [line, key])).toEqual(many.map(({ key }, index) => [index + 1, key]))
    const ids = before.map(({ jobId }) => Number(jobId))
    expect(ids).toEqual(many.map((_, index) => (ids[0] ?? 0) + index))
    await enqueue(ndjson({ key: 'last', value: 0 }), out)
    expect(read(out)).toEqual([
      ...before,
      { line: 1, key: 'last', namespace: 'default', jobId: expect.any(String) },
    ])
  })

  it('the job ids are the versions that are stored', async () => {
    const out = join(tempDir(), 'receipts')
    await enqueue(ndjson({ key: 'same', value: 'old' }, { key: 'same', value: 'new' }), out)
    await cli.run(['enqueue', 'after', '1', '--wait'])
    expect((await cli.json(['get', 'same'])).document).toMatchObject({
      value: 'new',
      version: `1-${read(out)[1].jobId}-0`,
    })
  })

  it('where they cannot be written from the start, nothing is handed over', async () => {
    const folder = tempDir()
    const own = commandLine()
    const args = ['enqueue', '--ndjson', '-', '--receipts', folder]
    expect(await own.run(args, { input: ndjson({ key: 'a', value: 1 }) })).toEqual({
      code: 2,
      stdout: '',
      stderr: expect.stringContaining(`--receipts: ${folder} cannot be written (EISDIR)`),
    })
    expect(existsSync(join(own.dataDir, 'redis'))).toBe(false)
  })

  it.runIf(existsSync('/dev/full'))(
    'where the disk fills up, it says what was accepted and where to go on',
    async () => {
      const many = Array.from({ length: 3000 }, (_, index) => ({ key: `k${index}`, value: 'x'.repeat(500) }))
      const { code, document } = await enqueue(ndjson(...many), '/dev/full')
      expect(code).toBe(2)
      expect(document).toMatchObject({
        error: {
          code: 'MEMSYNC_BAD_USAGE',
          message:
            '--receipts: /dev/full cannot be written (ENOSPC); what was accepted from line 1 on may have no receipt',
        },
      })
      // It stops reading, and what it read is accepted.
      expect(document.accepted).toBeGreaterThan(0)
      expect(document.goOnFromLine).toBe(Number(document.accepted) + 1)
    },
  )

  it('needs --ndjson', async () => {
    const file = join(tempDir(), 'receipts')
    expect(await cli.run(['enqueue', 'a', '1', '--receipts', file])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--receipts goes with --ndjson'),
    })
    expect(existsSync(file)).toBe(false)
  })
})

describe('enqueueMany with onAccepted', () => {
  it('hears of each memory in order once it is durable, and of none behind a bad one', async () => {
    const redis = await startTestRedis()
    const queue = new TypedWorkerQueue({ config: { redisUrl: redis.url, dataDir: tempDir() } })
    try {
      const heard: [MemoryInput, Accepted][] = []
      const source = async function* () {
        for (let index = 0; index < 1200; index++) yield { key: `k${index}`, value: index }
        yield { key: '', value: 'bad' }
      }
      const handing = queue.enqueueMany(source(), {
        onAccepted: (memory, receipt) => heard.push([memory, receipt]),
      })
      await expect(handing).rejects.toMatchObject({ code: 'MEMSYNC_INVALID_MEMORY' })
      expect(heard).toEqual(
        Array.from({ length: 1200 }, (_, index) => [
          { key: `k${index}`, value: index },
          { jobId: String(index + 1) },
        ]),
      )
    } finally {
      await queue.close()
      await redis.stop()
    }
  })

  it('reads its source no faster than Redis takes the memories', async () => {
    const redis = await startTestRedis()
    const queue = new TypedWorkerQueue({ config: { redisUrl: redis.url, dataDir: tempDir() } })
    try {
      let heard = 0
      let longestLead = 0
      const source = async function* () {
        for (let read = 0; read < 10_000; read++) {
          longestLead = Math.max(longestLead, read - heard)
          yield { key: `k${read}`, value: read }
        }
      }
      expect(await queue.enqueueMany(source(), { onAccepted: () => heard++ })).toEqual({ accepted: 10_000 })
      // One batch on its way, one being filled.
      expect(longestLead).toBeLessThanOrEqual(2 * 500)
    } finally {
      await queue.close()
      await redis.stop()
    }
  })

  it('ends where the listener throws, with what it threw', async () => {
    const redis = await startTestRedis()
    const queue = new TypedWorkerQueue({ config: { redisUrl: redis.url, dataDir: tempDir() } })
    try {
      const stop = new MemsyncError('MEMSYNC_INTERRUPTED', 'enough')
      const onAccepted = () => {
        throw stop
      }
      const endless = (function* () {
        for (;;) yield { key: 'k', value: 1 }
      })()
      await expect(queue.enqueueMany(endless, { onAccepted })).rejects.toMatchObject({ code: stop.code })
    } finally {
      await queue.close()
      await redis.stop()
    }
  })
})
