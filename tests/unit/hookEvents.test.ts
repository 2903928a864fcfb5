/** What an agent's hook events come to, and the line that its user sees. */
import { describe, expect, it } from 'vitest'
import type { Status } from '../../src/daemon/status.ts'
import { parsePayload } from '../../src/jobs/index.ts'
import { type HookInput, type HookSettings, memoryOf } from '../../src/producers/hookEvents.ts'
import { healthLine } from '../../src/producers/hookNotice.ts'

const settings: HookSettings = {
  events: ['all'],
  key: 'agent/{session}/{time}-{event}-{id}',
  namespace: 'default',
  embed: false,
  maxValueBytes: 20_000,
}
const moment = { nowMs: Date.parse('2026-01-02T03:04:05.678Z'), id: 'abcd' }
const frame = {
  session_id: 's1',
  transcript_path: '/t.jsonl',
  cwd: '/home/me/my-app',
  permission_mode: 'default',
}
const memory = (input: HookInput, change: Partial<HookSettings> = {}) =>
  memoryOf({ ...frame, ...input }, { ...settings, ...change }, moment)

describe('an event', () => {
  it('is a memory with its key, where and when it was, and what is worth keeping of it', () => {
    expect(memory({ hook_event_name: 'UserPromptSubmit', prompt: 'Use SQLite.' })).toEqual({
      key: 'agent/s1/2026-01-02T03:04:05.678Z-UserPromptSubmit-abcd',
      namespace: 'default',
      value: {
        event: 'UserPromptSubmit',
        session: 's1',
        cwd: '/home/me/my-app',
        at: '2026-01-02T03:04:05.678Z',
        prompt: 'Use SQLite.',
      },
      metadata: { event: 'UserPromptSubmit', session: 's1', project: 'my-app' },
    })
  })

  it.each([
    [
      {
        hook_event_name: 'Stop',
        stop_hook_active: false,
        last_assistant_message: 'Done.',
        background_tasks: ['x'],
      },
      { last_assistant_message: 'Done.' },
    ],
    [
      {
        hook_event_name: 'PostToolUse',
        tool_name: 'Bash',
        tool_use_id: 't',
        tool_input: { command: 'ls' },
        tool_response: { stdout: 'a' },
      },
      { tool_name: 'Bash', tool_input: { command: 'ls' }, tool_response: { stdout: 'a' } },
    ],
    [
      { hook_event_name: 'PostCompact', trigger: 'auto', compact_summary: 'We did this.' },
      { trigger: 'auto', compact_summary: 'We did this.' },
    ],
    [{ hook_event_name: 'SessionEnd', reason: 'clear' }, { reason: 'clear' }],
    [{ hook_event_name: 'TaskCompleted', task: { id: 7 } }, { task: { id: 7 } }],
  ])('%j keeps its content', (input, content) => {
    const value = memory(input)?.value as Record<string, unknown>
    const { event: _event, session: _session, cwd: _cwd, at: _at, ...kept } = value
    expect(kept).toEqual(content)
  })

  it.each([
    { hook_event_name: 'UserPromptSubmit', prompt: '  ' },
    { hook_event_name: 'Stop' },
    { hook_event_name: 'PostCompact', trigger: 'auto', compact_summary: '' },
  ])('%j says nothing and is no memory', (input) => {
    expect(memory(input)).toBe(undefined)
  })

  it('is stored only where it is asked for, in any case of its letters', () => {
    const stop = { hook_event_name: 'Stop', last_assistant_message: 'Done.' }
    expect(memory(stop, { events: ['UserPromptSubmit'] })).toBe(undefined)
    expect(memory(stop, { events: ['none'] })).toBe(undefined)
    expect(memory(stop, { events: ['UserPromptSubmit', 'stop'] })).toBeDefined()
  })

  it('goes where the templates say', () => {
    const prompt = { hook_event_name: 'UserPromptSubmit', prompt: 'x' }
    expect(memory(prompt, { key: '{project}/{event}', namespace: '{project}', embed: true })).toMatchObject({
      key: 'my-app/UserPromptSubmit',
      namespace: 'my-app',
      embed: true,
    })
    expect(memory({ ...prompt, cwd: '/', session_id: 7 }, { key: '{project}{session}' })?.key).toBe('--')
  })

  it.each([
    ['long', { session_id: 'é'.repeat(5_000), cwd: `/${'x'.repeat(9_000)}` }],
    ['not text', { session_id: '\ud800', cwd: '\ud800/\udc00' }],
    ['of other types', { session_id: {}, cwd: [1] }],
  ])('with places that are %s is still a memory by the contract', (_what, places) => {
    const found = memory(
      { hook_event_name: 'UserPromptSubmit', prompt: 'x\ud800', ...places },
      { namespace: '{project}' },
    )
    expect(parsePayload('MEMORY_SYNC', found, settings.maxValueBytes)).toMatchObject({
      key: expect.any(String),
    })
  })

  it('that is too long for a value is cut, and says where', () => {
    const input = {
      hook_event_name: 'PostToolUse',
      tool_name: 'Read',
      tool_input: { file_path: '/a' },
      tool_response: { content: '"é\u0000'.repeat(100_000) },
    }
    const found = memory(input)
    expect(found?.value).toMatchObject({
      tool_name: 'Read',
      tool_input: { file_path: '/a' },
      tool_response: expect.stringMatching(/^\{"content":"/),
      truncated: ['tool_response'],
    })
    const bytes = Buffer.byteLength(JSON.stringify(found?.value))
    expect(bytes).toBeGreaterThan(settings.maxValueBytes / 5)
    expect(parsePayload('MEMORY_SYNC', found, settings.maxValueBytes)).toBeDefined()
  })
})

describe('the line at the start of a session', () => {
  const off = { waiting: 0, delayed: 0, active: 0, oldestWaitingMs: null, gate: 'off' as const }
  const NOW = Date.parse('2026-01-02T00:00:00Z')
  const well: Status = {
    version: '1.2.3',
    spool: { records: 0, bytes: 0, oldestMs: null },
    embedding: {
      model: 'm',
      tokens: 0,
      tokensToday: 0,
      calls: 0,
      cacheHits: 0,
      estimatedCost: null,
      reason: null,
    },
    daemon: { running: true, pid: 1, since: null, progress: { state: 'working', lastSuccess: null } },
    redis: { state: 'up', endpoint: 'unix:/r', reason: null, since: null },
    lanes: { sync: { ...off, waiting: 3, delayed: 1, active: 2, gate: 'open' }, embed: off, push: off },
    deadLetters: 0,
    totals: { queued: 1, synced: 1, embedded: 0, pushed: 0, superseded: 0 },
    remote: { state: 'up', endpoint: null, since: null, latencyMs: null, reason: null },
    store: { keys: 1234, bytes: 1, state: 'up', reason: null },
    lastSnapshot: null,
  }
  const line = (change: Partial<Status>, source = 'startup') =>
    healthLine({ hook_event_name: 'SessionStart', source }, { ...well, ...change }, NOW)

  it('says that all is well once, and what is wrong each time', () => {
    expect(line({})).toBe('memsync: 1,234 memories stored, 6 waiting')
    expect(line({}, 'resume')).toMatch(/stored/)
    expect([line({}, 'clear'), line({}, 'compact')]).toEqual([undefined, undefined])
    const away: Status['remote'] = {
      state: 'down',
      endpoint: null,
      since: '2026-01-01T00:00:00Z',
      latencyMs: null,
      reason: 'HTTP 502',
    }
    expect(line({ remote: away }, 'compact')).toBe(
      'memsync: the remote is away for 24 h; `memsync status` says more',
    )
    expect(line({ remote: away, deadLetters: 2 })).toMatch(/^memsync: .*, and 1 more; /)
    expect(healthLine({ hook_event_name: 'SessionStart' }, undefined, NOW)).toMatch(/no daemon runs/)
  })
})
