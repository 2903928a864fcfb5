/**
 * What an agent's hook event comes to as a memory. Pure. The events and their fields are those of Claude Code's hooks
 * (code.claude.com/docs/en/hooks), which other agents send too.
 */
import { basename } from 'node:path'
import type { MemoryInput } from '../jobs/index.ts'
import { MAX_KEY_BYTES, MAX_NAMESPACE_BYTES } from '../jobs/key.ts'

/** What stands on stdin: one JSON object. */
export type HookInput = Record<string, unknown> & { hook_event_name: string }

export interface HookSettings {
  /** Names of events; `all` and `none` stand for themselves. */
  events: readonly string[]
  /** With {session}, {event}, {time}, {id} and {project}. */
  key: string
  namespace: string
  embed: boolean
  maxValueBytes: number
}

/** What is worth keeping of the events that are known; of others it is all that is not in `FRAME`. */
const CONTENT: Record<string, readonly string[]> = {
  SessionStart: ['source', 'model'],
  SessionEnd: ['reason'],
  UserPromptSubmit: ['prompt'],
  Stop: ['last_assistant_message'],
  SubagentStop: ['agent_type', 'last_assistant_message'],
  PreToolUse: ['tool_name', 'tool_input'],
  PostToolUse: ['tool_name', 'tool_input', 'tool_response'],
  PostToolUseFailure: ['tool_name', 'tool_input', 'error'],
  PreCompact: ['trigger', 'custom_instructions'],
  PostCompact: ['trigger', 'compact_summary'],
  Notification: ['notification_type', 'message'],
}
const FRAME = new Set([
  'hook_event_name',
  'session_id',
  'prompt_id',
  'transcript_path',
  'cwd',
  'scratchpad_dir',
  'permission_mode',
  'effort',
  'agent_id',
])
/** An event whose one field says nothing is not worth a memory. */
const NEEDED: Record<string, string> = {
  UserPromptSubmit: 'prompt',
  Stop: 'last_assistant_message',
  SubagentStop: 'last_assistant_message',
  PostCompact: 'compact_summary',
}
/** What stands around the content of a value. */
const VALUE_OVERHEAD_BYTES = 4096
const MAX_PLACE_CHARACTERS = 400

/** The memory of an event, or undefined where it is not to be stored. */
export function memoryOf(
  input: HookInput,
  settings: HookSettings,
  moment: { nowMs: number; id: string },
): MemoryInput | undefined {
  const event = place(input.hook_event_name)
  if (!isWanted(event, settings.events)) return undefined
  const needed = NEEDED[event]
  if (needed !== undefined && !text(input[needed]).trim()) return undefined
  const session = place(input.session_id) || place(input.conversation_id) || '-'
  const cwd = place(input.cwd)
  const project = basename(cwd) || '-'
  const at = new Date(moment.nowMs).toISOString()
  const places: Record<string, string> = { session, event, time: at, id: moment.id, project }
  const fill = (template: string, maxBytes: number) =>
    cutToBytes(
      template.replace(/\{(\w+)\}/g, (_, name: string) => places[name] ?? ''),
      maxBytes,
    )
  return {
    key: fill(settings.key, MAX_KEY_BYTES),
    namespace: fill(settings.namespace, MAX_NAMESPACE_BYTES),
    value: { event, session, ...(cwd ? { cwd } : {}), at, ...contentOf(input, settings.maxValueBytes) },
    metadata: { event, session, project },
    ...(settings.embed ? { embed: true } : {}),
  }
}

function isWanted(event: string, events: readonly string[]): boolean {
  const names = events.map((name) => name.toLowerCase())
  return names.includes('all') || names.includes(event.toLowerCase())
}

function text(value: unknown): string {
  return typeof value === 'string' ? value.toWellFormed() : ''
}

/** Short enough to stand beside the content. */
function place(value: unknown): string {
  return text(value).slice(0, MAX_PLACE_CHARACTERS).toWellFormed()
}

/** The content as it came where it fits, else each part cut to its share, with their names under `truncated`. */
function contentOf(input: HookInput, maxValueBytes: number): Record<string, unknown> {
  const names = CONTENT[input.hook_event_name] ?? Object.keys(input).filter((name) => !FRAME.has(name))
  const parts = names.filter((name) => input[name] !== undefined).map((name) => [name, input[name]] as const)
  const spaceBytes = Math.max(0, maxValueBytes - VALUE_OVERHEAD_BYTES)
  const sizeOf = (value: unknown) => Buffer.byteLength(JSON.stringify(value))
  if (parts.reduce((sum, [, value]) => sum + sizeOf(value), 0) <= spaceBytes) return Object.fromEntries(parts)
  const shareBytes = spaceBytes / parts.length
  const truncated = parts.filter(([, value]) => sizeOf(value) > shareBytes).map(([name]) => name)
  return {
    ...Object.fromEntries(
      parts.map(([name, value]) => [name, truncated.includes(name) ? cut(value, shareBytes) : value]),
    ),
    truncated,
  }
}

/** The beginning of the text, or of the value as JSON, that takes so many bytes as a JSON string. */
function cut(value: unknown, maxBytes: number): string {
  const whole = typeof value === 'string' ? value : JSON.stringify(value)
  const sizeOf = (part: string) => Buffer.byteLength(JSON.stringify(part))
  let kept = whole.slice(0, Math.floor(maxBytes)).toWellFormed()
  for (let bytes = sizeOf(kept); bytes > maxBytes && kept !== ''; bytes = sizeOf(kept)) {
    kept = kept.slice(0, Math.floor((kept.length * maxBytes) / bytes)).toWellFormed()
  }
  return kept
}

function cutToBytes(value: string, maxBytes: number): string {
  const bytes = Buffer.from(value.toWellFormed())
  if (bytes.length <= maxBytes) return value.toWellFormed()
  // A character that was cut in two is dropped.
  return bytes
    .subarray(0, maxBytes)
    .toString('utf8')
    .replace(/\uFFFD+$/, '')
}
