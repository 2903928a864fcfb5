/**
 * `MemoryStore`: the key-value store for code on this machine, with or without a daemon beside it.
 *
 * - Opens the data folder's store at first use, and nothing before a first write makes it; reads open it for
 *   reading only. Nothing here keeps a process alive, so a script need not close it.
 * - A write is durable when its promise resolves, and newer than all the store held when it was made. The writes
 *   of one process take effect in the order of the calls, awaited or not.
 * - What goes in is checked by the rules of the wire and comes out exactly, as a fresh object each time.
 */
import { join } from 'node:path'
import { type Config, loadConfig } from '../../config.ts'
import { MemsyncError } from '../../errors.ts'
import { encodeJsonValue, type JsonValue } from '../../jobs/jsonValue.ts'
import { DEFAULT_NAMESPACE, findTextProblem, MAX_KEY_BYTES, MAX_NAMESPACE_BYTES } from '../../jobs/key.ts'
import { redactMemory, redactValue } from '../../jobs/redact.ts'
import type { ListOptions, ListPage, Metadata, Store, StoredMemory, Write } from './port.ts'
import type { MemorySearch, SearchOptions, SearchResult } from './search.ts'
import { openSqliteStore } from './sqlite.ts'

export type { FoundMemory, SearchOptions, SearchResult } from './search.ts'

const STORE_FILE = 'memory.db'
const VECTORS_FILE = 'vectors.db'

/** Where the data folder's store is, once there is one. */
export function storePath({ dataDir }: Pick<Config, 'dataDir'>): string {
  return join(dataDir, STORE_FILE)
}

/** Where the data folder's vectors are, once something was embedded. */
export function vectorsPath({ dataDir }: Pick<Config, 'dataDir'>): string {
  return join(dataDir, VECTORS_FILE)
}

/**
 * The store in the data folder, whose engine-neutral interface the daemon and the commands work on.
 * @param options `readOnly`: only read, beside a daemon that writes; makes nothing
 * @throws MEMSYNC_STORE_UNAVAILABLE, MEMSYNC_STORE_CORRUPT, MEMSYNC_STORE_NEWER
 */
export function openStore(
  config: Pick<Config, 'dataDir' | 'historyVersions'>,
  options: { readOnly?: boolean } = {},
): Promise<Store> {
  const { historyVersions } = config
  return openSqliteStore(storePath(config), { ...options, historyVersions })
}

export interface ReadOptions {
  /** Whose memory it is; `default` unless given. */
  namespace?: string
}

export interface WriteOptions extends ReadOptions {
  /** Carried to the remote; 16 KiB of JSON at most. */
  metadata?: Metadata
  /** Whether the memory is to be embedded; false unless given. */
  embed?: boolean
}

/** Every method may also throw what `openStore` does; those that take a key, MEMSYNC_INVALID_MEMORY. */
export interface KeyValueStore {
  /** @throws MEMSYNC_INVALID_VALUE, MEMSYNC_VALUE_TOO_LARGE */
  set(key: string, value: unknown, options?: WriteOptions): Promise<void>
  /** The value, or undefined where the key is absent or deleted. */
  get(key: string, options?: ReadOptions): Promise<JsonValue | undefined>
  has(key: string, options?: ReadOptions): Promise<boolean>
  /** Leaves a tombstone, whether or not the key was there, so that no older write brings it back. */
  delete(key: string, options?: WriteOptions): Promise<void>
  /**
   * Restores the value before the last write, as a new write; deletes the key where there was none before.
   * @returns the value the key has now, undefined where it is deleted
   */
  rollback(key: string, options?: ReadOptions): Promise<JsonValue | undefined>
  /** The current write, then those before it; tombstones included. */
  history(key: string, options?: ReadOptions): Promise<StoredMemory[]>
  /** A page of memories by namespace and key, in the order of their UTF-8 bytes. */
  list(options?: ListOptions): Promise<ListPage>
  /**
   * The memories nearest in meaning, of those that are embedded.
   * @param query a text, which makes one call to the embedding server, or a vector of its model, which makes none
   * @throws MEMSYNC_BAD_USAGE, MEMSYNC_EMBEDDER_CREDENTIALS without a key, and the other codes of embedding
   */
  search(query: string | Float32Array, options?: SearchOptions): Promise<SearchResult>
  /** Ends the use of the store; idempotent. The next call opens it again. */
  close(): Promise<void>
}

/** Each setting is read from the environment and the settings file unless it is given here. */
export interface MemoryStoreOptions {
  dataDir?: string
  /** Writes kept per key, the current one included. */
  historyVersions?: number
  /** The longest value taken, in bytes of JSON. */
  maxValueBytes?: number
}

function checkKey(key: string, { namespace = DEFAULT_NAMESPACE }: ReadOptions): string {
  const keyProblem = findTextProblem(key, MAX_KEY_BYTES)
  if (keyProblem) throw new MemsyncError('MEMSYNC_INVALID_MEMORY', `key: ${keyProblem}`)
  const namespaceProblem = findTextProblem(namespace, MAX_NAMESPACE_BYTES)
  if (namespaceProblem) throw new MemsyncError('MEMSYNC_INVALID_MEMORY', `namespace: ${namespaceProblem}`)
  return namespace
}

type PreparedWrite = Omit<Write, 'version' | 'acceptedAtMs'>

