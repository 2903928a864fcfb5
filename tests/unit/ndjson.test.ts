/** Taking NDJSON in: lines, batches, and what a terminal is shown meanwhile. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { BatchSender } from '../../src/cli/batchSender.ts'
import { type Progress, renderProgress } from '../../src/cli/progressBar.ts'
import { MemsyncError } from '../../src/errors.ts'
import type { MemoryInput } from '../../src/jobs/index.ts'
import { LineCutter, type NdjsonLine } from '../../src/producers/ndjsonLines.ts'
import { printedSeed } from '../support/seed.ts'
import { waitFor } from '../support/waitFor.ts'

const MAX = 10

function cutAll(chunks: Uint8Array[]): (string | 'too long')[] {
  const cutter = new LineCutter(MAX)
  const lines: NdjsonLine[] = []
  for (const chunk of chunks) lines.push(...cutter.cut(chunk))
  lines.push(...cutter.rest())
  expect(lines.map(({ number }) => number)).toEqual(lines.map((_, index) => index + 1))
  return lines.map((line) => ('tooLong' in line ? 'too long' : Buffer.from(line.bytes).toString('utf8')))
}

describe('lines', () => {
  it.each([
    ['', []],
    ['a\nb\n', ['a', 'b']],
    ['a\r\nb', ['a', 'b']],
    ['\uFEFFa\n\uFEFFb', ['a', '\uFEFFb']],
    ['\n\n a', ['', '', ' a']],
    ['0123456789\n01234567890\nx', ['0123456789', 'too long', 'x']],
    ['0123456789\r\n', ['0123456789']],
    ['0123456789\rx\ny', ['too long', 'y']],
    ['a\rb\n', ['a\rb']],
  ])('of %j are cut', (text, expected) => expect(cutAll([Buffer.from(text)])).toEqual(expected))

  it('are the same however the input is cut into chunks', () => {
    const seed = printedSeed('lines')
    const part = fc.constantFrom('a', 'é', '\r', '\n', '0123456789', '\uFEFF', '👩')
    fc.assert(
      fc.property(
        fc.array(part, { maxLength: 30 }),
        fc.array(fc.nat(12), { maxLength: 30 }),
        (parts, sizes) => {
          const bytes = Buffer.from(parts.join(''))
          const chunks: Buffer[] = []
          let at = 0
          for (const size of sizes) {
            chunks.push(bytes.subarray(at, at + size))
            at += size
          }
          expect(cutAll([...chunks, bytes.subarray(at)])).toEqual(cutAll([bytes]))
        },
      ),
      { seed, numRuns: 300 },
    )
  })

  it('too long are not kept, however long', async () => {
    setFlagsFromString('--expose-gc')
    const collectGarbage = runInNewContext('gc') as () => void
    const cutter = new LineCutter(MAX)
    const before = process.memoryUsage().arrayBuffers
    for (let i = 0; i < 100; i++) expect([...cutter.cut(new Uint8Array(1024 * 1024).fill(97))]).toEqual([])
    // What is collected is given back by a thread of its own, in its own time.
    await waitFor('most of it is given back', () => {
      collectGarbage()
      return process.memoryUsage().arrayBuffers - before < 10 * 1024 * 1024
    })
    expect([...cutter.cut(Buffer.from('\nok\n'))]).toEqual([
      { number: 1, tooLong: true },
      { number: 2, bytes: Buffer.from('ok') },
    ])
  })
})

/** A queue whose every answer the test gives. */
function controlledSender() {
  const sent: { keys: string[]; accept: () => void; refuse: (error: unknown) => void }[] = []
  const sender = new BatchSender((memories) => {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    sent.push({ keys: memories.map(({ key }) => key), accept: resolve, refuse: reject })
    return promise
  })
  return { sender, sent }
}
const memory = (key: string): MemoryInput => ({ key, value: 1 })
const settled = () => new Promise((resolve) => setImmediate(resolve))

