/**
 * The HTTP interface as a request listener: who may ask, which route answers, and what a refusal looks like.
 *
 * - Before anything of a request is looked at: its Host and Origin must be this machine's own, so that a web page cannot
 *   reach it by a name that it points here; then the bearer token, compared in constant time.
 * - Bad input is a 4xx that names what is wrong; a 500 is a bug, logged by its code and place, never with a value.
 */
import type { IncomingMessage, RequestListener } from 'node:http'
import { getRequestListener, type HttpBindings, RequestError } from '@hono/node-server'
import { Hono } from 'hono'
import { type MemsyncError, toMemsyncError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { isLoopback } from '../settingFormats.ts'
import { badRequest, type ErrorBody, errorBody, HttpRefusal, statusOf } from './httpErrors.ts'
import { type HttpContext, type HttpSources, pathOf, ROUTES, reply } from './httpRoutes.ts'
import { isSameSecret } from './httpToken.ts'

export interface Access {
  /** What a client must present; undefined on a unix socket, where the file's mode says who may connect. */
  token: string | undefined
  /** Whether Host must name this machine: not on a unix socket, which no web page can reach. */
  checkHost: boolean
}

const VISIBLE_ASCII = /^[!-~]*$/

export function createHttpListener(sources: HttpSources, access: Access, logger: Logger): RequestListener {
  const app = new Hono<{ Bindings: HttpBindings }>({
    getPath: (_request, options) => pathOf((options as { env: HttpBindings }).env.incoming),
  })
  app.use(async (context, next) => {
    context.header('cache-control', 'no-store')
    context.header('x-content-type-options', 'nosniff')
    checkOrigin(context.env.incoming, access)
    if (!VISIBLE_ASCII.test(context.env.incoming.url ?? '')) {
      throw badRequest('the URL holds a character that is not percent-encoded')
    }
    if (!isOpen(pathOf(context.env.incoming))) checkToken(context.env.incoming, access)
    await next()
  })
  for (const route of ROUTES) {
    app.on(route.method, honoPath(route.path), async (context) =>
      reply(context, await route.handle(context, sources)),
    )
  }
  for (const path of new Set(ROUTES.map((route) => route.path))) {
    app.all(honoPath(path), (context) => refuseMethod(context, path))
  }
  app.notFound((context) => refuse(context as HttpContext, badRequest('there is no such route', 404), logger))
  app.onError((thrown, context) =>
    refuse(context as HttpContext, toMemsyncError(thrown, 'MEMSYNC_HANDLER_FAILED'), logger),
  )
  return getRequestListener(app.fetch as Parameters<typeof getRequestListener>[0], {
    // The rest of the daemon keeps the Request and Response it knows.
    overrideGlobalObjects: false,
    errorHandler: (thrown) => refuseUnreadable(thrown, logger),
  })
}

function honoPath(path: string): string {
  return path.replace(/\{(\w+)\}/g, ':$1')
}

function isOpen(path: string): boolean {
  return ROUTES.some((route) => route.open && route.path === path)
}

/** @throws MEMSYNC_FORBIDDEN where Host or Origin is another than this machine's own */
export function checkOrigin(
  { headers }: Pick<IncomingMessage, 'headers'>,
  { checkHost }: Pick<Access, 'checkHost'>,
): void {
  const host = headers.host ?? ''
  if (checkHost && !isLoopback(host.replace(/:\d{1,5}$/, ''))) {
    throw new HttpRefusal(403, 'MEMSYNC_FORBIDDEN', 'the Host header does not name this machine')
  }
  const { origin } = headers
  if (origin !== undefined && origin.toLowerCase() !== `http://${host.toLowerCase()}`) {
    throw new HttpRefusal(403, 'MEMSYNC_FORBIDDEN', 'the Origin header names another site')
  }
}

function checkToken({ headers }: IncomingMessage, { token }: Access): void {
  if (token === undefined) return
  const presented = /^bearer +(.*)$/i.exec(headers.authorization ?? '')?.[1] ?? ''
  if (isSameSecret(presented, token)) return
  throw new HttpRefusal(401, 'MEMSYNC_UNAUTHORIZED', 'the Authorization header does not hold the token')
}

function refuseMethod(context: HttpContext, path: string): never {
  const allowed = ROUTES.filter((route) => route.path === path).map(({ method }) => method)
  context.header('allow', allowed.join(', '))
  throw badRequest(
    `${context.req.method.slice(0, 20)}: is not a method of this route, ${allowed.join(' or ')} is`,
    405,
  )
}

function refuse(context: HttpContext, error: MemsyncError, logger: Logger): Response {
  const status = statusOf(error)
  if (status === 401) context.header('www-authenticate', 'Bearer')
  // What was not read of a body that is too long is not worth the wait.
  if (status === 413) context.header('connection', 'close')
  return reply(context, { status, body: status === 500 ? bugBody(error, logger) : errorBody(error) })
}

/** A stranger's message may hold a value; its name and its place in the code, which go to the log, do not. */
export function bugBody(error: MemsyncError, logger: Logger): ErrorBody {
  const { cause } = error
  const place = cause instanceof Error ? cause.stack?.split('\n').slice(1, 4).join('\n') : undefined
  logger.error(
    { code: error.code, error: cause instanceof Error ? cause.name : typeof cause, place },
    'an HTTP request failed',
  )
  const message = 'an unexpected error: a bug, whose place is in the log of the daemon'
  return { error: { ...errorBody(error).error, message } }
}

/** What is no HTTP request that the routing can look at. */
function refuseUnreadable(thrown: unknown, logger: Logger): Response {
  const error =
    thrown instanceof RequestError
      ? badRequest('the Host header or the request target is malformed')
      : toMemsyncError(thrown, 'MEMSYNC_HANDLER_FAILED')
  const status = statusOf(error)
  return Response.json(status === 500 ? bugBody(error, logger) : errorBody(error), { status })
}
