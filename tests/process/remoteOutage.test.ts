/**
 * Invariants 4 and 7 on the real daemon: whatever the remote does and for however long, each key is there once in
 * the end, with the store's newest, and nothing but the wait is lost.
 *
 * They run four at a time, as most of their time is waiting. MEMSYNC_TEST_OUTAGE_MS is how long the long outages last; a few
 * seconds unless given.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { openSqliteStore } from '../../src/infrastructure/memory/sqlite.ts'
import type { RemoteKind } from '../../src/infrastructure/remote/port.ts'
import { startFakeHttpRemote } from '../support/fakeHttpRemote.ts'
import { startFakeLegacy } from '../support/fakeLegacy.ts'
import { startFakeMem0 } from '../support/fakeMem0.ts'
import { startFakeMem0Platform } from '../support/fakeMem0Platform.ts'
import type { Fault, FaultyHttp } from '../support/faultyHttp.ts'
import { type RemoteMachine, startRemoteMachine } from '../support/remoteMachine.ts'
import { startTcpProxy, type TcpProxy } from '../support/tcpProxy.ts'
import { tempDir } from '../support/tempDir.ts'

const KEY = 'a-key-of-the-remote'
const LONG_OUTAGE_MS = Number(process.env.MEMSYNC_TEST_OUTAGE_MS ?? 3_000)
/** The wait for its turn included. */
const TIMEOUT_MS = 4 * LONG_OUTAGE_MS + 180_000

const SERVERS: Record<RemoteKind, { start: () => Promise<FaultyHttp>; writes: string[] }> = {
  mem0: { start: () => startFakeMem0({ apiKey: KEY }), writes: ['POST /memories', 'PUT /memories/:id'] },
  'mem0-platform': {
    start: () => startFakeMem0Platform({ apiKey: KEY }),
    writes: ['POST /v3/memories/add/', 'PUT /v1/memories/:id/'],
  },
  legacy: { start: () => startFakeLegacy(), writes: ['POST /memory'] },
  http: {
    start: async () =>
      startFakeHttpRemote({ store: await openSqliteStore(`${tempDir()}/remote.db`, {}), token: KEY }),
    writes: ['PUT /v1/memory'],
  },
}

interface Scene {
  server: FaultyHttp
  machine: RemoteMachine
  /** Between the daemon and the server, where one was asked for. */
  proxy: TcpProxy | undefined
  /** Calls that write, of whatever outcome. */
  writes(): number
}

const turns = Array.from({ length: 4 }, () => Promise.resolve())

/** The scene, once one of those before it is over: more at a time would only make each other slow. */
function onScene(
  kind: RemoteKind,
  work: (scene: Scene) => Promise<void>,
  options: { proxied?: boolean } = {},
): Promise<void> {
  const turn = turns.shift() ?? Promise.resolve()
  const played = turn.then(() => play(kind, work, options))
  turns.push(played.catch(() => undefined))
  return played
}

async function play(
  kind: RemoteKind,
  work: (scene: Scene) => Promise<void>,
  { proxied = false }: { proxied?: boolean },
): Promise<void> {
  const { start, writes } = SERVERS[kind]
  const server = await start()
  const proxy = proxied ? await startTcpProxy({ port: Number(new URL(server.url).port) }) : undefined
  const url = proxy ? `http://127.0.0.1:${proxy.port}` : server.url
  const machine = await startRemoteMachine({ kind, url, directUrl: server.url, key: KEY })
  try {
    await machine.becomes({ state: 'up' })
    const countWrites = () => writes.reduce((sum, route) => sum + (server.calls.get(route) ?? 0), 0)
    await work({ server, machine, proxy, writes: countWrites })
  } finally {
    await machine.close()
    await proxy?.close()
    await server.close()
  }
}

const AWAY = 'the remote is away'
const CREDENTIALS = 'the remote refuses our credentials'
const BACK = 'the remote is back'

interface Outage {
  name: string
  begin: (server: FaultyHttp) => Promise<void> | void
  end: (server: FaultyHttp) => Promise<void> | void
  /** What the daemon says of it; nothing where it does not count as down. */
  says: string | undefined
}

function faulty(name: string, fault: Fault, says: string | undefined): Outage {
  return { name, begin: (server) => server.inject(fault), end: (server) => server.heal(), says }
}

