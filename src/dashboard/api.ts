/** What the page asks for: one table of routes under /api, each an answer in JSON. */
import type { Context, Hono } from 'hono'
import { z } from 'zod'
import { ERROR_CLASSES } from '../errors.ts'
import { badRequest } from '../producers/httpErrors.ts'
import type { DashboardEnv } from './app.ts'
import { DeadLetterRuns, listDeadLetters, showDeadLetter } from './deadLetters.ts'
import { hasVectors, listMemories, searchMemories, showMemory } from './memories.ts'
import { type DashboardSources, requireRedis } from './sources.ts'

const MAX_PAGE = 500
const whole = z
  .string()
  .regex(/^\d{1,15}$/, 'is not a whole number')
  .transform(Number)
const short = z.string().max(1_024)

const QUERIES = {
  overview: z.strictObject({ since: whole.optional() }),
  deadLetters: z.strictObject({
    class: z.enum(ERROR_CLASSES).optional(),
    prefix: short.optional(),
    offset: whole.default(0),
    limit: whole.pipe(z.number().min(1).max(MAX_PAGE)).default(100),
  }),
  deadLetter: z.strictObject({ id: short }),
  memories: z.strictObject({
    namespace: short.optional(),
    prefix: short.optional(),
    after: z.string().max(4_096).optional(),
  }),
  search: z.strictObject({
    q: z.string().max(1_000),
    by: z.enum(['words', 'meaning']).default('words'),
    namespace: short.optional(),
  }),
  memory: z.strictObject({ namespace: short, key: z.string().max(2_048) }),
  none: z.strictObject({}),
}

/** @throws MEMSYNC_BAD_REQUEST that names the parameter */
function readQuery<N extends keyof typeof QUERIES>(
  context: Context<DashboardEnv>,
  name: N,
): z.output<(typeof QUERIES)[N]> {
  const parsed = QUERIES[name].safeParse(context.req.query())
  if (parsed.success) return parsed.data as z.output<(typeof QUERIES)[N]>
  const [issue] = parsed.error.issues
  throw badRequest(`${issue?.path.join('.') || 'query'}: ${issue?.message ?? 'is not what is taken'}`)
}

async function readBody(context: Context<DashboardEnv>): Promise<unknown> {
  readQuery(context, 'none')
  if (!/^application\/json\b/i.test(context.req.header('content-type') ?? '')) {
    throw badRequest('content-type: is not application/json', 415)
  }
  try {
    return await context.req.json()
  } catch (error) {
    if (error instanceof SyntaxError) throw badRequest('the body is not JSON')
    throw error
  }
}

export function addApi(app: Hono<DashboardEnv>, sources: DashboardSources): void {
  const runs = new DeadLetterRuns(sources.desk)
  app.get('/api/overview', async (context) => {
    const { since = 0 } = readQuery(context, 'overview')
    const status = await sources.status()
    return context.json({
      nowMs: Date.now(),
      servedBy: sources.servedBy,
      status,
      history: sources.history.since(since),
      run: runs.current ?? null,
      canSearchByMeaning: hasVectors(sources.config),
    })
  })
  app.get('/api/dead-letters', async (context) => {
    const { class: errorClass, prefix: keyPrefix, offset, limit } = readQuery(context, 'deadLetters')
    await requireRedis(sources)
    return context.json(
      await sources.desk.use((desk) =>
        listDeadLetters(desk, { class: errorClass, keyPrefix }, { offset, limit }),
      ),
    )
  })
  app.get('/api/dead-letter', async (context) => {
    const { id } = readQuery(context, 'deadLetter')
    await requireRedis(sources)
    return context.json(await sources.desk.use((desk) => showDeadLetter(desk, id)))
  })
  for (const kind of ['redrive', 'drop'] as const) {
    app.post(`/api/dead-letters/${kind}`, async (context) => {
      const body = await readBody(context)
      await requireRedis(sources)
      return context.json(runs.start(kind, body), 202)
    })
  }
  app.get('/api/memories', async (context) =>
    context.json(await listMemories(sources, readQuery(context, 'memories'))),
  )
  app.get('/api/search', async (context) =>
    context.json(await searchMemories(sources, readQuery(context, 'search'), context.req.raw.signal)),
  )
  app.get('/api/memory', async (context) => {
    const { key, namespace } = readQuery(context, 'memory')
    return context.json(await showMemory(sources, key, namespace))
  })
}
