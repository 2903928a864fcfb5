/**
 * What every remote keeps to, run on each adapter against its test server. What an adapter cannot do is said
 * by its `can` and shown here, not left out.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { MemsyncError } from '../../src/errors.ts'
import { contentOf } from '../../src/infrastructure/remote/content.ts'
import type { Remote } from '../../src/infrastructure/remote/port.ts'
import { openBlackHole } from '../support/blackHole.ts'
import { startFaultyHttp } from '../support/faultyHttp.ts'
import { expectPrompt } from '../support/promptness.ts'
import {
  collect,
  direct,
  echo,
  FAULTS,
  failureOf,
  type KnownBy,
  lane,
  looking,
  memory,
  NAMES,
  nameOf,
  PRIVATE,
  type RemoteCase,
  VALUES,
} from './remoteCases.ts'
import { describeAddOnly, describeLookup, describeReading, describeRemoval } from './remoteParts.ts'

export function describeRemote(name: string, knownBy: KnownBy, make: () => Promise<RemoteCase>): void {
  describe(`remote ${name}`, () => {
    let at: RemoteCase
    let remote: Remote
    const writes = () => at.writeRoutes.reduce((sum, route) => sum + (at.server.calls.get(route) ?? 0), 0)

    beforeEach(async () => {
      at = await make()
      remote = at.open()
    })
    afterEach(async () => {
      remote.close()
      await at.close()
    })

    test('a probe of a healthy server resolves and stores nothing', async () => {
      await remote.probe(lane)
      expect(await at.held()).toEqual([])
      expect(writes()).toBe(0)
    })

    test('a push stores one memory, verbatim, under its namespace', async () => {
      const sent = memory('a/key', 'Likes tea.', 1, { namespace: 'alice' })
      const result = await remote.push(sent, looking)
      expect(result.outcome).toBe('stored')
      const key = remote.can.lookup ? 'a/key' : undefined
      expect(await at.held()).toEqual([{ namespace: 'alice', key, text: 'Likes tea.' }])
      expect(writes()).toBe(1)
      if (!remote.can.readBack) return
      expect(await remote.find(sent, lane)).toMatchObject([
        { namespace: 'alice', key: 'a/key', contentHash: sent.content.contentHash, version: sent.version },
      ])
    })

    test('a second push of a key replaces the first in one call, by the id of the receipt', async () => {
      const first = await remote.push(memory('k', 'old'), direct)
      at.server.resetCalls()
      const second = await remote.push(memory('k', 'new', 2), { signal: lane, remoteId: first.remoteId })
      expect(second).toMatchObject({ outcome: 'stored' })
      expect(second.remoteId).toBe(first.remoteId)
      expect([...at.server.calls.values()].reduce((a, b) => a + b)).toBe(1)
      const texts = (await at.held()).map(({ text }) => text)
      // The legacy wrapper knows no keys: it adds.
      expect(texts).toEqual(remote.can.lookup ? ['new'] : ['old', 'new'])
    })

    test('every call carries a request id of its own, and the result names the last', async () => {
      const ids = new Set<string>()
      for (let at = 1; at <= 3; at++)
        ids.add((await remote.push(memory('k', `v${at}`, at), direct)).requestId)
      const sent = at.server.requests.map(({ headers }) => headers['x-request-id'])
      expect(ids.size).toBe(3)
      expect(new Set(sent)).toEqual(ids)
    })

    test('each value arrives as it is', async () => {
      for (const [key, value] of Object.entries(VALUES)) {
        const sent = memory(key, value)
        await remote.push(sent, direct)
        const held = await at.held()
        const mine = remote.can.lookup ? held.find((one) => one.key === key) : held.at(-1)
        expect(mine?.text === sent.content.text, key).toBe(true)
        if (!remote.can.readBack) continue
        const [found, ...others] = await remote.find(sent, lane)
        expect(found, key).toMatchObject({ key, contentHash: sent.content.contentHash })
        expect(others).toEqual([])
      }
    })

    test('each name of a key and of a namespace stands for itself', async () => {
      for (const word of NAMES) {
        await remote.push(memory(word, `key ${word.length}`), direct)
        await remote.push(memory('k', `namespace ${word.length}`, 1, { namespace: word }), direct)
      }
      expect(await at.held()).toHaveLength(NAMES.length * 2)
      if (!remote.can.readBack) return
      for (const word of NAMES) {
        const namespace = word
        expect(await remote.find(memory(word, ''), lane), word).toMatchObject([
          { key: word, contentHash: contentOf(`key ${word.length}`, undefined).contentHash },
        ])
        expect(await collect(remote, [namespace]), word).toMatchObject([
          { namespace, key: 'k', contentHash: contentOf(`namespace ${word.length}`, undefined).contentHash },
        ])
      }
    })

    test('the longest key and namespace fit', async () => {
      const sent = memory('ключ'.repeat(128), 'v', 1, { namespace: '名'.repeat(85) })
      await remote.push(sent, looking)
      if (remote.can.readBack) expect(await remote.find(sent, lane)).toMatchObject([{ key: sent.key }])
    })

    test('two keys with the same text are two memories', async () => {
      await remote.push(memory('one', 'yes'), direct)
      await remote.push(memory('two', 'yes'), direct)
      expect((await at.held()).map(({ text }) => text)).toEqual(['yes', 'yes'])
    })

    test('a refused memory delays no other', async () => {
      at.server.inject({ kind: 'status', status: 400, body: echo }, { times: 1 })
      expect((await failureOf(remote.push(memory('bad', PRIVATE), direct))).class).toBe('permanent')
      expect((await remote.push(memory('good', 'v'), direct)).outcome).toBe('stored')
    })

    describe('an answer lost after the server stored', () => {
      for (const kind of ['dropAnswer', 'resetMidBody'] as const) {
        test(`${kind}: the next push makes no duplicate where the remote can be looked up`, async () => {
          at.server.inject({ kind }, { times: 1 })
          const error = await failureOf(remote.push(memory('k', 'v'), direct))
          expect(error.code).toBe('MEMSYNC_REMOTE_UNCLEAR')
          expect(await at.held()).toHaveLength(1)

          const again = await remote.push(memory('k', 'v'), looking)
          expect(await at.held()).toHaveLength(remote.can.lookup ? 1 : 2)
          if (knownBy === 'id')
            expect(again).toMatchObject({ outcome: 'unchanged', remoteId: expect.any(String) })
        })
      }

      test('a newer value after it replaces what was stored', async () => {
        at.server.inject({ kind: 'dropAnswer' }, { times: 1 })
        await failureOf(remote.push(memory('k', 'old'), direct))
        await remote.push(memory('k', 'new', 2), looking)
        const texts = (await at.held()).map(({ text }) => text)
        expect(texts).toEqual(remote.can.lookup ? ['new'] : ['old', 'new'])
      })
    })

    describe('each fault has its class, in a push and in a probe', () => {
      for (const wanted of FAULTS) {
        test(nameOf(wanted), async () => {
          const endless = ['hang', 'dripHead', 'dripBody'].includes(wanted.fault.kind)
          const hurried = at.open(endless ? { callTimeoutMs: 120, probeTimeoutMs: 120 } : {})
          at.server.inject(wanted.fault)
          const error = await failureOf(hurried.push(memory('k', PRIVATE), direct))
          expect({ code: error.code, class: error.class }).toEqual({ code: wanted.code, class: wanted.class })
          const probed = await failureOf(hurried.probe(lane))
          expect(probed.code).toBe(wanted.code)
          hurried.close()
        })
      }

      test('a wrong key', async () => {
        const stranger = at.open({ key: 'm0sk_wrong' })
        expect((await failureOf(stranger.push(memory('k', 'v'), direct))).class).toBe('credentials')
        expect((await failureOf(stranger.probe(lane))).class).toBe('credentials')
        expect(await at.held()).toEqual([])
        stranger.close()
      })

      test('a refusal whose body never ends is a refusal still', async () => {
        const hurried = at.open({ callTimeoutMs: 120 })
        at.server.inject({ kind: 'dripBody', status: 413 })
        expect((await failureOf(hurried.push(memory('k', PRIVATE), direct))).class).toBe('permanent')
        hurried.close()
      })

      test('a URL where no such server is: an outage, never a dead letter', async () => {
        const lost = at.open({ url: `${at.server.url}/elsewhere` })
        expect((await failureOf(lost.push(memory('k', 'v'), direct))).class).toMatch(/outage|credentials/)
        expect((await failureOf(lost.probe(lane))).class).toMatch(/outage|credentials/)
        lost.close()
      })

      test('refused connections, and then it is back', async () => {
        await remote.push(memory('before', 'v'), direct)
        await at.server.refuse()
        // The first may still find a connection that is just being cut.
        expect((await failureOf(remote.push(memory('k', 'v'), direct))).class).toBe('outage')
        for (const call of [() => remote.push(memory('k', 'v'), direct), () => remote.probe(lane)]) {
          const error = await failureOf(call())
          expect([error.code, error.class]).toEqual(['MEMSYNC_REMOTE_UNAVAILABLE', 'outage'])
        }
        await at.server.comeBack()
        await remote.probe(lane)
        expect((await remote.push(memory('k', 'v'), direct)).outcome).toBe('stored')
      })

      test('a redirect is not followed, so the key stays here', async () => {
        const elsewhere = await startFaultyHttp({ routes: [] })
        const headers = { location: `${elsewhere.url}/there?${PRIVATE}` }
        at.server.inject({ kind: 'status', status: 307, headers })
        const error = await failureOf(remote.push(memory('k', 'v'), direct))
        expect(error.code).toBe('MEMSYNC_REMOTE_UNAVAILABLE')
        expect(error.message).toContain(elsewhere.url)
        expect(elsewhere.requests).toHaveLength(0)
        await elsewhere.close()
      })

      test.for([
        ['7', 7000],
        ['Wed, 01 Jan 2020 00:00:30 GMT', 30_000],
        ['99999999999999', 3_600_000],
        ['soon', undefined],
      ] as const)('Retry-After: %s', async ([text, wanted]) => {
        const headers = { 'retry-after': text, date: 'Wed, 01 Jan 2020 00:00:00 GMT' }
        for (const of of [429, 503]) {
          at.server.inject({ kind: 'status', status: of, headers }, { times: 1 })
          expect((await failureOf(remote.push(memory('k', 'v'), direct))).retryAfterMs).toBe(wanted)
        }
      })
    })

    describe('every wait ends', () => {
      test('at the total deadline, whatever drips', async () => {
        const hurried = at.open({ callTimeoutMs: 150, probeTimeoutMs: 80 })
        for (const kind of ['hang', 'dripHead', 'dripBody'] as const) {
          at.server.inject({ kind })
          const startMs = performance.now()
          const error = await failureOf(hurried.push(memory('k', PRIVATE), direct))
          const pushedMs = performance.now() - startMs
          expect(error.message).toContain('150 ms')
          expect(pushedMs).toBeGreaterThan(120)
          expectPrompt(pushedMs, 1500)
          await failureOf(hurried.probe(lane))
          expectPrompt(performance.now() - startMs - pushedMs, 1500)
          at.server.heal()
        }
        hurried.close()
      })

      test('at the connect deadline, where nothing is accepted', async () => {
        const hole = await openBlackHole()
        const hurried = at.open({ url: hole.url, connectTimeoutMs: 200, callTimeoutMs: 20_000 })
        const startMs = performance.now()
        for (const call of [() => hurried.push(memory('k', 'v'), direct), () => hurried.probe(lane)]) {
          // Nothing was sent, so this is not unclear.
          expect((await failureOf(call())).code).toBe('MEMSYNC_REMOTE_UNAVAILABLE')
        }
        expectPrompt(performance.now() - startMs, 3000)
        hurried.close()
        await hole.close()
      })

      test('at the most bytes read, where the answer has no end', async () => {
        at.server.inject({ kind: 'flood' })
        const error = await failureOf(remote.push(memory('k', 'v'), direct))
        expect([error.code, error.class]).toEqual(['MEMSYNC_REMOTE_UNCLEAR', 'transient'])
        expect(error.message).toContain('too long')
      })

      test('at once, when the signal is aborted', async () => {
        const stopping = new AbortController()
        at.server.inject({ kind: 'hang' })
        const calls = [
          remote.push(memory('k', PRIVATE), { signal: stopping.signal, lookupFirst: true }),
          remote.probe(stopping.signal),
        ]
        const failures = Promise.all(calls.map(failureOf))
        await expect.poll(() => at.server.requests.length).toBe(2)
        const startMs = performance.now()
        stopping.abort()
        for (const error of await failures) {
          expect([error.code, error.class]).toEqual(['MEMSYNC_INTERRUPTED', 'outage'])
        }
        expectPrompt(performance.now() - startMs, 500)
        await expect.poll(() => at.server.openSockets).toBe(0)
      })

      test('before anything is sent, when the signal was aborted already', async () => {
        const signal = AbortSignal.abort()
        const error = await failureOf(remote.push(memory('k', 'v'), { signal }))
        expect(error.code).toBe('MEMSYNC_INTERRUPTED')
        expect(at.server.requests).toEqual([])
      })

      test('a reason that is an error of ours is passed on', async () => {
        const reason = new MemsyncError('MEMSYNC_REMOTE_UNAVAILABLE', 'the gate is shut')
        await expect(remote.probe(AbortSignal.abort(reason))).rejects.toBe(reason)
      })
    })

    test('close lets go of every connection', async () => {
      await Promise.all([1, 2, 3].map((n) => remote.push(memory(`k${n}`, 'v'), direct)))
      expect(at.server.openSockets).toBeGreaterThan(0)
      remote.close()
      await expect.poll(() => at.server.openSockets).toBe(0)
    })

    test('a key that no header can carry is a setting to correct, and is not shown', () => {
      for (const key of [`${PRIVATE}\n`, `${PRIVATE} ü`, ' ']) {
        expect(() => at.open({ key })).toThrow(/^MEMSYNC_REMOTE_KEY: (?!.*private-text)/)
      }
    })

    test.for(['ftp://x', 'no url', `http://user:${PRIVATE}@x`, 'http://x/?a=1'])(
      'the URL %s is refused',
      (url) => {
        expect(() => at.open({ url })).toThrow(/^MEMSYNC_REMOTE_URL: (?!.*private-text)/)
      },
    )

    test('a probe path of the operator is asked in place of the usual one', async () => {
      const probing = at.open({ probePath: '/up?deep=1' })
      await failureOf(probing.probe(lane))
      expect(at.server.requests.map(({ target }) => target)).toContain('/up?deep=1')
      probing.close()
    })

    test('says what it can do', () => {
      const can = knownBy !== 'nothing'
      expect(remote.can).toEqual({ lookup: can, remove: can, readBack: can })
    })

    if (knownBy === 'nothing') describeAddOnly(() => ({ at, remote }))
    else {
      describeRemoval(() => ({ at, remote }))
      describeReading(() => ({ remote, at }))
    }
    if (knownBy === 'id') describeLookup(() => ({ at, remote, writes }))
  })
}
