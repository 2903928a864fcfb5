/**
 * The queues through bull-board, to look at only. Its page asks for fonts of another server, which is taken out before
 * it is sent. It is loaded at the first visit, over connections of its own that fail at once.
 */
import { createBullBoard } from '@bull-board/api'
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter'
import { HonoAdapter } from '@bull-board/hono'
import { serveStatic } from '@hono/node-server/serve-static'
import { Queue } from 'bullmq'
import { Hono } from 'hono'
import type { Config } from '../config.ts'
import { DEAD_LETTER_QUEUE, EMBED_QUEUE, PUSH_QUEUE, SYNC_QUEUE } from '../jobs/index.ts'
import { openRedis, redisEndpoint } from './connection.ts'

/** Where it stands; its own links have no trailing slash. */
export const BOARD_PATH = '/queues'
const READY_TIMEOUT_MS = 1_000

export interface Board {
  answer(request: Request): Promise<Response>
  close(): void
}

/** @throws MEMSYNC_QUEUE_UNAVAILABLE */
export async function openBoard(config: Config): Promise<Board> {
  const redis = await openRedis(redisEndpoint(config), 'producer', READY_TIMEOUT_MS)
  const options = {
    connection: redis,
    prefix: config.queuePrefix,
    ...{ skipVersionCheck: true, skipMetasUpdate: true },
  }
  const queues = [SYNC_QUEUE, EMBED_QUEUE, PUSH_QUEUE, DEAD_LETTER_QUEUE].map((name) => {
    const queue = new Queue(name, options)
    queue.on('error', () => undefined)
    return new BullMQAdapter(queue, { readOnlyMode: true })
  })
  const serverAdapter = new HonoAdapter(serveStatic).setBasePath(BOARD_PATH)
  createBullBoard({
    queues,
    serverAdapter,
    options: {
      uiConfig: {
        boardTitle: 'memsyncd queues',
        hideDocsLink: true,
        miscLinks: [{ text: 'Dashboard', url: '/' }],
      },
    },
  })
  const app = new Hono()
  app.route(BOARD_PATH, serverAdapter.registerPlugin() as Hono)
  return {
    async answer(request) {
      const response = await app.fetch(request)
      if (!response.headers.get('content-type')?.startsWith('text/html')) return response
      return new Response(withoutStrangers(await response.text()), response)
    },
    close: () => redis.disconnect(),
  }
}

/** The page without what it would load from elsewhere. */
function withoutStrangers(html: string): string {
  return html.replace(
    /<(?:link|script)\b[^>]*\b(?:href|src)=["']?(?:https?:)?\/\/[^>]*>(?:<\/script>)?/gi,
    '',
  )
}
