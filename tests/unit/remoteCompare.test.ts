/** What the remote holds of a memory, judged against the store. */
import { describe, expect, it } from 'vitest'
import type { Receipt, StoredMemory } from '../../src/infrastructure/memory/port.ts'
import { isHeldNewer, judge, localStateOf, remoteVersion } from '../../src/infrastructure/remote/compare.ts'
import { contentOf } from '../../src/infrastructure/remote/content.ts'
import type { RemoteMemory } from '../../src/infrastructure/remote/port.ts'
import type { Version } from '../../src/jobs/version.ts'
import { at } from '../contract/writes.ts'

const memory = (more: Partial<StoredMemory> = {}): StoredMemory => ({
  ...{ namespace: 'default', key: 'k', value: 'v', deleted: false, metadata: undefined, embed: false },
  ...{ version: at(5), acceptedAtMs: 0, persistedAtMs: 0 },
  ...more,
})
const receipt = (lane: Receipt['lane'], version: Version): Receipt => ({
  lane,
  version,
  contentHash: '',
  atMs: 0,
})
const pushed = localStateOf(memory(), [receipt('push', at(5))])
const right = { contentHash: contentOf('v', undefined).contentHash }
const wrong = { contentHash: contentOf('w', undefined).contentHash }

describe('a pushed memory', () => {
  it.each([
    ['equal', [right]],
    ['missing', []],
    ['different', [wrong]],
    ['duplicate', [right, right]],
    ['duplicate', [right, wrong]],
  ] as const)('is %s', (judgement, copies) => {
    expect(judge(pushed, copies)).toBe(judgement)
  })

  it('is what its receipt says, of this version or a newer one', () => {
    expect(localStateOf(memory(), [receipt('push', at(6))]).stage).toBe('pushed')
    expect(localStateOf(memory(), [receipt('push', at(4))]).stage).toBe('waiting')
    expect(localStateOf(memory(), [receipt('embed', at(5))]).stage).toBe('waiting')
    expect(localStateOf(memory(), [receipt('push-refused', at(5)), receipt('push', at(4))]).stage).toBe(
      'refused',
    )
    expect(localStateOf(memory(), [receipt('push-refused', at(4))]).stage).toBe('waiting')
  })

  it('is another content with other metadata, and the same with none', () => {
    const withMetadata = localStateOf(memory({ metadata: { a: 1 } }), [receipt('push', at(5))])
    expect(judge(withMetadata, [right])).toBe('different')
    expect(judge(localStateOf(memory({ metadata: {} }), [receipt('push', at(5))]), [right])).toBe('equal')
  })
})

describe('what is no fault of the remote', () => {
  it('waits or was refused, whatever the remote holds', () => {
    for (const copies of [[], [wrong], [right, right]]) {
      expect(judge(localStateOf(memory(), []), copies)).toBe('waiting')
      expect(judge(localStateOf(memory(), [receipt('push-refused', at(5))]), copies)).toBe('refused')
    }
  })
})

describe('what the store does not have', () => {
  it('is unknown where the remote has it, deleted here or never here', () => {
    const tombstone = localStateOf(memory({ deleted: true, value: undefined }), [receipt('push', at(5))])
    expect(judge(tombstone, [])).toBe('equal')
    expect(judge(tombstone, [right])).toBe('unknown')
    expect(judge(undefined, [right])).toBe('unknown')
    expect(judge(undefined, [])).toBe('equal')
  })
})

describe('a version that the remote holds', () => {
  const held = (version: Version | undefined, remoteId?: string): RemoteMemory[] => [
    {
      namespace: 'default',
      key: 'k',
      contentHash: '',
      version,
      ...(remoteId === undefined ? {} : { remoteId }),
    },
  ]

  it('refuses ours where it is newer, and the same one where the server goes by versions alone', () => {
    expect(isHeldNewer(at(5), held(at(6), 'id'))).toBe(true)
    expect(isHeldNewer(at(5), held(at(5), 'id'))).toBe(false)
    expect(isHeldNewer(at(5), held(at(5)))).toBe(true)
    expect(isHeldNewer(at(5), held(at(4)))).toBe(false)
    expect(isHeldNewer(at(5), held(undefined, 'id'))).toBe(false)
    expect(isHeldNewer(at(5), [...held(at(1), 'a'), ...held(at(9), 'b')])).toBe(true)
  })

  it('is passed by raising the epochs, which keep their order', () => {
    expect(isHeldNewer(remoteVersion(at(1, 1), 8), held(at(99, 8)))).toBe(false)
    expect(remoteVersion(at(3, 2, 1), 4)).toEqual(at(3, 6, 1))
    expect(remoteVersion(at(3, 2, 1), 0)).toEqual(at(3, 2, 1))
  })
})
