/**
 * The HTTP interface as a part of the daemon: it listens on a unix socket or a loopback port, and nothing that goes
 * wrong with it stops the syncing. An address that is taken is told once and tried again until it is free.
 */
import type { Logger } from '../logger.ts'
import type { ListenAddress } from '../settingFormats.ts'
import { createHttpListener } from './httpApp.ts'
import type { HttpSources } from './httpRoutes.ts'
import { HttpServer } from './httpServer.ts'
import { openToken } from './httpToken.ts'

export interface HttpInterfaceOptions {
  endpoint: ListenAddress
  dataDir: string
  sources: HttpSources
  logger: Logger
}

export class HttpInterface extends HttpServer {
  constructor({ endpoint, dataDir, sources, logger }: HttpInterfaceOptions) {
    const isSocket = endpoint.kind === 'socket'
    super({
      name: 'HTTP',
      endpoint,
      logger,
      createListener: async () => {
        const token = isSocket ? undefined : await openToken(dataDir)
        return createHttpListener(sources, { token, checkHost: !isSocket }, logger)
      },
    })
  }
}
