/** What the doctor decides without looking at anything, and how it says it. */
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { judgeClock } from '../../src/cli/doctor/clock.ts'
import { runCheck, sayOf } from '../../src/cli/doctor/finding.ts'
import { checkNode } from '../../src/cli/doctor/machine.ts'
import { hashName, maskedSettings, redactLog, scrub, secretTexts } from '../../src/cli/doctor/redact.ts'
import { checkService } from '../../src/cli/doctor/service.ts'
import { readSettings } from '../../src/cli/doctor/settings.ts'
import { shellWord } from '../../src/cli/doctor/shellWord.ts'
import { diagnosisDocument, findingText, summaryText } from '../../src/cli/doctorText.ts'
import { MemsyncError } from '../../src/errors.ts'
import { tempDir } from '../support/tempDir.ts'

const plain = (_meaning: string, text: string) => text
const HOME = tempDir()
const settingsOf = (env: Record<string, string>) =>
  readSettings({ MEMSYNC_CONFIG: '/dev/null' }, { HOME, ...env })

describe('a check', () => {
  it('that does not end is a failure of its hop when its time is over, and is told to stop', async () => {
    let aborted = false
    const run = async (_say: unknown, signal: AbortSignal) => {
      await sleep(60_000, undefined, { signal }).catch(() => undefined)
      aborted = signal.aborted
      return []
    }
    expect(await runCheck({ hop: 'redis', timeoutMs: 20, run })).toEqual([
      {
        hop: 'redis',
        state: 'failure',
        says: 'this check did not end within 20 ms',
        fix: expect.any(String),
      },
    ])
    await sleep(0)
    expect(aborted).toBe(true)
  })

  it('that throws is a failure of its hop: with the hint of an error of ours, without the words of another', async () => {
    const failing = (error: Error) =>
      runCheck({
        hop: 'store',
        timeoutMs: 1000,
        run: () => {
          throw error
        },
      })
    const ours = new MemsyncError('MEMSYNC_STORE_UNAVAILABLE', 'the disk is full')
    expect(await failing(ours)).toEqual([
      { hop: 'store', state: 'failure', says: 'the disk is full', fix: ours.hint },
    ])
    const [stranger] = await failing(Object.assign(new TypeError('a secret'), { code: 'E_X' }))
    expect(stranger?.says).toBe('this check itself failed (TypeError E_X)')
  })
})

describe('Node', () => {
  it.each([
    ['24.21.0', 'ok'],
    ['26.0.0', 'ok'],
    ['24.14.9', 'failure'],
    ['20.19.0', 'failure'],
  ])('%s is %s', (version, state) => {
    expect(checkNode(sayOf('node'), version, '/usr/bin/node')[0]?.state).toBe(state)
  })
})

describe('the clock', () => {
  const judge = (aheadMs: number, newestMs?: number) =>
    judgeClock(sayOf('clock'), [{ host: 'vps', aheadMs }], newestMs, 1_000_000_000)

  it.each([
    [0, 'ok', 'agrees with vps'],
    [-29_000, 'ok', 'agrees with vps'],
    [45_000, 'warning', "this machine's clock is 45 s ahead of that of vps"],
    [-3_600_000, 'failure', "this machine's clock is 1 h behind that of vps"],
  ])('%d ms ahead is %s', (aheadMs, state, says) => expect(judge(aheadMs)).toMatchObject([{ state, says }]))

  it('is wrong where a memory is from the future, and not where none is known', () => {
    expect(judge(0, 1_000_000_000 + 120_000)).toMatchObject([
      { state: 'warning', says: expect.stringMatching(/2 min from now/) },
    ])
    expect(judgeClock(sayOf('clock'), [], undefined, 0)).toMatchObject([{ state: 'ok' }])
  })
})

describe('the service', () => {
  const service = (text: string, drift: string[] = [], env = {}) => {
    return checkService(sayOf('service'), { path: '/unit', text, drift }, settingsOf(env))
  }
  const plist = (program: string) =>
    `<key>ProgramArguments</key>\n  <array>\n    <string>${program}</string>\n  </array>\n<string>/not/an/argument</string>`

  it('is ok where what it starts is there', () => {
    expect(service(plist(process.execPath))).toMatchObject([{ state: 'ok', says: 'installed: /unit' }])
    expect(service(`ExecStart="${process.execPath}" "/usr/bin/env"`)).toMatchObject([{ state: 'ok' }])
  })

  it('fails where what it starts is gone, and is a warning where it only differs', () => {
    expect(service(plist('/gone/node'))).toMatchObject([
      {
        state: 'failure',
        says: '/unit starts /gone/node, which is not there',
        fix: 'memsync service install',
      },
    ])
    expect(service(plist(process.execPath), ['it was edited'])).toMatchObject([
      { state: 'warning', says: '/unit: it was edited', fix: 'memsync service install' },
    ])
  })

  it('does not see what only a shell sets', () => {
    const env = { OPENAI_API_KEY: 'sk-secret', MEMSYNC_DATA_DIR: '/data' }
    const [finding] = service(plist(process.execPath), [], env)
    expect(finding).toMatchObject({
      state: 'warning',
      says: expect.stringMatching(/only this shell sets: OPENAI_API_KEY$/),
    })
  })
})

