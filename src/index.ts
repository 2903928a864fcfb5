/**
 * The public API of memsyncd, as `import ... from 'memsyncd'`: the producer, the queue, the handlers, the store and the
 * errors.
 * Nothing is opened, started or read before it is used.
 */
export type { Config } from './config.ts'
export { ERROR_CODES, type ErrorClass, type ErrorCode, MemsyncError } from './errors.ts'
export { type HandlerContext, memorySyncHandler, rollback } from './handlers/memorySync.ts'
export {
  type KeyValueStore,
  MemoryStore,
  type MemoryStoreOptions,
  openMemoryStore,
  type ReadOptions,
  type WriteOptions,
} from './infrastructure/memory/index.ts'
export type { ListOptions, ListPage, Metadata, StoredMemory } from './infrastructure/memory/port.ts'
export {
  type JobName,
  type JobTypes,
  type MemoryInput,
  type MemoryRollbackPayload,
  type MemoryRollbackResult,
  type MemorySyncJob,
  type MemorySyncPayload,
  type MemorySyncResult,
  publishedSchema,
} from './jobs/index.ts'
export type { JsonValue } from './jobs/jsonValue.ts'
export type { Version } from './jobs/version.ts'
export type { Logger } from './logger.ts'
export {
  createProducer,
  type HandedIn,
  type HandedInMany,
  type Producer,
  type ProducerOptions,
} from './producers/client.ts'
export type { Accepted, EnqueueManyOptions, EnqueueOptions } from './queue/enqueue.ts'
export { TypedWorkerQueue, type TypedWorkerQueueOptions } from './queue/index.ts'
export type { Handler } from './queue/syncWorker.ts'
