/**
 * Collects the texts of many jobs in flight and embeds them in as few requests as the limits allow.
 *
 * - A text that has a vector, or is on its way for another job, makes no call. What a call brought is saved before
 *   anything else happens, so it is never paid twice.
 * - Requests go out one after the other. While one is on its way the next fills; one that is not full waits until
 *   nothing has come for `LINGER_MS`.
 * - Texts are read and counted one job at a time, and only while there is room, so that what is held in memory is
 *   about two requests, however many jobs are in flight.
 * - Each job fails alone: by a text of its own, by the request its text was in, or by an outage, which fails all.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { MemsyncError, toMemsyncError } from '../errors.ts'
import type { Embedder } from './embedder.ts'
import { embedBisecting, fillRequests } from './requests.ts'

const LINGER_MS = 50
const MAX_INPUTS = 2048
/** Vectors saved in one transaction, which blocks the process. */
const SAVED_AT_ONCE = 64

export interface Text {
  contentHash: string
  text: string
  tokens: number
}

export interface EmbedBatcherOptions {
  embedder: Embedder
  /** Which of these hashes have no vector. */
  missing: (contentHashes: readonly string[]) => Promise<Set<string>>
  /** Keeps vectors, with what they cost; durable when it resolves. */
  save: (
    vectors: { contentHash: string; vector: Float32Array }[],
    spending: { calls: number; tokens: number; cacheHits: number },
  ) => Promise<void>
  /**
   * How many tokens the next request may take.
   * @throws MEMSYNC_EMBEDDER_BUDGET where none of these texts may go today
   */
  allowance: (texts: readonly { tokens: number }[]) => Promise<number>
}

interface Waiter {
  left: number
  resolve: () => void
  reject: (error: MemsyncError) => void
}

type Entry = Text & { waiters: Waiter[] }

export class EmbedBatcher {
  private readonly options: EmbedBatcherOptions
  private readonly entries = new Map<string, Entry>()
  private tokens = 0
  private turn: Promise<unknown> = Promise.resolve()
  private room = Promise.withResolvers<void>()
  private running: Promise<void> | undefined
  private lastArrivalAtMs = 0
  private pauseUntilMs = 0
  private cacheHits = 0
  private readonly closing = new AbortController()

  constructor(options: EmbedBatcherOptions) {
    this.options = options
  }

  /**
   * Runs `load` when there is room, and resolves with what it came to once each of its texts has a saved vector.
   * @throws what `load` throws, what the embedder throws; MEMSYNC_INTERRUPTED on `signal`
   */
  async embed<T extends { texts: readonly Text[] }>(load: () => Promise<T>, signal: AbortSignal): Promise<T> {
    const admitted = this.turn.then(() => this.admit(load, signal))
    // Its own caller is told; the next in the line has its turn all the same.
    this.turn = admitted.catch(() => undefined)
    const { loaded, done } = await admitted
    await interruptible(done, signal)
    return loaded
  }

  /** Aborts the call on its way and fails what waits. Idempotent. */
  async close(): Promise<void> {
    this.closing.abort()
    this.room.resolve()
    await this.running
  }

  private async admit<T extends { texts: readonly Text[] }>(
    load: () => Promise<T>,
    signal: AbortSignal,
  ): Promise<{ loaded: T; done: Promise<void> }> {
    while (this.isFull(2)) await interruptible(this.room.promise, signal)
    if (signal.aborted || this.closing.signal.aborted) throw interrupted()
    const loaded = await load()
    const known = new Map(loaded.texts.map((text) => [text.contentHash, text]))
    const missing = await this.options.missing([...known.keys()])
    this.cacheHits += loaded.texts.length - missing.size
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    // Awaited a turn later; until then its failure must not count as unhandled.
    promise.catch(() => undefined)
    const waiter: Waiter = { left: missing.size, resolve, reject }
    if (missing.size === 0) resolve()
    for (const hash of missing) {
      const entry = this.entries.get(hash) ?? this.add(known.get(hash) as Text)
      entry.waiters.push(waiter)
    }
    this.lastArrivalAtMs = performance.now()
    if (this.entries.size > 0 || this.cacheHits > 0) {
      this.running ??= this.run().finally(() => {
        this.running = undefined
      })
    }
    return { loaded, done: promise }
  }