describe('batches', () => {
  it('go one at a time, and what comes meanwhile goes in one', async () => {
    const { sender, sent } = controlledSender()
    await sender.add(memory('a'), 1, 10)
    sender.flushWhenIdle()
    await sender.add(memory('b'), 2, 10)
    sender.flushWhenIdle()
    await sender.add(memory('c'), 3, 10)
    expect(sent.map(({ keys }) => keys)).toEqual([['a']])
    const finished = sender.finish()
    sent[0]?.accept()
    await settled()
    expect(sent.map(({ keys }) => keys)).toEqual([['a'], ['b', 'c']])
    sent[1]?.accept()
    await finished
    expect(sender.accepted).toBe(3)
  })

  it('wait for no more input: what gathered behind one goes as soon as that has arrived', async () => {
    const { sender, sent } = controlledSender()
    await sender.add(memory('a'), 1, 10)
    sender.flushWhenIdle()
    await sender.add(memory('b'), 2, 10)
    sender.flushWhenIdle()
    sent[0]?.accept()
    await settled()
    expect(sent.map(({ keys }) => keys)).toEqual([['a'], ['b']])
    sent[1]?.accept()
    await settled()
    expect(sender.accepted).toBe(2)
  })

  it('are full at 500 memories, and a full one waits for the one before it', async () => {
    const { sender, sent } = controlledSender()
    for (let i = 0; i < 999; i++) await sender.add(memory(`k${i}`), i + 1, 10)
    expect(sent.map(({ keys }) => keys.length)).toEqual([500])
    let hasRoom = false
    const waiting = sender.add(memory('k999'), 1000, 10).then(() => {
      hasRoom = true
    })
    await settled()
    expect(hasRoom).toBe(false)
    sent[0]?.accept()
    await waiting
    expect(sent[1]?.keys.at(-1)).toBe('k999')
  })

  it('are full at 4 MiB', async () => {
    const { sender, sent } = controlledSender()
    for (let i = 0; i < 4; i++) await sender.add(memory(`k${i}`), i + 1, 1024 * 1024)
    expect(sent.map(({ keys }) => keys.length)).toEqual([4])
  })

  it('end with the first that fails: what was accepted counts, and its first line is where to go on', async () => {
    const { sender, sent } = controlledSender()
    await sender.add(memory('a'), 1, 10)
    sender.flushWhenIdle()
    await sender.add(memory('b'), 3, 10)
    sent[0]?.accept()
    await settled()
    sender.flushWhenIdle()
    await sender.add(memory('c'), 5, 10)
    const away = new MemsyncError('MEMSYNC_QUEUE_UNAVAILABLE', 'Redis did not answer')
    sent[1]?.refuse(new MemsyncError('MEMSYNC_QUEUE_UNAVAILABLE', 'memory 0: (0 accepted)', { cause: away }))
    await sender.finish()
    expect(sent).toHaveLength(2)
    expect(sender).toMatchObject({ accepted: 1, failure: { error: away, line: 3 } })
  })
})

describe('the progress bar', () => {
  const progress: Progress = {
    ...{ done: 500, total: 1000, elapsedMs: 5000 },
    tallies: [
      [12_345, 'accepted'],
      [2, 'refused'],
    ],
  }

  it('shows how far it is, what is left, and the counts', () => {
    expect(renderProgress(progress, 120)).toBe(
      '[############------------]  50 %  5 s left  12,345 accepted  2 refused  2,469/s',
    )
  })

  it('leaves out what is not known, and nothing at the end', () => {
    expect(
      renderProgress(
        {
          ...{ done: 500, total: undefined, elapsedMs: 10 },
          tallies: [
            [12_345, 'accepted'],
            [0, 'refused'],
          ],
        },
        120,
      ),
    ).toBe('12,345 accepted')
    expect(renderProgress({ ...progress, done: 1000 }, 120)).toContain(
      '[########################] 100 %  12,345',
    )
    expect(renderProgress({ ...progress, done: 0, total: 0 }, 120)).not.toContain('NaN')
  })

  it('never wraps', () => {
    for (const columns of [0, 1, 20, 40]) {
      expect(renderProgress(progress, columns).length).toBeLessThanOrEqual(Math.max(0, columns - 1))
    }
  })
})
