/**
 * The plan of a fault run: every operation and every fault with its moment, a pure function of the seed. What the
 * machine makes of it (which bytes were under way when the process died) is not in the plan, so a replay meets the same
 * faults at the same moments, and nearly the same race.
 */
import { createRandom, VALUE_MARK } from '../memories.ts'
import type { Allowance, Operation, Way } from './ledger.ts'

/** What is broken, so that no two faults of one part overlap. */
const PARTS = ['process', 'queue', 'remote', 'embedder', 'disk'] as const
export type Part = (typeof PARTS)[number]

export type LinkFault = 'delay' | 'cut' | 'black hole' | 'refuse'

export type Fault =
  | { part: 'process'; kind: 'kill daemon' | 'stop daemon'; downMs: number }
  | { part: 'process'; kind: 'kill daemon at a dead letter'; downMs: number }
  | { part: 'process'; kind: 'freeze daemon'; forMs: number }
  | { part: 'process'; kind: 'kill producer' }
  | { part: 'process'; kind: 'power cut'; downMs: number }
  | { part: 'queue'; kind: 'kill redis' | 'stop redis'; downMs: number }
  | { part: 'queue'; kind: 'freeze redis' | 'full redis' | 'read-only redis'; forMs: number }
  | { part: 'queue'; kind: 'link'; link: LinkFault; forMs: number }
  | { part: 'remote' | 'embedder'; kind: 'link'; link: LinkFault; forMs: number }
  | { part: 'remote'; kind: 'answers'; how: RemoteAnswer; forMs: number }
  | { part: 'embedder'; kind: 'answers'; how: EmbedderAnswer; forMs: number }
  | { part: 'disk'; kind: 'full disk'; forMs: number }

export type RemoteAnswer =
  | 'unavailable'
  | 'busy'
  | 'slow'
  | 'hang'
  | 'lost answer'
  | 'half an answer'
  | 'failing writes'
export type EmbedderAnswer = 'unavailable' | 'busy' | 'slow' | 'hang' | 'lie'

/** An operation as it is planned; `valueText` and `answer` are the ledger's. */
export type PlannedOperation = Omit<Operation, 'sentAtMs' | 'answer'>

type Step =
  | { atMs: number; do: 'operations'; operations: PlannedOperation[] }
  | { atMs: number; do: 'redrive' }
  | { atMs: number; do: 'fault'; fault: Fault }

export interface Plan {
  seed: number
  seconds: number
  /** The daemon's own Redis, or one of its own behind a link that can fail. */
  redis: 'private' | 'behind a link'
  /** Whether the data folder stands on a small file system, which is filled now and then. */
  smallDisk: boolean
  concurrency: number
  allowance: Allowance
  steps: Step[]
  lastOutage: LastOutage
}

/** How the remote is away in the last outage: connections refused, or every answer a 503. */
export type Absence = 'refuse' | 'unavailable'

/**
 * After all else, in a life of the daemon that nothing ends any more: remote and embedder are away until
 * their gates are shut, while work waits. Drawn apart from the steps, which are the same with it and without.
 */
export interface LastOutage {
  /** Handed over while all works, so that the gates are open when it begins. */
  before: PlannedOperation[]
  /** Handed over when it has begun. */
  during: PlannedOperation[]
  remote: Absence
  /** From when the daemon has said that both are away. */
  forMs: number
}

const KEYS = ['a', 'b', 'c', 'd', 'e', 'f', 'g', '__proto__', 'a:b', '../up', '☃', 'two words']
const NAMESPACES = ['default', 'default', 'default', 'team a']
const OVERSIZED_CHARACTERS = 20_000
const POISON_BURST = 15

/** Draws from a seed, in words. */
class Draw {
  readonly unit: () => number

  constructor(seed: number) {
    this.unit = createRandom(seed)
  }

  chance(probability: number): boolean {
    return this.unit() < probability
  }

  between(min: number, max: number): number {
    return Math.round(min + this.unit() * (max - min))
  }

  one<T>(list: readonly T[]): T {
    return list[Math.floor(this.unit() * list.length)] as T
  }

  /** Of `[weight, choice]`. */
  weighted<T>(choices: readonly (readonly [weight: number, choice: T])[]): T {
    let left = this.unit() * choices.reduce((sum, [weight]) => sum + weight, 0)
    for (const [weight, choice] of choices) {
      left -= weight
      if (left < 0) return choice
    }
    return (choices.at(-1) as readonly [number, T])[1]
  }
}

export interface PlanOptions {
  /** Whether this machine can mount a small file system; the only thing a plan takes from it. */
  canFillDisk: boolean
  /**
   * Nothing that ends the daemon or piles up by design: what grows then is a leak. Default false.
   */
  steady?: boolean
}