  private add(text: Text): Entry {
    const entry = { ...text, waiters: [] }
    this.entries.set(text.contentHash, entry)
    this.tokens += text.tokens
    return entry
  }

  private isFull(requests: number): boolean {
    const { maxRequestTokens } = this.options.embedder
    return this.entries.size >= requests * MAX_INPUTS || this.tokens >= requests * maxRequestTokens
  }

  private async run(): Promise<void> {
    try {
      do {
        await this.gather()
        await this.sendOne()
      } while (this.entries.size > 0)
    } catch (thrown) {
      this.failAll(toMemsyncError(thrown, 'MEMSYNC_HANDLER_FAILED'))
    }
  }

  private async gather(): Promise<void> {
    const { signal } = this.closing
    for (;;) {
      const nowMs = performance.now()
      const pauseMs = this.pauseUntilMs - nowMs
      const lingerMs = this.isFull(1) ? 0 : this.lastArrivalAtMs + LINGER_MS - nowMs
      const waitMs = Math.max(pauseMs, lingerMs)
      if (signal.aborted) throw interrupted()
      if (waitMs <= 0) return
      // Ends by the abort, which the next turn sees.
      await sleep(Math.min(waitMs, 1000), undefined, { signal }).catch(() => undefined)
    }
  }

  private async sendOne(): Promise<void> {
    const { embedder, allowance, save } = this.options
    const cacheHits = this.cacheHits
    this.cacheHits = 0
    if (cacheHits > 0) await save([], { calls: 0, tokens: 0, cacheHits })
    const waiting = [...this.entries.values()]
    if (waiting.length === 0) return
    const maxTokens = Math.min(embedder.maxRequestTokens, await allowance(waiting))
    const [request = []] = fillRequests(waiting, maxTokens, MAX_INPUTS)
    try {
      const texts = request.map(({ text }) => text)
      for await (const outcome of embedBisecting(embedder, texts, this.closing.signal)) {
        const entries = outcome.positions.map((position) => request[position] as Entry)
        if ('error' in outcome) {
          for (const entry of entries) this.fail(entry, outcome.error)
          continue
        }
        this.pauseUntilMs = performance.now() + outcome.pauseMs
        const tokens = outcome.tokens ?? entries.reduce((sum, entry) => sum + entry.tokens, 0)
        let cost = { calls: 1, tokens, cacheHits: 0 }
        for (let start = 0; start < entries.length; start += SAVED_AT_ONCE) {
          const some = entries.slice(start, start + SAVED_AT_ONCE)
          await save(
            some.map(({ contentHash }, index) => ({
              contentHash,
              vector: outcome.vectors[start + index] as Float32Array,
            })),
            cost,
          )
          cost = { calls: 0, tokens: 0, cacheHits: 0 }
          for (const entry of some) this.succeed(entry)
          await sleep(0)
        }
      }
    } catch (thrown) {
      const error = toMemsyncError(thrown, 'MEMSYNC_HANDLER_FAILED')
      if (error.class === 'outage' || error.class === 'credentials') throw error
      for (const entry of request) this.fail(entry, error)
    }
  }

  private succeed(entry: Entry): void {
    this.forget(entry)
    for (const waiter of entry.waiters) {
      waiter.left--
      if (waiter.left === 0) waiter.resolve()
    }
  }

  private fail(entry: Entry, error: MemsyncError): void {
    this.forget(entry)
    for (const waiter of entry.waiters) waiter.reject(error)
  }

  private failAll(error: MemsyncError): void {
    for (const entry of [...this.entries.values()]) this.fail(entry, error)
  }

  private forget(entry: Entry): void {
    if (this.entries.delete(entry.contentHash)) this.tokens -= entry.tokens
    this.room.resolve()
    this.room = Promise.withResolvers<void>()
  }
}

function interrupted(): MemsyncError {
  return new MemsyncError('MEMSYNC_INTERRUPTED', 'the embedding was interrupted')
}

async function interruptible(done: Promise<void>, signal: AbortSignal): Promise<void> {
  const aborted = Promise.withResolvers<never>()
  const onAbort = () => aborted.reject(interrupted())
  signal.addEventListener('abort', onAbort, { once: true })
  if (signal.aborted) onAbort()
  try {
    await Promise.race([done, aborted.promise])
  } finally {
    signal.removeEventListener('abort', onAbort)
    aborted.promise.catch(() => undefined)
  }
}
