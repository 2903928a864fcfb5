/** The parts of the contract of a remote that depend on what its server can do. */
import { describe, expect, test } from 'vitest'
import { contentOf } from '../../src/infrastructure/remote/content.ts'
import type { Remote } from '../../src/infrastructure/remote/port.ts'
import { collect, direct, echo, failureOf, lane, looking, memory, type RemoteCase } from './remoteCases.ts'

export function describeAddOnly(get: () => { at: RemoteCase; remote: Remote }): void {
  test('cannot remove, and says so without a call', async () => {
    const { at, remote } = get()
    await remote.push(memory('k', 'v'), direct)
    at.server.resetCalls()
    expect(await remote.remove(memory('k', null, 2), looking)).toEqual({ outcome: 'unsupported' })
    expect(at.server.requests).toEqual([])
  })

  test('cannot be read back, and says so', async () => {
    const { remote } = get()
    await expect(collect(remote, ['default'])).rejects.toThrow('cannot be read back')
    await expect(remote.find(memory('k', ''), lane)).rejects.toThrow('cannot be read back')
  })
}

export function describeRemoval(get: () => { at: RemoteCase; remote: Remote }): void {
  describe('remove', () => {
    test('takes the memory away; again, it is absent', async () => {
      const { at, remote } = get()
      const { remoteId } = await remote.push(memory('k', 'v'), direct)
      await remote.push(memory('other', 'v2'), direct)
      const target = memory('k', null, 2)
      const removed = await remote.remove(target, { signal: lane, remoteId })
      expect(removed.outcome).toBe('removed')
      expect((await at.held()).map(({ key }) => key)).toEqual(['other'])
      expect((await remote.remove(target, { signal: lane, remoteId })).outcome).toBe('absent')
      expect((await remote.remove(target, looking)).outcome).toBe('absent')
    })

    test('needs no receipt', async () => {
      const { at, remote } = get()
      await remote.push(memory('k', 'v'), direct)
      expect((await remote.remove(memory('k', null, 2), looking)).outcome).toBe('removed')
      expect(await at.held()).toEqual([])
    })

    test('of a key that never was is done', async () => {
      const { remote } = get()
      expect((await remote.remove(memory('never', null, 1), looking)).outcome).toBe('absent')
    })

    test('is done once more where its answer was lost', async () => {
      const { at, remote } = get()
      const { remoteId } = await remote.push(memory('k', 'v'), direct)
      at.server.inject({ kind: 'dropAnswer' }, { times: 1 })
      const target = memory('k', null, 2)
      await failureOf(remote.remove(target, { signal: lane, remoteId }))
      expect((await remote.remove(target, { signal: lane, remoteId })).outcome).toBe('absent')
    })

    test('leaves a newer write alone', async () => {
      const { at, remote } = get()
      await remote.push(memory('k', 'newer', 5), direct)
      expect((await remote.remove(memory('k', null, 4), looking)).outcome).toBe('superseded')
      expect(await at.held()).toHaveLength(1)
    })

    test('and a set after it brings the key back', async () => {
      const { at, remote } = get()
      const { remoteId } = await remote.push(memory('k', 'v'), direct)
      await remote.remove(memory('k', null, 2), { signal: lane, remoteId })
      await remote.push(memory('k', 'again', 3), { signal: lane, remoteId })
      expect((await at.held()).map(({ text }) => text)).toEqual(['again'])
    })
  })
}

