/** The same answer of a remote may be one memory's fault or the fault of all: which it is, and what follows. */
import { afterEach, beforeEach, expect, it } from 'vitest'
import { openRemote } from '../../src/infrastructure/remote/index.ts'
import type { Remote } from '../../src/infrastructure/remote/port.ts'
import { startFakeMem0 } from '../support/fakeMem0.ts'
import type { FaultyHttp } from '../support/faultyHttp.ts'
import { type PushMachine, startPushMachine } from '../support/pushMachine.ts'
import { waitFor } from '../support/waitFor.ts'

const WRITES = ['POST /memories', 'PUT /memories/:id']

let server: FaultyHttp
let remote: Remote
let machine: PushMachine
beforeEach(async () => {
  server = await startFakeMem0()
  remote = openRemote('mem0', { url: server.url, callTimeoutMs: 1000, probeTimeoutMs: 500 })
  machine = await startPushMachine(remote, { remoteKind: 'mem0', remoteUrl: server.url })
})
afterEach(async () => {
  await machine.close()
  await server.close()
})

const writes = () => WRITES.reduce((sum, route) => sum + (server.calls.get(route) ?? 0), 0)

/** Answers each push of this one key to a Mem0 with the status. @returns how many there were so far */
function failEachPushOf(key: string, status: number): () => number {
  let pushes = 0
  const push = remote.push.bind(remote)
  remote.push = (memory, options) => {
    if (memory.key === key) {
      pushes++
      server.inject({ kind: 'status', status }, { times: 1, route: 'POST /memories' })
    }
    return push(memory, options)
  }
  return () => pushes
}

it('takes a memory that the remote chokes on aside, and goes on with the others', async () => {
  await machine.write([['first', 'f']])
  await machine.pushed()
  const poisoned = failEachPushOf('poison', 500)
  await machine.write([['poison', 'p']])
  await waitFor('it is a dead letter', async () => (await machine.push.worker.deadLetters.count()) === 1)
  // The first time is free.
  expect(poisoned()).toBe(4)
  expect(machine.push.gate).toBe('open')
  expect(machine.log.filter(({ message }) => message.startsWith('the remote is'))).toEqual([])
  await machine.write([['good', 'g']])
  await machine.pushed()
})

it('takes a memory that a firewall stops aside, and neither shuts for it nor tells of credentials', async () => {
  await machine.write([['first', 'f']])
  await machine.pushed()
  const stopped = failEachPushOf('walled', 403)
  await machine.write([['walled', "'; DROP TABLE"]])
  for (let others = 1; others <= 2; others++) {
    await waitFor('it was stopped once more', () => stopped() === others)
    await machine.write([[`other-${others}`, others]])
  }
  const [entry] = await waitFor('it is a dead letter', async () => {
    const entries = await Array.fromAsync(machine.push.worker.deadLetters.list())
    return entries.length > 0 ? entries : undefined
  })
  expect(entry).toMatchObject({
    data: { key: 'walled' },
    code: 'MEMSYNC_REMOTE_FORBIDDEN',
    class: 'permanent',
  })
  expect(stopped()).toBe(3)
  expect(machine.push.gate).toBe('open')
  expect(machine.log.filter(({ message }) => message.startsWith('the remote '))).toEqual([])
})

it('a key without the right to write shuts the gate, is told once, and kills no memory', async () => {
  await machine.write([['first', 'f']])
  await machine.pushed()
  for (const route of WRITES) server.inject({ kind: 'status', status: 403 }, { route })
  await machine.write(Array.from({ length: 20 }, (_, n): [string, number] => [`k${n}`, n]))
  await waitFor('it is noticed', () => machine.push.remoteStatus.state === 'credentials')
  const tried = writes()
  await waitFor('it is tried again', () => writes() > tried + 1)
  server.heal()
  await machine.pushed()
  expect(await machine.push.worker.deadLetters.count()).toBe(0)
  const told = machine.log.filter(({ message }) => message.startsWith('the remote '))
  expect(told.map(({ message }) => message)).toEqual([
    'the remote refuses our credentials',
    'the remote is back',
  ])
})
