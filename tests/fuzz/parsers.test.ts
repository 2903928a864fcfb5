/**
 * Every parser of what comes from outside, in this process: whatever bytes come, it gives what it can or one of our own
 * errors, which repeats nothing of a value, and what it gives keeps the contract. MEMSYNC_FUZZ_FACTOR runs longer,
 * MEMSYNC_TEST_SEED repeats a run. Jobs, answers of servers and HTTP have files of their own beside this one.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { LineCutter } from '../../src/cli/ndjsonLines.ts'
import { decodeUtf8, parseJsonExactly } from '../../src/cli/textInput.ts'
import { loadConfig } from '../../src/config.ts'
import { parseEnqueueRequest } from '../../src/daemon/enqueueRequest.ts'
import { MemsyncError } from '../../src/errors.ts'
import { parsePayload } from '../../src/jobs/index.ts'
import { readLegacyEntry } from '../../src/producers/legacyEntry.ts'
import { parseLegacyFile } from '../../src/producers/legacyFile.ts'
import { parseSpoolFileName } from '../../src/producers/spoolFile.ts'
import { formatSpoolRecord, parseSpoolRecords } from '../../src/producers/spoolRecord.ts'
import { parseFailedReason } from '../../src/queue/failure.ts'
import { findPointer } from '../../src/queue/pointer.ts'
import { SETTINGS, type SettingName } from '../../src/settings.ts'
import { fuzzRuns } from '../support/fuzzRuns.ts'
import { expectPrompt } from '../support/promptness.ts'
import { printedSeed } from '../support/seed.ts'
import { tempDir } from '../support/tempDir.ts'

const seed = printedSeed('parser fuzz')
const runs = (usual: number) => ({ seed, numRuns: fuzzRuns(usual) })
const MAX_VALUE_BYTES = 2_000
const MARKER = 'v4lue-of-a-memory'

/** Bytes with some changed, taken out, put in or repeated. */
const damages = fc.array(
  fc.tuple(fc.nat(), fc.nat(255), fc.constantFrom('set', 'cut', 'add', 'end', 'twice')),
  {
    maxLength: 4,
  },
)
function damage(bytes: Uint8Array, given: [number, number, string][]): Buffer {
  let now = Buffer.from(bytes)
  for (const [place, byte, kind] of given) {
    const at = place % (now.length + 1)
    const [head, tail] = [now.subarray(0, at), now.subarray(at)]
    if (kind === 'end') now = Buffer.from(head)
    else if (kind === 'twice') now = Buffer.concat([head, tail, tail])
    else
      now = Buffer.concat([
        head,
        kind === 'cut' ? Buffer.of() : Buffer.of(byte),
        kind === 'add' ? tail : tail.subarray(1),
      ])
  }
  return now
}
const junk = fc.oneof(
  fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
  fc.string({ unit: 'binary' }).map((text) => Buffer.from(text)),
  fc.json().map((text) => Buffer.from(text)),
  fc.integer({ min: 1, max: 20_000 }).map((depth) => Buffer.from('[{"a":'.repeat(depth))),
)

/** What the call gives; undefined where it throws one of our errors, which says nothing of a value. */
function held<T>(call: () => T): T | undefined {
  try {
    return call()
  } catch (error) {
    if (!(error instanceof MemsyncError)) throw error
    expect(error.message).not.toContain(MARKER)
    expect(error.message.length).toBeLessThan(600)
    return undefined
  }
}