export function describeReading(get: () => { at: RemoteCase; remote: Remote }): void {
  describe('reading back', () => {
    test('yields every memory of the namespaces asked for, and no other', async () => {
      const { remote } = get()
      const sent = Array.from({ length: 230 }, (_, n) =>
        memory(`key ${n}`, { n }, n + 1, { namespace: n % 10 === 0 ? 'b' : 'a' }),
      )
      await Promise.all(sent.map((one) => remote.push(one, direct)))
      await remote.push(memory('elsewhere', 'v', 1, { namespace: 'c' }), direct)
      const hashes = (memories: { namespace: string; key: string | undefined; contentHash: string }[]) =>
        memories.map(({ namespace, key, contentHash }) => `${namespace} ${key} ${contentHash}`).sort()
      expect(hashes(await collect(remote, ['a', 'b', 'empty']))).toEqual(
        hashes(sent.map((one) => ({ ...one, contentHash: one.content.contentHash }))),
      )
    })

    test('a push that comes late leaves a newer version alone', async () => {
      const { at, remote } = get()
      await remote.push(memory('k', 'newer', 7), direct)
      expect((await remote.push(memory('k', 'older', 6), looking)).outcome).toBe('superseded')
      expect((await at.held()).map(({ text }) => text)).toEqual(['newer'])
    })

    test('carries metadata, and tells a change of it', async () => {
      const { remote } = get()
      const metadata = {
        topic: 'tea',
        ['__proto__']: 'p',
        hash: 'mine',
        data: 'too',
        sync_key: 'x',
        created_at: 1.5,
        on: true,
      }
      const first = memory('k', 'v', 1, { content: contentOf('v', metadata) })
      const { remoteId } = await remote.push(first, direct)
      expect(await remote.find(first, lane)).toMatchObject([
        { key: 'k', contentHash: first.content.contentHash },
      ])

      const second = memory('k', 'v', 2, { content: contentOf('v', { topic: 'coffee' }) })
      expect(second.content.contentHash).not.toBe(first.content.contentHash)
      await remote.push(second, { signal: lane, remoteId })
      expect(await remote.find(second, lane)).toMatchObject([{ contentHash: second.content.contentHash }])
    })

    test('stops at a fault, and says which', async () => {
      const { at, remote } = get()
      await remote.push(memory('k', 'v'), direct)
      at.server.inject({ kind: 'status', status: 503, body: echo })
      expect((await failureOf(collect(remote, ['default']))).code).toBe('MEMSYNC_REMOTE_UNAVAILABLE')
      expect((await failureOf(remote.find(memory('k', ''), lane))).code).toBe('MEMSYNC_REMOTE_UNAVAILABLE')
    })
  })
}

export function describeLookup(get: () => { at: RemoteCase; remote: Remote; writes: () => number }): void {
  describe('a push without a receipt', () => {
    test('writes nothing where the remote holds the same already', async () => {
      const { remote, writes } = get()
      const { remoteId } = await remote.push(memory('k', 'v'), direct)
      expect(writes()).toBe(1)
      expect(await remote.push(memory('k', 'v', 2), looking)).toMatchObject({
        outcome: 'unchanged',
        remoteId,
      })
      expect(writes()).toBe(1)
    })

    test('leaves one of the duplicates that an earlier one made', async () => {
      const { at, remote } = get()
      for (const sequence of [1, 3, 2]) await remote.push(memory('k', `v${sequence}`, sequence), direct)
      expect(await at.held()).toHaveLength(3)
      expect(await remote.find(memory('k', ''), lane)).toHaveLength(3)
      expect((await remote.push(memory('k', 'v4', 4), looking)).outcome).toBe('stored')
      expect((await at.held()).map(({ text }) => text)).toEqual(['v4'])
      await remote.push(memory('k', 'v5', 5), direct)
      expect((await remote.remove(memory('k', null, 6), looking)).outcome).toBe('removed')
      expect(await at.held()).toEqual([])
    })

    test('cannot see what a slow server has yet to store; the next one clears it up', async () => {
      const { at, remote } = get()
      const hurried = at.open({ callTimeoutMs: 100 })
      at.server.inject({ kind: 'slow', delayMs: 400 }, { times: 1 })
      await failureOf(hurried.push(memory('k', 'v'), direct))
      hurried.close()
      expect((await remote.push(memory('k', 'w', 2), looking)).outcome).toBe('stored')
      await expect.poll(async () => (await at.held()).length).toBe(2)
      await remote.push(memory('k', 'x', 3), looking)
      expect((await at.held()).map(({ text }) => text)).toEqual(['x'])
    })

    test('or with one for a record that is gone, creates it once', async () => {
      const { at, remote } = get()
      const { remoteId } = await remote.push(memory('k', 'v'), direct)
      await remote.remove(memory('k', null, 2), { signal: lane, remoteId })
      const again = await remote.push(memory('k', 'v3', 3), { signal: lane, remoteId })
      expect(again.remoteId).not.toBe(remoteId)
      expect(await at.held()).toHaveLength(1)
    })

    test('or with an id that another kind of remote made, looks first', async () => {
      const { at, remote } = get()
      const { remoteId } = await remote.push(memory('k', 'v'), direct)
      const moved = await remote.push(memory('k', 'w', 2), { signal: lane, remoteId: 'row/17' })
      expect(moved).toMatchObject({ outcome: 'stored', remoteId })
      expect(await at.held()).toHaveLength(1)
    })
  })
}
