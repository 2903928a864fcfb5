/**
 * Reads the remote back and compares it with the store, key by key.
 *
 * One listing of each namespace shows what is suspect: it is kept as hashes, never as values, and the store is read
 * in pages. Each suspect is then confirmed by a lookup of its own, with the store read before and after it, so that
 * nothing is reported which a daemon was just changing. Where a server cuts its listing short, every memory of that
 * namespace is looked up.
 *
 * What it cannot see: namespaces that nobody names, and in a namespace whose listing is cut short, keys that the
 * store does not have and the listing does not show (`partlyListed` says where).
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { type ErrorCode, MemsyncError } from '../../errors.ts'
import { compareVersions, type Version } from '../../jobs/version.ts'
import type { MemoryName, Store } from '../memory/port.ts'
import {
  isHeldNewer,
  type Judgement,
  judge,
  type LocalState,
  localStateOf,
  type Problem,
  remoteVersion,
} from './compare.ts'
import type { Remote, RemoteMemory } from './port.ts'

const PAGE_SIZE = 500
/** A memory that changes at each look is being written, and the next verification sees it. */
const MAX_LOOKS = 3
const MAX_TRIES = 5

/** A lookup changes nothing, so it may be made again where the answer was lost. */
const TRIED_AGAIN: ReadonlySet<ErrorCode> = new Set(['MEMSYNC_REMOTE_RATE_LIMITED', 'MEMSYNC_REMOTE_UNCLEAR'])

/** What is wrong with one key; confirmed by a lookup. */
export interface Finding extends MemoryName {
  problem: Problem
  /** The version of the store, as the remote counts it; absent where the store has no such memory. */
  version?: Version
  /** Whether the store has it as a tombstone. */
  deletedHere: boolean
  copies: readonly RemoteMemory[]
  /** The remote would refuse the store's version as too old. */
  heldNewer: boolean
}

export interface VerifySummary {
  /** Memories of the store that were compared, tombstones included. */
  checked: number
  /** Receipt behind: on their way. */
  waiting: number
  /** The remote refused them for good: dead letters. */
  refused: number
  counts: Record<Problem, number>
  /** Records on the remote that carry no key of ours. */
  foreign: number
  /** Namespaces whose listing the server cut short. */
  partlyListed: string[]
}

export interface VerifyProgress {
  /** Records read from the remote. */
  read: number
  /** Memories whose state is known, and how many there are. */
  checked: number
  total: number
  found: number
}

export interface VerifyOptions {
  store: Pick<Store, 'list' | 'find' | 'receipts' | 'namespaces' | 'remoteState'>
  remote: Pick<Remote, 'find' | 'readAll'>
  /** Every namespace of the store unless given. */
  namespaces?: readonly string[] | undefined
  /** Lookups in flight at once. */
  concurrency: number
  signal: AbortSignal
  onFinding: (finding: Finding) => void
  onProgress?: (progress: VerifyProgress) => void
}

/** Key to content hash; `SEVERAL` where the listing showed more than one record of a key. */
type Listing = Map<string, string>
const SEVERAL = ''

/** @throws what the remote or the store cannot be read with */
export async function verify(options: VerifyOptions): Promise<VerifySummary> {
  return new Verification(options).run()
}

class Verification {
  private readonly options: VerifyOptions
  private readonly progress: VerifyProgress = { read: 0, checked: 0, total: 0, found: 0 }
  private readonly summary: VerifySummary = {
    ...{ checked: 0, waiting: 0, refused: 0, foreign: 0, partlyListed: [] },
    counts: { missing: 0, different: 0, duplicate: 0, unknown: 0 },
  }
  private epochOffset = 0

  constructor(options: VerifyOptions) {
    this.options = options
  }

  async run(): Promise<VerifySummary> {
    const { store, concurrency } = this.options
    this.epochOffset = (await store.remoteState()).epochOffset
    const held = await store.namespaces()
    const namespaces = this.options.namespaces ?? held.map(({ namespace }) => namespace)
    for (const { namespace, memories } of held) {
      if (namespaces.includes(namespace)) this.progress.total += memories
    }
    for (const namespace of new Set(namespaces)) {
      const suspects = this.suspectsOf(namespace)
      await Promise.all(Array.from({ length: concurrency }, () => this.confirmAll(suspects)))
    }
    return this.summary
  }