describe('NDJSON', () => {
  it('gives what the contract allows, line by line, and nothing else', () => {
    const lines = fc.array(
      fc.oneof(
        fc.record({ key: fc.string(), value: fc.jsonValue() }).map((data) => JSON.stringify(data)),
        fc.constant(`{"key":"k","value":"${MARKER}"}`),
        fc.constant(`{"key":"k","value":${'[1,'.repeat(600)}`),
      ),
      { maxLength: 5 },
    )
    fc.assert(
      fc.property(
        lines,
        damages,
        fc.array(fc.nat(40), { maxLength: 6 }),
        junk,
        (texts, given, sizes, tail) => {
          const bytes = Buffer.concat([damage(Buffer.from(texts.join('\n')), given), tail])
          const cutter = new LineCutter(MAX_VALUE_BYTES)
          const cut = []
          let at = 0
          for (const size of [...sizes, bytes.length]) {
            cut.push(...cutter.cut(bytes.subarray(at, at + size)))
            at += size
          }
          cut.push(...cutter.rest())
          for (const line of cut) {
            if ('tooLong' in line) continue
            const data = held(() => {
              try {
                return parseJsonExactly(decodeUtf8(line.bytes, 'the line'))
              } catch (error) {
                if (error instanceof SyntaxError) return undefined
                throw error
              }
            })
            held(() => parsePayload('MEMORY_SYNC', data, MAX_VALUE_BYTES))
            held(() => parsePayload('MEMORY_ROLLBACK', data, MAX_VALUE_BYTES))
            held(() => parseEnqueueRequest((data ?? {}) as Record<string, unknown>))
            findPointer(data)
          }
        },
      ),
      runs(1_500),
    )
  })
})

describe('the predecessor’s files', () => {
  it('give memories of the contract, or say where there is none', () => {
    const entry = fc.record(
      {
        id: fc.oneof(fc.string(), fc.constant(1)),
        project_id: fc.oneof(fc.string(), fc.constant(null)),
        content: fc.oneof(fc.constant(MARKER), fc.string({ unit: 'binary' }), fc.jsonValue()),
        timestamp: fc.oneof(fc.double(), fc.constant('soon')),
      },
      { requiredKeys: [] },
    )
    const list = fc.oneof(fc.array(entry, { maxLength: 4 }), fc.jsonValue())
    const file = fc.oneof(
      fc
        .record({ queue: list, failed: list, last_100: list, stats: fc.jsonValue() })
        .map((document) => JSON.stringify(document)),
      fc.record({ items: list }).map((document) => JSON.stringify(document, null, 2)),
      fc
        .array(entry, { maxLength: 5 })
        .map((entries) => entries.map((one) => JSON.stringify(one)).join('\n')),
    )
    fc.assert(
      fc.property(file, damages, junk, fc.nat(4), (text, given, tail, isJunk) => {
        const bytes = isJunk === 0 ? tail : damage(Buffer.from(text), given)
        const { entries, unreadable } = parseLegacyFile(bytes)
        for (const { place, problem } of unreadable) {
          expect(place).not.toBe('')
          expect(problem).not.toContain(MARKER)
        }
        for (const { entry: one } of entries) {
          const read = readLegacyEntry(one, MAX_VALUE_BYTES)
          if ('refusal' in read) expect(read.refusal.message).not.toContain(MARKER)
          else {
            parsePayload('MEMORY_SYNC', read.record.memory, MAX_VALUE_BYTES)
            expect(Number.isSafeInteger(read.record.acceptedAtMs)).toBe(true)
          }
        }
      }),
      runs(1_500),
    )
  })

  it('are read in a time that grows with their length alone', () => {
    for (const piece of [
      '{"queue":[',
      '[',
      '{',
      '"',
      '\\"',
      '{"queue":[{"content":"',
      '{"a":',
      '\n',
      '{}\n',
      '"\\',
      '{"items":[1,',
    ]) {
      const startedAt = performance.now()
      parseLegacyFile(Buffer.from(piece.repeat(Math.ceil(100_000 / piece.length))))
      expectPrompt(performance.now() - startedAt, 5_000)
    }
  })
})

