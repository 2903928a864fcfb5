/** What the tools of the MCP server take and give, and what a model is told of each. */
import { z } from 'zod'
import { DEFAULT_NAMESPACE, MAX_KEY_BYTES, MAX_NAMESPACE_BYTES } from '../jobs/key.ts'
import { MAX_SEARCH_LIMIT } from './search.ts'

const MAX_LIST_LIMIT = 200

const key = z
  .string()
  .describe(
    `The name of the memory, at most ${MAX_KEY_BYTES} bytes; a path of words works well: "project/decisions/database".`,
  )
const namespace = z
  .string()
  .default(DEFAULT_NAMESPACE)
  .describe(
    `Whose memory it is, at most ${MAX_NAMESPACE_BYTES} bytes; "${DEFAULT_NAMESPACE}" unless you keep several people or projects apart.`,
  )
const anyNamespace = z.string().optional().describe('Only this namespace; every one unless given.')
const limit = (fallback: number, max: number) =>
  z.number().int().min(1).max(max).default(fallback).describe('How many at most.')

const brief = {
  key: z.string(),
  namespace: z.string(),
  updatedAt: z.string().describe('When it was last written, ISO 8601.'),
}

const receipt = z.object({
  accepted: z
    .enum(['queued', 'spooled'])
    .describe(
      'Either way it is on disk: "queued" is applied within moments, "spooled" once the queue is back.',
    ),
  jobId: z.string().optional().describe('The receipt of a queued memory.'),
  uid: z.string().optional().describe('The receipt of a spooled memory.'),
  key: z.string(),
  namespace: z.string(),
})

const destructive = { readOnlyHint: false, destructiveHint: true, idempotentHint: true, openWorldHint: false }
const reading = { readOnlyHint: true, destructiveHint: false, idempotentHint: true, openWorldHint: false }

export const INSTRUCTIONS =
  'Long-term memory on this machine: what is saved here is there in every later session. Look with memory_search or ' +
  'memory_list before you ask the user for what you may have been told, and save what will matter later (preferences, ' +
  'decisions and their reasons, facts about a project) under a key you would look for. Save no passwords or keys.'

export const TOOLS = {
  memory_save: {
    title: 'Save a memory',
    description:
      'Saves a value under a key, for good, in place of what was there. Returns within 50 ms with a receipt, as soon as ' +
      'the memory is safe on disk: "queued" (memory_get shows it moments later) or "spooled" (the queue is away; it is ' +
      'applied by itself later, and until then memory_get shows the older value). After an error, take it as not saved and save it again.',
    inputSchema: z.strictObject({
      key,
      value: z
        .unknown()
        .describe('What to remember: a text, or any JSON (an object as an object, not as a text).'),
      namespace,
      embed: z
        .boolean()
        .default(false)
        .describe('Also make it findable by meaning, where embeddings are set up.'),
      metadata: z
        .record(z.string(), z.union([z.string(), z.number(), z.boolean()]))
        .optional()
        .describe('Labels that go with it, for example {"source": "meeting"}.'),
    }),
    outputSchema: receipt,
    annotations: destructive,
  },
  memory_get: {
    title: 'Read a memory',
    description:
      'Returns the whole value of one memory by its exact key, or found: false where there is none. Use memory_list or ' +
      'memory_search to find keys.',
    inputSchema: z.strictObject({ key, namespace }),
    outputSchema: z.object({
      found: z.boolean(),
      memory: z
        .object({
          ...brief,
          value: z.unknown(),
          metadata: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).optional(),
        })
        .optional(),
    }),
    annotations: reading,
  },
  memory_search: {
    title: 'Search memories',
    description:
      'Finds memories that hold every word of the query, as it is written, somewhere in their key or value (upper and ' +
      'lower case alike; parts of words count), and, where `byMeaning` is true, those whose text means the like. Where it ' +
      'is false it knows no synonyms, so try a few words one after another. Returns keys with an excerpt, the best match ' +
      'first; memory_get has the whole value.',
    inputSchema: z.strictObject({
      query: z.string().describe('One or a few words, or a short question.'),
      namespace: anyNamespace,
      limit: limit(10, MAX_SEARCH_LIMIT),
    }),
    outputSchema: z.object({
      hits: z.array(z.object({ ...brief, excerpt: z.string() })),
      complete: z.boolean().describe('False where time was up before every memory had been looked at.'),
      byMeaning: z.boolean().describe('Whether memories were compared by meaning too.'),
    }),
    annotations: reading,
  },
  memory_list: {
    title: 'List memories',
    description:
      'Lists the keys that there are, in the order of their letters, each with the beginning of its value. For the next ' +
      'page pass `next` as `after`.',
    inputSchema: z.strictObject({
      prefix: z.string().optional().describe('Only keys that begin with it, for example "project/".'),
      namespace: anyNamespace,
      limit: limit(50, MAX_LIST_LIMIT),
      after: z
        .strictObject({ namespace: z.string(), key: z.string() })
        .optional()
        .describe('The `next` of the page before.'),
    }),
    outputSchema: z.object({
      memories: z.array(z.object({ ...brief, preview: z.string() })),
      next: z
        .object({ namespace: z.string(), key: z.string() })
        .optional()
        .describe('Absent on the last page.'),
    }),
    annotations: reading,
  },
  memory_delete: {
    title: 'Delete a memory',
    description:
      'Deletes one memory by its exact key, here and on the remote memory server. The same receipt as memory_save; it is ' +
      'no error where there was no such memory.',
    inputSchema: z.strictObject({ key, namespace }),
    outputSchema: receipt,
    annotations: destructive,
  },
  memory_status: {
    title: 'Status of the memory',
    description:
      'Says whether memories are being stored and carried to the remote server now, and if not, what is wrong and what ' +
      'the user can do about it. Use it when a save was spooled, or when the user asks whether memory works.',
    inputSchema: z.strictObject({}),
    outputSchema: z.object({
      healthy: z.boolean(),
      troubles: z.array(
        z.object({ problem: z.string(), next: z.string().describe('What the user can do.') }),
      ),
      daemonRunning: z.boolean(),
      memories: z.number().describe('How many are stored.'),
      waiting: z.number().nullable().describe('Accepted and not yet stored; null where it is not known.'),
      deadLetters: z.number().nullable().describe('Set aside for the user to look at.'),
      remote: z.string().describe('none, up, down, credentials or unknown.'),
    }),
    annotations: reading,
  },
} as const
