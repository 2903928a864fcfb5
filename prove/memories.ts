/**
 * The input of the proof: lines of NDJSON for several producers, the same for the same seed. Pure.
 *
 * Keys are few enough that most are written several times and by several producers, some of them hostile to anything
 * that builds names, paths or objects from them. Values have many shapes and sizes, one write in ten is a delete, and
 * among the lines stand some that must be refused.
 */

/** Stands in most text values: nothing but the store and the queue may ever show it. */
export const VALUE_MARK = 'value-of-the-proof'

/** A line as its producer sends it. */
export interface InputLine {
  /** From 1. */
  number: number
  bytes: Uint8Array
  /** What it hands over; undefined where it is blank or must be refused. */
  memory: Memory | undefined
}

interface Memory {
  namespace: string
  key: string
  /** The value as JSON; undefined for a delete. */
  valueText: string | undefined
}

/** Uniform in [0, 1), from a seed: mulberry32 (https://github.com/cprosche/mulberry32). */
export function createRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

const HOSTILE_NAMES = [
  '__proto__',
  'constructor',
  'wait',
  'meta',
  'id',
  'a:b',
  ':',
  '0',
  '-1',
  '--json',
  '../../etc/passwd',
  'nul\0inside',
  'two\nlines',
  ' ',
  '"quoted" \\ \'both\'',
  '%s $(x) `y`',
  "'; DROP TABLE memories; --",
  '\u202eright to left\u202c',
  'שלום مرحبا',
  '👩‍👩‍👧‍👦',
  '\u00e9 composed',
  'e\u0301 composed',
  '\u2028 separator',
  'KEY',
  'key',
  'k'.repeat(1024),
  '☃'.repeat(341),
]

/** Parsed, as an object literal would take `__proto__` for its prototype. */
const PROTO_VALUE: unknown = JSON.parse('{"__proto__":{"polluted":true},"":0,"constructor":null}')

type Shape = (tag: string, random: () => number) => unknown

/** From common to rare; `pickShape` prefers the first. */
const SHAPES: Shape[] = [
  (tag) => ({ text: tag, theme: 'dark', language: 'en' }),
  (tag) => `${VALUE_MARK} ${tag}`,
  (tag, random) => ({ tag, n: random() * 10 ** Math.floor(random() * 30 - 15), list: [1, 'two', null] }),
  (tag) => ({ tag, nested: { a: [{ b: [{ c: tag }] }] }, '': 'no name', 'a.b': 1 }),
  (tag) => `${tag} \0 \u001b[31m \u202e ☃ 👩‍👩‍👧‍👦 e\u0301 \ud800 "\\"`,
  (tag, random) => Array.from({ length: Math.floor(random() * 300) }, (_, index) => [index, tag]),
  () => null,
  (_, random) => random() < 0.5,
  () => '',
  () => [],
  () => [Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER, 5e-324, 1.7976931348623157e308, 0.1],
  () => PROTO_VALUE,
  (tag, random) => `${tag} ${'x'.repeat(Math.floor(random() * 20_000))}`,
  (tag) => JSON.parse(`${'['.repeat(499)}${JSON.stringify(tag)}${']'.repeat(499)}`),
]

const LARGEST_VALUE_BYTES = 1024 * 1024

/** Each must be refused, whatever else goes on. */
const REFUSED: (string | Uint8Array)[] = [
  'not JSON',
  '{"key":"cut short","value":',
  '[]',
  '{"value":1}',
  '{"key":"","value":1}',
  `{"key":"${'k'.repeat(1025)}","value":1}`,
  '{"key":"lone \\ud800","value":1}',
  '{"key":"no value"}',
  '{"key":"unknown field","value":1,"ttl":60}',
  '{"key":"delete with value","op":"delete","value":1}',
  '{"key":"digits lost","value":12345678901234567890}',
  `{"key":"one byte over","value":"${'x'.repeat(LARGEST_VALUE_BYTES - 1)}"}`,
  `{"key":"too deep","value":${'['.repeat(501)}${']'.repeat(501)}}`,
  '{"key":"metadata","value":1,"metadata":{"nested":{}}}',
  Buffer.concat([Buffer.from('{"key":"not UTF-8 '), Buffer.from([0xff]), Buffer.from('","value":1}')]),
]

/** `count` memories spread over the producers, and the lines to refuse among them. */
export function makeInput(count: number, producers: number, seed: number): InputLine[][] {
  const random = createRandom(seed)
  const keyCount = Math.max(40, Math.floor(count / 4))
  return Array.from({ length: producers }, (_, producer) => {
    const share = Math.floor(count / producers) + (producer < count % producers ? 1 : 0)
    const contents: Pick<InputLine, 'bytes' | 'memory'>[] = []
    for (let index = 0; index < share; index++) {
      contents.push(makeMemory(`${producer}-${index}`, keyCount, random))
    }
    contents.push(largestMemory(producer))
    for (const bytes of REFUSED) {
      const refused = { bytes: Buffer.from(bytes as string), memory: undefined }
      contents.splice(Math.floor(random() * contents.length), 0, refused)
    }
    return contents.map((content, index) => ({ number: index + 1, ...content }))
  })
}

function makeMemory(
  tag: string,
  keyCount: number,
  random: () => number,
): Pick<InputLine, 'bytes' | 'memory'> {
  const { key, namespace } = pickName(keyCount, random)
  const target = namespace === 'default' ? { key } : { key, namespace }
  if (random() < 0.1) return lineOf({ ...target, op: 'delete' }, { key, namespace, valueText: undefined })
  const value = pickShape(random)(tag, random)
  const extras = random() < 0.1 ? { metadata: { source: 'proof', turn: 3, pinned: true }, embed: true } : {}
  return lineOf({ ...target, value, ...extras }, { key, namespace, valueText: JSON.stringify(value) })
}

/** A value of exactly the largest size that is taken; the key is shared by all producers. */
function largestMemory(producer: number): Pick<InputLine, 'bytes' | 'memory'> {
  const value = `${producer}${'y'.repeat(LARGEST_VALUE_BYTES - 3)}`
  const memory = { key: 'largest', namespace: 'default', valueText: JSON.stringify(value) }
  return lineOf({ key: 'largest', value }, memory)
}

function lineOf(data: object, memory: Memory): Pick<InputLine, 'bytes' | 'memory'> {
  return { bytes: Buffer.from(JSON.stringify(data)), memory }
}

/** One write in five goes to a hostile name, one in twenty to one of three keys that everybody writes. */
function pickName(keyCount: number, random: () => number): { key: string; namespace: string } {
  const any = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T
  const draw = random()
  if (draw < 0.2)
    return { key: any(HOSTILE_NAMES), namespace: random() < 0.8 ? 'default' : hostileNamespace(any) }
  if (draw < 0.25) return { key: `hot-${Math.floor(random() * 3)}`, namespace: 'default' }
  return { key: `memory-${Math.floor(random() * keyCount)}`, namespace: 'default' }
}

function hostileNamespace(any: <T>(list: readonly T[]) => T): string {
  return any(HOSTILE_NAMES.filter((name) => Buffer.byteLength(name) <= 256))
}

function pickShape(random: () => number): Shape {
  // The square favours the beginning of the list, so that the long and the deep stay rare.
  return SHAPES[Math.floor(random() ** 2 * SHAPES.length)] as Shape
}