export function makePlan(seed: number, seconds: number, { canFillDisk, steady = false }: PlanOptions): Plan {
  const draw = new Draw(seed)
  const redis = draw.chance(0.5) ? 'private' : 'behind a link'
  const smallDisk = draw.chance(0.25) && canFillDisk && !steady
  const allowance = { unclearRemote: draw.chance(0.5), unclearEmbedder: draw.chance(0.5) }
  const shape: Shape = { redis, smallDisk, allowance, steady, lengthMs: seconds * 1000 }
  const next = { number: 1 }
  const steps = [
    ...planOperations(draw, shape, next),
    ...PARTS.filter((part) => !steady || part !== 'process').flatMap((part) =>
      planFaults(part, draw, shape, next),
    ),
  ].sort((a, b) => a.atMs - b.atMs)
  const concurrency = draw.one([1, 10, 100])
  const lastOutage = planLastOutage(new Draw(~seed), next)
  return { seed, seconds, redis, smallDisk, concurrency, allowance, steps, lastOutage }
}

/** A new key, a newer value and a delete on the remote; each embedded, so that neither lane is idle. */
function planLastOutage(draw: Draw, next: Counter): LastOutage {
  const plan = (key: string, kind: 'set' | 'delete'): PlannedOperation => {
    const number = next.number++
    const valueText = kind === 'set' ? makeValueText(number, draw.between(0, 50)) : undefined
    const via = draw.one<Way>(['client', 'bullmq', 'http'])
    return { number, namespace: 'default', key, kind, embed: kind === 'set', via, valueText }
  }
  return {
    before: [plan('last-changed', 'set'), plan('last-deleted', 'set')],
    during: [plan('last-changed', 'set'), plan('last-deleted', 'delete'), plan('last-new', 'set')],
    remote: draw.one<Absence>(['refuse', 'unavailable']),
    forMs: draw.between(200, 1500),
  }
}

type Shape = Pick<Plan, 'redis' | 'smallDisk' | 'allowance'> & { lengthMs: number; steady: boolean }

/** The number of the next operation. */
interface Counter {
  number: number
}

function planOperations(draw: Draw, shape: Shape, next: Counter): Step[] {
  const steps: Step[] = []
  const { lengthMs, steady } = shape
  const keys = keysFor(lengthMs)
  for (let atMs = 0; atMs < lengthMs; atMs += draw.between(20, 250)) {
    if (draw.chance(0.02) && !steady) {
      steps.push({ atMs, do: 'redrive' })
      continue
    }
    if (draw.chance(0.15)) {
      steps.push(...planEpisode(atMs, next, draw))
      continue
    }
    const via = draw.weighted<Way>([
      [5, 'client'],
      [4, 'bullmq'],
      [2, 'http'],
      [0.1, 'command'],
    ])
    const count =
      via === 'command'
        ? 1
        : draw.weighted([
            [6, 1],
            [3, draw.between(2, 8)],
            [0.5, draw.between(20, 60)],
          ])
    const operations = Array.from({ length: count }, () =>
      planOperation(next.number++, via, { draw, keys, steady }),
    )
    steps.push({ atMs, do: 'operations', operations })
  }
  return steps
}

/** The few writes of a key of its own, at short distances: what goes wrong with it, no later write sets right. */
function planEpisode(startsAtMs: number, next: Counter, draw: Draw): Step[] {
  const name = { namespace: 'default', key: `once-${next.number}` }
  let atMs = startsAtMs
  return Array.from({ length: draw.between(2, 4) }, () => {
    const number = next.number++
    const kind = draw.chance(0.75) ? 'set' : 'delete'
    const valueText = kind === 'set' ? makeValueText(number, draw.between(0, 50)) : undefined
    const embed = kind === 'set' && draw.chance(0.8)
    const via = draw.one<Way>(['client', 'bullmq', 'http'])
    const step: Step = {
      atMs,
      do: 'operations',
      operations: [{ ...name, number, kind, valueText, embed, via }],
    }
    atMs += draw.between(0, 1200)
    return step
  })
}

/** So many that none is written more often than the store keeps versions. */
function keysFor(lengthMs: number): string[] {
  return [...KEYS, ...Array.from({ length: Math.floor(lengthMs / 30_000) }, (_, index) => `key-${index}`)]
}

function planOperation(
  number: number,
  via: Way,
  { draw, keys, steady }: { draw: Draw; keys: readonly string[]; steady: boolean },
): PlannedOperation {
  const kind = draw.weighted<Operation['kind']>([
    [70, 'set'],
    // The command carries no metadata on a delete, by which the checker would know it.
    [via === 'command' ? 0 : 15, 'delete'],
    [via === 'bullmq' ? 8 : 0, 'rollback'],
    // Others refuse what the daemon does not take.
    [via === 'bullmq' && !steady ? 4 : 0, 'poison'],
    [(via === 'bullmq' || via === 'client') && !steady ? 4 : 0, 'oversized'],
  ])
  const name = { namespace: draw.one(NAMESPACES), key: draw.one(keys) }
  const embed = kind === 'set' && draw.chance(0.4)
  const length = kind === 'oversized' ? OVERSIZED_CHARACTERS : draw.between(0, 200)
  const isSet = kind === 'set' || kind === 'oversized'
  const valueText = isSet ? makeValueText(number, length) : undefined
  return { number, ...name, kind, embed, via, valueText }
}