  /** What a listing cannot clear of suspicion; to be drawn from by many at once. */
  private async *suspectsOf(namespace: string): AsyncGenerator<MemoryName> {
    const { store } = this.options
    const { listed, isWhole } = await this.readListing(namespace)
    let after: MemoryName | undefined
    do {
      const page = await store.list({
        ...{ namespace, includeDeleted: true, limit: PAGE_SIZE },
        ...(after ? { after } : {}),
      })
      for (const memory of page.memories) {
        const { key } = memory
        const hash = listed.get(key)
        listed.delete(key)
        const local = localStateOf(memory, await store.receipts(key, namespace))
        if (local.stage === 'pushed' && !(isWhole && isAsListed(local, hash))) yield { namespace, key }
        else this.count(local.stage === 'pushed' ? 'equal' : local.stage)
      }
      this.tell()
      after = page.next
    } while (after)
    this.progress.total += listed.size
    for (const key of listed.keys()) yield { namespace, key }
  }

  private async readListing(namespace: string): Promise<{ listed: Listing; isWhole: boolean }> {
    const { remote, signal } = this.options
    const listed: Listing = new Map()
    let isWhole = true
    for await (const page of remote.readAll([namespace], signal)) {
      isWhole &&= page.complete
      for (const { key, contentHash } of page.memories) {
        if (key === undefined) this.summary.foreign++
        else listed.set(key, listed.has(key) ? SEVERAL : contentHash)
      }
      this.progress.read += page.memories.length
      this.tell()
    }
    if (!isWhole) this.summary.partlyListed.push(namespace)
    return { listed, isWhole }
  }

  private async confirmAll(suspects: AsyncGenerator<MemoryName>): Promise<void> {
    for await (const name of suspects) {
      const { judgement, finding } = await this.confirm(name)
      this.count(judgement)
      if (finding) this.options.onFinding(finding)
      this.tell()
    }
  }

  /** Looks at both sides until the store did not change meanwhile. */
  private async confirm(name: MemoryName): Promise<{ judgement: Judgement; finding?: Finding }> {
    for (let look = 1; look <= MAX_LOOKS; look++) {
      const before = await this.localState(name)
      const copies = await this.lookUp(name)
      if (!isSameState(before, await this.localState(name))) continue
      const judgement = judge(before, copies)
      if (judgement === 'equal' || judgement === 'waiting' || judgement === 'refused') return { judgement }
      const version = before && remoteVersion(before.version, this.epochOffset)
      return {
        judgement,
        finding: {
          ...{ ...name, problem: judgement, copies, deletedHere: before?.deleted === true },
          ...(version ? { version } : {}),
          heldNewer: version !== undefined && isHeldNewer(version, copies),
        },
      }
    }
    return { judgement: 'waiting' }
  }

  private async localState({ namespace, key }: MemoryName): Promise<LocalState | undefined> {
    const { store } = this.options
    const memory = await store.find(key, namespace)
    return memory && localStateOf(memory, await store.receipts(key, namespace))
  }

  /** At the pace that the remote asks for. */
  private async lookUp({ namespace, key }: MemoryName): Promise<RemoteMemory[]> {
    const { remote, signal } = this.options
    for (let tries = 1; ; tries++) {
      try {
        return await remote.find({ namespace, key }, signal)
      } catch (error) {
        if (!(error instanceof MemsyncError) || !TRIED_AGAIN.has(error.code) || tries === MAX_TRIES)
          throw error
        await sleep(error.retryAfterMs ?? 500 * tries, undefined, { signal })
      }
    }
  }

  private count(judgement: Judgement): void {
    this.progress.checked++
    this.summary.checked++
    if (judgement === 'equal') return
    if (judgement === 'waiting' || judgement === 'refused') this.summary[judgement]++
    else {
      this.summary.counts[judgement]++
      this.progress.found++
    }
  }

  private tell(): void {
    this.options.onProgress?.(this.progress)
  }
}

function isAsListed(local: LocalState, hash: string | undefined): boolean {
  return local.deleted ? hash === undefined : hash === local.contentHash
}

function isSameState(a: LocalState | undefined, b: LocalState | undefined): boolean {
  if (a === undefined || b === undefined) return a === b
  return a.stage === b.stage && compareVersions(a.version, b.version) === 0
}
