/** Writes as the contract's tests make them, and the outcomes they can have. */
import type { Write } from '../../src/infrastructure/memory/port.ts'
import type { Version } from '../../src/jobs/version.ts'

export const at = (sequence: number, epoch = 1, index = 0): Version => ({ epoch, sequence, index })

export function setOf(key: string, value: unknown, version: Version, more: Partial<Write> = {}): Write {
  const valueJson = JSON.stringify(value)
  return {
    op: 'set',
    namespace: 'default',
    key,
    valueJson,
    version,
    acceptedAtMs: 1_700_000_000_000,
    ...more,
  }
}

export function deleteOf(key: string, version: Version, more: Partial<Write> = {}): Write {
  return { op: 'delete', namespace: 'default', key, version, acceptedAtMs: 1_700_000_000_000, ...more }
}

export function rollbackOf(key: string, version: Version, more: Partial<Write> = {}): Write {
  return { op: 'rollback', namespace: 'default', key, version, acceptedAtMs: 1_700_000_000_000, ...more }
}

export const APPLIED = { outcome: 'applied', repeated: false }
export const APPLIED_BEFORE = { outcome: 'applied', repeated: true }
export const SUPERSEDED = { outcome: 'superseded', repeated: false }
export const SUPERSEDED_BEFORE = { outcome: 'superseded', repeated: true }