class LazyMemoryStore implements KeyValueStore {
  readonly #options: MemoryStoreOptions
  #settings: Config | undefined
  #reader: Promise<Store> | undefined
  #writer: Promise<Store> | undefined
  #search: Promise<MemorySearch> | undefined
  /** Settles when the last write asked for has, so that writes keep the order of the calls. */
  #lastWrite: Promise<unknown> = Promise.resolve()

  constructor(options: MemoryStoreOptions) {
    this.#options = options
  }

  /** Read at first use, as a script may set its environment after it imported this. */
  #readSettings(): Config {
    this.#settings ??= { ...loadConfig().config, ...this.#options }
    return this.#settings
  }

  #openReader(): Promise<Store> {
    if (this.#writer !== undefined) return this.#writer
    this.#reader ??= openStore(this.#readSettings(), { readOnly: true }).catch((error: unknown) => {
      // What failed once may be mended, so the next call tries again.
      this.#reader = undefined
      throw error
    })
    return this.#reader
  }

  #openWriter(): Promise<Store> {
    this.#writer ??= openStore(this.#readSettings()).catch((error: unknown) => {
      this.#writer = undefined
      throw error
    })
    return this.#writer
  }

  /** Applies what `prepared` comes to, once every write asked for before has been settled. */
  #commit(prepared: Promise<PreparedWrite>): Promise<Store> {
    const acceptedAtMs = Date.now()
    const turn = this.#lastWrite
    const committed = prepared.then(async (write) => {
      await turn
      const store = await this.#openWriter()
      await store.apply([{ ...write, version: await store.nextLocalVersion(), acceptedAtMs }])
      return store
    })
    this.#lastWrite = Promise.allSettled([turn, committed])
    return committed
  }

  /** The write as it is at the moment of the call, whatever the caller does to its objects afterwards. */
  async #prepare(
    op: 'set' | 'delete',
    key: string,
    { namespace, metadata, embed }: WriteOptions,
    valueJson?: string,
  ): Promise<PreparedWrite> {
    const input = { key, op, namespace, embed, metadata: metadata && { ...metadata } }
    const { parsePayload } = await import('../../jobs/index.ts')
    // The value was checked when it was encoded; null stands in for it.
    const checked = redactMemory(
      parsePayload('MEMORY_SYNC', op === 'set' ? { ...input, value: null } : input),
      this.#readSettings().redact,
    )
    return {
      op,
      key,
      namespace: checked.namespace,
      embed: checked.embed,
      ...(valueJson === undefined ? {} : { valueJson }),
      ...(checked.metadata ? { metadataJson: JSON.stringify(checked.metadata) } : {}),
    }
  }

  async set(key: string, value: unknown, options: WriteOptions = {}): Promise<void> {
    const { maxValueBytes, redact } = this.#readSettings()
    let valueJson = encodeJsonValue(value, maxValueBytes)
    if (redact === 'mask') valueJson = JSON.stringify(redactValue(value))
    await this.#commit(this.#prepare('set', key, options, valueJson))
  }

  async delete(key: string, options: WriteOptions = {}): Promise<void> {
    await this.#commit(this.#prepare('delete', key, options))
  }

  async rollback(key: string, options: ReadOptions = {}): Promise<JsonValue | undefined> {
    const namespace = checkKey(key, options)
    const store = await this.#commit(Promise.resolve({ op: 'rollback', key, namespace }))
    return (await store.find(key, namespace))?.value
  }

  async #find(key: string, options: ReadOptions): Promise<StoredMemory | undefined> {
    const namespace = checkKey(key, options)
    return (await this.#openReader()).find(key, namespace)
  }

  async get(key: string, options: ReadOptions = {}): Promise<JsonValue | undefined> {
    return (await this.#find(key, options))?.value
  }

  async has(key: string, options: ReadOptions = {}): Promise<boolean> {
    return (await this.#find(key, options))?.deleted === false
  }

  async history(key: string, options: ReadOptions = {}): Promise<StoredMemory[]> {
    const namespace = checkKey(key, options)
    return (await this.#openReader()).history(key, namespace)
  }

  async list(options?: ListOptions): Promise<ListPage> {
    return (await this.#openReader()).list(options)
  }

  async search(query: string | Float32Array, options?: SearchOptions): Promise<SearchResult> {
    this.#search ??= this.#openSearch()
    // What failed once may be mended, so the next call tries again.
    this.#search.catch(() => {
      this.#search = undefined
    })
    return (await this.#search).search(await this.#openReader(), query, options)
  }

  async #openSearch(): Promise<MemorySearch> {
    // Loaded here, as most users of the store never search.
    const { MemorySearch } = await import('./search.ts')
    return new MemorySearch(this.#readSettings())
  }

  async close(): Promise<void> {
    await this.#lastWrite
    await (await this.#search)?.close()
    this.#search = undefined
    const open = [this.#reader, this.#writer]
    this.#reader = undefined
    this.#writer = undefined
    for (const store of open) await (await store)?.close()
  }
}

/** A `MemoryStore` on another data folder, or with other limits. */
export function openMemoryStore(options: MemoryStoreOptions = {}): KeyValueStore {
  return new LazyMemoryStore(options)
}

/** The store of the data folder that the settings name. */
export const MemoryStore: KeyValueStore = openMemoryStore()
