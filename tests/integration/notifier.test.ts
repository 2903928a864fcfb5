/** Telling the operator: through a real command and a real URL, and what goes wrong with either harms nothing. */
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { type Notice, Notifier } from '../../src/daemon/notifier.ts'
import { type FaultyHttp, startFaultyHttp } from '../support/faultyHttp.ts'
import { expectPrompt } from '../support/promptness.ts'
import { recordingLogger } from '../support/recordingLogger.ts'
import { tempDir } from '../support/tempDir.ts'
import { waitFor } from '../support/waitFor.ts'

const notice: Notice = { event: 'remote-back', downForMs: 61_000, waiting: 12 }

let server: FaultyHttp | undefined

afterEach(async () => {
  await server?.close()
  server = undefined
})

async function startReceiver(): Promise<FaultyHttp> {
  server = await startFaultyHttp({
    routes: [{ method: 'POST', path: '/told', answer: () => ({ status: 200 }) }],
  })
  return server
}

function notifierOf(config: { command?: string; url?: string }) {
  const { logger, log } = recordingLogger()
  const notifier = new Notifier({ notifyCommand: config.command, notifyUrl: config.url }, logger)
  return { notifier, warnings: () => log.map(({ fields }) => fields.reason) }
}

describe('the notifier', () => {
  it('hands the event to the command and to the URL, as the same JSON', async () => {
    const receiver = await startReceiver()
    const file = join(tempDir(), 'told')
    const { notifier, warnings } = notifierOf({
      command: `cat > '${file}'`,
      url: `${receiver.url}/told?token=t`,
    })
    notifier.tell(notice)
    await notifier.close()
    const told: unknown = JSON.parse(readFileSync(file, 'utf8'))
    expect(told).toEqual({
      ...notice,
      host: hostname(),
      program: expect.stringMatching(/^memsyncd \d/),
      at: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
    })
    expect(receiver.requests.map(({ body }) => JSON.parse(body) as unknown)).toEqual([told])
    expect(receiver.requests[0]?.headers['content-type']).toBe('application/json')
    expect(warnings()).toEqual([])
  })

  it.each([
    ['ends with an error', 'exit 3', 'MEMSYNC_NOTIFY_COMMAND ended with exit code 3'],
    ['is killed', 'kill -9 $$', 'MEMSYNC_NOTIFY_COMMAND ended with SIGKILL'],
    ['is not there', 'no-such-command-anywhere', 'MEMSYNC_NOTIFY_COMMAND ended with exit code 127'],
  ])('says in the log that the command %s', async (_, command, reason) => {
    const { notifier, warnings } = notifierOf({ command })
    notifier.tell(notice)
    await notifier.close()
    expect(warnings()).toEqual([reason])
  })

  it('takes a command that reads nothing for told', async () => {
    const { notifier, warnings } = notifierOf({ command: 'exec <&-; exit 0' })
    notifier.tell({ ...notice, event: 'remote-down', reason: 'x'.repeat(1_000_000) })
    await notifier.close()
    expect(warnings()).toEqual([])
  })

  it('ends a command that hangs, with all it started, when the process ends', async () => {
    const file = join(tempDir(), 'pids')
    const { notifier, warnings } = notifierOf({ command: `sleep 300 & echo $! $$ > '${file}'; wait` })
    notifier.tell(notice)
    const pids = await waitFor('it hangs', () => /^(\d+) (\d+)\n$/.exec(readFileSync(file, 'utf8'))?.slice(1))
    const startedAt = performance.now()
    await notifier.close()
    expectPrompt(performance.now() - startedAt, 3_000)
    expect(warnings()).toEqual(['MEMSYNC_NOTIFY_COMMAND did not end in time'])
    const isAlive = (pid: string) => {
      try {
        return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.[0] !== 'Z'
      } catch {
        return false
      }
    }
    if (process.platform === 'linux') await waitFor('both are gone', () => !pids.some(isAlive))
  })

  it('says what the URL answered, and never the URL', async () => {
    const receiver = await startReceiver()
    const secret = `${receiver.url}/told?token=a-secret-token`
    const { notifier, warnings } = notifierOf({ url: secret })
    receiver.inject({ kind: 'status', status: 500 }, { times: 1 })
    notifier.tell(notice)
    await waitFor('it is logged', () => warnings().length === 1)
    receiver.inject({ kind: 'reset' }, { times: 1 })
    notifier.tell(notice)
    await waitFor('it is logged', () => warnings().length === 2)
    receiver.inject({ kind: 'hang' })
    notifier.tell(notice)
    await notifier.close()
    expect(warnings()).toEqual([
      'MEMSYNC_NOTIFY_URL answered 500',
      'MEMSYNC_NOTIFY_URL did not answer (TypeError)',
      'MEMSYNC_NOTIFY_URL did not answer (AbortError)',
    ])
  })

  it('tells one thing after the other, in order', async () => {
    const file = join(tempDir(), 'told')
    const { notifier } = notifierOf({ command: `sleep 0.1; cat >> '${file}'; echo >> '${file}'` })
    for (const waiting of [1, 2, 3]) notifier.tell({ ...notice, waiting })
    const lines = await waitFor('all is told', () => /^(.+\n){3}$/.exec(readFileSync(file, 'utf8'))?.[0])
    const told = lines.trimEnd().split('\n')
    expect(told.map((line) => (JSON.parse(line) as { waiting: number }).waiting)).toEqual([1, 2, 3])
    await notifier.close()
  })
})