function planPoison(number: number, draw: Draw): PlannedOperation {
  const name = { namespace: 'default', key: draw.one(KEYS) }
  return { number, ...name, kind: 'poison', embed: false, via: 'bullmq', valueText: undefined }
}

/** Unlike every other value; its names stand in the order of canonical JSON. */
function makeValueText(number: number, length: number): string {
  return JSON.stringify({ operation: number, padding: 'x'.repeat(length), text: `${VALUE_MARK} ${number}` })
}

/** Least and most milliseconds between the faults of a part. */
const GAPS: Record<Part, [min: number, max: number]> = {
  process: [700, 3500],
  queue: [2500, 7000],
  remote: [1500, 6000],
  embedder: [1500, 6000],
  disk: [4000, 8000],
}

function planFaults(part: Part, draw: Draw, shape: Shape, next: Counter): Step[] {
  if (part === 'disk' && !shape.smallDisk) return []
  const steps: Step[] = []
  let atMs = 0
  for (;;) {
    atMs += draw.between(...GAPS[part])
    const fault = planFault(part, draw, shape)
    const lastsMs = 'forMs' in fault ? fault.forMs : 'downMs' in fault ? fault.downMs : 0
    if (atMs + lastsMs > shape.lengthMs) return steps
    if (fault.kind === 'kill daemon at a dead letter') {
      const operations = Array.from({ length: POISON_BURST }, () => planPoison(next.number++, draw))
      steps.push({ atMs, do: 'operations', operations })
    }
    steps.push({ atMs, do: 'fault', fault })
    atMs += lastsMs
  }
}

function planFault(part: Part, draw: Draw, { redis, allowance }: Shape): Fault {
  const downMs = draw.weighted([
    [3, 0],
    [1, draw.between(200, 2500)],
  ])
  const forMs = draw.between(300, 3500)
  switch (part) {
    case 'process':
      return draw.weighted<Fault>([
        [10, { part, kind: 'kill daemon', downMs }],
        [2, { part, kind: 'kill daemon at a dead letter', downMs }],
        [2, { part, kind: 'stop daemon', downMs }],
        [3, { part, kind: 'freeze daemon', forMs }],
        [2, { part, kind: 'kill producer' }],
        [2, { part, kind: 'power cut', downMs }],
      ])
    case 'queue':
      return draw.weighted<Fault>([
        [6, { part, kind: 'kill redis', downMs }],
        [1, { part, kind: 'stop redis', downMs }],
        [2, { part, kind: 'freeze redis', forMs }],
        [1, { part, kind: 'full redis', forMs }],
        [1, { part, kind: 'read-only redis', forMs }],
        [redis === 'private' ? 0 : 5, { part, kind: 'link', link: anyLink(draw), forMs }],
      ])
    case 'remote':
      return draw.weighted<Fault>([
        [3, { part, kind: 'link', link: allowance.unclearRemote ? anyLink(draw) : 'refuse', forMs }],
        [5, { part, kind: 'answers', how: remoteAnswer(draw, allowance), forMs }],
      ])
    case 'embedder':
      return draw.weighted<Fault>([
        [2, { part, kind: 'link', link: anyLink(draw), forMs }],
        [5, { part, kind: 'answers', how: embedderAnswer(draw, allowance), forMs }],
      ])
    case 'disk':
      return { part, kind: 'full disk', forMs }
  }
}

function anyLink(draw: Draw): LinkFault {
  return draw.one(['delay', 'cut', 'black hole', 'refuse'])
}

function remoteAnswer(draw: Draw, { unclearRemote }: Allowance): RemoteAnswer {
  return draw.one(
    unclearRemote
      ? [
          'unavailable',
          'busy',
          'slow',
          'hang',
          'lost answer',
          'lost answer',
          'half an answer',
          'failing writes',
        ]
      : ['unavailable', 'busy', 'slow'],
  )
}

function embedderAnswer(draw: Draw, { unclearEmbedder }: Allowance): EmbedderAnswer {
  return draw.one(
    unclearEmbedder
      ? ['unavailable', 'busy', 'slow', 'slow', 'hang', 'lie', 'lie']
      : ['unavailable', 'busy', 'slow', 'slow', 'hang'],
  )
}

/** One line for each fault, for a person. */
export function describePlan({ steps, lastOutage, ...plan }: Plan): string {
  const operations = steps.reduce(
    (sum, step) => sum + (step.do === 'operations' ? step.operations.length : 0),
    0,
  )
  const faults = steps.flatMap((step) => {
    if (step.do === 'operations') return []
    if (step.do === 'redrive') return [`  ${(step.atMs / 1000).toFixed(2)} s  redrive every dead letter`]
    const { part, kind, ...rest } = step.fault
    const words = Object.entries(rest).map(([name, value]) => `${name} ${value}`)
    return [`  ${(step.atMs / 1000).toFixed(2)} s  ${part}: ${[kind, ...words].join(', ')}`]
  })
  const last = `  at the end  remote: ${lastOutage.remote}, embedder: refuse`
  return [`plan: ${JSON.stringify({ ...plan, operations })}`, ...faults, last].join('\n')
}