describe('spool files', () => {
  it('give records that were written, and no other, whatever became of the bytes', () => {
    const record = fc.record({
      uid: fc.uuid(),
      acceptedAtMs: fc.nat(),
      memory: fc.record({ key: fc.string({ minLength: 1 }), value: fc.jsonValue() }),
    })
    fc.assert(
      fc.property(fc.array(record, { maxLength: 4 }), damages, junk, (records, given, tail) => {
        const written = records.map((one) => formatSpoolRecord(one))
        const bytes = Buffer.concat([damage(Buffer.from(written.join('')), given), tail])
        for (const read of parseSpoolRecords(bytes).records)
          expect(written).toContain(formatSpoolRecord(read))
      }),
      runs(1_000),
    )
  })

  it('have names that are read back as they are, or not at all', () => {
    const name = fc.stringMatching(
      /^[0-9]{13,16}-[0-9]{7,9}-[0-9]{1,8}-[0-9a-f]{11,13}\.[0-9]{1,20}-[0-9]{1,20}\.(spool|[0-9]-[0-9]{1,20}\.claimed|tmp|spool\.tmp)$/,
    )
    fc.assert(
      fc.property(fc.oneof(name, fc.string({ unit: 'binary' })), (text) => {
        const file = parseSpoolFileName(text)
        if (!file) return
        expect(file.name).toBe(text)
        for (const number of [file.writtenAtMs, file.records, file.bytes])
          expect(number).toBeGreaterThanOrEqual(0)
      }),
      runs(500),
    )
  })
})

it('a reason for a failure is one of our errors, whoever wrote it', () => {
  const reason = fc.oneof(
    fc.string(),
    fc.constantFrom(
      'MEMSYNC_',
      'MEMSYNC_TOSTRING: x',
      'MEMSYNC_constructor: x',
      'MEMSYNC_STALLED: a\nb',
      'job stalled more than allowable limit',
    ),
  )
  fc.assert(
    fc.property(reason, (text) => {
      expect(parseFailedReason(text)).toBeInstanceOf(MemsyncError)
    }),
    runs(500),
  )
})

describe('settings', () => {
  const names = Object.keys(SETTINGS) as SettingName[]
  const secrets = names.filter((name) => 'secret' in SETTINGS[name])
  const nonsense = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.constantFrom(
      '-1',
      '1e9',
      '0x10',
      '٣',
      ' 1',
      'NaN',
      'true ',
      '/',
      '~',
      '\0',
      'http://',
      'redis://[',
      'unix:',
      '[::1]:1',
      'a'.repeat(5_000),
    ),
    fc.webUrl().map((url) => `${url}?${MARKER}`),
    fc.constantFrom(
      `http://u:${MARKER}@vps.example/${MARKER}`,
      `redis://:${MARKER}@h:1`,
      MARKER,
      `${MARKER} é`,
    ),
  )
  const given = fc.dictionary(
    fc.constantFrom(...names.filter((name) => name !== 'MEMSYNC_CONFIG')),
    nonsense,
    { maxKeys: 4 },
  )

  /** Either settings of the right kinds, or the error that names the wrong one. */
  function load(env: Record<string, string>): void {
    try {
      const { config } = loadConfig({}, env)
      for (const number of [
        config.concurrency,
        config.maxValueBytes,
        config.stallTimeoutMs,
        config.hookTimeoutMs,
      ]) {
        expect(Number.isSafeInteger(number)).toBe(true)
      }
    } catch (error) {
      if (!(error instanceof MemsyncError)) throw error
      expect(error.code).toBe('MEMSYNC_BAD_SETTING')
      expect(error.message).toMatch(
        /MEMSYNC_|REDIS_URL|OPENAI_|EMBEDDING_MODEL|WORKER_|there is no such setting/,
      )
      const isSecret = secrets.some((name) => error.message.startsWith(name))
      if (isSecret) expect(error.message).not.toContain(MARKER)
    }
  }

  it('of the environment', () => {
    fc.assert(
      fc.property(given, (env) => load({ MEMSYNC_CONFIG: '/dev/null', ...env })),
      runs(1_500),
    )
  })

  it('of the file, whatever bytes are in it', () => {
    const folder = join(tempDir(), 'config')
    mkdirSync(folder)
    const path = join(folder, 'memsync.env')
    const lines = given.map((env) =>
      Object.entries(env)
        .map(([name, value]) => `${name}=${value}`)
        .join('\n'),
    )
    fc.assert(
      fc.property(lines, damages, junk, fc.boolean(), (text, changed, tail, isJunk) => {
        writeFileSync(path, isJunk ? tail : damage(Buffer.from(text), changed))
        load({ MEMSYNC_CONFIG: path })
      }),
      runs(500),
    )
  })
})
