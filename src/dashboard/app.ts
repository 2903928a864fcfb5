/**
 * The dashboard as a request listener: who may look, the page, what it asks for, and the queues behind the same cookie.
 *
 * - First of all Host and Origin must be this machine's own, and a browser must not say that another site asks; then the
 *   cookie, which only a link with the token or a ticket brings (`access.ts`). A page on another port of this machine is
 *   another site here, though cookies do not tell ports apart.
 * - No answer may load, frame or be read by anything from elsewhere; each names what the page may do by its policy.
 * - Nothing is changed but by a POST with a JSON body.
 */
import type { IncomingMessage, RequestListener } from 'node:http'
import { getRequestListener, type HttpBindings } from '@hono/node-server'
import { type Context, Hono } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { getCookie, setCookie } from 'hono/cookie'
import { html } from 'hono/html'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import { type MemsyncError, toMemsyncError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { bugBody, checkOrigin } from '../producers/httpApp.ts'
import { badRequest, errorBody, HttpRefusal, statusOf } from '../producers/httpErrors.ts'
import type { Board } from '../queue/board.ts'
import type { DashboardAccess } from './access.ts'
import { addApi } from './api.ts'
import { readAssets } from './assets.ts'
import { type DashboardSources, requireRedis } from './sources.ts'

const MAX_BODY_BYTES = 4 * 1024 * 1024
const BOARD_PATH = '/queues'

const PAGE_POLICY = [
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'",
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "require-trusted-types-for 'script'; trusted-types 'none'",
].join('; ')
/** Its components set styles as attributes. */
const BOARD_POLICY = [
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'",
  "connect-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'",
].join('; ')

export type DashboardEnv = { Bindings: HttpBindings }

export interface Dashboard {
  listener: RequestListener
  close(): void
}

export function createDashboard(
  sources: DashboardSources,
  access: DashboardAccess,
  logger: Logger,
): Dashboard {
  const app = new Hono<DashboardEnv>()
  const board = lazyBoard(sources)
  app.use(async (context, next) => {
    const { pathname } = new URL(context.req.url)
    const isBoard = pathname === BOARD_PATH || pathname.startsWith(`${BOARD_PATH}/`)
    addHeaders(context, isBoard ? BOARD_POLICY : PAGE_POLICY)
    checkOrigin(context.env.incoming, { checkHost: true })
    checkSite(context.env.incoming)
    const cookie = cookieName(context.env.incoming)
    const hasSession = access.isSession(getCookie(context, cookie))
    const presented = pathname === '/' ? context.req.query('token') : undefined
    if (presented !== undefined && (hasSession || access.admit(presented))) {
      setCookie(context, cookie, access.session, { httpOnly: true, sameSite: 'Strict', path: '/' })
      return context.html(WELCOME)
    }
    if (hasSession) return next()
    if (pathname === '/' || isBoard) return context.html(refusal(presented !== undefined), 401)
    throw new HttpRefusal(401, 'MEMSYNC_UNAUTHORIZED', 'no link was opened in this browser yet')
  })
  app.use(bodyLimit({ maxSize: MAX_BODY_BYTES, onError: () => tooLarge() }))
  addAssets(app)
  addApi(app, sources)
  app.get(BOARD_PATH, board.handle)
  app.get(`${BOARD_PATH}/*`, board.handle)
  app.notFound((context) => refuse(context, badRequest('there is no such route', 404), logger))
  app.onError((thrown, context) => refuse(context, toMemsyncError(thrown, 'MEMSYNC_HANDLER_FAILED'), logger))
  return {
    listener: getRequestListener(app.fetch as Parameters<typeof getRequestListener>[0], {
      overrideGlobalObjects: false,
    }),
    close: board.close,
  }
}

function addHeaders(context: Context<DashboardEnv>, policy: string): void {
  const headers = {
    'cache-control': 'no-store',
    'content-security-policy': policy,
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-resource-policy': 'same-origin',
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
    'x-frame-options': 'DENY',
  }
  for (const [name, value] of Object.entries(headers)) context.header(name, value)
}

/** A link may be followed from anywhere; all else is for the page alone. */
function checkSite({ headers, method }: IncomingMessage): void {
  const site = headers['sec-fetch-site'] ?? 'none'
  if (site === 'same-origin' || site === 'none') return
  if (
    method === 'GET' &&
    headers['sec-fetch-mode'] === 'navigate' &&
    headers['sec-fetch-dest'] === 'document'
  )
    return
  throw new HttpRefusal(403, 'MEMSYNC_FORBIDDEN', 'the browser says that another site asks')
}

/** Cookies do not tell ports apart, so that two dashboards of one machine would end each other's. */
function cookieName({ headers }: IncomingMessage): string {
  return `memsync-dashboard-${/:(\d{1,5})$/.exec(headers.host ?? '')?.[1] ?? '80'}`
}

function addAssets(app: Hono<DashboardEnv>): void {
  for (const [path, { content, type, etag }] of readAssets()) {
    app.get(path, (context) => {
      context.header('cache-control', 'no-cache')
      context.header('etag', etag)
      if (context.req.header('if-none-match') === etag) return context.body(null, 304)
      return context.body(content, 200, { 'content-type': type })
    })
  }
}

function lazyBoard(sources: DashboardSources) {
  let opening: Promise<Board> | undefined
  let opened: Board | undefined
  const open = async () => {
    opening ??= import('../queue/board.ts').then(({ openBoard }) => openBoard(sources.config))
    try {
      opened = await opening
      return opened
    } catch (error) {
      // Redis may be back at the next visit.
      opening = undefined
      throw error
    }
  }
  return {
    close: () => opened?.close(),
    handle: async (context: Context<DashboardEnv>): Promise<Response> => {
      await requireRedis(sources)
      const { answer } = await open()
      const { body, status, headers } = await answer(context.req.raw)
      // With this answer's own headers added, which a foreign response would not take.
      return context.newResponse(body, status as ContentfulStatusCode, Object.fromEntries(headers))
    },
  }
}

function tooLarge(): never {
  throw badRequest(`the body is longer than ${MAX_BODY_BYTES} bytes`, 413)
}

function refuse(context: Context, error: MemsyncError, logger: Logger): Response {
  const status = statusOf(error)
  return context.json(
    status === 500 ? bugBody(error, logger) : errorBody(error),
    status as ContentfulStatusCode,
  )
}

/**
 * In place of a redirect: a browser sends a strict cookie with a navigation that begins here, and not with the rest of
 * one that began at another site. Either way the link does not stay in the address bar.
 */
const WELCOME = html`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0;url=/"><title>memsyncd</title></html>`

function refusal(hadLink: boolean) {
  const why = hadLink
    ? 'This link was used already, or its time is over.'
    : 'This browser has not opened a link yet.'
  return html`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><title>memsyncd</title>
<h1>No way in</h1><p>${why} For a new one, run</p><pre>memsync dashboard</pre></html>`
}
