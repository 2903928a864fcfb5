import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'

const children = new Set<ChildProcess>()

afterEach(() => {
  for (const child of children) child.kill('SIGKILL')
  children.clear()
})

/** A process that prints what it is asked for, and ends when it is asked to end at once. */
async function startProcess() {
  const module = new URL('../../src/daemon/stopSignals.ts', import.meta.url).href
  const program = `
    import { onStopSignals } from ${JSON.stringify(module)}
    onStopSignals((signal) => console.log('stop', signal), (signal) => {
      console.log('now', signal)
      process.exit(0)
    })
    setInterval(() => {}, 1000)
    console.log('up')`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  children.add(child)
  const lines: string[] = []
  const reader = createInterface(child.stdout).on('line', (line) => lines.push(line))
  await once(reader, 'line')
  return { child, lines, nextLine: () => once(reader, 'line') }
}

describe('signals that stop the process', () => {
  it.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)('%s asks for an orderly stop', async (signal) => {
    const { child, lines, nextLine } = await startProcess()
    child.kill(signal)
    await nextLine()
    expect(lines).toEqual(['up', `stop ${signal}`])
  })

  it('takes a burst, as of a Ctrl-C that a parent relays too, for one request', async () => {
    const { child, lines, nextLine } = await startProcess()
    const next = nextLine()
    for (const signal of ['SIGINT', 'SIGINT', 'SIGTERM', 'SIGINT'] as const) {
      child.kill(signal)
      await sleep(20)
    }
    await next
    // The time itself is what is tested: a second request can only come after the burst.
    await sleep(400)
    const exited = once(child, 'exit')
    child.kill('SIGTERM')
    await exited
    expect(lines).toEqual(['up', 'stop SIGINT', 'now SIGTERM'])
  })
})