describe('settings that are wrong', () => {
  it('are each told, and the rest is still in force', () => {
    const { config, problems, withheld } = settingsOf({
      MEMSYNC_CONCURRENCY: '0',
      MEMSYNC_REMOTE_KIND: 'mem0',
      MEMSYNC_REMOTE_URL: 'ftp://user:secret@vps',
      MEMSYNC_QUEUE_PREFIX: 'mine',
    })
    // Not that a URL is missing, which it is only as it was left out.
    expect(problems.map(({ says }) => says.split(' ')[0])).toEqual([
      'MEMSYNC_CONCURRENCY',
      'MEMSYNC_REMOTE_URL',
    ])
    expect(config).toMatchObject({ concurrency: 200, remoteKind: 'none', queuePrefix: 'mine' })
    expect(withheld).toEqual(['0', 'ftp://user:secret@vps'])
  })

  it('are told where they only do not fit together', () => {
    const { config, problems } = settingsOf({
      MEMSYNC_REMOTE_KIND: 'http',
      MEMSYNC_REMOTE_URL: 'https://vps',
    })
    expect(problems).toMatchObject([
      {
        says: expect.stringMatching(/^MEMSYNC_REMOTE_KEY: missing/),
        fix: expect.stringMatching(/^set MEMSYNC_REMOTE_KEY in /),
      },
    ])
    expect(config.remoteKind).toBe('none')
  })
})

describe('what leaves the machine', () => {
  const settings = settingsOf({
    REDIS_URL: 'rediss://worker:p%40ss-word@redis.example:6380/2?token=tok-secret',
    OPENAI_API_KEY: 'sk-secret',
    MEMSYNC_NOTIFY_URL: 'https://hooks.example/services/T0/B0',
    MEMSYNC_NOTIFY_COMMAND: 'notify --token cmd-secret',
  })

  it('has secrets masked, of a URL all but scheme and host', () => {
    expect(maskedSettings(settings)).toMatchObject({
      REDIS_URL: { value: 'rediss://redis.example:6380/********', source: 'environment' },
      OPENAI_API_KEY: { value: '********' },
      MEMSYNC_NOTIFY_URL: { value: 'https://hooks.example/********' },
      MEMSYNC_NOTIFY_COMMAND: { value: '********' },
      MEMSYNC_REMOTE_KEY: { value: null, source: 'unset' },
    })
  })

  it('has secrets struck out of every text, also in parts and decoded, and the home folder named ~', () => {
    const secrets = secretTexts(settings, {}, ['http-token'])
    const text =
      'p@ss-word p%40ss-word worker token=tok-secret sk-secret services/T0/B0 http-token /home/me/x'
    expect(scrub(text, secrets, '/home/me')).toBe(
      `${Array.from({ length: 7 }, () => '********').join(' ')} ~/x`,
    )
    // An empty or one-letter secret must not mask everything.
    expect(secretTexts(settingsOf({ OPENAI_API_KEY: 'a' }), {}, [''])).toEqual([])
  })

  it('has names of memories as hashes, alike within one bundle and unlike in another', () => {
    const line = JSON.stringify({
      key: 'k',
      namespace: 'alice',
      deep: { key: 'k' },
      value: 1,
      data: { a: 'b' },
      n: 3,
    })
    const [redacted = ''] = redactLog([line, 'no json', '7'], 'salt')
    expect(JSON.parse(redacted)).toEqual({
      key: hashName('"k"', 'salt'),
      namespace: hashName('"alice"', 'salt'),
      deep: { key: hashName('"k"', 'salt') },
      value: 1,
      data: '********',
      n: 3,
    })
    expect(redactLog([line], 'other')[0]).not.toBe(redacted)
    expect(redactLog(['no json', '7'], 'salt')).toEqual([])
  })
})

describe('the text', () => {
  const finding = sayOf('data folder').failure('/var/lib/memsyncd cannot be written (EACCES)', 'chmod 700 /x')

  it('has a word for the state, and what mends it below', () => {
    expect(findingText(finding, 80, plain)).toBe(
      'failure  data folder   /var/lib/memsyncd cannot be written (EACCES)\n' +
        '                       fix: chmod 700 /x\n',
    )
  })

  it('keeps within a narrow terminal', () => {
    const lines = findingText(finding, 40, plain).trimEnd().split('\n')
    expect(lines).toEqual([
      'failure  data folder',
      '  /var/lib/memsyncd cannot be written',
      '  (EACCES)',
      '  fix: chmod 700 /x',
    ])
  })

  it('ends with the count, and shows nothing that a terminal would obey', () => {
    const warning = sayOf('lanes').warning('a\u001b[2Jb')
    expect(findingText(warning, 80, plain)).toContain('a\\u001b[2Jb')
    expect(summaryText(diagnosisDocument([finding, warning], undefined), plain)).toBe(
      '\n1 failure, 1 warning\n',
    )
    expect(diagnosisDocument([warning], '/b.tar.gz')).toMatchObject({
      ok: true,
      failures: 0,
      bundle: '/b.tar.gz',
    })
    expect(summaryText(diagnosisDocument([], undefined), plain)).toBe('\nno failure\n')
  })

  it('has paths that a shell takes as one word', () => {
    expect(shellWord('/var/lib/x')).toBe('/var/lib/x')
    expect(shellWord("/My Files/it's")).toBe("'/My Files/it'\\''s'")
  })
})