const upstream = (code: string, says = AWAY) => faulty(`says ${code}`, { kind: 'upstream', code }, says)
const COMMON: Outage[] = [
  { name: 'refuses', begin: (server) => server.refuse(), end: (server) => server.comeBack(), says: AWAY },
  faulty('hangs', { kind: 'hang' }, AWAY),
  faulty('answers 500', { kind: 'status', status: 500 }, AWAY),
  faulty('answers 401', { kind: 'status', status: 401 }, CREDENTIALS),
]
const SLOWER: Fault = { kind: 'status', status: 429, headers: { 'retry-after': '1' } }
const OF_MEM0: Outage[][] = [
  [
    faulty('drips its head', { kind: 'dripHead' }, AWAY),
    faulty('drips its body', { kind: 'dripBody' }, AWAY),
    faulty('resets', { kind: 'reset' }, AWAY),
    faulty('asks for a slower pace', SLOWER, undefined),
  ],
  [
    upstream('provider_auth_failed', CREDENTIALS),
    ...['provider_timeout', 'provider_unavailable', 'datastore_unavailable'].map((code) => upstream(code)),
  ],
  ['vector_store_unavailable', 'provider_rate_limited', 'unknown'].map((code) => upstream(code)),
]
// A few outages each, as a remote that flaps is asked more and more seldom.
const LIVES: [kind: RemoteKind, outages: Outage[]][] = [
  ...(Object.keys(SERVERS) as RemoteKind[]).map((kind): [RemoteKind, Outage[]] => [kind, COMMON]),
  ...OF_MEM0.map((outages): [RemoteKind, Outage[]] => ['mem0', outages]),
]
const lives = LIVES.map(([kind, outages]) => ({
  ...{ kind, outages },
  names: outages.map(({ name }) => name).join(', '),
}))
const valuesOf = (count: number, value: unknown) =>
  Array.from({ length: count }, (_, n): [string, unknown] => [`k${n}`, value])

describe.concurrent('a remote that', () => {
  it.each(lives)(
    '$names and comes back: $kind',
    ({ kind, outages }) =>
      onScene(kind, async ({ server, machine }) => {
        for (const { name, begin, end, says } of outages) {
          await begin(server)
          for (const round of [1, 2, 3]) await machine.write(valuesOf(25, `${name} ${round}`))
          await machine.becomes({ gate: 'shut', ...(says === AWAY ? { state: 'down' } : {}) })
          await end(server)
          await machine.pushed()
          expect(machine.said(), name).toEqual(says === undefined ? [] : [says, BACK])
          const status = await machine.daemon.status()
          expect(status.deadLetters, name).toBe(0)
          expect(status.lanes.push.gate, name).not.toBe('shut')
          // No attempt burnt: each push ended in its first try, however often it went back.
          expect(new Set(await machine.attempts()), name).toEqual(new Set([1]))
          if (kind !== 'legacy') expect(await machine.wrong(), name).toEqual([])
        }
      }),
    TIMEOUT_MS,
  )

  it.each(['mem0', 'mem0-platform', 'http'] as const)(
    'stores and drops the answer: %s holds each key once',
    (kind) =>
      onScene(kind, async ({ server, machine }) => {
        for (const route of SERVERS[kind].writes) server.inject({ kind: 'dropAnswer' }, { times: 8, route })
        await machine.write(valuesOf(30, 'first'))
        await machine.pushed()
        await machine.write(valuesOf(30, 'second'))
        await machine.pushed()
        expect(await machine.wrong()).toEqual([])
        expect((await machine.daemon.status()).deadLetters).toBe(0)
      }),
    TIMEOUT_MS,
  )

  it.each(Object.keys(SERVERS) as RemoteKind[])(
    `is gone for ${LONG_OUTAGE_MS} ms while 5,000 writes come over 500 keys: %s gets 500 writes`,
    (kind) =>
      onScene(kind, async ({ server, machine, writes }) => {
        await server.refuse()
        const outage = sleep(LONG_OUTAGE_MS)
        for (let round = 0; round < 10; round++) await machine.write(valuesOf(500, { round }))
        await outage
        expect((await machine.daemon.status()).lanes.push).toMatchObject({ gate: 'shut', active: 0 })
        await server.comeBack()
        await machine.pushed(60_000)
        expect(writes()).toBe(500)
        // What the wrapper holds cannot be read back.
        if (kind !== 'legacy') expect(await machine.wrong()).toEqual([])
        expect(machine.said()).toEqual([AWAY, BACK])
        expect(new Set(await machine.attempts())).toEqual(new Set([1]))
        expect(await machine.daemon.status()).toMatchObject({ deadLetters: 0, totals: { pushed: 500 } })
      }),
    TIMEOUT_MS,
  )
})

describe.concurrent('a link that', () => {
  it.each(['mem0', 'http'] as const)(
    `is cut without a reset for ${LONG_OUTAGE_MS} ms, with pushes in flight: all arrives at %s`,
    (kind) =>
      onScene(
        kind,
        async ({ machine, proxy }) => {
          await machine.write(valuesOf(20, 'before'))
          await machine.pushed()
          proxy?.delay(50)
          await machine.write(valuesOf(100, 'in flight'))
          proxy?.blackHole()
          const outage = sleep(LONG_OUTAGE_MS)
          await machine.write(valuesOf(150, 'meanwhile'))
          await machine.becomes({ state: 'down' })
          await outage
          proxy?.pass()
          await machine.pushed(60_000)
          expect(await machine.wrong()).toEqual([])
          expect(machine.said()).toEqual([AWAY, BACK])
          expect((await machine.daemon.status()).deadLetters).toBe(0)
        },
        { proxied: true },
      ),
    TIMEOUT_MS,
  )
})
